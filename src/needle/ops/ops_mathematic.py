"""The course's module of mathematical ops: names only, the code is in the files beside it."""

from needle.autograd import Op, Tensor, TensorOp, TensorTuple, TensorTupleOp, Value  # noqa: F401
from needle.ops import *  # noqa: F403
