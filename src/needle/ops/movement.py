"""Ops that move elements without changing them: reshape, broadcast, transpose, flip, join."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from numpy.typing import DTypeLike

from needle.autograd.tensor import Tensor, TensorOp
from needle.errors import DtypeError, ShapeError
from needle.ops.arguments import (
    as_dtype,
    as_shape,
    infer_shape,
    reduced_axes,
    resolve_axes,
    shape_of,
)  # fmt: skip


class Reshape(TensorOp):
    """The same elements in another shape."""

    name = "reshape"

    def __init__(self, shape: Any) -> None:
        self.shape = as_shape(self.name, shape)

    def compute(self, a: Any) -> Any:
        shape = infer_shape(self.name, self.shape, math.prod(a.shape), a.shape)
        return a.__array_namespace__().reshape(a, shape)

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        return reshape(out_grad, node.inputs[0].shape)


def reshape(a: Any, shape: Any) -> Tensor:
    """Give the elements another shape; one entry may be -1 and is inferred.

    >>> ops.reshape(ndl.Tensor([1.0, 2.0, 3.0, 4.0]), (2, -1)).shape
    (2, 2)
    """
    return Reshape(shape)(a)


class BroadcastTo(TensorOp):
    """Repeat along axes of size 1 and along new leading axes."""

    name = "broadcast_to"

    def __init__(self, shape: Any) -> None:
        self.shape = as_shape(self.name, shape)

    def compute(self, a: Any) -> Any:
        own = (1,) * (len(self.shape) - len(a.shape)) + tuple(a.shape)
        shape = tuple(o if n == -1 else n for n, o in zip(self.shape, own, strict=False))
        fits = all(o in (1, n) for n, o in zip(shape, own, strict=False))
        if len(own) != len(self.shape) or not fits:
            raise ShapeError(
                f"{self.name}: cannot broadcast shape {tuple(a.shape)} to {self.shape}; "
                "sizes must be equal or 1, counted from the last axis"
            )
        return a.__array_namespace__().broadcast_to(a, shape)

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        return sum_to(out_grad, node.inputs[0].shape)


def broadcast_to(a: Any, shape: Any) -> Tensor:
    """Repeat `a` to `shape`: axes of size 1 grow, leading axes may be added, -1 keeps an axis.

    >>> ops.broadcast_to(ndl.Tensor([[1.0], [2.0]]), (2, 3)).numpy().tolist()
    [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]]
    """
    return BroadcastTo(shape)(a)


def sum_to(gradient: Tensor, shape: Sequence[int]) -> Tensor:
    """Sum what broadcasting `shape` to the gradient's shape has repeated."""
    if gradient.shape == tuple(shape):
        return gradient
    lead = gradient.ndim - len(shape)
    grown = [i + lead for i, n in enumerate(shape) if n == 1 and gradient.shape[i + lead] != 1]
    if lead == 0:
        return gradient.sum(tuple(grown), keepdims=True)
    summed = gradient.sum((*range(lead), *grown))
    return reshape(summed, tuple(shape)) if grown else summed


class Transpose(TensorOp):
    """Two axes swapped."""

    name = "transpose"

    def __init__(self, axes: Any = None) -> None:
        self.axes = resolve_axes(self.name, axes)
        if axes is not None and not (isinstance(self.axes, tuple) and len(self.axes) == 2):
            raise ShapeError(f"transpose: expected a pair of axes, got {axes!r}; see ops.permute")

    def compute(self, a: Any) -> Any:
        if len(a.shape) < 2:
            raise ShapeError(f"transpose: expected at least 2 axes, got shape {tuple(a.shape)}")
        i, j = self.axes or (-2, -1)
        reduced_axes(self.name, (i,), len(a.shape)), reduced_axes(self.name, (j,), len(a.shape))
        order = list(range(len(a.shape)))
        order[i], order[j] = order[j], order[i]
        return a.__array_namespace__().permute_dims(a, tuple(order))

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        return transpose(out_grad, self.axes)


def transpose(a: Any, axes: Any = None) -> Tensor:
    """Swap a pair of axes, the last two for None.

    >>> ops.transpose(ndl.Tensor(np.zeros((2, 3, 4)))).shape
    (2, 4, 3)
    """
    return Transpose(axes)(a)


