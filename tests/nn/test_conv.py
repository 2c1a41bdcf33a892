"""Conv and the pooling modules: draws, shapes, errors, memory; against PyTorch."""

import numpy as np
import pytest

import needle as ndl
from needle import init, nn, ops
from needle.errors import ArgumentError, ShapeError
from needle.testing import assert_close, compare
from tests.reference.values import case

state = np.random.RandomState(0)


def images(*shape, dtype="float32"):
    return state.randn(*shape).astype(dtype)


def test_weight_is_drawn_first_then_bias_and_nothing_more():
    np.random.seed(3)
    layer, following = nn.Conv(4, 6, 3), np.random.rand()
    np.random.seed(3)
    weight = init.kaiming_uniform(36, 54, shape=(3, 3, 4, 6))
    bias = init.rand(6, low=-1 / 6, high=1 / 6)
    np.testing.assert_array_equal(layer.weight.numpy(), weight.numpy())
    np.testing.assert_array_equal(layer.bias.numpy(), bias.numpy())
    assert following == np.random.rand()
    assert [p.dtype for p in layer.parameters()] == [np.float32, np.float32]
    assert np.abs(layer.weight.numpy()).max() <= np.sqrt(6 / 36)


def test_without_bias():
    layer = nn.Conv(2, 3, 3, bias=False)
    assert layer.bias is None and list(layer.state_dict()) == ["weight"]
    x = images(1, 2, 4, 4)
    assert_close(layer(x), ops.conv(x, layer.weight, layout="NCHW"))


def test_it_is_pytorchs_convolution():
    values = case("vision", "conv")
    layer, x = nn.Conv(3, 4, 3, stride=2, dtype="float64"), ndl.Tensor(values["x"])
    layer.load_state_dict({name: values[name] for name in ("weight", "bias")})
    y = layer(x)
    assert_close(y, values["out"])
    y.backward(values["out_grad"])
    for name, tensor in {"x": x, **dict(layer.named_parameters())}.items():
        assert_close(tensor.grad, values[f"grad_{name}"], name=name)


@pytest.mark.parametrize(
    ("kernel", "options", "shape"),
    [
        (3, {}, (5, 8, 7)), (1, {}, (5, 8, 7)), (7, {"stride": 4}, (5, 2, 2)),
        ((3,), {"stride": (2,)}, (5, 4, 4)), ((3, 1), {"stride": (1, 2)}, (5, 8, 4)),
        (3, {"padding": 0}, (5, 6, 5)), (3, {"dilation": 2}, (5, 8, 7)),
        (2, {"padding": (0, 1)}, (5, 7, 8)), (3, {"dilation": (1, 2), "padding": 0}, (5, 6, 3)),
    ],
)  # fmt: skip
def test_shapes(kernel, options, shape):
    assert nn.Conv(2, 5, kernel, **options)(images(3, 2, 8, 7)).shape == (3, *shape)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: nn.Conv(3, 4, 3)(images(2, 8, 8, 3)), ShapeError, "(N, 3, H, W), got (2, 8, 8, 3"),
        (lambda: nn.Conv(3, 4, 3)(images(3, 8, 8)), ShapeError, "Conv 3 -> 4, 3 x 3: .*(3, 8, 8)"),
        (lambda: nn.Conv(3, 4, 0), ArgumentError, "Conv: expected kernel_size of at least 1"),
        (lambda: nn.Conv(3, 4, (1, 2, 3)), ArgumentError, "Conv: .*kernel_size.*(1, 2, 3)"),
        (lambda: nn.Conv(0, 4, 3), ArgumentError, "Conv: expected in_channels >= 1"),
        (lambda: nn.Conv(3, 2.5, 3), ArgumentError, "Conv: expected out_channels .*2.5"),
        (lambda: nn.Conv(3, 4, 3, stride=0), ArgumentError, "conv: expected stride"),
        (lambda: nn.Conv(3, 4, 3, dilation=0), ArgumentError, "Conv: expected dilation"),
        (
            lambda: nn.Sequential(nn.Conv(1, 2, 3), nn.Conv(3, 4, 5))(images(1, 1, 4, 4)),
            ShapeError, "model.1 (Conv 3 -> 4, 5 x 5): expected .*got (1, 2, 4, 4",
        ),
        (lambda: nn.MaxPool2d(2)(images(2, 3, 4)), ShapeError, "max_pool: .*(N, C, H, W)"),
    ],
)  # fmt: skip
def test_bad_arguments_and_inputs(call, error, text):
    import re

    with pytest.raises(error, match=re.sub(r"([()\[\]])", r"\\\1", text)):
        call()


