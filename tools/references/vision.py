"""PyTorch's functions for the ops on images, with needle's arguments; layers of image models."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812  its usual name

from references.record import Arrays, draws, with_gradients

Function = Callable[..., torch.Tensor]


def images(function: Function) -> Function:
    """Return a function of images (N, H, W, C), or as `layout` says, for one of (N, C, H, W)."""

    def call(a: torch.Tensor, *rest: torch.Tensor, layout: str = "NHWC", **kwargs: Any) -> Any:
        if layout == "NCHW":
            return function(a, *rest, **kwargs)
        return function(a.permute(0, 3, 1, 2), *rest, **kwargs).permute(0, 2, 3, 1)

    return call


def conv(a: torch.Tensor, b: torch.Tensor, bias: Any = None, **kwargs: Any) -> torch.Tensor:
    """conv2d with needle's order of the kernel's axes and the course's padding of 1."""
    return F.conv2d(a, b.permute(3, 2, 0, 1).contiguous(), bias, **{"padding": 1, **kwargs})


def conv_weight(
    a: torch.Tensor, g: torch.Tensor, shape: tuple[int, ...], stride: int, padding: Any
) -> torch.Tensor:
    """The gradient of conv by a weight of a shape, as PyTorch finds it."""
    b = torch.zeros(shape, dtype=a.dtype, requires_grad=True)
    out = images(conv)(a, b, stride=stride, padding=padding)
    (grad,) = torch.autograd.grad(out, b, g, create_graph=True)
    return grad


def conv_input(
    g: torch.Tensor, b: torch.Tensor, shape: tuple[int, ...], stride: int, padding: Any
) -> torch.Tensor:
    """The gradient of conv by images of a shape, as PyTorch finds it."""
    a = torch.zeros(shape, dtype=g.dtype, requires_grad=True)
    out = images(conv)(a, b, stride=stride, padding=padding)
    (grad,) = torch.autograd.grad(out, a, g, create_graph=True)
    return grad


def pad(a: torch.Tensor, widths: Any, value: float = 0.0) -> torch.Tensor:
    """Pad, the last axis first."""
    pairs = [(w, w) if isinstance(w, int) else tuple(w) for w in widths]
    return F.pad(a, [n for pair in reversed(pairs) for n in pair], value=value)


def places(a: torch.Tensor, axes: Any, dilation: int) -> tuple[slice, ...]:
    """Return the index of every (dilation + 1)-th element along axes that exist."""
    given = axes if isinstance(axes, tuple) else (axes,)
    real = {axis % a.ndim for axis in given if -a.ndim <= axis < a.ndim}
    return tuple(slice(None, None, dilation + 1 if i in real else 1) for i in range(a.ndim))


def dilate(a: torch.Tensor, axes: Any, dilation: int) -> torch.Tensor:
    """Zeros with the elements of a put between them."""
    index = places(a, axes, dilation)
    result = torch.zeros([n * s.step for n, s in zip(a.shape, index, strict=True)], dtype=a.dtype)
    result[index] = a
    return result


def windows(
    a: torch.Tensor, axes: Any, sizes: Any, strides: Any = 1, dilations: Any = 1
) -> torch.Tensor:
    """Tensor.unfold along each axis; dilated windows are every so many elements of wider ones."""
    axes = [axis % a.ndim for axis in (axes if isinstance(axes, tuple) else (axes,))]
    columns = [v if isinstance(v, tuple) else (v,) * len(axes) for v in (sizes, strides, dilations)]
    for axis, size, stride, dilation in zip(axes, *columns, strict=True):
        wide = (size - 1) * dilation + 1
        a = a.unfold(axis, wide, stride)[..., ::dilation]
    return a * 1


def fold(a: torch.Tensor, shape: Any, **settings: Any) -> torch.Tensor:
    """The gradient of windows, as PyTorch finds it."""
    base = torch.zeros(shape, dtype=a.dtype, requires_grad=True)
    (grad,) = torch.autograd.grad(windows(base, **settings), base, a, create_graph=True)
    return grad


def max_pool(a: torch.Tensor, size: Any, **kwargs: Any) -> torch.Tensor:
    """Largest element of windows."""
    return F.max_pool2d(a, size, **kwargs)


def avg_pool(a: torch.Tensor, size: Any, **kwargs: Any) -> torch.Tensor:
    """Mean of windows, zeros of the padding counted."""
    return F.avg_pool2d(a, size, **kwargs)


