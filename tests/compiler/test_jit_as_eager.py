"""Programs that once gave another result than the eager run: now the same, or an error."""

import contextlib
import copy
import dataclasses
import functools
import numbers
import pickle
import sys
from collections import OrderedDict, deque
from types import MethodType

import numpy as np
import pytest

import needle as ndl
from needle import init, nn
from needle.errors import ArgumentError, GradientError, TraceError
from tests.compiler.compiled import count

X = np.random.default_rng(0).standard_normal((6, 3)).astype("float32")


# ---- gradients that leave the function


def encoder_and_head():
    np.random.seed(0)
    return nn.Linear(3, 4), nn.Linear(4, 1)


def test_gradients_go_on_through_what_was_computed_before_the_call(jit):
    def run(wrap):
        encoder, head = encoder_and_head()
        f, found = wrap(head), []
        for k in (1, 2):
            (f(encoder(ndl.Tensor(X * k))) ** 2).sum().backward()
            found += [p.grad.numpy() for p in (*encoder.parameters(), *head.parameters())]
        return found

    for a, b in zip(run(jit), run(lambda f: f), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("state", [False, True])
def test_backward_inside_does_not_stop_silently_at_what_was_computed_before(jit, state):
    encoder, head = encoder_and_head()
    box = {}

    def step(h=None):
        (head(box["h"] if h is None else h) ** 2).mean().backward()

    f = jit(step)
    leaf = ndl.Tensor(encoder(X).numpy())
    f(leaf)  # without a history nothing is missing
    assert leaf.grad.shape == (6, 4)
    box["h"] = encoder(ndl.Tensor(X))
    args = () if state else (box["h"],)
    with pytest.raises(TraceError, match=r"reaches (argument 0|a Tensor), which was.*detach\(\)"):
        f(*args)
    f(box["h"].detach())


# ---- objects as arguments


def test_each_object_given_as_an_argument_is_looked_into(jit):
    def run(wrap):
        models = [nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)) for _ in range(2)]
        for k, model in enumerate(models):
            for p in model.parameters():
                p.data = init.constant(*p.shape, c=k + 0.5)
        f, found = wrap(lambda model, x: model(x)), []
        for mode in ("train", "train", "eval", "train"):
            for model in models:
                getattr(model, mode)()
                found.append(f(model, X).numpy())
        return f, [*found, *(a for model in models for a in model.state_dict().values())]

    compiled, found = run(jit)
    for a, b in zip(found, run(lambda f: f)[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    assert count(compiled) == 4


def test_an_object_given_as_an_argument_may_be_reached_otherwise_too(jit):
    config = Output(2.0)
    f = jit(lambda x, given: x * given.loss + 0 * config.loss)
    method = jit(MethodType(lambda self, x, same=config: x * self.loss, config))
    for k in (2.0, 3.0):
        config.loss = k
        np.testing.assert_array_equal(f(X, config), X * np.float32(k))
        np.testing.assert_array_equal(method(X), X * np.float32(k))


def test_a_static_object_is_looked_into(jit):
    model = nn.Dropout(0.5)
    f = jit(lambda x, model: model(x), static=("model",))
    assert 0 in f(X, model=model).numpy()
    model.eval()
    np.testing.assert_array_equal(f(X, model=model).numpy(), X)


def test_static_arguments_are_told_apart_by_type_and_value(jit):
    f = jit(lambda x, n: x * len(repr(n)), static=("n",))
    one = ndl.Tensor([1.0])
    values = (1, True, 1.0, 0.0, -0.0, (1,), (True,), np.float32, np.float32)
    assert [f(one, n=n).item() for n in values] == [len(repr(n)) for n in values]
    assert count(f) == 8
    with pytest.raises(ArgumentError, match=r"static argument `n` .* a list has no hash"):
        f(one, n=[1])


# ---- copies, and other ways to hold a compiled function


class Doubling(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(init.ones(3))

    @ndl.jit
    def forward(self, x):
        return x * self.w

    @classmethod
    @ndl.jit
    def named(cls, x):
        return x * len(cls.__name__)


@ndl.jit
def tripled(x):
    return x * 3


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))]
)
def test_a_copy_of_a_module_compiles_its_own_methods(again):
    model = Doubling()
    model(X)
    other = again(model)
    other.w = nn.Parameter(init.zeros(3))
    np.testing.assert_array_equal(other(X).numpy(), X * 0)
    np.testing.assert_array_equal(model(X).numpy(), X)
    compiled = ndl.jit(model)
    np.testing.assert_array_equal(again(compiled)(X).numpy(), X)
    assert again(tripled) is tripled


