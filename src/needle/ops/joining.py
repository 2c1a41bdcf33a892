"""Ops that join Tensors along a new axis, take them apart along one, and reverse the order."""

from __future__ import annotations

from typing import Any

from needle.autograd.tensor import Tensor, TensorOp
from needle.autograd.value import TensorTuple, TensorTupleOp
from needle.errors import DtypeError, ShapeError
from needle.ops.arguments import as_shape, reduced_axes, resolve_axes
from needle.ops.tuples import make_tuple


def _one_axis(op: str, axis: Any) -> int:
    axes = as_shape(op, axis)
    if len(axes) != 1:
        raise ShapeError(f"{op}: expected one axis, got {axes}")
    return axes[0]


class Stack(TensorOp):
    """The parts of a TensorTuple, all of one shape, along a new axis."""

    name = "stack"

    def __init__(self, axis: int = 0) -> None:
        self.axis = _one_axis(self.name, axis)

    def compute(self, parts: Any) -> Any:
        reduced_axes(self.name, self.axis, parts[0].ndim + 1)
        return parts[0].__array_namespace__().stack(parts, axis=self.axis)

    def gradient(self, out_grad: Tensor, node: Tensor) -> TensorTuple:
        return split(out_grad, self.axis)


def stack(tensors: Any, axis: int = 0) -> Tensor:
    """Join Tensors of one shape along a new axis, numbered as in the result.

    `tensors` is a list, a tuple or a TensorTuple; n parts (...) give (..., n, ...).

    >>> ops.stack([ndl.Tensor([1.0, 2.0]), ndl.Tensor([3.0, 4.0])], axis=1).numpy().tolist()
    [[1.0, 3.0], [2.0, 4.0]]
    """
    if isinstance(tensors, list | tuple) and tensors:
        tensors = make_tuple(*tensors)
    if not isinstance(tensors, TensorTuple) or not len(tensors):
        raise DtypeError(f"stack: expected a non-empty list of Tensors, got {tensors!r:.60}")
    return Stack(axis)(tensors)


class Split(TensorTupleOp):
    """The slices along an axis, without that axis, as a TensorTuple."""

    name = "split"

    def __init__(self, axis: int = 0) -> None:
        self.axis = _one_axis(self.name, axis)

    def compute(self, a: Any) -> tuple[Any, ...]:
        (axis,) = reduced_axes(self.name, self.axis, a.ndim)
        return tuple(a[(slice(None),) * axis + (i,)] for i in range(a.shape[axis]))

    def gradient(self, out_grad: TensorTuple, node: TensorTuple) -> Tensor:
        return stack(out_grad, self.axis)


def split(a: Any, axis: int = 0) -> TensorTuple:
    """Take a Tensor apart along `axis`: one part for each index, without that axis.

    This undoes `stack`; PyTorch calls it unbind. (..., n, ...) gives n parts (...).

    >>> len(ops.split(ndl.Tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), axis=1))
    3
    """
    return Split(axis)(a)


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
