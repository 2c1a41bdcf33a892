"""needle.testing finds what it is there to find, and names it."""

import functools

import numpy as np
import pytest

import needle as ndl
from needle import init, nn, ops
from needle.errors import ArgumentError, DtypeError, TraceError
from needle.testing import LOOSER, TOLERANCES, assert_close, compare, gradcheck


class Wrong(ndl.TensorOp):
    """x^2 with a gradient that is off by a factor, to first or to second order."""

    def __init__(self, first=2.0, second=2.0):
        self.first, self.second = first, second

    def compute(self, a):
        return a * a

    def gradient(self, out_grad, node):
        a = node.inputs[0]
        return out_grad * (self.first * a.detach() + self.second * (a - a.detach()))


# ---- gradcheck


def test_gradcheck_accepts_what_is_right():
    gradcheck(Wrong(), np.array([[1.0, -2.0]]), order=2)
    gradcheck(lambda x, i: x[i] * 2, np.arange(3.0), np.array([2, 0, 0]))
    gradcheck(lambda x, y: (x * y, ops.exp(x)), np.ones(2), 3.0, order=2)
    gradcheck(lambda x: ops.fused_add_scalars(x, 1.0, 2.0), np.ones(2))
    gradcheck(lambda x: x.sum() * 0, np.ones((0, 2)))


def test_gradcheck_shows_op_input_element_and_both_values():
    with pytest.raises(AssertionError) as caught:
        gradcheck(
            lambda a, b: ops.exp(a) * 0 + Wrong(first=3.0)(b), np.ones(2), np.array([1.0, 2.0])
        )
    text = str(caught.value)
    assert text.startswith("gradcheck: add, input 1, element [0]: analytic ")
    analytic, numeric = (
        float(part.split()[-1]) for part in text.split("element [0]: ")[1].split(",")
    )
    assert analytic / numeric == pytest.approx(1.5)


def test_gradcheck_of_one_element_shows_the_gradient_itself():
    with pytest.raises(
        AssertionError, match=r"Wrong, input 0, element \[0\]: analytic 6, numeric 4"
    ):
        gradcheck(Wrong(first=3.0), np.array([2.0]))


def test_gradcheck_finds_one_wrong_element():
    wrong = np.array([[1.0, 1.0], [1.0, 1.001]])

    class OneWrong(Wrong):
        def gradient(self, out_grad, node):
            return super().gradient(out_grad, node) * (wrong + (wrong - 1) * 9)

    with pytest.raises(AssertionError, match=r"OneWrong, input 0, element \[1, 1\]"):
        gradcheck(OneWrong(), np.ones((2, 2)))


def test_gradcheck_of_second_order_finds_what_the_first_does_not():
    gradcheck(Wrong(second=0.0), np.array([1.0, 2.0]))
    with pytest.raises(AssertionError, match="gradient of Wrong, input 0, element"):
        gradcheck(Wrong(second=0.0), np.array([1.0, 2.0]), order=2)


def test_gradcheck_finds_a_graph_cut_off_behind_out_grad():
    class Cut(ndl.TensorOp):
        def compute(self, a):
            return a * 2

        def gradient(self, out_grad, node):
            return out_grad.detach() * 2

    gradcheck(Cut(), np.ones(2))
    with pytest.raises(AssertionError, match="gradient of Cut, out_grad, element"):
        gradcheck(Cut(), np.ones(2), order=2)


def test_gradcheck_checks_parameters_of_modules_and_leaves_all_as_it_was():
    model = nn.Sequential(nn.Linear(3, 2, dtype="float64"), nn.Dropout(0.5), nn.Tanh())
    x = ndl.Tensor(np.random.RandomState(0).randn(4, 3))
    before, state = [p.numpy().copy() for p in model.parameters()], np.random.get_state()[2]
    x.grad = marker = ndl.Tensor([1.0])
    gradcheck(lambda *_: model(x), x, *model.parameters(), order=2)
    assert x.grad is marker and all(p.grad is None for p in model.parameters())
    for p, b in zip(model.parameters(), before, strict=True):
        np.testing.assert_array_equal(p.numpy(), b)
    assert state == np.random.get_state()[2]


def test_gradcheck_of_a_parameter_that_is_not_used_right():
    w = nn.Parameter(init.ones(2, dtype="float64"))
    with pytest.raises(AssertionError, match="input 1"):
        gradcheck(lambda x, _: x * w.detach() * w.detach(), np.ones(2), w)


