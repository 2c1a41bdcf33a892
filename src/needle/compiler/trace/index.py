"""Indexing of traced arrays: reading, writing, and adding at an index, all by one plan.

An index becomes steps, each with its way back: slices and flips of single axes; then, where there
are index arrays, a permutation that brings their axes together, one flat index into the joined
axes, and a gather; then a reshape that drops and inserts axes. `scatter` walks back.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from needle.compiler.graph.graph import Node
from needle.compiler.graph.primitives import Flip, Gather, Pad, Primitive, ScatterAdd, Slice
from needle.compiler.trace import record as t
from needle.compiler.trace.operand import as_traced, lift, wrap
from needle.compiler.trace.trace import TracedArray

_FULL = slice(None)


class Index:
    """An index into arrays of one shape, worked out while tracing.

    `shape` is the result's shape; `gather(x)` reads, `scatter(values)` puts values back into zeros
    and adds those that meet.
    """

    def __init__(self, index: Any, shape: tuple[int, ...]) -> None:
        self.source = self.shape = shape  # `shape` is that after the steps so far
        self.steps: list[tuple[Callable[[Node], Node], Callable[[Node], Node]]] = []
        items = _items(index, shape)
        picked = _picked(items)
        # NumPy's rule: what is picked stands where it was, or in front if it stood apart
        together = picked == [*range(picked[0], picked[-1] + 1)] if picked else False
        used = sum(item is not None and item is not ... for item in items)
        at = next((k for k, item in enumerate(items) if item is ...), len(items))
        items[at : at + 1] = [_FULL] * (len(shape) - used)
        picked = _picked(items)
        self.basic = all(isinstance(items[k], int) for k in picked)
        axes = [item for item in items if item is not None]
        self._slice(axes)
        self.sliced = self.shape
        sizes = iter(self.shape)
        view = [1 if item is None else next(sizes) for item in items]
        block = () if self.basic else self._pick(axes, together)
        kept = [n for k, n in enumerate(view) if k not in picked]
        at = picked[0] if together else 0
        self._reshape((*kept[:at], *block, *kept[at:]))

    # ---- the plan

    def _slice(self, items: list[Any]) -> None:
        """Cut each axis: start, stop and step, and the axes that are reversed."""
        ranges = [range(n) for n in self.source]
        for k, item in enumerate(items):
            if isinstance(item, slice):
                ranges[k] = ranges[k][item]
            elif self.basic:  # beside arrays, an int is one
                ranges[k] = range(ranges[k][item], ranges[k][item] + 1)
        flips = tuple(k for k, places in enumerate(ranges) if places.step < 0)
        ranges = [places[::-1] if places.step < 0 else places for places in ranges]
        self.shape = tuple(map(len, ranges))
        if self.shape != self.source:
            starts = tuple(places.start if places else 0 for places in ranges)
            stops = tuple(places[-1] + 1 if places else 0 for places in ranges)
            steps = tuple(places.step for places in ranges)
            high = tuple(n - stop for n, stop in zip(self.source, stops, strict=True))
            self._step(Slice(starts, stops, steps), Pad(starts, high, tuple(s - 1 for s in steps)))
        if flips:
            self._step(Flip(flips), Flip(flips))

    def _pick(self, items: list[Any], together: bool) -> tuple[int, ...]:
        """Gather along the axes that are indexed by arrays; return the shape of the index."""
        along = [k for k, item in enumerate(items) if not isinstance(item, slice)]
        rest = [k for k, item in enumerate(items) if isinstance(item, slice)]
        self.flat = _flat_index([items[k] for k in along], [self.source[k] for k in along])
        at = along[0] if together else 0
        end = at + len(along)
        self._permute((*rest[:at], *along, *rest[at:]))
        self._reshape((*self.shape[:at], math.prod(self.shape[at:end]), *self.shape[end:]))
        index, back = lift(self.flat), ScatterAdd(at, self.shape[at])
        self._step(Gather(at), back, index)
        self.shape = (*self.shape[:at], *index.shape, *self.shape[at + 1 :])
        return index.shape

    def _step(self, forth: Primitive, back: Primitive, *more: Node) -> None:
        self.steps.append((lambda x: t.make(forth, x, *more), lambda x: t.make(back, x, *more)))

    def _reshape(self, shape: tuple[int, ...]) -> None:
        before, self.shape = self.shape, shape
        self.steps.append((lambda x: t.reshape(x, shape), lambda x: t.reshape(x, before)))

    def _permute(self, order: tuple[int, ...]) -> None:
        inverse = tuple(order.index(k) for k in range(len(order)))
        self.shape = tuple(self.shape[k] for k in order)
        self.steps.append((lambda x: t.permute(x, order), lambda x: t.permute(x, inverse)))

    # ---- reading and putting back

    def gather(self, x: Node) -> Node:
        """Return x at the index."""
        for forth, _ in self.steps:
            x = forth(x)
        return x

    def scatter(self, values: Node) -> Node:
        """Return zeros of the source's shape with the values added at the index."""
        x = t.cast(values, np.uint8) if values.dtype == np.bool_ else values
        for _, back in reversed(self.steps):
            x = back(x)
        return t.cast(x, values.dtype)

    def mask(self) -> Node:
        """Return bool of the source's shape: True where the index points."""
        return self.scatter(t.constant(True, np.bool_, self.shape))


