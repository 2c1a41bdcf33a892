"""The primitives of the IR under one roof: the operations that every program reduces to."""

from needle.compiler.graph.primitives_base import Primitive
from needle.compiler.graph.primitives_elementwise import (
    BINARY, COMPARE, PREDICATES, UNARY, Binary, Cast, Compare, Constant, Elementwise, Input,
    Iota, Random, Unary, Where,
)  # fmt: skip
from needle.compiler.graph.primitives_movement import (
    Broadcast, Concat, Flip, Pad, Permute, Reshape, Slice, Windows,
)  # fmt: skip
from needle.compiler.graph.primitives_reduce import (
    REDUCE, ArgReduce, Cumulative, Gather, MatMul, Reduce, ScatterAdd,
)  # fmt: skip

__all__ = [
    "BINARY", "COMPARE", "PREDICATES", "REDUCE", "UNARY", "ArgReduce", "Binary", "Broadcast",
    "Cast", "Compare", "Concat", "Constant", "Cumulative", "Elementwise", "Flip", "Gather",
    "Input", "Iota", "MatMul", "Pad", "Permute", "Primitive", "Random", "Reduce", "Reshape",
    "ScatterAdd", "Slice", "Unary", "Where", "Windows",
]  # fmt: skip
