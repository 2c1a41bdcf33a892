"""What every primitive of the IR has: a rule for shapes and a definition in NumPy.

A primitive is a frozen dataclass. `rule` takes the input nodes, checks them and returns the
result's shape and dtype; `evaluate` takes the input arrays and returns the result. Both
together are the meaning of the primitive: compiled code must agree with them.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, NoReturn, Protocol

import numpy as np

from needle.errors import GraphError

Shape = tuple[int, ...]
Signature = tuple[Shape, np.dtype]

BOOL = np.dtype(bool)
INT32 = np.dtype(np.int32)
INT64 = np.dtype(np.int64)
UINT32 = np.dtype(np.uint32)
UINT64 = np.dtype(np.uint64)
FLOAT32 = np.dtype(np.float32)
FLOAT64 = np.dtype(np.float64)
DTYPES = frozenset(np.dtype(c) for c in "?bhilqBHILQfd")
NAMES = {dtype: dtype.name for dtype in DTYPES}
"""The dtypes' names, which NumPy takes 2 microseconds to spell."""


class Typed(Protocol):
    """Anything with a shape and a dtype: a node while a graph is built, an array in tests."""

    @property
    def shape(self) -> Shape:
        """The shape."""

    @property
    def dtype(self) -> np.dtype:
        """The dtype."""


@dataclasses.dataclass(frozen=True)
class Primitive:
    """Base class of the primitives."""

    arity: ClassVar[int | None] = 1

    @property
    def name(self) -> str:
        """The name under which the primitive is printed: `fn` if it has one, else its class."""
        return getattr(self, "fn", type(self).__name__.lower())

    def __post_init__(self) -> None:
        """Make the dtype, where the primitive has one, an `np.dtype` that the compiler knows."""
        if hasattr(self, "dtype"):
            dtype = np.dtype(self.dtype)
            if dtype not in DTYPES:
                self.fail("float32, float64, an integer type or bool", dtype)
            object.__setattr__(self, "dtype", dtype)

    def infer(self, *inputs: Typed) -> Signature:
        """Return the result's shape and dtype; raise `GraphError` for inputs that do not fit."""
        if self.arity is not None and len(inputs) != self.arity:
            self.fail(f"{self.arity} inputs", len(inputs))
        return self.rule(*inputs)

    def rule(self, *inputs: Any, **_: Any) -> Signature:
        """Return what `infer` does, for `arity` inputs."""
        raise NotImplementedError

    def evaluate(self, *arrays: Any, **_: Any) -> np.ndarray:
        """Return the result for arrays: the definition of the primitive."""
        raise NotImplementedError

    def fail(self, expected: str, got: object) -> NoReturn:
        """Raise a `GraphError` that names the primitive, what it expected and what it got."""
        raise GraphError(f"{self.name}: expected {expected}, got {got}")

    def __str__(self) -> str:
        values = [
            f"{field.name}={_short(getattr(self, field.name))}"
            for field in dataclasses.fields(self)
            if field.name != "fn"
        ]
        return f"{self.name}[{', '.join(values)}]" if values else self.name


def _short(value: Any) -> str:
    return str(value) if isinstance(value, np.dtype | str) else repr(value)


def type_text(x: Typed) -> str:
    """Return for example `float32[2, 3]`."""
    return f"{NAMES.get(x.dtype, x.dtype)}{list(x.shape)}"


def kind_of(dtype: np.dtype) -> str:
    """Return "bool", "int" or "float"."""
    return {"b": "bool", "i": "int", "u": "int", "f": "float"}.get(dtype.kind, dtype.kind)


def wrapped(value: float, dtype: Any) -> bool | int:
    """Return a number in an integer type or bool, integers wrapped around as NumPy's are."""
    if np.dtype(dtype) == BOOL:
        return bool(value)
    bits = 8 * np.dtype(dtype).itemsize
    return int(np.uint64(int(value) % 2**bits).astype(dtype))


def scalar_key(value: bool | int | float) -> tuple[str, str]:
    """Return a key equal for equal bits: it tells -0.0 from 0.0 and 1 from True; NaN equals NaN."""
    return type(value).__name__, repr(value)


def check_shape(primitive: Primitive, shape: Shape) -> None:
    """Raise unless `shape` is a tuple of non-negative Python integers."""
    if type(shape) is not tuple or any(type(n) is not int or n < 0 for n in shape):
        primitive.fail("a tuple of non-negative integers as shape", shape)


def check_axes(primitive: Primitive, axes: tuple[int, ...], rank: int) -> None:
    """Raise unless `axes` are sorted, distinct and within 0..rank-1."""
    if any(not 0 <= axis < rank for axis in axes) or list(axes) != sorted(set(axes)):
        primitive.fail(f"sorted, distinct axes below {rank}", axes)
