"""Layers, losses and a whole model against PyTorch's values in float64: results and gradients."""

import numpy as np
import pytest

import needle as ndl
from needle import nn
from needle.testing import assert_close
from tests.reference.values import case


def check(values, out, **inputs):
    """Compare the result and, after backward, the gradient of each input."""
    assert_close(out, values["out"])
    out.backward(values["out_grad"].reshape(out.shape))
    for name, x in inputs.items():
        assert_close(x.grad, values[f"grad_{name}"], name=f"gradient of {name}")


def layer_of(kind, values, *args, **kwargs):
    """Make a float64 layer and load weight and bias."""
    layer = kind(*args, dtype="float64", **kwargs)
    layer.load_state_dict({name: values[name] for name in ("weight", "bias")}, strict=False)
    return layer


def test_linear():
    values = case("nn", "linear")
    layer, x = layer_of(nn.Linear, values, 4, 5), ndl.Tensor(values["x"])
    check(values, layer(x), x=x, weight=layer.weight, bias=layer.bias)


def test_layer_norm():
    values = case("nn", "layer_norm")
    layer, x = layer_of(nn.LayerNorm1d, values, 6), ndl.Tensor(values["x"])
    check(values, layer(x), x=x, weight=layer.weight, bias=layer.bias)


def test_batch_norm_in_training_and_evaluation():
    values = case("nn", "batch_norm_0")
    layer = layer_of(nn.BatchNorm1d, values, 4, eps=1e-3, momentum=0.3)
    for i in range(3):
        values = case("nn", f"batch_norm_{i}")
        x = ndl.Tensor(values["x"])
        check(values, layer(x), x=x, weight=layer.weight, bias=layer.bias)
        assert_close(layer.running_mean, values["running_mean"])
        assert_close(layer.running_var, values["running_var"])
    values = case("nn", "batch_norm_eval")
    x = ndl.Tensor(values["x"])
    check(values, layer.eval()(x), x=x, weight=layer.weight, bias=layer.bias)
    assert_close(layer.running_mean, case("nn", "batch_norm_2")["running_mean"])


def test_batch_norm_2d():
    values = case("nn", "batch_norm_2d")
    layer, x = layer_of(nn.BatchNorm2d, values, 3), ndl.Tensor(values["x"])
    check(values, layer(x), x=x, weight=layer.weight, bias=layer.bias)
    assert_close(layer.running_mean, values["running_mean"])
    assert_close(layer.running_var, values["running_var"])


@pytest.mark.parametrize("name", ["ReLU", "Sigmoid", "Tanh", "GELU", "GELU_tanh"])
def test_activations(name):
    values = case("nn", name)
    layer = nn.GELU("tanh") if name == "GELU_tanh" else getattr(nn, name)()
    x = ndl.Tensor(values["x"])
    check(values, layer(x), x=x)


@pytest.mark.parametrize("dtype", ["int64", "uint8", "float32"])
def test_softmax_loss_for_labels_of_any_dtype(dtype):
    values = case("nn", "softmax_loss")
    logits = ndl.Tensor(values["logits"])
    check(values, nn.SoftmaxLoss()(logits, values["labels"].astype(dtype)), logits=logits)


def test_mse_loss():
    values = case("nn", "mse_loss")
    prediction, target = ndl.Tensor(values["prediction"]), ndl.Tensor(values["target"])
    check(values, nn.MSELoss()(prediction, target), prediction=prediction, target=target)


def test_mlp_resnet():
    values = case("nn", "mlp_resnet")
    model = ndl.models.MLPResNet(5, hidden_dim=4, num_blocks=1, num_classes=3, drop_prob=0.0)
    for _, parameter in model.named_parameters():
        parameter.cached_data = parameter.cached_data.astype("float64")
    names = [name for name, _ in model.named_parameters()]
    model.load_state_dict({name: values[name] for name in names}, strict=False)
    x = ndl.Tensor(values["x"])
    loss = nn.SoftmaxLoss()(model(x), values["labels"])
    check(values, loss, x=x, **dict(model.named_parameters()))
    assert len(names) == 12
    assert loss.dtype == np.float64
