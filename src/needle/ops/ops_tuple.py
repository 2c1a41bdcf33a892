"""The course's module of tuple ops: names only, the code is in the files beside it."""

from needle.autograd import Op, Tensor, TensorOp, TensorTuple, TensorTupleOp, Value  # noqa: F401
from needle.ops.tuples import *  # noqa: F403