def test_a_compiled_class_method():
    np.testing.assert_array_equal(Doubling.named(X), X * 8)
    np.testing.assert_array_equal(Doubling().named(X), X * 8)


# ---- state


@pytest.mark.parametrize("values", [(1, 2), (ndl.Tensor([1.0]), ndl.Tensor([2.0]))])
def test_a_dict_with_the_same_values_under_other_keys(jit, values):
    table = dict(zip(("low", "high"), values, strict=True))
    f = jit(lambda x: x * table["low"])
    assert f(ndl.Tensor([3.0])).item() == 3
    table.clear()
    table.update(zip(("high", "low"), values, strict=True))
    assert f(ndl.Tensor([3.0])).item() == 6
    table.clear()
    table.update(zip((ndl.Tensor([1.0]), "low"), values, strict=True))
    assert f(ndl.Tensor([3.0])).item() == 6


# ---- lists and dicts of the arguments


class Table(dict):
    def __missing__(self, key):
        return 5.0


def test_kinds_of_dicts_arrive_as_they_are(jit):
    f = jit(lambda table: table["x"] * table["y"])
    assert f(Table(x=ndl.Tensor([2.0]))).item() == 10
    assert f(Table(x=ndl.Tensor([3.0]))).item() == 15
    names = jit(lambda table: [*table])
    assert names(OrderedDict(b=1.0, a=2.0)) == ["b", "a"]


def append(xs, out):
    xs.append(xs[0])


def replace(xs, out):
    xs[0] = xs[0] * 2


def add(xs, out):
    out["loss"] = xs[0]


def remove(xs, out):
    del out["parts"]


def deep(xs, out):
    out["parts"][0] = xs[0]


@pytest.mark.parametrize(
    ("write", "text"),
    [
        (append, "argument 0 from a list of 1 to a list of 2"),
        (replace, r"argument 0\[0\] from needle.Tensor"),
        (add, r"out\['loss'\] from nothing to needle.Tensor"),
        (remove, r"out\['parts'\] from \[None\] to nothing"),
        (deep, r"out\['parts'\]\[0\] from None to needle.Tensor"),
    ],
)
def test_writing_into_lists_and_dicts_of_the_arguments_is_an_error(jit, write, text):
    xs, out = [ndl.Tensor([1.0])], {"parts": [None]}

    def f(xs, out):
        write(xs, out)
        return xs[0]

    with pytest.raises(TraceError, match=rf"changes {text}.*change it outside, or copy"):
        jit(f)(xs, out=out)
    assert len(xs) == 1 and xs[0].item() == 1 and out == {"parts": [None]}


# ---- second derivatives


def second(apply, *leaves):
    """The gradient of |gradient|^2 at the leaves."""
    apply().sum().backward()
    total = sum((x.grad * x.grad).sum() for x in leaves)
    for x in leaves:
        x.grad = None
    total.backward()
    return [x.grad.numpy() for x in leaves]


@pytest.mark.parametrize("draws", ["philox", "numpy"])
def test_second_derivatives_draw_the_numbers_of_the_call(jit, draws):
    drop = nn.Dropout(0.5)
    f = jit(lambda x: drop(drop(x)) ** 3, random=draws)
    x = ndl.Tensor(np.ones((8, 8), "float32"))
    y = f(x)
    before = np.random.get_state()[2]
    (found,) = second(lambda: y, x)
    np.testing.assert_allclose(found, np.where(y.numpy() == 64, 2 * 192 * 384, 0), rtol=1e-5)
    assert np.random.get_state()[2] == before


def test_second_derivatives_change_no_state(jit):
    norm = nn.BatchNorm1d(3)
    f, x = jit(norm), ndl.Tensor(X)
    y = f(x) ** 3
    before = norm.running_mean.numpy().copy()
    second(lambda: y, x)
    np.testing.assert_array_equal(norm.running_mean.numpy(), before)


def test_second_derivatives_of_what_is_given_twice(jit):
    w = ndl.Tensor([2.0])

    def f(x, y):
        return x**2 * y * w

    np.testing.assert_allclose(second(lambda: jit(f)(w, w), w), second(lambda: f(w, w), w))


