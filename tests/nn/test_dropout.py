"""Dropout: the mask, the draws, both modes, the edges of p."""

import numpy as np
import pytest

import needle as ndl
from needle import nn
from needle.testing import assert_close, gradcheck

X = np.random.RandomState(0).randn(6, 5)


@pytest.mark.parametrize("p", [0.0, 0.3, 0.9, 1.0])
def test_training_is_the_formula_with_one_draw(p):
    np.random.seed(2)
    y, following = nn.Dropout(p)(X), np.random.rand()
    np.random.seed(2)
    mask = np.random.rand(6, 5) <= 1 - p
    expected = np.zeros((6, 5)) if p == 1 else X / (1 - p) * mask
    assert_close(y, expected)
    assert following == np.random.rand()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_dtype_stays(dtype, p):
    assert nn.Dropout(p)(X.astype(dtype)).dtype == dtype


def test_evaluation_returns_the_input_and_draws_nothing():
    x, layer = ndl.Tensor(X), nn.Dropout(0.5).eval()
    np.random.seed(2)
    assert layer(x) is x
    drawn = np.random.rand()
    np.random.seed(2)
    assert drawn == np.random.rand()


@pytest.mark.parametrize("p", [0.0, 0.4, 1.0])
def test_gradients_pass_where_values_pass(p):
    gradcheck(nn.Dropout(p), X, order=2)


def test_everything_dropped_is_zero_even_where_the_input_is_not_finite():
    x = ndl.Tensor([np.inf, np.nan, 1.0])
    y = nn.Dropout(1.0)(x)
    y.sum().backward()
    assert y.tolist() == x.grad.tolist() == [0, 0, 0]


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_p_outside_of_0_to_1_is_refused(p):
    with pytest.raises(ValueError, match=f"expected p from 0 to 1, got {p}"):
        nn.Dropout(p)
