"""Indexing of traced arrays: reading, writing, and adding at an index, all by one plan.

An index becomes: slices and flips of single axes; then, where there are index arrays, a
permutation that brings their axes to the front, one flat index into the joined axes, and a gather;
then a reshape that drops and inserts axes. `scatter` walks the same way back.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from needle.compiler import trace_record as t
from needle.compiler.graph import Node
from needle.compiler.primitives import Flip, Gather, Pad, ScatterAdd, Slice
from needle.compiler.trace import TracedArray
from needle.compiler.trace_operand import as_traced, lift, wrap
from needle.errors import TraceError

_FULL = slice(None)


class Index:
    """An index into arrays of one shape, worked out while tracing.

    `shape` is the result's shape; `gather(x)` reads, `scatter(values)` puts values back into zeros
    and adds those that meet.
    """

    def __init__(self, index: Any, shape: tuple[int, ...]) -> None:
        self.source = shape
        self.items = _expand(index, shape)
        self.arrays = [item for item in self.items if not isinstance(item, int | slice | None)]
        self.basic = not self.arrays
        if not self.basic:  # ints count as arrays beside arrays
            self.items = [np.asarray(i) if isinstance(i, int) else i for i in self.items]
        self._slices()
        if self.basic:
            self.shape = self._basic_shape()
        else:
            self._advanced()

    # ---- the plan

    def _slices(self) -> None:
        """Start, stop, step of each axis of the source, and the axes that are reversed."""
        self.starts, self.stops, self.steps = [], [], []
        self.flips: list[int] = []
        axis = 0
        for item in self.items:
            if item is None:
                continue
            n = self.source[axis]
            if isinstance(item, slice):
                places = range(n)[item]
            elif isinstance(item, int):
                places = range(n)[item : item + 1 or None]
            else:
                places = range(n)
            if places.step < 0:
                self.flips.append(axis)
                places = places[::-1]
            start = places.start if len(places) else 0
            self.starts.append(start)
            self.stops.append(places[-1] + 1 if len(places) else start)
            self.steps.append(places.step)
            axis += 1
        self.sliced = tuple(
            len(range(*r)) for r in zip(self.starts, self.stops, self.steps, strict=True)
        )

    def _basic_shape(self) -> tuple[int, ...]:
        sizes = iter(self.sliced)
        result = []
        for item in self.items:
            size = 1 if item is None else next(sizes)
            if not isinstance(item, int):
                result.append(size)
        return tuple(result)

    def _advanced(self) -> None:
        """Which axes are indexed by arrays, where the arrays' axes go, and the flat index."""
        axes = [i for i in self.items if i is not None]
        self.front = [k for k, item in enumerate(axes) if not isinstance(item, slice)]
        rest = [k for k in range(len(axes)) if k not in self.front]
        self.order = (*self.front, *rest)
        places = [k for k, item in enumerate(self.items) if not isinstance(item, slice | None)]
        adjacent = places == list(range(places[0], places[0] + len(places)))
        before = [i for i in self.items[: places[0]] if i is not None] if adjacent else []
        index = [item for item in axes if not isinstance(item, slice)]
        self.index = _flat_index(index, [self.source[k] for k in self.front])
        block, self.position = self.index.shape, len(before)
        sizes = iter([self.sliced[k] for k in rest])
        result: list[int] = [] if adjacent else [*block]
        for k, item in enumerate(self.items):
            if isinstance(item, slice | None):
                result.append(1 if item is None else next(sizes))
            elif adjacent and k == places[0]:
                result.extend(block)
        self.rest = tuple(self.sliced[k] for k in rest)
        self.shape = tuple(result)

    @property
    def _joined(self) -> int:
        return math.prod(self.sliced[k] for k in self.front)

    def _moved(self) -> tuple[int, ...]:
        """The order that moves the arrays' axes from the front to their position."""
        block, before = len(self.index.shape), self.position
        return (*range(block, block + before), *range(block),
                *range(block + before, block + len(self.rest)))  # fmt: skip

    # ---- reading and putting back

    def gather(self, x: Node) -> Node:
        """Return x at the index."""
        if self.sliced != self.source:
            x = t.make(Slice(tuple(self.starts), tuple(self.stops), tuple(self.steps)), x)
        if self.flips:
            x = t.make(Flip(tuple(self.flips)), x)
        if self.basic:
            return t.reshape(x, self.shape)
        if len(self.front) == 1:
            return t.reshape(t.make(Gather(self.front[0]), x, self.index), self.shape)
        x = t.reshape(t.permute(x, self.order), (self._joined, *self.rest))
        x = t.make(Gather(0), x, self.index)
        return t.reshape(t.permute(x, self._moved()), self.shape)

    def scatter(self, values: Node) -> Node:
        """Return zeros of the source's shape with the values added at the index."""
        if values.dtype == np.bool_:
            return t.cast(self.scatter(t.cast(values, np.uint8)), np.bool_)
        if not self.basic:
            values = self._scatter_rows(values)
        x = t.reshape(values, self.sliced)
        if self.flips:
            x = t.make(Flip(tuple(self.flips)), x)
        if self.sliced == self.source:
            return x
        spans = zip(self.starts, self.steps, self.sliced, self.source, strict=True)
        high = [n - (a + (m - 1) * s + 1) if m else n - a for a, s, m, n in spans]
        low, inner = tuple(self.starts), tuple(s - 1 for s in self.steps)
        return t.make(Pad(low, tuple(high), inner, 0), x)

    def _scatter_rows(self, values: Node) -> Node:
        block = self.index.shape
        if len(self.front) == 1:
            axis = self.front[0]
            shape = (*self.sliced[:axis], *block, *self.sliced[axis + 1 :])
            values = t.reshape(values, shape)
            return t.make(ScatterAdd(axis, self.sliced[axis]), values, self.index)
        order = self._moved()
        sizes = (*block, *self.rest)
        values = t.reshape(values, tuple(sizes[k] for k in order))
        values = t.permute(values, tuple(order.index(k) for k in range(len(order))))
        x = t.make(ScatterAdd(0, self._joined), values, self.index)
        x = t.reshape(x, tuple(self.sliced[k] for k in self.order))
        return t.permute(x, tuple(self.order.index(k) for k in range(len(self.order))))

    def mask(self) -> Node:
        """Return bool of the source's shape: True where the index points."""
        return self.scatter(t.constant(True, np.bool_, self.shape))