def test_second_derivatives_where_the_call_changed_what_it_read_are_an_error(jit):
    model = nn.Module()
    model.scale = ndl.Tensor([2.0], requires_grad=False)

    def f(x):
        y = x**2 * model.scale
        model.scale = model.scale * 0.5
        return y

    with pytest.raises(GradientError, match="second derivative of a call that changed state"):
        second(lambda: jit(f)(x), x := ndl.Tensor([3.0]))


# ---- more places where state may be


class Slotted:
    __slots__ = ("n", "table")

    def __init__(self):
        self.n = 1

    @ndl.jit
    def scaled(self, x):
        return x * self.n


class Namespace:
    calls = 0


def counted(x):
    counted.calls += 1
    return x


def slotted(things):
    things["slotted"].n += 1


def namespace(things):
    Namespace.calls += 1


def of_tensor(things):
    things["tensor"].calls = things["tensor"].numpy


def of_function(things):
    counted(1)


def of_compiled(things):
    tripled.calls = 1


@pytest.mark.parametrize(
    ("write", "text"),
    [
        (slotted, r"things\['slotted'\]\.n from 1 to 2"),
        (namespace, r"Namespace\.calls from 0 to 1"),
        (of_tensor, r"things\['tensor'\]\.calls from nothing to"),
        (of_function, r"counted\.calls from 0 to 1"),
        (of_compiled, r"tripled\.calls from 0 to 1"),
    ],
)
def test_writes_to_other_places_are_errors_that_name_them(jit, write, text):
    things = {"slotted": Slotted(), "tensor": ndl.Tensor([1.0])}
    counted.calls = tripled.calls = 0

    def f(x):
        write(things)
        return x

    with pytest.raises(TraceError, match=rf"changes {text}.*change it outside"):
        jit(f)(X)
    assert things["slotted"].n == 1 and Namespace.calls == counted.calls == 0
    assert not vars(things["tensor"]) and tripled.calls == 0


def test_objects_with_slots_are_looked_into(jit):
    things = Slotted()
    f = jit(lambda things, x: x * things.n)
    for n in (1, 5):
        things.n = n
        np.testing.assert_array_equal(f(things, X), X * n)
        np.testing.assert_array_equal(things.scaled(X), X * n)
    things.table = ndl.Tensor([2.0])
    g = jit(lambda things: things.table * things.table)
    assert g(things).item() == 4
    things.table = ndl.Tensor([3.0])
    assert g(things).item() == 9 and count(g) == 1
    del things.table
    with pytest.raises(AttributeError):
        g(things)


def test_attributes_of_tensors_are_looked_into(jit):
    p = nn.Parameter(init.ones(2))
    p.scale, p.u = 2.0, init.zeros(2)

    def f():
        p.u = p.u + p.data * p.scale
        return p.u * 1

    compiled = jit(f)
    assert [compiled().tolist() for _ in range(2)] == [[2, 2], [4, 4]]
    p.scale = 3.0
    assert compiled().tolist() == [7, 7] and p.u.tolist() == [7, 7]
    assert count(compiled) == 2


def test_sets_are_looked_into(jit):
    model = nn.Module()
    model.names = {"a", "b"}
    f = jit(lambda x, more: x * (len(model.names) + len(more)))
    np.testing.assert_array_equal(f(X, {1, 2}), X * 4)
    model.names.add("c")
    np.testing.assert_array_equal(f(X, {1, 2}), X * 5)
    np.testing.assert_array_equal(f(X, frozenset({7})), X * 4)
    model.names = {"c", "b"}
    np.testing.assert_array_equal(f(X, {7}), X * 3)
    model.names = {"a", "b"}
    np.testing.assert_array_equal(f(X, {1, 2}), X * 4)
    with pytest.raises(TraceError, match=r"changes model\.names from a set of 2 to a set of 3"):
        jit(lambda: model.names.add("d"))()
    assert model.names == {"a", "b"}


# ---- numbers


def test_guards_hold_for_what_is_not_a_number(jit):
    table = np.array([1.0, np.nan, 2.0])

    def f(x, s):
        known = np.flatnonzero(~np.isnan(np.array(table)))
        return x[known] * (float(s) if s > 0 else 3.0)

    compiled, x = jit(f), ndl.Tensor([1.0, 2.0, 3.0])
    for s in (np.nan, np.nan, 2.0, np.nan):
        assert compiled(x, s).tolist() == f(x, s).tolist()
    assert count(compiled) == 2
    table[0] = np.nan
    assert compiled(x, np.nan).tolist() == [9]


