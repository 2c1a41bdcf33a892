"""What `needle.jit` promises about arguments, results and random numbers, row by row."""

import linecache
import random as python_random
import re
import warnings

import numpy as np
import pytest

import needle as ndl
from needle import init, nn, ops, settings
from needle.compiler.graph import philox
from needle.compiler.jit import native as jit_native
from needle.errors import ArgumentError, TraceError
from tests.compiler.compiled import count


def tensor(array):
    return ndl.Tensor.make_const(array)  # shares the array, strides included


X = np.random.default_rng(0).standard_normal((6, 4)).astype("float32")


# ---- arguments


def test_tensors_and_arrays_are_read_afresh(jit):
    f = jit(lambda a, b: a * 2 + b)
    for k in range(3):
        a, b = ndl.Tensor(X + k, requires_grad=False), X * k
        np.testing.assert_allclose(f(a, b).numpy(), (X + k) * 2 + X * k, rtol=1e-6)
    assert count(f) == 1


def test_non_contiguous_arguments_are_copied_and_counted(jit):
    f = jit(lambda a: a + 1)
    np.testing.assert_allclose(f(tensor(X)).numpy(), X + 1)
    for a in (X[::-1], X[:, ::-1], np.asfortranarray(X)):
        np.testing.assert_allclose(f(tensor(a)).numpy(), a + 1)
    if f.compile is not jit_native.interpret:
        assert f.latest.copied == 3 and "copied" in f.explain()
    assert count(f) == 1


def test_another_float_never_retraces(jit):
    f = jit(lambda a, s: a * s)
    for s in (0.5, 2.0, -1.5):
        np.testing.assert_allclose(f(tensor(X), s).numpy(), X * np.float32(s), rtol=1e-6)
    assert count(f) == 1
    assert f(X, np.float64(3)).dtype == np.float64  # NumPy's numbers are no weak ones


def test_ints_bools_strings_and_none_belong_to_the_signature(jit):
    def f(a, n, flag=True, name=None):
        return ops.summation(a, n) * (2 if flag else 3) * (1 if name is None else len(name))

    compiled = jit(f)
    for args in ((0,), (1,), (1, False), (1, False, "abc"), (1, True, None), (0,)):
        np.testing.assert_allclose(compiled(X, *args).numpy(), f(X, *args).numpy(), rtol=1e-5)
    assert count(compiled) == 4 + 1 - 0


def test_nested_arguments(jit):
    f = jit(lambda batch, extra: batch["x"] * extra[0] + batch["parts"][1])
    batch = {"x": tensor(X), "parts": [X, X * 5]}
    np.testing.assert_allclose(f(batch, (2.0,)).numpy(), X * 7, rtol=1e-6)
    np.testing.assert_allclose(f(batch, (3.0,)).numpy(), X * 8, rtol=1e-6)
    assert count(f) == 1


def test_static_arguments_belong_to_the_signature(jit):
    f = jit(lambda a, scale: a * np.full(3, scale).sum(), static=("scale",))
    assert [f(ndl.Tensor([1.0]), scale=s).item() for s in (1.0, 2.0, 1.0)] == [3, 6, 3]
    assert f(ndl.Tensor([1.0]), 2.0).item() == 6
    assert count(f) == 2


def test_one_tensor_given_twice_is_another_signature(jit):
    f = jit(lambda a, b: (a * b).sum().backward())
    a, b = ndl.Tensor([2.0]), ndl.Tensor([5.0])
    f(a, a)
    assert a.grad.item() == 4
    f(a, b)
    assert (a.grad.item(), b.grad.item()) == (5, 2)
    f(b, a)
    assert (a.grad.item(), b.grad.item()) == (5, 2)


def test_an_array_written_in_place(jit):
    def f(a, values):
        a[1] = 7
        a += values
        return a.sum()

    plain, compiled = np.zeros(3), np.zeros(3)
    assert f(plain, np.ones(3)) == jit(f)(compiled, np.ones(3))
    np.testing.assert_array_equal(plain, compiled)


# ---- results


def test_nested_results(jit):
    p = nn.Parameter(init.ones(2))

    def f(x, s):
        y = x * p
        return {"y": y, "pair": (y.sum(), [None, 3, "text"]), "same": p, "number": s * 2}

    result = jit(f)(ndl.Tensor([1.0, 2.0]), 1.5)
    assert result["y"].tolist() == [1, 2] and result["pair"][0].item() == 3
    assert result["pair"][1] == [None, 3, "text"] and result["same"] is p
    assert result["number"] == 3.0 and type(result["number"]) is float


