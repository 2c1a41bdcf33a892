"""Pooling: windows of images reduced to their mean or their largest element."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from needle.autograd.tensor import Tensor
from needle.errors import ArgumentError, ShapeError
from needle.ops.arguments import per_axis, shape_of
from needle.ops.linalg import matmul
from needle.ops.movement import transpose
from needle.ops.padding import pad
from needle.ops.reduce import max, mean
from needle.ops.window import windows

_AXES = {"NHWC": (1, 2), "NCHW": (2, 3)}


def _image_axes(op: str, a: Any, layout: str) -> tuple[int, int]:
    """Return the axes of rows and columns."""
    if layout not in _AXES:
        raise ArgumentError(f'{op}: expected layout "NHWC" or "NCHW", got {layout!r}')
    if len(shape_of(op, a)) != 4:
        raise ShapeError(f"{op}: expected input ({', '.join(layout)}), got {tuple(a.shape)}")
    return _AXES[layout]


def _pooled(op: str, a: Any, size: Any, stride: Any, padding: Any, layout: str, fill: float) -> Any:
    """Return the windows to reduce over their last two axes."""
    axes = _image_axes(op, a, layout)
    sizes = per_axis(op, "size", size, 2)
    strides = sizes if stride is None else per_axis(op, "stride", stride, 2)
    low, side = per_axis(op, "padding", padding, 2, 0)
    if low > sizes[0] // 2 or side > sizes[1] // 2:
        raise ArgumentError(
            f"{op}: expected padding of at most half the size {sizes}, got {padding}"
        )
    if low or side:
        widths = [(0, 0)] * 4
        widths[axes[0]], widths[axes[1]] = (low, low), (side, side)
        a = pad(a, widths, fill)
    if any(a.shape[i] < n for i, n in zip(axes, sizes, strict=True)):
        raise ShapeError(f"{op}: windows {sizes} do not fit into padded input {tuple(a.shape)}")
    return windows(a, axes, sizes, strides)


def max_pool(
    a: Any, size: Any, stride: Any = None, padding: Any = 0, layout: str = "NHWC"
) -> Tensor:
    """Take the largest element of each window of `size`; equal ones share the gradient.

    `size`, `stride` (None: the size) and `padding` (with -inf, on both sides) are an int or a pair
    (rows, columns). Shapes: (N, H, W, C) -> (N, H', W', C), H' = (H + 2 padding - size) // stride +
    1; with `layout="NCHW"` the channels are second, in and out.

    Errors: ShapeError where a window does not fit, ArgumentError for more padding than size / 2.

    >>> ops.max_pool(ndl.Tensor([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1), 2).item()
    4.0
    """
    return max(_pooled("max_pool", a, size, stride, padding, layout, -math.inf), (-2, -1))


def avg_pool(
    a: Any, size: Any, stride: Any = None, padding: Any = 0, layout: str = "NHWC"
) -> Tensor:
    """Average each window of `size`; zeros of the padding count. Arguments as in `max_pool`.

    >>> ops.avg_pool(ndl.Tensor([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1), 2).item()
    2.5
    """
    return mean(_pooled("avg_pool", a, size, stride, padding, layout, 0.0), (-2, -1))


def adaptive_avg_pool(a: Any, size: Any = 1, layout: str = "NHWC") -> Tensor:
    """Average so that `size` rows and columns are left, whatever the size of the images.

    Row i is the mean of the rows from floor(i H / size) to ceil((i + 1) H / size), also of columns.
    `size` is an int or a pair. Shapes: (N, H, W, C) -> (N, size, size, C).

    >>> ops.adaptive_avg_pool(ndl.ones(2, 7, 7, 3)).shape
    (2, 1, 1, 3)
    """
    axes = _image_axes("adaptive_avg_pool", a, layout)
    sizes = per_axis("adaptive_avg_pool", "size", size, 2)
    if sizes == (1, 1):
        return mean(a, axes, keepdims=True)
    for axis, n in zip(axes, sizes, strict=True):
        a = transpose(matmul(transpose(a, (axis, -1)), _averages(a.shape[axis], n, a.dtype)),
                      (axis, -1))  # fmt: skip
    return a


def _averages(n: int, size: int, dtype: np.dtype) -> np.ndarray:
    """Return the matrix (n, size) of the weights with which n rows become `size`."""
    weights = np.zeros((n, size), dtype)
    for i in range(size):
        start, stop = i * n // size, -(-(i + 1) * n // size)
        weights[start:stop, i] = 1 / (stop - start)
    return weights
