"""LayerNorm and BatchNorm: formulas, running estimates, modes, dtypes, a user's own versions."""

import numpy as np
import pytest

import needle as ndl
from needle import init, nn, ops
from needle.errors import ArgumentError, ShapeError
from needle.testing import assert_close, gradcheck


class PlainLayerNorm(nn.Module):
    """LayerNorm as a learner writes it."""

    def __init__(self, dim, eps=1e-5, dtype="float32"):
        super().__init__()
        self.dim, self.eps = dim, eps
        self.weight = nn.Parameter(init.ones(dim, dtype=dtype))
        self.bias = nn.Parameter(init.zeros(dim, dtype=dtype))

    def forward(self, x):
        rows = x.shape[0]
        mean = ops.divide_scalar(ops.summation(x, axes=(1,)), self.dim)
        mean = ops.broadcast_to(ops.reshape(mean, (-1, 1)), x.shape)
        var = ops.divide_scalar(ops.summation(ops.power_scalar(x - mean, 2), axes=(1,)), self.dim)
        var = ops.broadcast_to(ops.reshape(var, (rows, 1)), x.shape)
        normed = (x - mean) / ops.power_scalar(var + self.eps, 0.5)
        weight = ops.broadcast_to(ops.reshape(self.weight, (1, self.dim)), x.shape)
        return weight * normed + ops.broadcast_to(self.bias, x.shape)


class PlainBatchNorm(nn.Module):
    """BatchNorm as a learner writes it."""

    def __init__(self, dim, eps=1e-5, momentum=0.1, dtype="float32"):
        super().__init__()
        self.dim, self.eps, self.momentum = dim, eps, momentum
        self.weight = nn.Parameter(init.ones(dim, dtype=dtype))
        self.bias = nn.Parameter(init.zeros(dim, dtype=dtype))
        self.running_mean = init.zeros(dim, dtype=dtype)
        self.running_var = init.ones(dim, dtype=dtype)

    def forward(self, x):
        if self.training:
            mean = ops.summation(x, axes=0) / x.shape[0]
            centred = x - ops.broadcast_to(mean, x.shape)
            var = ops.summation(centred**2, axes=0) / x.shape[0]
            m = self.momentum
            self.running_mean = (1 - m) * self.running_mean + m * mean.data
            self.running_var = (1 - m) * self.running_var + m * var.data
        else:
            mean, var = self.running_mean, self.running_var
        deviation = ops.broadcast_to(ops.power_scalar(var + self.eps, 0.5), x.shape)
        normed = (x - ops.broadcast_to(mean, x.shape)) / deviation
        weight, bias = (ops.broadcast_to(p, x.shape) for p in (self.weight, self.bias))
        return normed * weight + bias


def random(*shape, dtype="float64", scale=1.0):
    return (np.random.RandomState(0).randn(*shape) * scale + 0.3).astype(dtype)


def norms(dtype="float64"):
    return [nn.LayerNorm1d(4, dtype=dtype), nn.BatchNorm1d(4, dtype=dtype)]


@pytest.mark.parametrize("plain, ours", [(PlainLayerNorm, nn.LayerNorm1d), (PlainBatchNorm, nn.BatchNorm1d)])  # fmt: skip  # noqa: E501
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_module_of_plain_ops_gives_the_same_numbers(plain, ours, dtype):
    a, b = plain(4, eps=1e-3, dtype=dtype), ours(4, eps=1e-3, dtype=dtype)
    scale, shift = random(4, dtype=dtype), random(4, dtype=dtype) - 1
    state = {"weight": scale, "bias": shift}
    a.load_state_dict(state, strict=False)
    b.load_state_dict(state, strict=False)
    for step in range(3):
        xs = [ndl.Tensor(random(5, 4, dtype=dtype) * (step + 1)) for _ in range(2)]
        ys = [a(xs[0]), b(xs[1])]
        for y in ys:
            (y * y * y).sum().backward()
        assert_close(ys[0], ys[1])
        assert_close(
            xs[0].grad, xs[1].grad, looser="training float32" if dtype == "float32" else None
        )
        assert_close(a.weight.grad, b.weight.grad, looser="training float32" if dtype == "float32" else None)  # fmt: skip  # noqa: E501
        assert_close(a.state_dict(), b.state_dict())
    x = random(2, 4, dtype=dtype)
    assert_close(a.eval()(x), b.eval()(x))
    assert a(x).dtype == b(x).dtype == dtype


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_gradients_to_second_order_in_training(index, rows):
    layer = norms()[index]
    layer.weight.data, layer.bias.data = ndl.Tensor(random(4)), ndl.Tensor(random(4))
    gradcheck(lambda x, w, b: layer(x), random(rows, 4), layer.weight, layer.bias, order=2)


def test_gradients_of_batch_norm_in_evaluation():
    layer = norms()[1]
    layer.running_var = ndl.Tensor(np.array([0.5, 1.0, 2.0, 4.0]), requires_grad=False)
    layer.eval()
    gradcheck(lambda x, w, b: layer(x), random(3, 4), layer.weight, layer.bias, order=2)