def test_a_number_is_of_its_own_kind_to_the_users_code(jit):
    opt = ndl.optim.Adam([nn.Parameter(init.ones(2))], lr=0.5)

    def kinds(x):
        found = isinstance(x, float), isinstance(x, int), isinstance(x, numbers.Number)
        return [*found, isinstance(x, numbers.Integral), isinstance(x, ndl.Tensor), np.isscalar(x)]

    def f(x, s):
        return x * (s if isinstance(s, float) else s(3)), [kinds(n) for n in (s, opt.lr, opt.t)]

    compiled, one = jit(f), ndl.Tensor([1.0])
    for s in (0.5, 0.25):
        assert compiled(one, s)[0].item() == s
        assert compiled(one, s)[1] == f(one, s)[1]
    assert count(compiled) == 1


def test_operators_and_methods_of_numbers(jit):
    opt = ndl.optim.Adam([nn.Parameter(init.ones(2))], lr=0.5)

    def f(x):
        t = opt.t
        bits = (t & 3, 6 & t, t | 8, 8 | t, t ^ 1, 1 ^ t, t << 2, 2 << t, t >> 1, 64 >> t, ~t)
        return [x * n for n in (*bits, *divmod(t, 3), *divmod(7, t), t.bit_length())]

    compiled, one = jit(f), ndl.Tensor([1.0])
    for t in (1, 2, 5):
        opt.t = t
        assert [y.item() for y in compiled(one)] == [y.item() for y in f(one)]
    assert count(compiled) == 3  # bit_length() fixes the number
    assert jit(lambda x: x * opt.lr.is_integer())(one).item() == 0
    with pytest.raises(AttributeError, match="a traced number has no attribute `rate`"):
        jit(lambda x: x * opt.lr.rate)(one)


# ---- what the user's functions name, wherever they stand

FACTOR = 2.0


class Helper:
    def loss(self, x):
        return self.scaled(x)

    def scaled(self, x):
        return x * FACTOR

    @staticmethod
    def static(x):
        return x * FACTOR


class Scaled(ndl.ops.TensorOp):
    def compute(self, a):
        return a * FACTOR


helper, scaled = Helper(), Scaled()


def imported(x):
    import tests.compiler.test_jit_as_eager as module

    return module.helper.loss(x)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: helper.loss(x),
        lambda x: Helper.static(x),
        lambda x: Helper().loss(x),
        lambda x: Scaled()(x),
        lambda x: scaled(x),
        lambda x: module.helper.loss(x) + module.FACTOR * 0,
        lambda x: module.FACTOR * x,
        imported,
    ],
)
def test_globals_are_guarded_wherever_the_users_code_names_them(jit, function, monkeypatch):
    f, one = jit(function), ndl.Tensor([1.0])
    for factor in (2.0, 5.0, 2.0):
        monkeypatch.setattr(module, "FACTOR", factor)
        assert f(one).item() == factor
    assert count(f) == 2


def test_defaults_of_functions_are_guarded(jit):
    """The idiom for closures in loops: every lambda has the same code."""
    model = nn.Module()
    f, one = jit(lambda x: model.act(x)), ndl.Tensor([1.0])
    acts = [lambda x, k=k: x * k for k in (2.0, 3.0)]
    acts += [lambda x, *, k=k: x * k for k in (4.0, 5.0)]
    for k, act in enumerate(acts):
        model.act = act
        assert f(one).item() == k + 2


# ---- errors that the user's code catches


@pytest.mark.parametrize(
    "ask", [float, bool, np.asarray, np.sort, lambda t: t.item() * np.random.rand()]
)
def test_what_needs_a_value_is_an_error_also_where_it_is_caught(jit, ask):
    def f(x):
        try:
            ask(x.cached_data.sum())
        except Exception:
            return x * 2
        return x * 3

    def g(x):
        with contextlib.suppress(Exception):
            ask(x.cached_data)
        np.random.rand()
        return x

    for function in (f, g):
        with pytest.raises(TraceError, match=r"needs the value|not traced"):
            jit(function)(ndl.Tensor([1.0]))


def test_other_errors_may_be_caught(jit):
    def f(x):
        try:
            return x.reshape(7)
        except ValueError:
            return x * 2

    assert jit(f)(ndl.Tensor([1.0])).item() == 2


# ---- iterators, results, histories


class Stream:
    def __init__(self, things):
        self.things = iter(things)

    def take(self):
        return next(self.things)