def adaptive_avg_pool(a: torch.Tensor, size: Any = 1) -> torch.Tensor:
    """Means over windows that tile the image."""
    return F.adaptive_avg_pool2d(a, size)


FUNCTIONS: dict[str, Function] = {
    "conv": images(conv), "conv_weight": conv_weight, "conv_input": conv_input, "pad": pad,
    "dilate": dilate,
    "undilate": lambda a, axes, dilation: a[places(a, axes, dilation)] * 1,
    "windows": windows, "fold": fold, "max_pool": images(max_pool), "avg_pool": images(avg_pool),
    "adaptive_avg_pool": images(adaptive_avg_pool),
}  # fmt: skip


def arrays() -> Arrays:
    """Return the convolution layer and the blocks of residual networks, with all gradients."""
    return {**conv_layer(), **basic_block(), **padded_block(), **bottleneck()}


def conv_layer() -> Arrays:
    """A 3 x 3 convolution of stride 2 with a bias, images (N, C, H, W)."""
    draw = draws(11)
    x, weight, bias = draw(2, 3, 5, 6), draw(3, 3, 3, 4), draw(4)
    out = conv(x, weight, bias, stride=2)
    return with_gradients("conv", out, x=x, weight=weight, bias=bias)


def basic_block() -> Arrays:
    """Two convolutions of 3 x 3, the shortcut by a 1 x 1 convolution of stride 2."""
    draw = draws(12)
    x = draw(3, 2, 5, 4)
    p = weights(draw, [("conv1", 3, 2, 4), ("conv2", 3, 4, 4), ("downsample.0", 1, 2, 4)])
    y = F.relu(norm(p, "bn1", conv(x, p["conv1.weight"], stride=2)))
    y = norm(p, "bn2", conv(y, p["conv2.weight"]))
    short = norm(p, "downsample.1", conv(x, p["downsample.0.weight"], stride=2, padding=0))
    return with_gradients("basic_block", F.relu(y + short), x=x, **p)


def padded_block() -> Arrays:
    """Two convolutions of 3 x 3, the shortcut every second pixel with channels of zeros."""
    draw = draws(13)
    x = draw(2, 3, 4, 5)
    p = weights(draw, [("conv1", 3, 3, 6), ("conv2", 3, 6, 6)])
    y = F.relu(norm(p, "bn1", conv(x, p["conv1.weight"], stride=2)))
    y = norm(p, "bn2", conv(y, p["conv2.weight"]))
    short = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 2))
    return with_gradients("padded_block", F.relu(y + short), x=x, **p)


def bottleneck() -> Arrays:
    """Convolutions of 1 x 1, 3 x 3 with stride 2, 1 x 1; the shortcut by a 1 x 1 convolution."""
    draw = draws(14)
    x = draw(3, 3, 4, 5)
    layers = [("conv1", 1, 3, 2), ("conv2", 3, 2, 2), ("conv3", 1, 2, 8), ("downsample.0", 1, 3, 8)]
    p = weights(draw, layers)
    y = F.relu(norm(p, "bn1", conv(x, p["conv1.weight"], padding=0)))
    y = F.relu(norm(p, "bn2", conv(y, p["conv2.weight"], stride=2)))
    y = norm(p, "bn3", conv(y, p["conv3.weight"], padding=0))
    short = norm(p, "downsample.1", conv(x, p["downsample.0.weight"], stride=2, padding=0))
    return with_gradients("bottleneck", F.relu(y + short), x=x, **p)


def weights(draw: Function, layers: list[tuple[str, int, int, int]]) -> dict[str, torch.Tensor]:
    """Return kernels of convolutions, and weight and bias of the norm behind each."""
    result = {}
    for name, kernel, channels, filters in layers:
        behind = name.replace("conv", "bn").replace("sample.0", "sample.1")
        result[f"{name}.weight"] = draw(kernel, kernel, channels, filters)
        result |= {f"{behind}.weight": draw(filters), f"{behind}.bias": draw(filters)}
    return result


def norm(p: dict[str, torch.Tensor], name: str, x: torch.Tensor) -> torch.Tensor:
    """BatchNorm in training."""
    return F.batch_norm(x, None, None, p[f"{name}.weight"], p[f"{name}.bias"], training=True)