def _picked(items: list[Any]) -> list[int]:
    """Return where ints and index arrays are."""
    return [k for k, x in enumerate(items) if not isinstance(x, slice | None | type(...))]


def _items(index: Any, shape: tuple[int, ...]) -> list[Any]:
    """Return the parts of an index, checked, and one for each axis of a mask."""
    items: list[Any] = []
    looks: list[Any] = []
    for part in index if isinstance(index, tuple) else (index,):
        item = _item(part)
        if isinstance(item, tuple):
            items += item
            looks.append(np.zeros(np.shape(part), np.bool_))
        else:
            items.append(item)
            looks.append(item if isinstance(item, int | slice | None | type(...)) else _FULL)
    # NumPy itself refuses too many indices, ints out of bounds, and masks of another shape
    np.empty(shape, bool)[tuple(looks)]
    return items


def _item(part: Any) -> Any:
    """Return an int, slice, None, Ellipsis, an integer array, or a tuple of them for a mask."""
    if part is None or part is Ellipsis or isinstance(part, slice):
        return part
    if isinstance(part, bool | np.bool_):
        raise t.refuse(f"indexing by True or False is not traced{t.at_line()}; use None")
    if isinstance(part, list):
        part = np.asarray(part, dtype=np.intp if not part else None)
    if isinstance(part, TracedArray):
        if part.dtype == np.bool_:
            known = t.active().fix(part)
            if known is not None:
                return known.nonzero()
            raise t.refuse(
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


def _flat_index(index: list[Any], sizes: list[int]) -> Any:
    """Join index arrays over axes of `sizes` into one; what is out of range stays so."""
    total: Any = None
    inside: Any = True
    for item, n in zip(index, sizes, strict=True):
        x: Any = np.asarray(item) if isinstance(item, int) else item
        if isinstance(x, np.ndarray):
            low, high = (int(x.min()), int(x.max())) if x.size else (0, 0)
            if low < -n or (high >= n and x.size):
                raise IndexError(f"index {low if low < -n else high} is out of bounds for size {n}")
        x = x.astype(np.int64)
        x = np.where(x < 0, x + n, x)
        if not isinstance(x, np.ndarray) and len(index) > 1:
            inside = (x >= 0) & (x < n) & inside
        total = x if total is None else total * n + x
    return total if inside is True else np.where(inside, total, -1)


def getitem(x: Any, index: Any) -> TracedArray:
    """Record `x[index]`: a view for basic indices."""
    x = as_traced(x)
    index = _plain(index)
    plan = Index(index, x.shape)
    if plan.basic and isinstance(np.empty(x.shape, bool)[index], np.ndarray):  # not one number
        return TracedArray.view(
            x, plan.gather, lambda base, new: _written(plan, base, new), lambda a: a[index]
        )
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
            raise t.refuse(
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
        raise t.refuse(
            f"a[index] = values with an index that may name an element twice is not traced"
            f"{t.at_line()}; use ops.scatter_add"
        )
    x.assign(_written(plan, x.node, values))


def _distinct(plan: Index) -> bool:
    """Whether the index is known while tracing and names no element twice."""
    return isinstance(plan.flat, np.ndarray) and np.unique(plan.flat).size == plan.flat.size