def test_taking_from_an_iterator_is_an_error(jit):
    things = [ndl.Tensor([1.0]), ndl.Tensor([2.0])]
    generator, listed, stream = (x for x in things), iter(things), Stream(things)
    for f in (lambda: next(generator), lambda: [*listed], stream.take):
        with pytest.raises(TraceError, match=r"next\(.*test_jit_as_eager.*pass what it gives"):
            jit(f)()
    with pytest.raises(TraceError, match=r"an argument is a generator, .* pass what next"):
        jit(lambda xs: sum(xs))(x for x in things)
    assert [next(source).item() for source in (generator, listed, stream.things)] == [1, 1, 1]


@dataclasses.dataclass
class Output:
    loss: object


@pytest.mark.parametrize(
    "make",
    [
        lambda x: Output(x * 2),
        lambda x: Output([{"loss": x}]),
        lambda x: {x * 2},
        lambda x: deque([x]),
        lambda x: (x * k for k in range(3)),
        lambda x: [{"a": x}.values()],
        lambda x: lambda: x * 2,
        lambda x: functools.partial(ndl.ops.add, x),
    ],
)
def test_objects_with_values_of_the_call_are_no_results(jit, make):
    with pytest.raises(TraceError, match=r"result.*: a compiled function returns .*return a dict"):
        jit(make)(ndl.Tensor([1.0]))


def test_objects_from_before_the_call_are_results(jit):
    output, model = Output(ndl.Tensor([1.0])), nn.Linear(2, 2)
    f = jit(lambda x: (output, model, x.dtype, range(x.shape[0]), np.exp, slice(1)))
    assert f(X) == (output, model, X.dtype, range(6), np.exp, slice(1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.w, self.h = nn.Parameter(init.ones(3)), init.zeros(3)

    def forward(self, x):
        self.h = ndl.ops.tanh(x * self.w + self.h * self.w)
        return self.h


def test_a_history_in_a_slot_is_not_lost_silently(jit):
    np.random.seed(0)
    models = Recurrent(), Recurrent()
    f = jit(models[1])
    for _ in range(4):
        np.testing.assert_allclose(f(X[0]).numpy(), models[0](X[0]).numpy(), rtol=1e-6)
    assert models[1].h.requires_grad and count(f) == 2
    with pytest.raises(GradientError, match=r"its history ended there.*detach"):
        f(X[0]).sum().backward()
    with pytest.raises(TraceError, match="computed from other Tensors before the call"):
        jit(lambda x: models[1](x).sum().backward())(X[0])
    models[1].h = models[1].h.detach()
    f(X[0]).sum().backward()


def test_a_slot_gets_a_tensor_of_the_eager_kind(jit):
    model = nn.Module()
    model.h = ndl.Tensor([1.0])

    def f():
        model.h = model.h.data * 2

    kept, compiled = model.h, jit(f)
    compiled(), compiled()
    assert not model.h.requires_grad and model.h.item() == 4 and kept.item() == 1


def test_gradients_do_not_stop_silently_at_the_result_of_a_step(jit):
    w, v = nn.Parameter(init.ones(3)), nn.Parameter(init.ones(3))

    @jit
    def step(x):
        features = x * w
        features.sum().backward()
        return features

    features = step(X[0])
    assert features.requires_grad
    with pytest.raises(GradientError, match="its history ended there"):
        (features * v).sum().backward()
    (features.detach() * v).sum().backward()


# ---- arrays


def test_a_fixed_array_is_not_written_in_vain(jit):
    table = np.array([1.0, 2.0])

    def f(x):
        own = np.array(table)
        own[0] = 5
        np.asarray(table)[0] = 3
        return x * own

    with pytest.raises(ValueError, match="read-only"):
        jit(f)(ndl.Tensor([1.0, 1.0]))
    assert table.tolist() == [1, 2]


class Statistics:
    def __init__(self):
        self.count, self.rare = np.zeros(3), np.zeros(2, "float16")


def test_arrays_of_other_objects_are_inputs_and_may_be_written(jit):
    def run(wrap):
        known = Statistics()

        def f(x):
            known.count += x.cached_data
            known.count[0] *= 2
            return x * (known.count + 1)

        f = wrap(f)
        found = [f(ndl.Tensor([1.0, 2.0, 3.0])).numpy() for _ in range(2)]
        known.count[1] = 50
        return [*found, f(ndl.Tensor([1.0, 2.0, 3.0])).numpy(), known.count]

    for a, b in zip(run(jit), run(lambda f: f), strict=True):
        np.testing.assert_allclose(a, b)


def test_writing_into_an_array_that_no_program_can_write_is_an_error(jit):
    known, recent = Statistics(), deque([np.zeros(2)])

    def rare(x):
        known.rare[0] = 1

    def held(x):
        recent[0][1] += 1

    for f in (rare, held):
        with pytest.raises(TraceError, match="writes into an array that it does not reach"):
            jit(f)(X)
    recent[0][0] = known.rare[0] = 1  # they can be written again


def test_writing_into_memory_of_two_inputs_is_an_error(jit):
    table = np.zeros(6)

    def f(a, b):
        a += 1
        return (b * 1).sum()

    compiled = jit(f)
    assert compiled(table[:3], table[3:]) == 0
    assert compiled(table[::2], np.zeros(3)) == 0
    for a, b in ((table[:3], table[2:5]), (table[:3], table[:3])):
        with pytest.raises(TraceError, match="shares memory with another of its inputs"):
            compiled(a, b)
    assert table.tolist() == [2, 1, 2, 0, 1, 0]


@pytest.mark.parametrize("shape", [(0,), (0, 3), (), (1,), (2, 0, 2), (3, 2)])
@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * 2 + 1,
        lambda x: x.sum(),
        lambda x: ndl.ops.exp(x).reshape(-1),
        lambda x: ndl.ops.stack([x, x], 0),
    ],
)
def test_gradients_that_need_no_input_and_arrays_without_elements(jit, function, shape):
    found = []
    for apply in (jit(function), function):
        x = ndl.Tensor(np.ones(shape, "float32"))
        y = apply(x)
        y.sum().backward()
        found.append([y.numpy(), x.grad.numpy()])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def reset(w):
    w.grad = None