def _expand(index: Any, shape: tuple[int, ...]) -> list[Any]:
    """Return one item per axis of the source, and None for each new axis."""
    parts = [_item(part) for part in (index if isinstance(index, tuple) else (index,))]
    items: list[Any] = []
    for part in parts:
        items.extend(part if isinstance(part, tuple) else (part,))
    used = sum(item is not None and item is not Ellipsis for item in items)
    if used > len(shape):
        raise IndexError(f"too many indices: {used} for shape {shape}")
    if not any(item is Ellipsis for item in items):
        items.append(Ellipsis)
    at = next(k for k, item in enumerate(items) if item is Ellipsis)
    items[at : at + 1] = [_FULL] * (len(shape) - used)
    axis = 0
    for k, item in enumerate(items):
        if isinstance(item, int):
            if not -shape[axis] <= item < shape[axis]:
                raise IndexError(
                    f"index {item} is out of bounds for axis {axis} with size {shape[axis]}"
                )
            items[k] = item % shape[axis]
        axis += item is not None
    return items


def _item(part: Any) -> Any:
    """Return an int, slice, None, Ellipsis, an integer array, or a tuple of them for a mask."""
    if part is None or part is Ellipsis or isinstance(part, slice):
        return part
    if isinstance(part, bool | np.bool_):
        raise TraceError(f"indexing by True or False is not traced{t.at_line()}; use None")
    if isinstance(part, list):
        part = np.asarray(part, dtype=np.intp if not part else None)
    if isinstance(part, TracedArray):
        if part.dtype == np.bool_:
            known = t.active().fix(part)
            if known is not None:
                return known.nonzero()
            raise TraceError(
                f"indexing by a traced mask gives a shape that depends on values{t.at_line()}; use "
                "ops.where(mask, a, b), or multiply by the mask"
            )
        if part.dtype.kind not in "iu":
            raise IndexError(f"arrays used as indices must be of integer type, got {part.dtype}")
        return part
    if isinstance(part, np.ndarray):
        t.active().watch(part)
        if part.dtype == np.bool_:
            return part.nonzero()
        return part if part.ndim else int(part)
    return part.__index__()