def test_arrays_are_returned_as_arrays(jit):
    result = jit(lambda x: x.cached_data * 2)(ndl.Tensor([1.0]))
    assert type(result) is np.ndarray and result.tolist() == [2.0]


# ---- Python values read inside


SCALE = 2


def test_guarded_values_retrace(jit):
    global SCALE
    config = {"power": 2, "names": ["a"]}
    f = jit(lambda x: x ** config["power"] * SCALE * len(config["names"]))
    x = ndl.Tensor([3.0])
    assert f(x).item() == 18
    config["power"] = 1
    assert f(x).item() == 6
    try:
        SCALE = 5
        assert f(x).item() == 15
    finally:
        SCALE = 2
    config["names"].append("b")
    assert f(x).item() == 12
    config["names"] = ["a"]
    assert f(x).item() == 6
    assert count(f) == 4  # the last state is the second one again


@pytest.mark.parametrize(
    ("first", "second"),
    [(1, 2), (1.5, 2.5), (0.0, -0.0), (1, True), ("a", "ab"), (False, True), (None, 3),
     ((1, (2, 3)), (1, (2, 4))), ([1, [2]], [1, [3]]), ({"a": {"b": 1}}, {"a": {"b": 2}})],
)  # fmt: skip
def test_every_kind_of_value_is_guarded(jit, first, second):
    model = nn.Module()
    model.value = first
    f = jit(lambda x: x * len(repr(model.value)))
    x = ndl.Tensor([1.0])
    for value, traces in ((first, 1), (second, 2), (first, 2)):
        model.value = value
        assert f(x).item() == len(repr(value))
        assert count(f) == traces


def test_a_warning_names_the_value_that_keeps_changing(jit):
    config = {"power": 0}
    f = jit(lambda x: x * config["power"])
    x = ndl.Tensor([1.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for i in range(8):
            config["power"] = i
            f(x)
    config["power"] = 8
    with pytest.warns(
        UserWarning, match=r"traced 8 more times, 8 of them because of config\['power'\]"
    ) as warned:
        f(x)
    assert warned[0].filename == __file__  # at the line of the call
    config["power"] = 9
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        f(x)


BUFFER = np.arange(4, dtype="float32")


def test_arrays_read_inside_are_inputs_by_reference(jit):
    weights = np.ones(4, "float32")

    class Foreign:
        table = np.full(4, 2, "float32")

    f = jit(lambda x: x * weights + BUFFER * (weights / weights.sum()) + Foreign.table)
    x = ndl.Tensor(X[0], requires_grad=False)

    def expected():
        return X[0] * weights + BUFFER * (weights / weights.sum()) + Foreign.table

    np.testing.assert_allclose(f(x).numpy(), expected(), rtol=1e-6)
    weights[1], BUFFER[2], Foreign.table[0] = 5, 9, 11
    np.testing.assert_allclose(f(x).numpy(), expected(), rtol=1e-6)
    weights = np.full(4, 3, "float32")
    np.testing.assert_allclose(f(x).numpy(), expected(), rtol=1e-6)
    assert count(f) == 1


def test_a_mask_read_inside_is_fixed_and_guarded(jit):
    mask = np.array([True, False, True, False])
    f = jit(lambda x: x[mask])
    x = ndl.Tensor(X[0])
    np.testing.assert_array_equal(f(x).numpy(), X[0][mask])
    mask[1] = True
    np.testing.assert_array_equal(f(x).numpy(), X[0][mask])
    assert count(f) == 2


def test_a_mask_written_inside_is_not_known(jit):
    mask = np.array([True, False, True, False])

    def f(x):
        mask[1] = True
        return x[mask]

    with pytest.raises(TraceError, match="traced mask"):
        jit(f)(ndl.Tensor(X[0]))


class Sampler:
    def __init__(self):
        self.draws = np.random.RandomState(0)


@pytest.mark.parametrize("scalar", [False, True])
def test_frozen_constants_are_listed_with_their_line(jit, scalar):
    generator, sampler = np.random.default_rng(0), Sampler()

    def f(x):
        y = x * (generator.random() if scalar else generator.random(4))
        return y + sampler.draws.rand()

    compiled = jit(f)
    with np.errstate(all="ignore"):
        compiled(ndl.Tensor(X[0])), compiled(ndl.Tensor(X[:2])), compiled(ndl.Tensor(X[0]))
    first = f.__code__.co_firstlineno
    lines = compiled.history.notes["frozen"]
    wanted = [
        rf"drawn from generator, before `.*` at .*test_jit_semantics_inputs\.py:{first + 1}",
        rf"drawn from sampler\.draws, before `.*` at .*test_jit_semantics_inputs\.py:{first + 2}",
        *([] if scalar else [rf"float64\[4\] at .*test_jit_semantics_inputs\.py:{first + 1}"]),
    ]
    assert len(lines) == len(wanted)  # each once, though two programs have it
    for pattern, line in zip(wanted, lines, strict=True):
        assert re.fullmatch(pattern, line)
    if compiled.compile is not jit_native.interpret:
        assert lines[0] in compiled.explain()


def test_draws_of_the_users_generators_go_on_as_in_the_eager_run(jit):
    def run(wrap):
        generator = np.random.default_rng(0)
        f = wrap(lambda x: x * generator.random())
        return f(ndl.Tensor([1.0])).item(), generator.random()

    assert run(jit) == run(lambda f: f)


def test_what_is_read_by_reference_is_not_listed_as_frozen(jit):
    class Foreign:
        table = np.full(4, 2.5) * np.arange(4)

    f = jit(lambda x: x * Foreign.table)
    f(ndl.Tensor(X[0]))
    assert "frozen" not in f.history.notes


# ---- modes and shapes


def test_train_and_eval_run_their_own_programs(jit):
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5))
    f = jit(model)
    assert (f(X).numpy() == 0).any()
    model.eval()
    np.testing.assert_allclose(f(X).numpy(), model(X).numpy(), rtol=1e-5, atol=1e-6)
    model.train()
    assert (f(X).numpy() == 0).any()
    assert count(f) == 2