def test_gradients_of_batch_norm_2d():
    layer = nn.BatchNorm2d(3, dtype="float64")
    x = random(2, 3, 2, 2)
    gradcheck(lambda x, w, b: layer(x), x, layer.weight, layer.bias, order=2)
    layer.eval()
    gradcheck(lambda x, w, b: layer(x), x, layer.weight, layer.bias)


@pytest.mark.parametrize("kind", [nn.LayerNorm1d, nn.BatchNorm1d])
@pytest.mark.parametrize(("given", "layer", "result"), [
    ("float32", "float32", "float32"),
    ("float64", "float64", "float64"),
    ("float32", "float64", "float64"),
])  # fmt: skip
def test_dtypes(kind, given, layer, result):
    norm = kind(4, dtype=layer)
    y = norm(random(5, 4, dtype=given))
    assert y.dtype == result
    assert all(array.dtype == layer for array in norm.state_dict().values())
    y.sum().backward()
    assert norm.weight.grad.dtype == layer
    assert norm.eval()(random(5, 4, dtype=given)).dtype == result


def test_running_estimates_of_a_float32_layer_stay_float32():
    norm = nn.BatchNorm1d(4)
    with pytest.warns(ndl.PrecisionWarning):
        norm(random(5, 4))
    assert norm.running_mean.dtype == norm.running_var.dtype == np.float32


def test_running_estimates_are_constants_without_a_graph():
    norm = nn.BatchNorm1d(4)
    x = ndl.Tensor(random(5, 4, dtype="float32"))
    count = None
    for _ in range(4):
        norm(x)
        assert norm.running_mean.op is None
        assert not norm.running_var.requires_grad
        assert count in (None, ndl.autograd.TENSOR_COUNTER)
        count = ndl.autograd.TENSOR_COUNTER


def test_running_estimates_follow_the_biased_variance():
    norm = nn.BatchNorm1d(1, momentum=0.25, dtype="float64")
    norm(np.array([[1.0], [5.0]]))
    assert norm.running_mean.tolist() == [0.25 * 3]
    assert norm.running_var.tolist() == [0.75 + 0.25 * 4]  # unbiased: 0.75 + 0.25 * 8


def test_evaluation_uses_the_running_estimates_and_leaves_them():
    norm = nn.BatchNorm1d(2, eps=0.0, dtype="float64")
    norm.running_mean = ndl.Tensor([1.0, 2.0], requires_grad=False)
    norm.running_var = ndl.Tensor([4.0, 9.0], requires_grad=False)
    y = norm.eval()(np.array([[3.0, 5.0]]))
    assert y.tolist() == [[1.0, 1.0]]
    assert norm.running_mean.tolist() == [1.0, 2.0]
    assert norm(np.zeros((0, 2))).shape == (0, 2)


def test_a_batch_of_one_gives_the_bias():
    norm = nn.BatchNorm1d(3)
    norm.bias.data = ndl.Tensor([1.0, 2.0, 3.0], dtype="float32")
    assert norm(random(1, 3, dtype="float32")).tolist() == [[1.0, 2.0, 3.0]]
    np.testing.assert_allclose(norm.running_var.numpy(), 0.9, rtol=1e-6)


def test_a_large_mean_costs_no_digits():
    x = random(64, 4) + 1e6
    expected = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    assert_close(nn.BatchNorm1d(4, dtype="float64")(x), expected)
    wide = nn.LayerNorm1d(64, dtype="float64")(x.T)
    assert_close(wide, expected.T)


@pytest.mark.parametrize("index", [0, 1])
def test_nan_spreads_as_far_as_its_mean(index):
    x = random(3, 4)
    x[1, 2] = np.nan
    expected = np.zeros((3, 4), bool)
    expected[(1, slice(None)) if index == 0 else (slice(None), 2)] = True
    np.testing.assert_array_equal(np.isnan(norms()[index](x).numpy()), expected)


@pytest.mark.parametrize("shape", [(4,), (2, 3, 4), (0, 4)])
def test_layer_norm_takes_any_rank(shape):
    x = random(*shape)
    expected = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    assert_close(norms()[0](x), expected)


def test_bad_shapes():
    with pytest.raises(ShapeError, match=r"expected input \(N, 4\), got \(3, 5\)"):
        nn.BatchNorm1d(4)(random(3, 5, dtype="float32"))
    with pytest.raises(ShapeError, match=r"expected input \(N, 4\), got \(4,\)"):
        nn.BatchNorm1d(4)(random(4, dtype="float32"))
    with pytest.raises(ShapeError, match=r"expected input \(N, 3, H, W\), got \(2, 4, 4, 3\)"):
        nn.BatchNorm2d(3)(random(2, 4, 4, 3, dtype="float32"))
    with pytest.raises(ShapeError, match=r"at least one row in training, got \(0, 4\)"):
        nn.BatchNorm1d(4)(np.zeros((0, 4), np.float32))
    with pytest.raises(ShapeError, match=r"got \(3, 5\); pass dim=5 or reshape"):
        nn.LayerNorm1d(4)(random(3, 5, dtype="float32"))
    with pytest.raises(ArgumentError, match="BatchNorm2d: expected dim >= 1, got 0"):
        nn.BatchNorm2d(0)
