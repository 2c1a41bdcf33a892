"""What `needle.backend.extensions` does for traced arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from needle.backend import extensions

from needle.compiler import trace_record as t
from needle.compiler.primitives import Gather, Pad, Slice, Windows
from needle.compiler.trace import TracedArray
from needle.compiler.trace_index import Index
from needle.compiler.trace_operand import as_traced, lift, wrap


def erf(x: Any) -> TracedArray:
    """Return the error function of each element; integers give float64."""
    node = lift(x)
    return wrap(t.unary("erf", node if node.dtype.kind == "f" else t.cast(node, np.float64)))


def scatter_add(shape: tuple[int, ...], index: Any, values: Any) -> TracedArray:
    """Return zeros of `shape` with `values` added at `index`."""
    plan = Index(index, tuple(shape))
    node = lift(values)
    return wrap(plan.scatter(t.broadcast(node, plan.shape)))


def checked_labels(labels: Any, n: int) -> TracedArray:
    """Return labels as int64; the call raises for one that is not an integer from 0 to n - 1."""
    traced = as_traced(labels)
    node = traced.node
    index = t.cast(node, np.int64)
    if node.dtype.kind == "f":
        whole = t.compare("eq", t.cast(index, node.dtype), node)
        index = t.where(whole, index, t.like(-1, index))
    return wrap(t.make(Gather(0), t.iota((n,), 0), index))


def windows(
    x: Any,
    axes: Sequence[int],
    sizes: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> TracedArray:
    """Return the sliding windows along `axes`, in their order; the axes within come last."""
    node, order = lift(x), sorted(range(len(axes)), key=axes.__getitem__)
    columns = (axes, sizes, strides, dilations)
    along, *rest = (tuple(int(c[i]) for i in order) for c in columns)
    place = max(along, default=-1) + 1  # channels that lie last stay last: kernels run along them
    view = t.make(Windows(along, rest[0], rest[1], rest[2], place), node)
    outside = [i for i in range(len(view.shape)) if not place <= i < place + len(axes)]
    return wrap(t.permute(view, [*outside, *(place + order.index(i) for i in range(len(axes)))]))


def fold(
    x: Any,
    shape: Sequence[int],
    axes: Sequence[int],
    sizes: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> TracedArray:
    """Add windows into zeros of `shape`: one padded slice for each place within a window."""
    node, shape = lift(x), tuple(shape)
    total = t.broadcast(t.constant(0, node.dtype), shape)
    if not node.size:
        return wrap(total)
    cuts = extensions.fold_slices(shape, node.shape, axes, sizes, strides, dilations)
    for place, index in cuts:
        lead = (*node.shape[: len(shape)], *(1 for _ in place))
        starts = (*(0 for _ in shape), *place)
        stops = (*node.shape[: len(shape)], *(at + 1 for at in place))
        part = t.make(Slice(starts, stops, (1,) * len(starts)), node)
        ranges = [cut.indices(n) for cut, n in zip(index, shape, strict=True)]
        low = tuple(start for start, _, _ in ranges)
        high = tuple(n - stop for (_, stop, _), n in zip(ranges, shape, strict=True))
        gaps = tuple(step - 1 for _, _, step in ranges)
        padded = t.make(Pad(low, high, gaps), t.reshape(part, lead[: len(shape)]))
        total = t.binary("add", total, padded)
    return wrap(total)
