"""LAZY_MODE: nothing is computed before it is asked for, and then once."""

import numpy as np
import pytest

import needle as ndl
from needle import autograd, ops
from needle.errors import ShapeError
from needle.testing import assert_close


class Counted(ndl.TensorOp):
    calls = 0

    def compute(self, a):
        Counted.calls += 1
        return a * 2

    def gradient(self, out_grad, node):
        return out_grad * 2


@pytest.fixture
def lazy(monkeypatch):
    monkeypatch.setattr(autograd, "LAZY_MODE", True)
    Counted.calls = 0


def test_compute_waits_and_runs_once(lazy):
    x = ndl.Tensor([1.0, 2.0])
    y = Counted()(Counted()(x))
    assert Counted.calls == 0 and y.cached_data is None and y.op is not None
    assert y.realize_cached_data().tolist() == [4.0, 8.0]
    assert Counted.calls == 2
    assert y.numpy() is y.realize_cached_data() is y.cached_data and y.shape == (2,)
    assert Counted.calls == 2


def test_only_what_is_needed_is_computed(lazy):
    x = ndl.Tensor([1.0])
    used, unused = Counted()(x), Counted()(x)
    assert (used + 1).tolist() == [3.0]
    assert Counted.calls == 1 and unused.cached_data is None


def test_shared_values_are_computed_once(lazy):
    h = Counted()(ndl.Tensor([1.0]))
    assert (h * h + h).item() == 6.0
    assert Counted.calls == 1


def test_gradients(lazy):
    x, w = ndl.Tensor([[1.0, 2.0]]), ndl.Tensor([[3.0], [4.0]])
    y = ops.exp(x @ w * 0.1) + x.sum()
    y.backward()
    g = np.exp(1.1) * 0.1
    assert_close(x.grad, np.array([[3 * g + 1, 4 * g + 1]]))
    assert_close(w.grad, np.array([[g], [2 * g]]))


def test_shape_dtype_and_printing_compute(lazy):
    for ask, value in [
        (lambda y: y.shape, (1,)),
        (lambda y: y.dtype, "float64"),
        (repr, "needle.Tensor([2.])"),
    ]:
        assert ask(Counted()(ndl.Tensor([1.0]))) == value
    assert Counted.calls == 3


def test_a_long_chain_is_computed_without_recursion(lazy):
    y = ndl.Tensor([0.0])
    for _ in range(20_000):
        y = y + 1
    assert y.item() == 20_000.0


def test_an_error_shows_when_it_is_computed(lazy):
    y = ndl.Tensor([1.0, 2.0]) + ndl.Tensor([1.0, 2.0, 3.0])
    with pytest.raises(ShapeError, match=r"add: .*float64\(2,\), float64\(3,\)"):
        y.numpy()


def test_values_made_lazily_can_be_used_eagerly(lazy, monkeypatch):
    y = Counted()(ndl.Tensor([1.0]))
    monkeypatch.setattr(autograd, "LAZY_MODE", False)
    assert (y + 1).tolist() == [3.0] and Counted.calls == 1


def test_tuples(lazy):
    parts = ops.fused_add_scalars(ndl.Tensor([1.0]), 2.0, 3.0)
    assert (parts[0] * parts[1]).item() == 12.0
    constant = ops.exp(ndl.Tensor([0.0], requires_grad=False))
    assert not constant.requires_grad and constant.item() == 1.0
