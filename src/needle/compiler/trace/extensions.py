"""What `needle.backend.extensions` does for traced arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from needle.backend import extensions
from needle.compiler.graph.primitives import Gather, Windows
from needle.compiler.trace import record as t
from needle.compiler.trace.index import Index
from needle.compiler.trace.operand import as_traced, lift, wrap
from needle.compiler.trace.trace import TracedArray


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


def windows(x: Any, *columns: Sequence[int]) -> TracedArray:
    """Return the sliding windows along axes, in their order; the axes within come last.

    `columns` are axes, sizes, strides and dilations.
    """
    node, count = lift(x), len(columns[0])
    order = sorted(range(count), key=columns[0].__getitem__)
    along, sizes, strides, dilations = (tuple(int(c[i]) for i in order) for c in columns)
    place = max(along, default=-1) + 1  # channels that lie last stay last: kernels run along them
    view = t.make(Windows(along, sizes, strides, dilations, place), node)
    outside = [i for i in range(len(view.shape)) if not place <= i < place + count]
    return wrap(t.permute(view, [*outside, *(place + order.index(i) for i in range(count))]))


def fold(x: Any, shape: Sequence[int], *columns: Sequence[int]) -> TracedArray:
    """Add windows into zeros of `shape`: one padded slice for each place within a window."""
    views, shape = as_traced(x), tuple(shape)
    total = t.constant(0, views.dtype, shape)
    cuts = extensions.fold_slices(shape, views.shape, *columns) if views.size else ()
    for place, index in cuts:
        total = t.binary("add", total, Index(index, shape).scatter(views[(..., *place)].node))
    return wrap(total)
