"""Fan-based weights: the bound or deviation of the formula, the shape, the draws."""

import numpy as np
import pytest

from needle import init
from needle.errors import ArgumentError

UNIFORM = [
    (lambda: init.xavier_uniform(3, 5, gain=1.5), 1.5 * np.sqrt(6 / 8), (3, 5)),
    (lambda: init.kaiming_uniform(6, 5), np.sqrt(2) * np.sqrt(3 / 6), (6, 5)),
    (lambda: init.kaiming_uniform(6, 5, shape=(2, 3, 4)), np.sqrt(2) * np.sqrt(3 / 6), (2, 3, 4)),
]
NORMAL = [
    (lambda: init.xavier_normal(3, 5, gain=1.5), 1.5 * np.sqrt(2 / 8), (3, 5)),
    (lambda: init.kaiming_normal(6, 5), np.sqrt(2 / 6), (6, 5)),
    (lambda: init.kaiming_normal(6, 5, shape=(4, 2)), np.sqrt(2 / 6), (4, 2)),
]


@pytest.mark.parametrize(("make", "bound", "shape"), UNIFORM)
def test_uniform_weights_are_one_draw_in_the_bound(make, bound, shape):
    np.random.seed(1)
    weights, following = make(), np.random.rand()
    np.random.seed(1)
    draw = np.random.rand(*shape)
    np.testing.assert_allclose(weights.numpy(), (2 * draw - 1) * bound, rtol=1e-6, atol=1e-7)
    assert weights.dtype == np.float32
    assert following == np.random.rand()


@pytest.mark.parametrize(("make", "std", "shape"), NORMAL)
def test_normal_weights_are_one_draw_times_the_deviation(make, std, shape):
    np.random.seed(1)
    weights, following = make(), np.random.rand()
    np.random.seed(1)
    draw = np.random.randn(*shape)
    np.testing.assert_allclose(weights.numpy(), draw * std, rtol=1e-6)
    assert following == np.random.rand()


def test_further_arguments_are_handed_on():
    weights = init.kaiming_normal(4, 4, dtype="float64", requires_grad=True)
    assert weights.dtype == np.float64
    assert weights.requires_grad


def test_bad_arguments():
    with pytest.raises(ArgumentError, match="nonlinearity \"relu\", got 'tanh'"):
        init.kaiming_uniform(3, 3, nonlinearity="tanh")
    with pytest.raises(ArgumentError, match="fan_in >= 1, got 0"):
        init.kaiming_normal(0, 3)
    with pytest.raises(ArgumentError, match=">= 1, got 0"):
        init.xavier_uniform(0, 0)