def test_gradcheck_refuses_what_it_cannot_check():
    for call, error, text in [
        (lambda: gradcheck(ops.exp, ndl.Tensor([1], dtype="f4")), DtypeError, "input 0 is float32"),
        (lambda: gradcheck(lambda x: x.astype("float32"), np.ones(1)), DtypeError, "gave float32"),
        (lambda: gradcheck(lambda x: x.numpy(), np.ones(1)), DtypeError, "ndarray"),
        (lambda: gradcheck(ops.exp, np.ones(1), order=3), ArgumentError, "order 1 or 2"),
        (lambda: gradcheck(lambda i: i, np.array([0])), ArgumentError, "floating"),
    ]:  # fmt: skip
        with pytest.raises(error, match=text):
            call()


def test_gradcheck_of_nan_fails():
    with np.errstate(all="ignore"), pytest.raises(AssertionError, match="nan"):
        gradcheck(ops.log, np.array([-1.0]))


# ---- assert_close


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (ndl.Tensor([1.0]), np.array([1.0 + 1e-12])), (np.nan, np.nan),
        ([np.inf, -np.inf], [np.inf, -np.inf]), ([1, 2], np.array([1.0, 2.0])),
        (np.float32(1.0), 1.0 + 5e-6),
        ({"x": 1, "y": [2.0, np.ones(2)]}, {"x": 1, "y": (2.0, np.ones(2))}),
        (np.zeros((0, 3)), np.zeros((0, 3))), (True, np.True_), (0.0, -0.0), (np.float32(0), 5e-7),
    ],
)  # fmt: skip
def test_close(a, b):
    assert_close(a, b)
    assert_close(b, a)


@pytest.mark.parametrize(
    ("a", "b", "text"),
    [
        ([1.0, 2.0, 3.0], ndl.Tensor([1.0, 2.5, 3.1]), r"2 of 3 .*most at \[1\]: 2.0 against 2.5"),
        (np.ones((2, 3)), np.ones((3, 2)), r"shape \(2, 3\) against \(3, 2\)"),
        (np.ones(1), np.ones(()), r"shape \(1,\) against \(\)"), (np.nan, 1.0, "nan against 1.0"),
        (np.inf, -np.inf, "inf against -inf"), (1e300, np.inf, "against inf"),
        (1.0, 1.0 + 1e-10, "rtol 1e-11"), (np.float32(1), 1.0001, "rtol 1e-05"), (1, 2, "rtol 0"),
        ({"a": 1}, {"b": 1}, "keys differ"), ([1], [1, 2], "length 1 against 2"),
        ({"a": [1.0, 2.0]}, {"a": [1.0, 9.0]}, r"values\['a'\]\[1\]"),
        ({"a": 1}, [1], "keys differ"), ("text", "text", "cannot compare"),
    ],
)  # fmt: skip
def test_not_close(a, b, text):
    with pytest.raises(AssertionError, match=text):
        assert_close(a, b)


def test_each_looser_tolerance_has_its_reason():
    assert all(t.reason for t in LOOSER.values())
    assert_close(np.float32(1), 1.00005, looser="reordered float32")
    with pytest.raises(AssertionError):
        assert_close(np.float32(1), 1.0005, looser="reordered float32")
    for name, t in LOOSER.items():
        assert t.rtol > TOLERANCES[name.split()[-1]].rtol


# ---- compare


class OwnNorm(nn.Module):
    """BatchNorm written with plain ops; each argument is one way to get it wrong."""

    def __init__(self, dim, eps=1e-5, momentum=0.1, detached=False, unbiased=False, forgets=False):
        super().__init__()
        self.scale, self.shift = nn.Parameter(init.ones(dim)), nn.Parameter(init.zeros(dim))
        self.mean, self.var = init.zeros(dim), init.ones(dim)
        self.eps, self.momentum, self.detached = eps, momentum, detached
        self.unbiased, self.forgets = unbiased, forgets

    def forward(self, x):
        n, m = x.shape[0], self.momentum
        if self.training or self.forgets:
            mean = ops.summation(x, 0) / n
            var = ops.summation((x - mean) ** 2, 0) / n
            kept = var.data * (n / (n - 1)) if self.unbiased else var.data
            self.mean = (1 - m) * self.mean + m * mean.data
            self.var = (1 - m) * self.var + m * kept
        else:
            mean, var = self.mean, self.var
        mean = mean.detach() if self.detached else mean
        return self.scale * (x - mean) / (var + self.eps) ** 0.5 + self.shift


