"""Layers, losses and a whole model: results, gradients, running estimates."""

import torch
from torch.nn import functional as F  # noqa: N812  its usual name

from references.record import Arrays, draws, named, with_gradients


def arrays() -> Arrays:
    """Return all cases of this file."""
    return {
        **linear(), **layer_norm(), **batch_norm(), **batch_norm_2d(), **activations(), **losses(),
        **mlp_resnet(),
    }  # fmt: skip


def linear() -> Arrays:
    """x W + b, also for an input of three axes."""
    draw = draws(1)
    x, weight, bias = draw(2, 3, 4), draw(4, 5), draw(1, 5)
    return with_gradients("linear", x @ weight + bias, x=x, weight=weight, bias=bias)


def layer_norm() -> Arrays:
    """LayerNorm of rows, one of them at a mean of 1e3, one constant."""
    draw = draws(2)
    x, weight, bias = draw(4, 6), draw(6), draw(6)
    with torch.no_grad():
        x[1] += 1e3
        x[2] = 0.5
    out = F.layer_norm(x, (6,), weight, bias, eps=1e-5)
    return with_gradients("layer_norm", out, x=x, weight=weight, bias=bias)


def batch_norm() -> Arrays:
    """BatchNorm in training, the running estimates after three batches, then evaluation."""
    draw = draws(3)
    weight, bias, mean, var = draw(4), draw(4), torch.zeros(4).double(), torch.ones(4).double()
    result: Arrays = {}
    for i in range(3):
        x = draw(5 - i, 4)
        out = F.batch_norm(x, None, None, weight, bias, training=True, momentum=0.3, eps=1e-3)
        # PyTorch's own running variance is the unbiased one; needle's is the biased one.
        mean = 0.7 * mean + 0.3 * x.detach().mean(0)
        var = 0.7 * var + 0.3 * x.detach().var(0, correction=0)
        result |= with_gradients(f"batch_norm_{i}", out, x=x, weight=weight, bias=bias)
        result |= named(f"batch_norm_{i}", running_mean=mean, running_var=var)
    x = draw(3, 4)
    out = F.batch_norm(x, mean, var, weight, bias, training=False, eps=1e-3)
    return {**result, **with_gradients("batch_norm_eval", out, x=x, weight=weight, bias=bias)}


def batch_norm_2d() -> Arrays:
    """BatchNorm of images in training."""
    draw = draws(4)
    x, weight, bias = draw(2, 3, 4, 5), draw(3), draw(3)
    out = F.batch_norm(x, None, None, weight, bias, training=True, eps=1e-5)
    running_mean = 0.1 * x.detach().mean((0, 2, 3))
    running_var = 0.9 + 0.1 * x.detach().var((0, 2, 3), correction=0)
    return {
        **with_gradients("batch_norm_2d", out, x=x, weight=weight, bias=bias),
        **named("batch_norm_2d", running_mean=running_mean, running_var=running_var),
    }


def activations() -> Arrays:
    """Activations over [-8, 8]."""
    functions = {
        "ReLU": F.relu,
        "Sigmoid": torch.sigmoid,
        "Tanh": torch.tanh,
        "GELU": F.gelu,
        "GELU_tanh": lambda x: F.gelu(x, approximate="tanh"),
    }
    result: Arrays = {}
    for name, function in functions.items():
        x = torch.linspace(-8, 8, 24, dtype=torch.float64, requires_grad=True)
        result |= with_gradients(name, function(x), x=x)
    return result


def losses() -> Arrays:
    """Cross-entropy, with large logits and one of -inf, and the mean squared error."""
    draw = draws(5)
    logits, labels = draw(6, 4), torch.tensor([0, 3, 1, 1, 2, 0])
    with torch.no_grad():
        logits[1] *= 1e3
        logits[2, 0] = -torch.inf
    prediction, target = draw(5, 2), draw(5, 2)
    return {
        **with_gradients("softmax_loss", F.cross_entropy(logits, labels), logits=logits),
        **named("softmax_loss", labels=labels),
        **with_gradients(
            "mse_loss", F.mse_loss(prediction, target), prediction=prediction, target=target
        ),
    }


def mlp_resnet() -> Arrays:
    """An MLPResNet of one block, 5 inputs, 4 hidden, 3 classes, no dropout: all gradients."""
    draw = draws(6)
    x, labels = draw(7, 5), torch.tensor([0, 1, 2, 0, 1, 2, 0])
    shapes = {
        "0.weight": (5, 4), "0.bias": (1, 4),
        "2.0.fn.0.weight": (4, 2), "2.0.fn.0.bias": (1, 2),
        "2.0.fn.1.weight": (2,), "2.0.fn.1.bias": (2,),
        "2.0.fn.4.weight": (2, 4), "2.0.fn.4.bias": (1, 4),
        "2.0.fn.5.weight": (4,), "2.0.fn.5.bias": (4,),
        "3.weight": (4, 3), "3.bias": (1, 3),
    }  # fmt: skip
    p = {name: draw(*shape) for name, shape in shapes.items()}

    def layer(name: str, z: torch.Tensor) -> torch.Tensor:
        return z @ p[f"{name}.weight"] + p[f"{name}.bias"]

    def norm(name: str, z: torch.Tensor) -> torch.Tensor:
        weight, bias = p[f"{name}.weight"], p[f"{name}.bias"]
        return F.batch_norm(z, None, None, weight, bias, training=True)

    h = F.relu(layer("0", x))
    r = F.relu(norm("2.0.fn.1", layer("2.0.fn.0", h)))
    h = F.relu(norm("2.0.fn.5", layer("2.0.fn.4", r)) + h)
    loss = F.cross_entropy(layer("3", h), labels)
    return {
        **with_gradients("mlp_resnet", loss, x=x, **p),
        **named("mlp_resnet", labels=labels),
    }
