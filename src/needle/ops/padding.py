"""Ops that put constants around elements or between them, and take them out again."""

from __future__ import annotations

from typing import Any

import numpy as np

from needle.autograd.tensor import Tensor, TensorOp
from needle.backend import extensions
from needle.errors import ShapeError
from needle.ops.arguments import as_shape, per_axis, to_scalar


class Pad(TensorOp):
    """A constant before and after the elements of each axis; negative widths cut elements off."""

    name = "pad"

    def __init__(self, widths: Any, value: float = 0.0) -> None:
        given = widths if isinstance(widths, tuple | list) else ()
        self.widths = tuple(per_axis(self.name, "widths", pair, 2, None) for pair in given)
        if not self.widths and not isinstance(widths, tuple | list):
            raise ShapeError(f"pad: expected a pair (before, after) for each axis, got {widths!r}")
        self.value = to_scalar(self.name, value)

    def compute(self, a: Any) -> Any:
        if len(self.widths) != len(a.shape):
            raise ShapeError(
                f"pad: expected {len(a.shape)} pairs of widths for input {tuple(a.shape)}, "
                f"got {self.widths}"
            )
        sizes = zip(a.shape, self.widths, strict=True)
        cut = [(max(-low, 0), n - max(-high, 0)) for n, (low, high) in sizes]
        if any(start > stop for start, stop in cut):
            raise ShapeError(f"pad: cannot cut {self.widths} off input {tuple(a.shape)}")
        if any(min(pair) < 0 for pair in self.widths):
            a = a[tuple(slice(*ends) for ends in cut)]
        grown = tuple((max(low, 0), max(high, 0)) for low, high in self.widths)
        return np.pad(a, grown, constant_values=self.value) if any(map(any, grown)) else a

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        return pad(out_grad, tuple((-low, -high) for low, high in self.widths))


def pad(a: Any, widths: Any, value: float = 0.0) -> Tensor:
    """Put `value` before and after the elements: `widths` is a pair (before, after) for each axis.

    Negative widths cut elements off. Shape (..., n, ...) becomes (..., before + n + after, ...).

    >>> ops.pad(ndl.Tensor([1.0, 2.0, 3.0]), [(1, -1)])
    needle.Tensor([0. 1. 2.])
    """
    return Pad(widths, value)(a)


class Dilate(TensorOp):
    """`dilation` zeros after each element along axes."""

    name = "dilate"

    def __init__(self, axes: Any, dilation: int) -> None:
        self.axes = as_shape(self.name, axes)
        (self.dilation,) = per_axis(self.name, "dilation", dilation, 1, 0)

    def places(self, ndim: int) -> tuple[slice, ...]:
        """Return the index of the elements among the zeros; axes beyond the rank are ignored."""
        axes = {axis % ndim for axis in self.axes if -ndim <= axis < ndim}
        return tuple(slice(None, None, self.dilation + 1 if i in axes else 1) for i in range(ndim))

    def compute(self, a: Any) -> Any:
        index = self.places(len(a.shape))
        shape = tuple(n * part.step for n, part in zip(a.shape, index, strict=True))
        return extensions.scatter_add(shape, index, a)

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        return undilate(out_grad, self.axes, self.dilation)


def dilate(a: Any, axes: Any, dilation: int) -> Tensor:
    """Put `dilation` zeros after each element along `axes`: n elements become n (dilation + 1).

    Axes beyond the rank are ignored.

    >>> ops.dilate(ndl.Tensor([1.0, 2.0]), 0, 1)
    needle.Tensor([1. 0. 2. 0.])
    """
    return Dilate(axes, dilation)(a)


class UnDilate(Dilate):
    """Every (dilation + 1)-th element along axes."""

    name = "undilate"

    def compute(self, a: Any) -> Any:
        return a[self.places(len(a.shape))]

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        whole = dilate(out_grad, self.axes, self.dilation)
        shape = node.inputs[0].shape  # a last, shorter group has had fewer elements
        return pad(whole, [(0, n - m) for n, m in zip(shape, whole.shape, strict=True)])


def undilate(a: Any, axes: Any, dilation: int) -> Tensor:
    """Keep every (dilation + 1)-th element along `axes`, from the first: `dilate` undone.

    >>> ops.undilate(ndl.Tensor([1.0, 0.0, 2.0, 0.0]), 0, 1)
    needle.Tensor([1. 2.])
    """
    return UnDilate(axes, dilation)(a)
