"""Ops that make TensorTuples and take them apart; Tensors joined and taken apart along an axis."""

from __future__ import annotations

from typing import Any

from needle.autograd.tensor import Tensor, TensorOp
from needle.autograd.value import TensorTuple, TensorTupleOp
from needle.errors import DtypeError, IndexRangeError, ShapeError
from needle.ops.arguments import as_shape, reduced_axes


class MakeTensorTuple(TensorTupleOp):
    """A tuple of the inputs."""

    name = "make_tuple"

    def compute(self, *args: Any) -> tuple[Any, ...]:
        return tuple(args)

    def gradient(self, out_grad: TensorTuple, node: TensorTuple) -> tuple[Tensor, ...]:
        return tuple(out_grad[i] for i in range(len(out_grad)))


def make_tuple(*args: Any) -> TensorTuple:
    """Make a TensorTuple.

    >>> len(ops.make_tuple(ndl.Tensor([1.0]), ndl.Tensor([2.0, 3.0])))
    2
    """
    return MakeTensorTuple()(*args)


class TupleGetItem(TensorOp):
    """One part of a tuple."""

    name = "tuple_get_item"

    def __init__(self, index: int) -> None:
        self.index = self.tuple_part = index

    def __call__(self, a: Any, fold_const: bool = True) -> Tensor:
        """Take the part; where the tuple was just made, the part itself is returned."""
        if not isinstance(a, TensorTuple):
            raise DtypeError(f"tuple_get_item: expected a TensorTuple, got {type(a).__name__}")
        if not -len(a) <= self.index < len(a):
            raise IndexRangeError(f"tuple_get_item: index {self.index} of {len(a)} parts")
        if fold_const and isinstance(a.op, MakeTensorTuple):
            return a.inputs[self.index]  # type: ignore[return-value]
        return Tensor.make_from_op(self, (a,))

    def compute(self, a: Any) -> Any:
        return a[self.index]

    def gradient(self, out_grad: Tensor, node: Tensor) -> TensorTuple:
        parts = node.inputs[0].realize_cached_data()
        zeros = [Tensor.make_const(p.__array_namespace__().zeros_like(p)) for p in parts]
        zeros[self.index] = out_grad
        return make_tuple(*zeros)


def tuple_get_item(value: TensorTuple, index: int) -> Tensor:
    """Take part `index` of a TensorTuple.

    >>> ops.tuple_get_item(ops.make_tuple(ndl.Tensor([1.0]), ndl.Tensor([2.0])), 1)
    needle.Tensor([2.])
    """
    return TupleGetItem(index)(value)


class FusedAddScalars(TensorTupleOp):
    """(a + c0, a + c1)."""

    name = "fused_add_scalars"

    def __init__(self, c0: float, c1: float) -> None:
        self.c0, self.c1 = c0, c1

    def compute(self, a: Any) -> tuple[Any, Any]:
        return a + self.c0, a + self.c1

    def gradient(self, out_grad: TensorTuple, node: TensorTuple) -> Tensor:
        return out_grad[0] + out_grad[1]


def fused_add_scalars(x: Any, c0: float, c1: float) -> TensorTuple:
    """Add two numbers at once: (x + c0, x + c1)."""
    return FusedAddScalars(c0, c1)(x)


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


def _one_axis(op: str, axis: Any) -> int:
    axes = as_shape(op, axis)
    if len(axes) != 1:
        raise ShapeError(f"{op}: expected one axis, got {axes}")
    return axes[0]