def test_layers_behind_each_other_copy_no_image():
    model = nn.Sequential(nn.Conv(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    y = model(images(2, 3, 8, 8)).cached_data
    assert y.transpose(0, 2, 3, 1).flags.c_contiguous  # channels last in memory
    assert model.eval()(images(2, 3, 8, 8)).cached_data.transpose(0, 2, 3, 1).flags.c_contiguous
    rows = next(ops.Conv(1, 0).rows(y.transpose(0, 2, 3, 1), (1, 1)))[1]
    assert np.shares_memory(rows, y)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.Sequential(nn.Conv(2, 3, 3, stride=2), nn.BatchNorm2d(3), nn.ReLU()),
        lambda: nn.Sequential(nn.Conv(2, 3, (3, 2), padding=0), nn.AvgPool2d(2)),
        lambda: nn.Sequential(nn.MaxPool2d(3, 2, 1), nn.Conv(2, 2, 1), nn.AdaptiveAvgPool2d(3)),
        lambda: nn.Sequential(nn.Conv(2, 2, 3, dilation=2), nn.Flatten(), nn.Linear(84, 2)),
    ],
)  # fmt: skip
def test_compiled_is_eager(layer):
    mine = layer()
    compare(mine, mine, images(3, 2, 7, 6))  # and then with itself compiled


def test_pooling_modules_are_the_ops():
    x = images(2, 3, 6, 7)
    assert_close(nn.MaxPool2d(3, 2, 1)(x), ops.max_pool(x, 3, 2, 1, layout="NCHW"))
    assert_close(nn.AvgPool2d(2)(x), ops.avg_pool(x, 2, layout="NCHW"))
    assert_close(nn.AdaptiveAvgPool2d(1)(x), x.mean((2, 3), keepdims=True))
    assert nn.AdaptiveAvgPool2d((2, 7))(x).shape == (2, 3, 2, 7)
    assert not nn.Sequential(nn.MaxPool2d(2), nn.AvgPool2d(2)).parameters()


def test_a_description_of_each():
    assert nn.Conv(3, 8, 3, 2, bias=False).extra_repr() == "3 -> 8, 3 x 3, stride 2, bias=False"
    assert nn.Conv(3, 8, (3, 1)).extra_repr() == "3 -> 8, 3 x 1"
    assert repr(nn.MaxPool2d(2)) == "MaxPool2d 2, stride 2"
    assert repr(nn.AdaptiveAvgPool2d(1)) == "AdaptiveAvgPool2d 1"


def test_groups_are_convolutions_of_their_own():
    layer = nn.Conv(4, 6, 3, stride=2, groups=2, dtype="float64")
    assert layer.weight.shape == (3, 3, 2, 6) and layer.extra_repr().endswith("groups 2")
    x, w = images(2, 4, 5, 5, dtype="float64"), layer.weight.numpy()
    parts = []
    for i in range(2):
        part = nn.Conv(2, 3, 3, stride=2, dtype="float64")
        part.load_state_dict(
            {"weight": w[..., 3 * i : 3 * i + 3], "bias": layer.bias.numpy()[3 * i : 3 * i + 3]}
        )
        parts.append(part(x[:, 2 * i : 2 * i + 2]).numpy())
    assert_close(layer(x), np.concatenate(parts, axis=1))


def test_groups_that_do_not_fit():
    with pytest.raises(ArgumentError, match="expected groups that divide 4 and 6 channels, got 4"):
        nn.Conv(4, 6, 3, groups=4)
    with pytest.raises(ShapeError, match=r"2 groups, got \(1, 3, 3, 3\) and \(3, 3, 2, 2\)"):
        ops.conv(images(1, 3, 3, 3), images(3, 3, 2, 2), groups=2)
