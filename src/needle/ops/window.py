"""Sliding windows along axes, under pooling, and the sum that puts windows back."""

from __future__ import annotations

from typing import Any

from needle.autograd.tensor import Tensor, TensorOp
from needle.backend import extensions
from needle.errors import ShapeError
from needle.ops.arguments import as_shape, per_axis, reduced_axes


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