def test_the_last_short_batch_is_kept_beside_the_first(jit):
    f = jit(lambda x: (x * x).sum(axes=1))
    for rows in (6, 6, 2, 6, 2):
        np.testing.assert_allclose(f(tensor(X[:rows])).numpy(), (X[:rows] ** 2).sum(1), rtol=1e-5)
    assert count(f) == 2
    assert "float32[2, 4]" in f.history.notes["retraced"][0]
    f(tensor(X[:2].astype("float64")))
    assert count(f) == 3


def test_least_recently_used_beyond_32():
    f = ndl.jit(lambda x: x + 1)
    f.compile = jit_native.interpret
    with pytest.warns(UserWarning, match="because of arguments"):
        for n in range(1, 40):
            f(np.zeros(n))
            f(np.zeros(1))
    assert sum(map(len, f.variants.values())) == 32
    before = count(f)
    f(np.zeros(1)), f(np.zeros(39))
    assert count(f) == before
    f(np.zeros(2))
    assert count(f) == before + 1


# ---- random numbers


def test_default_randomness_is_philox_keyed_by_one_randint(jit):
    f = jit(lambda: (init.rand(5), init.randn(3), init.rand(2)))
    np.random.seed(3)
    first, second = f(), f()
    np.random.seed(3)
    again = f()
    for a, b, c in zip(first, again, second, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
        assert not np.array_equal(a.numpy(), c.numpy())
    np.random.seed(3)
    key = int(np.random.randint(0, 2**64, dtype=np.uint64))
    np.testing.assert_array_equal(first[0].numpy(), philox.uniform(key, 0, (5,)))
    np.testing.assert_allclose(first[1].numpy(), philox.normal(key, 1, (3,)), rtol=1e-5)
    np.testing.assert_array_equal(first[2].numpy(), philox.uniform(key, 2, (2,)))


def test_draws_are_the_same_for_any_number_of_threads():
    f = ndl.jit(lambda x: (x * init.rand(300, 50)).sum(axes=0))
    x = ndl.Tensor(np.ones((300, 50), "float32"), requires_grad=False)
    results = []
    for threads in (1, 2, 3):
        np.random.seed(0)
        with settings.override(num_threads=threads, exact_threads=True):
            results.append(f(x).numpy())
            assert f.latest.executable.threads_used == threads
    for found in results[1:]:
        np.testing.assert_array_equal(found, results[0])


def test_no_key_is_drawn_without_random_nodes(jit):
    f = jit(lambda x: x + 1)
    f(X)
    np.random.seed(1)
    f(X)
    np.random.rand()
    a = np.random.rand()
    np.random.seed(1)
    np.random.rand()
    assert a == np.random.rand()


def test_random_numpy_draws_as_the_eager_run(jit):
    drop = nn.Dropout(0.4)
    f = jit(lambda x: drop(x) + init.randn(6, 4), random="numpy")
    np.random.seed(2)
    eager = [(drop(ndl.Tensor(X)) + init.randn(6, 4)).numpy() for _ in range(2)]
    np.random.seed(2)
    for a in eager:
        np.testing.assert_allclose(f(X).numpy(), a, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("draw", [np.random.rand, python_random.random])
def test_other_draws_are_an_error_that_names_the_next_op(jit, draw):
    def f(x):
        y = x * 2
        s = draw()
        return ops.exp(y) * s

    state, python_state = np.random.get_state()[1].copy(), python_random.getstate()
    with pytest.raises(TraceError, match=r"random.*exp.*test_jit_semantics_inputs.*init\.rand"):
        jit(f)(X)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    assert python_random.getstate() == python_state


# ---- what needs a value


@pytest.mark.parametrize(
    ("use", "what"),
    [
        (lambda t: 1 if t.sum() > 0 else 2, "condition"),
        (lambda t: float(t.sum()), r"float\(\)"),
        (lambda t: t.numpy(), r"numpy\(\)"),
        (lambda t: t.sum().item(), "item"),
        (lambda t: int(t.sum()), r"int\(\)"),
        (lambda t: [1, 2][t.sum().astype("int64").cached_data], "list index"),
    ],
)
def test_uses_of_values_are_errors_at_the_users_line(jit, use, what):
    with pytest.raises(
        TraceError, match=f"(?s){what}.*traced.*test_jit_semantics_inputs.*debug_print"
    ):
        jit(use)(ndl.Tensor(X))


def test_the_line_of_a_notebook_cell_is_shown(jit):
    name, text = "<ipython-input-7-cell>", "def f(x):\n    y = x * 2\n    return float(y)\n"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    space = {}
    exec(compile(text, name, "exec"), space)
    with pytest.raises(TraceError, match=r"<ipython-input-7-cell>:3: return float\(y\)"):
        jit(space["f"])(ndl.Tensor([1.0]))
    del linecache.cache[name]


def test_print_shows_what_is_known(jit, capsys):
    def f(t):
        print(t * 2, repr(t))
        return t

    jit(f)(ndl.Tensor(X))
    assert capsys.readouterr().out == (
        "needle.Tensor(traced float32[6, 4]) needle.Tensor(traced float32[6, 4])\n"
    )


def test_debug_print_prints_at_each_call(jit, capsys):
    def f(t):
        ndl.debug_print(t * 2, "twice ")
        return t

    compiled = jit(f)
    compiled(ndl.Tensor([1.0])), compiled(ndl.Tensor([4.0]))
    assert capsys.readouterr().out == "twice [2.]\ntwice [8.]\n"


def test_an_unknown_function_is_an_error_that_names_it(jit):
    class Sorted(ndl.ops.TensorOp):
        def compute(self, a):
            return np.sort(a)

    with pytest.raises(TraceError, match=r"np\.sort is not traced.*test_jit_semantics_inputs"):
        jit(lambda x: Sorted()(x))(X)

    class Added(ndl.ops.TensorOp):
        def compute(self, a):
            np.add.at(a, [0], 1)
            return a

    with pytest.raises(TraceError, match=r"np\.add\.at is not traced.*use ops\.scatter_add"):
        jit(lambda x: Added()(x))(X)


def test_numbers_go_where_tensors_go(jit):
    f = jit(lambda s, x: (ops.exp(s), ops.multiply(s, x), ops.add(x, s)))
    for s in (0.5, 2.0):
        exp, product, total = f(s, tensor(X))
        assert exp.dtype == np.float64 and product.dtype == total.dtype == np.float32
        np.testing.assert_allclose(exp.numpy(), np.exp(s), rtol=1e-6)
        np.testing.assert_allclose(product.numpy(), X * np.float32(s), rtol=1e-6)
    assert count(f) == 1


def test_a_dtype_that_is_not_compiled_is_an_error(jit):
    with pytest.raises(TraceError, match="argument 0: dtype float16 is not compiled"):
        jit(lambda x: x * 2)(ndl.Tensor(np.ones(2, "float16")))


def test_one_float_given_twice_is_two_inputs(jit):
    f = jit(lambda x, s, u: x * s + u)
    x, half = ndl.Tensor([1.0]), 0.5
    assert [f(x, half, half).item(), f(x, 0.5, 2.5).item()] == [1.0, 3.0]
    assert count(f) == 1


def test_generators_and_async_functions_are_refused():
    def steps(x):
        yield x * 2

    async def later(x):
        return x * 2

    for function in (steps, later):
        with pytest.raises(
            ArgumentError, match="generators and async functions cannot be compiled"
        ):
            ndl.jit(function)


def test_arrays_made_inside_that_count_or_repeat_become_nodes(jit):
    outside = np.arange(4.0)

    def f(x):
        inside = x * np.arange(4) + np.full(4, 2.5) + np.zeros((3, 4))
        return inside + np.arange(3).reshape(3, 1) + outside + outside[:2].sum()

    compiled = jit(f)
    x = tensor(X[0].astype("float64"))
    for k in range(2):
        outside[0] = k
        np.testing.assert_allclose(compiled(x).numpy(), f(x).numpy())
    shapes = [node.shape for node in compiled.graph.inputs]
    assert shapes == [(4,), (4,)]  # the argument, and what is read by reference
    assert "frozen" not in compiled.history.notes


def test_index_arrays_of_other_objects_are_inputs_and_masks_are_guarded(jit):
    class Foreign:
        index = np.array([0, 1])
        mask = np.array([True, False, True, False])

    f = jit(lambda x: (x[Foreign.index], x[Foreign.mask], x[np.arange(2)]))
    x = ndl.Tensor(X[0])
    for k in range(3):
        if k == 1:
            Foreign.index[0] = 3
        if k == 2:
            Foreign.mask[1] = True
        picked, masked, _ = f(x)
        np.testing.assert_array_equal(picked.numpy(), X[0][Foreign.index])
        np.testing.assert_array_equal(masked.numpy(), X[0][Foreign.mask])
    assert count(f) == 2
    assert len(f.latest.trace.recorder.fixed) == 1  # the array made inside cannot change


def test_class_attributes_of_the_users_modules_are_guarded(jit):
    class Scaled(nn.Module):
        scale = 2
        offset = np.ones(4, "float32")

        def forward(self, x):
            return x * self.scale + self.offset

    model = Scaled()
    f = jit(model)
    x = tensor(X[0])
    np.testing.assert_allclose(f(x).numpy(), X[0] * 2 + 1, rtol=1e-6)
    Scaled.scale = 3
    np.testing.assert_allclose(f(x).numpy(), X[0] * 3 + 1, rtol=1e-6)
    Scaled.offset[:] = 5
    np.testing.assert_allclose(f(x).numpy(), X[0] * 3 + 5, rtol=1e-6)
    assert count(f) == 2

    class Counting(nn.Module):
        calls = 0

        def forward(self, x):
            Counting.calls += 1
            return x

    with pytest.raises(TraceError, match=r"changes Counting\.calls from 0 to 1"):
        jit(Counting())(x)
    assert Counting.calls == 0


def recursive(x, depth=2):
    return x * 2 if depth == 0 else recursive(x, depth - 1) + 1


def test_a_function_that_names_itself(jit):
    np.testing.assert_allclose(jit(recursive)(tensor(X)).numpy(), X * 2 + 2, rtol=1e-6)


def test_formatting_a_number_fixes_it(jit):
    p = nn.Parameter(init.ones(2))
    opt = ndl.optim.SGD([p], lr=0.5)
    names = []

    def f(x):
        names[:] = []
        return x * len(f"{opt.lr:.3f}") * opt.lr

    compiled = jit(f)
    for rate, size in ((0.5, 5), (12.0, 6), (0.5, 5)):
        opt.lr = rate
        assert compiled(ndl.Tensor([1.0])).item() == size * rate
    assert count(compiled) == 2