X = np.random.RandomState(0).randn(6, 4).astype("float32")


def test_compare_accepts_another_way_to_write_it():
    mine, reference = OwnNorm(4), nn.BatchNorm1d(4)
    mine.shift.data = init.constant(4, c=2.0)
    compare(mine, reference, X)
    assert mine.shift.numpy()[0] == 2.0 and mine.mean.numpy()[0] == 0.0 and mine.training


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"eps": 1e-2}, "train, first call: output: "),
        ({"detached": True}, "train, first call: gradient by input 0: "),
        ({"unbiased": True}, "train, first call: running state var: "),
        ({"momentum": 0.2}, "train, first call: running state mean: "),
        ({"forgets": True}, "eval: output: "),
    ],
)
def test_compare_names_the_first_difference(wrong, text):
    with pytest.raises(AssertionError) as caught:
        compare(OwnNorm(4, **wrong), nn.BatchNorm1d(4), X)
    assert str(caught.value).startswith(text) and "elements differ, most at [" in str(caught.value)


def test_compare_looks_at_parameters_first():
    with pytest.raises(AssertionError, match="parameters: 1 against 2"):
        compare(nn.Linear(4, 3, bias=False), nn.Linear(4, 3), X)
    with pytest.raises(
        AssertionError, match=r"parameter weight: float32\(4, 2\) against float32\(4, 3\)"
    ):
        compare(nn.Linear(4, 2), nn.Linear(4, 3), X)
    with pytest.raises(AssertionError, match=r"parameter weight: float64\(4, 3\) against float32"):
        compare(nn.Linear(4, 3, dtype="float64"), nn.Linear(4, 3), X)


class OtherDraws(nn.Linear):
    def __init__(self, *args):
        np.random.rand()
        super().__init__(*args)


def test_compare_of_classes_looks_at_the_parameters_they_start_with():
    make = functools.partial(nn.Linear, 4, 3)
    compare(make, make, X)
    with pytest.raises(AssertionError, match="parameter weight at the start"):
        compare(functools.partial(OtherDraws, 4, 3), make, X)


def test_compare_uses_the_same_random_numbers():
    before = np.random.get_state()[1].copy()
    compare(nn.Dropout(0.5), nn.Dropout(0.5), X, seed=3)
    compare(lambda x: x * init.rand(4), lambda x: init.rand(4) * x, X)
    with pytest.raises(AssertionError, match="train, first call: output"):
        compare(nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.0)), nn.Dropout(0.4), X)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_compare_of_functions():
    compare(
        lambda a, i: a[i],
        lambda a, i: ops.gather(a, np.repeat(i[:, None], 4, 1), 0),
        X,
        np.array([1, 0]),
    )
    with pytest.raises(AssertionError, match="call: gradient by input 0"):
        compare(lambda a: a * a, lambda a: a * a.detach(), X)
    with pytest.raises(
        AssertionError, match=r"call: \['output', .* against \['output 0', 'output 1'"
    ):
        compare(lambda a: a.detach(), lambda a: (a.detach(), a.detach()), X)
    with pytest.raises(AssertionError, match="call: output: float64 against float32"):
        compare(lambda a: a.astype("float64"), lambda a: a, X)
    with pytest.raises(ArgumentError, match="one of each"):
        compare(lambda a: a, nn.Identity(), X)


def test_compare_runs_the_compiled_module_too(monkeypatch):
    """A compiler that is off in one result, in training only, is found and named."""
    calls = []

    def wrong(f, random):
        def program(*args):
            calls.append(random)
            return {k: v * 1.01 if "weight" in k else v for k, v in f(*args).items()}

        return program

    monkeypatch.setattr("needle.compiler.jit.jit.jit", wrong)
    with pytest.raises(AssertionError, match="compiled, train, first call: gradient by weight"):
        compare(nn.Linear(4, 3), nn.Linear(4, 3), X)
    assert set(calls) == {"numpy"}  # the draws of the eager run


def test_compare_compiles():
    class Branching(nn.Linear):
        def forward(self, x):
            return super().forward(x) * (2 if float(x.sum()) > 0 else 1)

    with pytest.raises(TraceError):
        compare(Branching(4, 3), Branching(4, 3), X)
    with ndl.disable_jit():
        compare(Branching(4, 3), Branching(4, 3), X)
