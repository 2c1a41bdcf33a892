"""Linear, Flatten, Identity: shapes of any rank, draws, gradients."""

import numpy as np
import pytest

import needle as ndl
from needle import init, nn
from needle.errors import ArgumentError, ShapeError
from needle.testing import assert_close, gradcheck


def test_weight_is_drawn_first_then_bias_and_nothing_more():
    np.random.seed(3)
    layer, following = nn.Linear(4, 5), np.random.rand()
    np.random.seed(3)
    weight = init.kaiming_uniform(4, 5)
    bias = init.kaiming_uniform(5, 1)
    np.testing.assert_array_equal(layer.weight.numpy(), weight.numpy())
    np.testing.assert_array_equal(layer.bias.numpy(), bias.numpy().reshape(1, 5))
    assert following == np.random.rand()
    assert [p.dtype for p in layer.parameters()] == [np.float32, np.float32]


def test_without_bias_one_draw_is_made():
    np.random.seed(3)
    layer, following = nn.Linear(4, 5, bias=False), np.random.rand()
    np.random.seed(3)
    np.random.rand(4, 5)
    assert following == np.random.rand()
    assert layer.bias is None
    assert list(layer.state_dict()) == ["weight"]
    assert_close(layer(init.ones(2, 4)), np.ones((2, 4), "float32") @ layer.weight.numpy())


@pytest.mark.parametrize("shape", [(4,), (1, 4), (0, 4), (3, 4), (2, 3, 4), (2, 0, 3, 4)])
def test_input_of_any_rank(shape):
    layer = nn.Linear(4, 5, dtype="float64")
    x = np.random.RandomState(0).randn(*shape)
    y = layer(x)
    assert y.shape == (*shape[:-1], 5)
    assert_close(y, x @ layer.weight.numpy() + layer.bias.numpy()[0])


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4)])
def test_gradients_of_input_weight_and_bias(shape):
    layer = nn.Linear(4, 5, dtype="float64")
    x = np.random.RandomState(0).randn(*shape)
    gradcheck(lambda x, w, b: layer(x), x, layer.weight, layer.bias, order=2)


def test_bad_sizes():
    with pytest.raises(ArgumentError, match="in_features >= 1, got 0"):
        nn.Linear(0, 3)
    with pytest.raises(ArgumentError, match=r"out_features >= 1, got 2\.5"):
        nn.Linear(3, 2.5)
    with pytest.raises(ShapeError, match=r"expected last axis 3, got \(\)"):
        nn.Linear(3, 2)(ndl.Tensor(1.0, dtype="float32"))


@pytest.mark.parametrize("shape", [(3,), (3, 4), (3, 4, 5), (0, 4, 5), (3, 0, 5), (1, 1, 1, 1)])
def test_flatten_keeps_the_first_axis(shape):
    x = np.arange(np.prod(shape), dtype="float32").reshape(shape)
    y = nn.Flatten()(x)
    np.testing.assert_array_equal(y.numpy(), x.reshape(shape[0], int(np.prod(shape[1:]))))


def test_flatten_differentiates_and_refuses_a_scalar():
    gradcheck(nn.Flatten(), np.arange(12.0).reshape(2, 3, 2))
    with pytest.raises(ShapeError, match="Flatten: expected at least one axis"):
        nn.Flatten()(ndl.Tensor(1.0))


def test_identity_gives_the_input_itself():
    x = ndl.Tensor([1.0])
    assert nn.Identity()(x) is x
