"""Primitives without inputs, and those that compute each element from the elements beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from needle.compiler.graph import philox
from needle.compiler.graph.primitives_base import (
    BOOL,
    FLOAT32,
    UINT32,
    UINT64,
    Primitive,
    Shape,
    Signature,
    Typed,
    check_shape,
    kind_of,
    scalar_key,
    type_text,
)  # fmt: skip


@dataclass(frozen=True)
class Input(Primitive):
    """The `index`-th array handed to the graph."""

    index: int
    label: str
    shape: Shape
    dtype: np.dtype
    arity = 0

    def rule(self) -> Signature:
        check_shape(self, self.shape)
        return self.shape, self.dtype


@dataclass(frozen=True)
class Constant(Primitive):
    """A 0-d number; equal constants have equal bits (-0.0 is not 0.0, NaN is NaN)."""

    value: bool | int | float = field(compare=False)
    dtype: np.dtype
    key: tuple[str, str] = field(init=False, repr=False)
    arity = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        value = {"bool": bool, "int": int, "float": float}[kind_of(self.dtype)](self.value)
        object.__setattr__(self, "value", value)
        object.__setattr__(self, "key", scalar_key(value))

    def rule(self) -> Signature:
        return (), self.dtype

    def evaluate(self) -> np.ndarray:
        return np.asarray(self.value, dtype=self.dtype)

    def __str__(self) -> str:
        return f"constant[{self.value!r}]"


@dataclass(frozen=True)
class Iota(Primitive):
    """Each element is its own index along `axis`."""

    shape: Shape
    axis: int
    dtype: np.dtype
    arity = 0

    def rule(self) -> Signature:
        check_shape(self, self.shape)
        if not 0 <= self.axis < len(self.shape) or self.dtype == BOOL:
            self.fail(f"an axis below {len(self.shape)} and numbers", (self.axis, self.dtype))
        return self.shape, self.dtype

    def evaluate(self) -> np.ndarray:
        column = [1] * len(self.shape)
        column[self.axis] = -1
        counts = np.arange(self.shape[self.axis], dtype=self.dtype).reshape(column)
        return np.broadcast_to(counts, self.shape)


@dataclass(frozen=True)
class Random(Primitive):
    """Random numbers: element i of stream `index` is Philox(key, i, index).

    Input: the call's key, a 0-d uint64. `kind` is "uniform" (float32 in [0, 1), 24 bits),
    "normal" (float32, Box-Muller) or "bits" (uint32); `needle.compiler.graph.philox` defines them.
    """

    kind: str
    index: int
    shape: Shape

    def rule(self, key: Typed) -> Signature:
        check_shape(self, self.shape)
        if key.shape != () or key.dtype != UINT64:
            self.fail("a 0-d uint64 key", type_text(key))
        if self.kind not in ("uniform", "normal", "bits"):
            self.fail("kind uniform, normal or bits", self.kind)
        return self.shape, UINT32 if self.kind == "bits" else FLOAT32

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        draw = {"uniform": philox.uniform, "normal": philox.normal, "bits": philox.bits}[self.kind]
        return draw(int(x), self.index, self.shape)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small)).astype(x.dtype)


def _erf(x: np.ndarray) -> np.ndarray:
    values = [math.erf(v) for v in x.ravel().tolist()]
    return np.array(values, dtype=x.dtype).reshape(x.shape)


_ANY, _INT_FLOAT, _FLOAT, _BITS = "bool int float", "int float", "float", "bool int"

_AS_IN_NUMPY = (
    np.exp, np.expm1, np.log, np.log1p, np.tanh, np.sin, np.cos, np.sqrt,
    np.floor, np.ceil, np.trunc, np.rint, np.isnan, np.isinf, np.isfinite,
)  # fmt: skip

UNARY: dict[str, tuple[Callable[..., Any], str]] = {
    "neg": (np.negative, _INT_FLOAT),
    "abs": (np.abs, _INT_FLOAT),
    "sign": (np.sign, _INT_FLOAT),
    "sigmoid": (_sigmoid, _FLOAT),
    "erf": (_erf, _FLOAT),
    "rsqrt": (lambda x: 1 / np.sqrt(x), _FLOAT),
    "reciprocal": (lambda x: 1 / x, _FLOAT),
    "not": (np.invert, _BITS),
    **{ufunc.__name__: (ufunc, _FLOAT) for ufunc in _AS_IN_NUMPY},
}
"""Function name -> (definition, kinds of dtype it takes)."""

BINARY: dict[str, tuple[Callable[..., Any], str]] = {
    "add": (np.add, _INT_FLOAT),
    "sub": (np.subtract, _INT_FLOAT),
    "mul": (np.multiply, _INT_FLOAT),
    "div": (np.true_divide, _FLOAT),
    "pow": (np.power, _INT_FLOAT),
    "mod": (np.remainder, _INT_FLOAT),
    "floordiv": (np.floor_divide, _INT_FLOAT),
    "max": (np.maximum, _ANY),
    "min": (np.minimum, _ANY),
    "and": (np.bitwise_and, _BITS),
    "or": (np.bitwise_or, _BITS),
    "xor": (np.bitwise_xor, _BITS),
    "atan2": (np.arctan2, _FLOAT),
    "shl": (np.left_shift, "int"),
    "shr": (np.right_shift, "int"),
}

COMPARE: dict[str, tuple[Callable[..., Any], str]] = {
    "lt": (np.less, _ANY),
    "le": (np.less_equal, _ANY),
    "gt": (np.greater, _ANY),
    "ge": (np.greater_equal, _ANY),
    "eq": (np.equal, _ANY),
    "ne": (np.not_equal, _ANY),
}

PREDICATES = ("isnan", "isinf", "isfinite", *COMPARE)
"""The functions that give bool; the others give the dtype of their operands."""


@dataclass(frozen=True)
class Elementwise(Primitive):
    """Base of the primitives whose operands and result all have one shape."""

    def expect_same(self, *inputs: Typed) -> None:
        """Raise unless the inputs have one shape and dtype."""
        first = inputs[0]
        if any(x.shape != first.shape or x.dtype != first.dtype for x in inputs[1:]):
            got = " and ".join(map(type_text, inputs))
            self.fail("operands of equal shape and dtype", got)


@dataclass(frozen=True)
class _Function(Elementwise):
    """`fn`, one of `table`, of arrays of equal shape and dtype."""

    fn: str
    table: ClassVar[Mapping[str, tuple[Callable[..., Any], str]]]

    def rule(self, *inputs: Typed) -> Signature:
        if self.fn not in self.table:
            self.fail("one of " + ", ".join(self.table), self.fn)
        self.expect_same(*inputs)
        dtype, kinds = inputs[0].dtype, self.table[self.fn][1]
        if kind_of(dtype) not in kinds.split():
            self.fail(f"a dtype of kind {kinds}", dtype)
        return inputs[0].shape, BOOL if self.fn in PREDICATES else dtype

    def evaluate(self, *arrays: np.ndarray) -> np.ndarray:
        return np.asarray(self.table[self.fn][0](*arrays))


class Unary(_Function):
    """`fn` of each element, one of `UNARY`."""

    table = UNARY


class Binary(_Function):
    """`fn` of two arrays, one of `BINARY`."""

    arity = 2
    table = BINARY


class Compare(_Function):
    """`fn` of two arrays, one of `COMPARE`."""

    arity = 2
    table = COMPARE


@dataclass(frozen=True)
class Where(Elementwise):
    """`condition ? a : b`; a bool array and two of equal dtype, all of one shape."""

    arity = 3

    def rule(self, condition: Typed, a: Typed, b: Typed) -> Signature:
        self.expect_same(a, b)
        if condition.dtype != BOOL or condition.shape != a.shape:
            self.fail(f"a condition bool{list(a.shape)}", type_text(condition))
        return a.shape, a.dtype

    def evaluate(self, *arrays: np.ndarray) -> np.ndarray:
        return np.where(*arrays)


@dataclass(frozen=True)
class Cast(Elementwise):
    """Conversion to `dtype` as `ndarray.astype` does it."""

    dtype: np.dtype

    def rule(self, x: Typed) -> Signature:
        return x.shape, self.dtype

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return x.astype(self.dtype)