def _flat_index(index: list[Any], sizes: list[int]) -> Node:
    """Join index arrays over axes of `sizes` into one; what is out of range stays so."""
    shape = np.broadcast_shapes(*(x.shape for x in index))
    total: Node | None = None
    wrong: Node | None = None
    for x, n in zip(index, sizes, strict=True):
        node, outside = _checked(x, n, len(index) > 1)
        node = t.broadcast(node, shape)
        if outside is not None:
            outside = t.broadcast(outside, shape)
            wrong = outside if wrong is None else t.binary("or", wrong, outside)
        total = node if total is None else t.binary(
            "add", t.binary("mul", total, t.like(n, total)), node
        )  # fmt: skip
    assert total is not None
    return total if wrong is None else t.where(wrong, t.like(-1, total), total)


def _checked(x: Any, n: int, joined: bool) -> tuple[Node, Node | None]:
    """Return an index with negative ones wrapped, and where it is out of range (if asked)."""
    if isinstance(x, np.ndarray):
        low, high = (int(x.min()), int(x.max())) if x.size else (0, 0)
        if low < -n or (high >= n and x.size):
            raise IndexError(f"index {low if low < -n else high} is out of bounds for size {n}")
        return t.cast(lift(np.where(x < 0, x + n, x)), np.int64), None
    unsigned = x.dtype.kind == "u"
    node = t.cast(x.node, np.int64)
    if not unsigned:
        negative = t.compare("lt", node, t.like(0, node))
        node = t.where(negative, t.binary("add", node, t.like(n, node)), node)
    if not joined:
        return node, None
    outside = t.compare("ge", node, t.like(n, node))
    if not unsigned:
        outside = t.binary("or", outside, t.compare("lt", node, t.like(0, node)))
    return node, outside


def getitem(x: Any, index: Any) -> TracedArray:
    """Record `x[index]`: a view for basic indices."""
    x = as_traced(x)
    plan = Index(_plain(index), x.shape)
    if plan.basic:
        return TracedArray.view(x, plan.gather, lambda base, new: _written(plan, base, new))
    return wrap(plan.gather(x.node))


def _plain(index: Any) -> Any:
    """Return an index whose Tensors are replaced by their arrays."""
    if isinstance(index, tuple):
        return tuple(_plain(part) for part in index)
    return index.realize_cached_data() if hasattr(index, "realize_cached_data") else index


def _written(plan: Index, base: Node, values: Node) -> Node:
    placed = plan.scatter(t.broadcast(t.cast(values, base.dtype), plan.shape))
    if plan.basic and plan.sliced == plan.source:
        return placed
    return t.where(plan.mask(), placed, base)


def setitem(x: TracedArray, index: Any, value: Any) -> None:
    """Record `x[index] = value`, functionally."""
    index = _plain(index)
    values = lift(value, x.dtype)
    if isinstance(index, TracedArray | np.ndarray) and index.dtype == np.bool_:
        if values.shape != () and not isinstance(index, np.ndarray):
            raise TraceError(
                f"a[mask] = array is not traced{t.at_line()}; use np.where(mask, array, a)"
            )
        if values.shape == ():
            mask = lift(index)
            mask = t.broadcast(
                t.reshape(mask, (*mask.shape, *(1,) * (x.ndim - index.ndim))), x.shape
            )
            x.assign(t.where(mask, t.broadcast(values, x.shape), x.node))
            return
    plan = Index(index, x.shape)
    if not plan.basic and not _distinct(plan):
        raise TraceError(
            f"a[index] = values with an index that may name an element twice is not traced"
            f"{t.at_line()}; use ops.scatter_add"
        )
    x.assign(_written(plan, x.node, values))


def _distinct(plan: Index) -> bool:
    """Whether the index is known while tracing and names no element twice."""
    arrays = [item for item in plan.items if isinstance(item, np.ndarray)]
    if len(arrays) != len(plan.front):
        return False
    sizes = [plan.source[k] for k in plan.front]
    wrapped = [np.where(x < 0, x + n, x) for x, n in zip(arrays, sizes, strict=True)]
    flat = np.ravel_multi_index(tuple(np.broadcast_arrays(*wrapped)), tuple(sizes))
    return np.unique(flat).size == flat.size
