"""The short way to write graphs by hand: one function for each primitive, with plain arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from needle.compiler.graph.graph import (
    Graph,
    Node,
    Shape,
    Source,
    input_node,
    make,
    rebuild,
    topological,
)  # fmt: skip
from needle.compiler.graph.primitives import (
    ArgReduce,
    Binary,
    Broadcast,
    Cast,
    Compare,
    Concat,
    Constant,
    Cumulative,
    Flip,
    Gather,
    Input,
    Iota,
    MatMul,
    Pad,
    Permute,
    Random,
    Reduce,
    Reshape,
    ScatterAdd,
    Slice,
    Unary,
    Where,
    Windows,
)  # fmt: skip

__all__ = ["Graph", "Input", "Node", "Source", "input_node", "make", "rebuild", "topological"]


def constant(value: bool | int | float, dtype: Any, source: Source | None = None) -> Node:
    """Return a 0-d constant."""
    return make(Constant(value, np.dtype(dtype)), source=source)


def full(value: bool | int | float, shape: Shape, dtype: Any, source: Source | None = None) -> Node:
    """Return a constant broadcast to `shape`."""
    return broadcast(constant(value, dtype, source), shape, source)


def iota(shape: Shape, axis: int, dtype: Any, source: Source | None = None) -> Node:
    """Return an array whose elements are their index along `axis`."""
    return make(Iota(tuple(shape), axis, np.dtype(dtype)), source=source)


def random(key: Node, kind: str, index: int, shape: Shape, source: Source | None = None) -> Node:
    """Return the `index`-th array of random numbers of a call."""
    return make(Random(kind, index, tuple(shape)), key, source=source)


def unary(fn: str, x: Node, source: Source | None = None) -> Node:
    """Return `fn` of each element."""
    return make(Unary(fn), x, source=source)


def binary(fn: str, a: Node, b: Node, source: Source | None = None) -> Node:
    """Return `fn` of two nodes of equal shape and dtype."""
    return make(Binary(fn), a, b, source=source)


def add(a: Node, b: Node, source: Source | None = None) -> Node:
    """Return a + b."""
    return make(Binary("add"), a, b, source=source)


def sub(a: Node, b: Node, source: Source | None = None) -> Node:
    """Return a - b."""
    return make(Binary("sub"), a, b, source=source)


def mul(a: Node, b: Node, source: Source | None = None) -> Node:
    """Return a * b."""
    return make(Binary("mul"), a, b, source=source)


def div(a: Node, b: Node, source: Source | None = None) -> Node:
    """Return a / b."""
    return make(Binary("div"), a, b, source=source)


def compare(fn: str, a: Node, b: Node, source: Source | None = None) -> Node:
    """Return the bool array of `a fn b`."""
    return make(Compare(fn), a, b, source=source)


def where(condition: Node, a: Node, b: Node, source: Source | None = None) -> Node:
    """Return a where `condition` holds, else b."""
    return make(Where(), condition, a, b, source=source)


def cast(x: Node, dtype: Any, source: Source | None = None) -> Node:
    """Return x converted to `dtype`; x itself if it has it."""
    return x if x.dtype == np.dtype(dtype) else make(Cast(np.dtype(dtype)), x, source=source)


def broadcast(x: Node, shape: Shape, source: Source | None = None) -> Node:
    """Return x broadcast to `shape`; x itself if it has it."""
    return x if x.shape == tuple(shape) else make(Broadcast(tuple(shape)), x, source=source)


def reshape(x: Node, shape: Shape, source: Source | None = None) -> Node:
    """Return x under another shape (no -1); x itself if it has it."""
    return x if x.shape == tuple(shape) else make(Reshape(tuple(shape)), x, source=source)


def permute(x: Node, axes: Sequence[int], source: Source | None = None) -> Node:
    """Return x with its axes in the given order; x itself if that is theirs."""
    identity = tuple(axes) == tuple(range(len(x.shape)))
    return x if identity else make(Permute(tuple(axes)), x, source=source)


def slice_(
    x: Node,
    starts: Sequence[int],
    stops: Sequence[int],
    steps: Sequence[int] | None = None,
    source: Source | None = None,
) -> Node:
    """Return `x[starts[i] : stops[i] : steps[i]]` in each axis; steps of 1 unless given."""
    every = tuple(steps) if steps is not None else (1,) * len(x.shape)
    return make(Slice(tuple(starts), tuple(stops), every), x, source=source)


def flip(x: Node, axes: Sequence[int], source: Source | None = None) -> Node:
    """Return x reversed along `axes`."""
    return make(Flip(tuple(sorted(axes))), x, source=source)


def pad(
    x: Node,
    low: Sequence[int],
    high: Sequence[int],
    interior: Sequence[int] | None = None,
    value: bool | int | float = 0,
    source: Source | None = None,
) -> Node:
    """Return x with `value` before, after and between its elements."""
    gaps = tuple(interior) if interior is not None else (0,) * len(x.shape)
    return make(Pad(tuple(low), tuple(high), gaps, value), x, source=source)


def windows(
    x: Node,
    axes: Sequence[int],
    sizes: Sequence[int],
    strides: Sequence[int] = (1, 1),
    dilations: Sequence[int] = (1, 1),
    place: int | None = None,
) -> Node:
    """Return the sliding windows along `axes`, the axes within a window at `place`, or last."""
    rows = map(tuple, (axes, sizes, strides, dilations))
    return make(Windows(*rows, len(x.shape) if place is None else place), x)


def image_columns(x: Node, sizes: Sequence[int], strides: Sequence[int] = (1, 1)) -> Node:
    """Return the matrix (N * H' * W', K * L * C) whose rows are the windows of (N, H, W, C)."""
    view = permute(windows(x, (1, 2), sizes, strides), (0, 1, 2, 4, 5, 3))
    n, h, w, k, m, c = view.shape
    return reshape(view, (n * h * w, k * m * c))


def concat(nodes: Sequence[Node], axis: int, source: Source | None = None) -> Node:
    """Return the nodes one after the other along `axis`."""
    return make(Concat(axis), *nodes, source=source)


def reduce(fn: str, x: Node, axes: Sequence[int], source: Source | None = None) -> Node:
    """Return `fn` (sum, prod, max, min) over `axes`, which are dropped."""
    return make(Reduce(fn, tuple(sorted(axes))), x, source=source)


def arg_reduce(fn: str, x: Node, axis: int, source: Source | None = None) -> Node:
    """Return the index of the extreme element along `axis`."""
    return make(ArgReduce(fn, axis), x, source=source)


def cumulative(fn: str, x: Node, axis: int, source: Source | None = None) -> Node:
    """Return the running `fn` along `axis`."""
    return make(Cumulative(fn, axis), x, source=source)


def matmul(
    a: Node,
    b: Node,
    transpose_a: bool = False,
    transpose_b: bool = False,
    source: Source | None = None,
) -> Node:
    """Return the product of the matrices in the last two axes."""
    return make(MatMul(transpose_a, transpose_b), a, b, source=source)


def gather(x: Node, index: Node, axis: int, source: Source | None = None) -> Node:
    """Return `np.take(x, index, axis)`."""
    return make(Gather(axis), x, index, source=source)


def scatter_add(
    updates: Node, index: Node, axis: int, size: int, source: Source | None = None
) -> Node:
    """Return zeros with each update added at its index along `axis`."""
    return make(ScatterAdd(axis, size), updates, index, source=source)
