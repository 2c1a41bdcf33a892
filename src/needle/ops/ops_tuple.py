"""The course's module of tuple ops: names only."""

from needle.autograd.tensor import (
    Tensor,
    TensorOp,
)
from needle.autograd.value import (
    Op,
    TensorTuple,
    TensorTupleOp,
    Value,
)
from needle.ops.tuples import (
    FusedAddScalars,
    MakeTensorTuple,
    TupleGetItem,
    fused_add_scalars,
    make_tuple,
    tuple_get_item,
)

__all__ = [
    "FusedAddScalars",
    "MakeTensorTuple",
    "Op",
    "Tensor",
    "TensorOp",
    "TensorTuple",
    "TensorTupleOp",
    "TupleGetItem",
    "Value",
    "fused_add_scalars",
    "make_tuple",
    "tuple_get_item",
]
