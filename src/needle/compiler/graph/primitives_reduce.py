"""Primitives that combine elements along axes, and those that address elements by an index."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from needle.compiler.graph.primitives_base import (
    BOOL,
    INT64,
    Primitive,
    Signature,
    Typed,
    check_axes,
    kind_of,
)  # fmt: skip

REDUCE = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}
"""Reductions, and the binary function each repeats."""


@dataclass(frozen=True)
class Reduce(Primitive):
    """`fn` over `axes`, which are dropped; max and min pass NaN on; sums keep the dtype."""

    fn: str
    axes: tuple[int, ...]

    def rule(self, x: Typed) -> Signature:
        check_axes(self, self.axes, len(x.shape))
        if self.fn not in REDUCE or (x.dtype == BOOL and self.fn in ("sum", "prod")):
            self.fail("sum, prod, max or min of numbers, max or min of bool", (self.fn, x.dtype))
        if self.fn in ("max", "min") and any(x.shape[axis] == 0 for axis in self.axes):
            self.fail("at least one element along the axes", x.shape)
        return tuple(n for i, n in enumerate(x.shape) if i not in self.axes), x.dtype

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        if self.fn in ("max", "min"):
            return np.asarray(REDUCE[self.fn].reduce(x, axis=self.axes))
        return np.asarray(REDUCE[self.fn].reduce(x, axis=self.axes, dtype=x.dtype))


@dataclass(frozen=True)
class ArgReduce(Primitive):
    """Index (int64) of the first largest or smallest element along `axis`; NaN counts as both."""

    fn: str
    axis: int

    def rule(self, x: Typed) -> Signature:
        if self.fn not in ("argmax", "argmin"):
            self.fail("argmax or argmin", self.fn)
        if not 0 <= self.axis < len(x.shape) or x.shape[self.axis] == 0:
            self.fail(f"an axis {self.axis} with elements", x.shape)
        return tuple(n for i, n in enumerate(x.shape) if i != self.axis), INT64

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        search = np.argmax if self.fn == "argmax" else np.argmin
        return np.asarray(search(x, axis=self.axis), dtype=np.int64)


@dataclass(frozen=True)
class Cumulative(Primitive):
    """Running sum along `axis`, in the dtype of the input."""

    fn: str
    axis: int

    def rule(self, x: Typed) -> Signature:
        if self.fn != "sum" or not 0 <= self.axis < len(x.shape) or x.dtype == BOOL:
            self.fail("a sum of numbers along an axis", (self.fn, self.axis, x.dtype, x.shape))
        return x.shape, x.dtype

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.cumsum(x, axis=self.axis, dtype=x.dtype)

    def __str__(self) -> str:
        return f"cumulative_{self.fn}[axis={self.axis}]"


@dataclass(frozen=True)
class MatMul(Primitive):
    """Product of the matrices in the last two axes; leading axes are equal.

    (..., M, K) x (..., K, N) -> (..., M, N); with `transpose_a` the first operand is stored
    (..., K, M), with `transpose_b` the second (..., N, K).
    """

    transpose_a: bool = False
    transpose_b: bool = False
    arity = 2

    def rule(self, a: Typed, b: Typed) -> Signature:
        if len(a.shape) < 2 or len(a.shape) != len(b.shape) or a.shape[:-2] != b.shape[:-2]:
            self.fail("equal leading axes and at least two", (a.shape, b.shape))
        if a.dtype != b.dtype or kind_of(a.dtype) == "bool":
            self.fail("numbers of one dtype", (a.dtype, b.dtype))
        m, k = a.shape[:-3:-1] if self.transpose_a else a.shape[-2:]
        k2, n = b.shape[:-3:-1] if self.transpose_b else b.shape[-2:]
        if k != k2:
            self.fail(f"{k} terms on both sides ({self})", (a.shape, b.shape))
        return (*a.shape[:-2], m, n), a.dtype

    def evaluate(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        a = np.swapaxes(a, -1, -2) if self.transpose_a else a
        b = np.swapaxes(b, -1, -2) if self.transpose_b else b
        return np.matmul(a, b)

    def __str__(self) -> str:
        return f"matmul[{'T' if self.transpose_a else 'N'}{'T' if self.transpose_b else 'N'}]"


def _check_index(primitive: Primitive, index: Typed) -> None:
    if kind_of(index.dtype) != "int":
        primitive.fail("an integer index", index.dtype)


def _check_range(primitive: Primitive, index: np.ndarray, size: int) -> None:
    bad = index[(index < 0) | (index >= size)]
    if bad.size:
        raise IndexError(f"{primitive.name}: index {bad.flat[0]} is out of range for size {size}")


@dataclass(frozen=True)
class Gather(Primitive):
    """`np.take(x, index, axis)`: the slices of x that an integer array of any shape names.

    x (..., n, ...), index (i...) -> (..., i..., ...); indices must lie in 0..n-1.
    """

    axis: int
    arity = 2

    def rule(self, x: Typed, index: Typed) -> Signature:
        _check_index(self, index)
        if not 0 <= self.axis < len(x.shape):
            self.fail(f"an input with axis {self.axis}", x.shape)
        return (*x.shape[: self.axis], *index.shape, *x.shape[self.axis + 1 :]), x.dtype

    def evaluate(self, x: np.ndarray, index: np.ndarray) -> np.ndarray:
        _check_range(self, index, x.shape[self.axis])
        return np.asarray(np.take(x, index.astype(np.int64), axis=self.axis))


@dataclass(frozen=True)
class ScatterAdd(Primitive):
    """The gradient of `Gather`: zeros with `size` along `axis`, each update added at its index.

    updates (..., i..., ...), index (i...) -> (..., size, ...); in the order of the indices.
    """

    axis: int
    size: int
    arity = 2

    def rule(self, updates: Typed, index: Typed) -> Signature:
        _check_index(self, index)
        end = self.axis + len(index.shape)
        if not 0 <= self.axis <= end <= len(updates.shape) or self.size < 0:
            self.fail(f"updates with axes {self.axis}..{end}", updates.shape)
        if updates.shape[self.axis : end] != index.shape or updates.dtype == BOOL:
            self.fail(f"updates {index.shape} from axis {self.axis}", updates.shape)
        return (*updates.shape[: self.axis], self.size, *updates.shape[end:]), updates.dtype

    def evaluate(self, updates: np.ndarray, index: np.ndarray) -> np.ndarray:
        _check_range(self, index, self.size)
        shape, dtype = self.infer(updates, index)
        result = np.zeros(shape, dtype=dtype)
        rows = np.moveaxis(result, self.axis, 0)
        leading = range(self.axis, self.axis + index.ndim)
        np.add.at(rows, index.astype(np.int64), np.moveaxis(updates, leading, range(index.ndim)))
        return result