def replace_grad(w):
    w.grad = ndl.Tensor(np.zeros(w.shape, "float32"))


@pytest.mark.parametrize("between", [reset, replace_grad, lambda w: None])
def test_a_gradient_that_is_kept_keeps_its_values(jit, between):
    """The slot, which the call replaces, is not the only one who may hold it."""
    w = nn.Parameter(init.ones(64))
    twice = jit(lambda x: (w * x * 2).sum().backward())
    f, kept = jit(lambda x: (w * x).sum().backward()), []
    for k in range(6):
        rows = np.full((1 + k % 2, 64), k + 1, "float32")  # two programs that take turns
        (twice if k == 3 else f)(rows)
        kept.append(w.grad)
        between(w)
    assert [set(grad.tolist()) for grad in kept] == [{1}, {4}, {3}, {16}, {5}, {12}]
    given = [ndl.Tensor(np.full(64, k, "float32")) for k in range(3)]
    g = jit(lambda x: (x * x).sum().backward())
    for x in given:
        g(x)
    assert [set(x.grad.tolist()) for x in given] == [{0}, {2}, {4}]


def test_a_numpy_number_widens_no_tensor(jit):
    opt = ndl.optim.SGD([nn.Parameter(init.ones(2))], lr=0.5)

    def f(x, s):
        return x * opt.lr, x + s, s - x, ndl.ops.multiply(s, x)

    compiled, x = jit(f), ndl.Tensor(X)
    for rate, s in ((0.5, 1.0), (np.float64(0.25), np.float64(2)), (np.float32(0.5), np.int64(3))):
        opt.lr = rate
        for a, b in zip(compiled(x, s), f(x, s), strict=True):
            assert a.dtype == b.dtype == np.float32
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6)


def test_a_truth_about_a_number_is_a_number(jit):
    opt = ndl.optim.SGD([nn.Parameter(init.ones(2))], lr=0.5)
    f = jit(lambda x: np.where(np.isfinite(opt.lr), x, 0) + np.isnan(opt.lr) * x)
    for rate, factor in ((0.5, 1), (np.inf, 0)):
        opt.lr = rate
        np.testing.assert_allclose(f(X), X * factor)
    assert count(f) == 1


def test_lengths_of_infinities_and_reciprocals_of_the_smallest_integers(jit):
    values = np.array([np.inf, -np.inf, np.nan, 0, -3, 1e300])
    a, b = (x.ravel() for x in np.meshgrid(values, values))
    np.testing.assert_allclose(jit(np.hypot)(a, b), np.hypot(a, b))
    for dtype in ("int8", "int64", "uint8"):
        x = np.array([1, np.iinfo(dtype).min or 2, np.iinfo(dtype).max, 2], dtype)
        np.testing.assert_array_equal(jit(np.reciprocal)(x), np.reciprocal(x))


module = sys.modules[__name__]
