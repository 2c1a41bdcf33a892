"""Every operator: a class (compute and gradient) and a lower-case function, one family a file."""

from needle.autograd.tensor import TensorOp
from needle.autograd.value import Op, TensorTupleOp
from needle.ops.arithmetic import (
    AddScalar, DivScalar, EWiseAdd, EWiseDiv, EWiseMul, EWisePow, MulScalar, Negate, PowerScalar,
    add, add_scalar, divide, divide_scalar, mul_scalar, multiply, negate, power, power_scalar,
    subtract,
)  # fmt: skip
from needle.ops.convolution import Conv, conv
from needle.ops.elementwise import (
    GELU, Abs, Clip, Equal, Erf, Exp, Less, LessEqual, Log, Maximum, Minimum, NotEqual, ReLU,
    Sigmoid, Sign, Sqrt, Tanh, Where, clip, equal, erf, exp, gelu, greater, greater_equal, less,
    less_equal, log, maximum, minimum, not_equal, relu, sigmoid, sign, sqrt, tanh, where,
)  # fmt: skip
from needle.ops.elementwise import abs as abs
from needle.ops.indexing import GetItem, gather, getitem, scatter_add
from needle.ops.linalg import MatMul, matmul
from needle.ops.logarithmic import LogSoftmax, LogSumExp, Softmax, logsoftmax, logsumexp, softmax
from needle.ops.movement import (
    BroadcastTo, Cast, Concat, Flip, Permute, Reshape, Transpose, broadcast_to, cast, concat, flip,
    permute, reshape, squeeze, transpose, unsqueeze,
)  # fmt: skip
from needle.ops.normalize import Normalize, normalize
from needle.ops.padding import Dilate, Pad, UnDilate, dilate, pad, undilate
from needle.ops.reduce import Max, Mean, Min, Summation, Var, mean, summation, var
from needle.ops.reduce import max as max
from needle.ops.reduce import min as min
from needle.ops.sequence import CausalMask, causal_mask, embedding
from needle.ops.tuples import (
    FusedAddScalars, MakeTensorTuple, Split, Stack, TupleGetItem, fused_add_scalars, make_tuple,
    split, stack, tuple_get_item,
)  # fmt: skip
from needle.ops.window import (
    Fold, Windows, adaptive_avg_pool, avg_pool, fold, max_pool, windows,
)  # fmt: skip

# Python's built-in names (abs, max, min) are left out: `import *` must not shadow them.
__all__ = [
    "GELU", "Abs", "AddScalar", "BroadcastTo", "Cast", "CausalMask", "Clip", "Concat", "Conv",
    "Dilate", "DivScalar", "EWiseAdd", "EWiseDiv", "EWiseMul", "EWisePow", "Equal", "Erf",
    "Exp", "Flip", "Fold", "FusedAddScalars", "GetItem", "Less", "LessEqual", "Log",
    "LogSoftmax", "LogSumExp", "MakeTensorTuple", "MatMul", "Max", "Maximum", "Mean", "Min",
    "Minimum", "MulScalar", "Negate", "Normalize", "NotEqual", "Op", "Pad", "Permute",
    "PowerScalar", "ReLU", "Reshape", "Sigmoid", "Sign", "Softmax", "Split", "Sqrt", "Stack",
    "Summation", "Tanh", "TensorOp", "TensorTupleOp", "Transpose", "TupleGetItem", "UnDilate",
    "Var", "Where", "Windows", "adaptive_avg_pool", "add", "add_scalar", "avg_pool",
    "broadcast_to", "cast", "causal_mask", "clip", "concat", "conv", "dilate", "divide",
    "divide_scalar", "embedding", "equal", "erf", "exp", "flip", "fold", "fused_add_scalars",
    "gather", "gelu", "getitem", "greater", "greater_equal", "less", "less_equal", "log",
    "logsoftmax", "logsumexp", "make_tuple", "matmul", "max_pool", "maximum", "mean",
    "minimum", "mul_scalar", "multiply", "negate", "normalize", "not_equal", "pad", "permute",
    "power", "power_scalar", "relu", "reshape", "scatter_add", "sigmoid", "sign", "softmax",
    "split", "sqrt", "squeeze", "stack", "subtract", "summation", "tanh", "transpose",
    "tuple_get_item", "undilate", "unsqueeze", "var", "where", "windows",
]  # fmt: skip