class Permute(TensorOp):
    """Axes in a given order."""

    name = "permute"

    def __init__(self, axes: Sequence[int]) -> None:
        self.axes = as_shape(self.name, axes)

    def compute(self, a: Any) -> Any:
        if len(self.axes) != len(a.shape):
            raise ShapeError(f"permute: expected {len(a.shape)} axes, got {self.axes}")
        reduced_axes(self.name, self.axes, len(a.shape))
        return a.__array_namespace__().permute_dims(a, self.axes)

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        order = [axis % len(self.axes) for axis in self.axes]
        return permute(out_grad, tuple(order.index(i) for i in range(len(order))))


def permute(a: Any, axes: Sequence[int]) -> Tensor:
    """Put all axes into the order `axes`.

    >>> ops.permute(ndl.Tensor(np.zeros((2, 3, 4))), (2, 0, 1)).shape
    (4, 2, 3)
    """
    return Permute(axes)(a)


class Flip(TensorOp):
    """The elements in reverse order along axes."""

    name = "flip"

    def __init__(self, axes: Any = None) -> None:
        self.axes = resolve_axes(self.name, axes)

    def compute(self, a: Any) -> Any:
        axes = reduced_axes(self.name, self.axes, a.ndim)
        return a.__array_namespace__().flip(a, axis=axes)

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        return flip(out_grad, self.axes)


def flip(a: Any, axes: Any = None) -> Tensor:
    """Reverse the order along `axes`, all of them for None.

    >>> ops.flip(ndl.Tensor([[1.0, 2.0], [3.0, 4.0]]), axes=0).numpy().tolist()
    [[3.0, 4.0], [1.0, 2.0]]
    """
    return Flip(axes)(a)


def squeeze(a: Any, axes: Any) -> Tensor:
    """Remove axes of size 1.

    >>> ops.squeeze(ndl.Tensor([[1.0, 2.0]]), 0)
    needle.Tensor([1. 2.])
    """
    shape = shape_of("squeeze", a)
    gone = reduced_axes("squeeze", resolve_axes("squeeze", axes), len(shape))
    if any(shape[i] != 1 for i in gone):
        raise ShapeError(f"squeeze: expected size 1 at axes {axes}, got shape {shape}")
    return reshape(a, tuple(n for i, n in enumerate(shape) if i not in gone))


def unsqueeze(a: Any, axes: Any) -> Tensor:
    """Insert axes of size 1, numbered as in the result.

    >>> ops.unsqueeze(ndl.Tensor([1.0, 2.0]), -1).shape
    (2, 1)
    """
    axes = as_shape("unsqueeze", axes)
    shape = shape_of("unsqueeze", a)
    new = reduced_axes("unsqueeze", axes, len(shape) + len(axes))
    sizes = iter(shape)
    return reshape(a, tuple(1 if i in new else next(sizes) for i in range(len(shape) + len(axes))))


class Concat(TensorOp):
    """Tensors joined along an axis."""

    name = "concat"

    def __init__(self, axis: int = 0) -> None:
        self.axis = axis

    def compute(self, *arrays: Any) -> Any:
        return arrays[0].__array_namespace__().concat(arrays, axis=self.axis)

    def gradient(self, out_grad: Tensor, node: Tensor) -> tuple[Tensor, ...]:
        axis, start, parts = self.axis % out_grad.ndim, 0, []
        for x in node.inputs:
            stop = start + x.shape[axis]
            parts.append(out_grad[(slice(None),) * axis + (slice(start, stop),)])
            start = stop
        return tuple(parts)


def concat(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """Join Tensors along an existing axis; the other axes agree.

    >>> ops.concat([ndl.Tensor([1.0]), ndl.Tensor([2.0, 3.0])])
    needle.Tensor([1. 2. 3.])
    """
    if not isinstance(tensors, list | tuple) or not tensors:
        raise DtypeError(f"concat: expected a non-empty list of Tensors, got {tensors!r:.60}")
    return Concat(axis)(*tensors)


class Cast(TensorOp):
    """The same values in another dtype."""

    name = "cast"

    def __init__(self, dtype: DTypeLike) -> None:
        self.dtype = as_dtype(self.name, dtype)
        self.differentiable = self.dtype.kind == "f"

    def compute(self, a: Any) -> Any:
        return a.astype(self.dtype)

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        dtype = node.inputs[0].dtype
        return cast(out_grad, dtype) if dtype.kind == "f" else out_grad


def cast(a: Any, dtype: DTypeLike) -> Tensor:
    """Convert to another dtype (a copy); a constant where the new dtype is not floating.

    >>> ops.cast(ndl.Tensor([1.5]), "int64")
    needle.Tensor([1])
    """
    return Cast(dtype)(a)
