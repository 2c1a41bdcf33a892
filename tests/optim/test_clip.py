"""Clipping leaves alone what others hold, and skips parameters without gradient."""

import numpy as np
import pytest

import needle as ndl
from needle import init, nn, optim
from needle.errors import ArgumentError


def with_gradient(values):
    p = nn.Parameter(init.zeros(len(values)))
    p.grad = ndl.Tensor(values, dtype="float32", requires_grad=False)
    return p


def test_arrays_that_others_hold_keep_their_values():
    a, b = with_gradient([3.0]), with_gradient([4.0])
    held = a.grad, a.grad.cached_data
    assert optim.clip_grad_norm([a, b], 1.0) == 5.0
    assert held[0].tolist() == held[1].tolist() == [3.0]
    np.testing.assert_allclose([a.grad.item(), b.grad.item()], [0.6, 0.8], rtol=1e-6)
    held = a.grad.cached_data
    optim.clip_grad_value([a], 0.5)
    assert held.tolist() != [0.5]
    assert a.grad.tolist() == [0.5]
    assert a.grad.dtype == np.float32


def test_small_gradients_stay_as_they_are():
    p = with_gradient([0.3, 0.4])
    optim.clip_grad_norm([p], 1.0)
    assert p.grad.numpy().tolist() == np.array([0.3, 0.4], np.float32).tolist()


def test_parameters_without_gradient_are_skipped():
    p, none = with_gradient([2.0]), nn.Parameter(init.zeros(3))
    assert optim.clip_grad_norm([none, p], 1.0) == 2.0
    assert none.grad is None
    assert optim.clip_grad_norm([none], 1.0) == 0.0
    optim.clip_grad_value([none, p], 0.1)
    assert none.grad is None


def test_the_method_of_sgd_has_the_default_of_the_course():
    p = with_gradient([3.0, 4.0])
    assert optim.SGD([p]).clip_grad_norm() == 5.0
    np.testing.assert_allclose(p.grad.numpy(), [0.15, 0.2], rtol=1e-6)


def test_nan_reaches_the_norm():
    assert np.isnan(optim.clip_grad_norm([with_gradient([np.nan, 1.0])], 1.0))


@pytest.mark.parametrize("limit", [-1.0, float("nan")])
def test_bad_limits(limit):
    with pytest.raises(ArgumentError, match="max_norm of at least 0"):
        optim.clip_grad_norm([], limit)
    with pytest.raises(ArgumentError, match="clip_value of at least 0"):
        optim.clip_grad_value([], limit)
