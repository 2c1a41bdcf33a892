"""PyTorch's functions for the ops on images, with needle's arguments and layouts."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812  its usual name

Function = Callable[..., torch.Tensor]


def images(function: Function) -> Function:
    """Return a function of images (N, H, W, C), or as `layout` says, for one of (N, C, H, W)."""

    def call(a: torch.Tensor, *rest: torch.Tensor, layout: str = "NHWC", **kwargs: Any) -> Any:
        if layout == "NCHW":
            return function(a, *rest, **kwargs)
        return function(a.permute(0, 3, 1, 2), *rest, **kwargs).permute(0, 2, 3, 1)

    return call


def conv(a: torch.Tensor, b: torch.Tensor, **kwargs: Any) -> torch.Tensor:
    """conv2d with needle's order of the kernel's axes and the course's padding of 1."""
    return F.conv2d(a, b.permute(3, 2, 0, 1).contiguous(), **{"padding": 1, **kwargs})


def conv_weight(a: torch.Tensor, g: torch.Tensor, stride: int, padding: Any) -> torch.Tensor:
    """The gradient of conv by a weight (3, 2, C, C_out), as PyTorch finds it."""
    b = torch.zeros(3, 2, a.shape[3], g.shape[3], dtype=a.dtype, requires_grad=True)
    out = images(conv)(a, b, stride=stride, padding=padding)
    (grad,) = torch.autograd.grad(out, b, g, create_graph=True)
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
    "conv": images(conv), "conv_weight": conv_weight, "pad": pad, "dilate": dilate,
    "undilate": lambda a, axes, dilation: a[places(a, axes, dilation)] * 1,
    "windows": windows, "fold": fold, "max_pool": images(max_pool), "avg_pool": images(avg_pool),
    "adaptive_avg_pool": images(adaptive_avg_pool),
}  # fmt: skip
