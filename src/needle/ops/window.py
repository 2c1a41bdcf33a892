"""Sliding windows along axes, the sum that puts them back, and pooling: windows reduced."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from needle.autograd.tensor import Tensor, TensorOp
from needle.backend import extensions
from needle.errors import ArgumentError, ShapeError
from needle.ops.arguments import as_shape, per_axis, reduced_axes, shape_of
from needle.ops.linalg import matmul
from needle.ops.movement import transpose
from needle.ops.padding import pad
from needle.ops.reduce import max, mean

_AXES = {"NHWC": (1, 2), "NCHW": (2, 3)}


class Windows(TensorOp):
    """The windows along axes, as a view; the axes within a window come last."""

    name = "windows"

    def __init__(self, axes: Any, sizes: Any, strides: Any = 1, dilations: Any = 1) -> None:
        self.axes = as_shape(self.name, axes)
        count = len(self.axes)
        self.sizes = per_axis(self.name, "sizes", sizes, count)
        self.strides = per_axis(self.name, "strides", strides, count)
        self.dilations = per_axis(self.name, "dilations", dilations, count)

    def settings(self, ndim: int) -> tuple[tuple[int, ...], ...]:
        """Return axes (non-negative), sizes, strides and dilations."""
        reduced_axes(self.name, self.axes, ndim)
        return tuple(i % ndim for i in self.axes), self.sizes, self.strides, self.dilations

    def compute(self, a: Any) -> Any:
        axes, sizes, _, dilations = settings = self.settings(len(a.shape))
        spans = [(size - 1) * step + 1 for size, step in zip(sizes, dilations, strict=True)]
        if any(a.shape[i] < span for i, span in zip(axes, spans, strict=True)):
            raise ShapeError(
                f"{self.name}: expected at least {tuple(spans)} elements along axes {axes}, "
                f"got input {tuple(a.shape)}"
            )
        return extensions.windows(a, *settings)

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        shape = node.inputs[0].shape
        return Fold(shape, *self.settings(len(shape)))(out_grad)


def windows(a: Any, axes: Any, sizes: Any, strides: Any = 1, dilations: Any = 1) -> Tensor:
    """Slide windows along `axes`: windows of `sizes` elements `dilations` apart, every `strides`.

    (N, H, W, C) with axes (1, 2) and sizes (K, L) gives (N, H', W', C, K, L), with
    H' = (H - (K - 1) dilation - 1) // stride + 1. The result shares the memory of its input.
    Reducing the last axes gives pooling; see `max_pool`.

    Errors: ShapeError where an axis is shorter than a window.

    >>> ops.windows(ndl.Tensor([1.0, 2.0, 3.0]), 0, 2).numpy().tolist()
    [[1.0, 2.0], [2.0, 3.0]]
    """
    return Windows(axes, sizes, strides, dilations)(a)


class Fold(Windows):
    """Windows added into zeros of a shape: what `windows` does, transposed."""

    name = "fold"

    def __init__(
        self, shape: Any, axes: Any, sizes: Any, strides: Any = 1, dilations: Any = 1
    ) -> None:
        super().__init__(axes, sizes, strides, dilations)
        self.shape = as_shape(self.name, shape)

    def compute(self, a: Any) -> Any:
        settings = self.settings(len(self.shape))
        expected = list(self.shape)
        for i, *numbers in zip(*settings, strict=True):
            expected[i] = extensions.window_count(self.shape[i], *numbers)
        if tuple(a.shape) != (*expected, *self.sizes):
            raise ShapeError(
                f"fold: expected windows {(*expected, *self.sizes)} of {self.shape}, "
                f"got {tuple(a.shape)}"
            )
        return extensions.fold(a, self.shape, *settings)

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        return windows(out_grad, *self.settings(len(self.shape)))


def fold(a: Any, shape: Any, axes: Any, sizes: Any, strides: Any = 1, dilations: Any = 1) -> Tensor:
    """Add windows, laid out as `windows` returns them, into zeros of `shape`.

    >>> ops.fold(ndl.Tensor([[1.0, 2.0], [3.0, 4.0]]), (3,), 0, 2)
    needle.Tensor([1. 5. 4.])
    """
    return Fold(shape, axes, sizes, strides, dilations)(a)


def image_axes(op: str, a: Any, layout: str) -> tuple[int, int]:
    """Return the axes of rows and columns."""
    if layout not in _AXES:
        raise ArgumentError(f'{op}: expected layout "NHWC" or "NCHW", got {layout!r}')
    if len(shape_of(op, a)) != 4:
        raise ShapeError(f"{op}: expected input ({', '.join(layout)}), got {tuple(a.shape)}")
    return _AXES[layout]


def _pooled(op: str, a: Any, size: Any, stride: Any, padding: Any, layout: str, fill: float) -> Any:
    """Return the windows to reduce over their last two axes."""
    axes = image_axes(op, a, layout)
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

    `size`, `stride` (None: the size) and `padding` (on both sides, with the lowest number of the
    dtype) are an int or a pair (rows, columns). Shapes: (N, H, W, C) -> (N, H', W', C), H' =
    (H + 2 padding - size) // stride + 1; with `layout="NCHW"` the channels are second, in and out.

    Errors: ShapeError where a window does not fit, ArgumentError for more padding than size / 2.

    >>> ops.max_pool(ndl.Tensor([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1), 2).item()
    4.0
    """
    kind = getattr(a, "dtype", np.dtype(float)).kind
    lowest = np.iinfo(a.dtype).min if kind in "iu" else False if kind == "b" else -math.inf
    return max(_pooled("max_pool", a, size, stride, padding, layout, lowest), (-2, -1))


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
    axes = image_axes("adaptive_avg_pool", a, layout)
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
