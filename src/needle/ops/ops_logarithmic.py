"""The course's module of logarithmic ops: names only."""

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
from needle.ops.logarithmic import (
    LogSoftmax,
    LogSumExp,
    Softmax,
    logsoftmax,
    logsumexp,
    softmax,
)

__all__ = [
    "LogSoftmax",
    "LogSumExp",
    "Op",
    "Softmax",
    "Tensor",
    "TensorOp",
    "TensorTuple",
    "TensorTupleOp",
    "Value",
    "logsoftmax",
    "logsumexp",
    "softmax",
]
