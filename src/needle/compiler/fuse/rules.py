"""What fusion knows about single nodes: their kind, their pattern, what they read through views.

A *pattern* is an iteration space with its axes in memory order, each (size, inner): kept axes are
outer, reduced or broadcast ones inner; axes of size 1 are left out and equal neighbours joined.
Patterns do not change under reshape, so kernels agree on loops whatever the shapes are called.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from needle.compiler.fuse.window import windowed
from needle.compiler.graph.graph import Node, Shape
from needle.compiler.graph.primitives import (
    ArgReduce,
    Broadcast,
    Concat,
    Constant,
    Elementwise,
    Gather,
    Input,
    Iota,
    Permute,
    Primitive,
    Random,
    Reduce,
    Reshape,
)  # fmt: skip
from needle.compiler.graph.primitives_base import Signature, Typed
from needle.compiler.index import VIEWS, anchor

Pattern = tuple[tuple[int, bool], ...]
NO_PATTERN: Pattern = ()
FEW_PIECES = 4
"""Concatenations of at most so many pieces are selects inside a loop nest."""

HEAVY = frozenset((
    "exp", "expm1", "log", "log1p", "tanh", "sigmoid", "erf", "sin", "cos", "pow", "mod",
    "floordiv", "atan2",
))  # fmt: skip


class Edge(NamedTuple):
    """A node read through views: "same" elements in order, "spread" over a pattern, or "free"."""

    source: Node
    kind: str
    pattern: Pattern


def is_map(node: Node) -> bool:
    """Whether each element is computed alone, so that the node can be part of any loop nest."""
    primitive = node.primitive
    if isinstance(primitive, Concat):  # pieces that lie one after the other are only copied
        mixed = math.prod(node.shape[: primitive.axis]) > 1
        return mixed and len(node.inputs) <= FEW_PIECES
    return isinstance(primitive, Elementwise | Random | Gather)


@dataclass(frozen=True)
class Partial(Primitive):
    """`fn` over the first axis of a matrix, for each `chunk` rows apart: (R, C) -> (blocks, C)."""

    fn: str
    chunk: int

    def infer(self, *inputs: Typed) -> Signature:
        """Return the result's shape and dtype."""
        (x,) = inputs
        return (-(-x.shape[0] // self.chunk), x.shape[1]), x.dtype

    def evaluate(self, *arrays: np.ndarray) -> np.ndarray:
        """Return the result for an array."""
        (x,) = arrays
        whole = Reduce(self.fn, (0,))
        starts = range(0, len(x), self.chunk)
        return np.stack([whole.evaluate(x[start : start + self.chunk]) for start in starts])


def is_reduce(node: Node) -> bool:
    """Whether the node is a reduction."""
    return isinstance(node.primitive, Reduce | ArgReduce | Partial)


def per_row(node: Node) -> bool:
    """Whether a node sums one value per row over the rows of a block."""
    return isinstance(node.primitive, Partial) and node.inputs[0].shape[1] == 1


def is_view(node: Node) -> bool:
    """Whether the node only moves elements, as an index map."""
    return isinstance(node.primitive, VIEWS)


def is_source(node: Node) -> bool:
    """Whether the node needs no kernel and no view: inputs, literals and counters."""
    return isinstance(node.primitive, Input | Constant | Iota)


def pattern_of(shape: Shape, inner: frozenset[int]) -> Pattern:
    """The pattern of a shape whose axes `inner` are reduced or broadcast.

    >>> pattern_of((8, 1, 4, 5), frozenset({2, 3}))
    ((8, False), (20, True))
    """
    result: list[tuple[int, bool]] = []
    for axis, n in enumerate(shape):
        flag = axis in inner
        if n == 1:
            continue
        if result and result[-1][1] == flag:
            result[-1] = (result[-1][0] * n, flag)
        else:
            result.append((n, flag))
    return tuple(result)


def reduce_pattern(node: Node) -> Pattern:
    """The pattern over which a reduction runs."""
    primitive = node.primitive
    if isinstance(primitive, Partial):
        return pattern_of(node.inputs[0].shape, frozenset({1}))
    axes = (primitive.axis,) if isinstance(primitive, ArgReduce) else primitive.axes  # type: ignore[attr-defined]
    return pattern_of(node.inputs[0].shape, frozenset(axes))


def outer_size(pattern: Pattern) -> int:
    """Number of elements left after the reduction."""
    return math.prod(n for n, inner in pattern if not inner)


def total_size(pattern: Pattern) -> int:
    """Number of elements of the whole space."""
    return math.prod(n for n, _ in pattern)


def _operands(node: Node) -> tuple[Sequence[Node], Sequence[Node]]:
    """The inputs that a kernel addresses as a whole, and those that it reads through views."""
    if is_view(node):
        return (), (node,)
    if isinstance(node.primitive, Gather):
        return node.inputs[:1], node.inputs[1:]
    if isinstance(node.primitive, Concat) or is_map(node) or is_reduce(node):
        return (), node.inputs
    pulled = 0 if windowed(node) is None else 1
    return node.inputs[pulled:], node.inputs[:pulled]


def stored_operands(node: Node) -> list[Node]:
    """The operands that must lie in memory as they are."""
    return [anchor(x)[0] for x in _operands(node)[0]]


def edges(node: Node) -> list[Edge]:
    """All that a node reads, literals and counters left out."""
    whole, pulled = _operands(node)
    stored = [Edge(anchor(x)[0], "stored", ()) for x in whole]
    return [*stored, *(edge for edge in map(_edge, pulled) if edge is not None)]


def _edge(x: Node) -> Edge | None:
    kind, pattern = "same", NO_PATTERN
    while is_view(x):
        (below,) = x.inputs
        if isinstance(x.primitive, Broadcast):
            spread = _spread(below.shape, x.shape)
            if any(inner for _, inner in spread):
                kind, pattern = ("spread", spread) if kind == "same" else ("free", NO_PATTERN)
        elif not isinstance(x.primitive, Reshape):
            kind, pattern = "free", NO_PATTERN
        x = below
    return None if isinstance(x.primitive, Constant | Iota) else Edge(x, kind, pattern)


def _spread(shape: Shape, to: Shape) -> Pattern:
    missing = len(to) - len(shape)
    inner = {a for a in range(len(to)) if a < missing or shape[a - missing] != to[a]}
    return pattern_of(to, frozenset(inner))


def refined(pattern: Pattern, shapes: set[Shape]) -> Pattern:
    """The pattern cut further, so that the axes of arrays of these shapes are whole axes of it.

    >>> refined(((6, False), (4, True)), {(2, 3, 4), (6, 2, 2)})
    ((2, False), (3, False), (2, True), (2, True))
    """
    total = total_size(pattern)
    same = (shape for shape in shapes if math.prod(shape) == total)
    cuts = sorted({cut for shape in same for cut in _suffix_products(shape)})
    steps: list[tuple[int, bool]] = []
    below = 1
    for n, inner in reversed(pattern):
        above = below * n
        for cut in (c for c in cuts if below < c < above):
            if cut % below == 0 and above % cut == 0:
                steps.append((cut // below, inner))
                below = cut
        steps.append((above // below, inner))
        below = above
    return tuple(reversed(steps))


def _suffix_products(sizes: Iterable[int]) -> list[int]:
    products = [1]
    for n in reversed(list(sizes)):
        products.append(products[-1] * n)
    return products


def shapes_of(nodes: Iterable[Node]) -> set[Shape]:
    """The shapes of nodes and of the views through which they read, as far as the order is one."""
    shapes: set[Shape] = set()
    for node in nodes:
        shapes.add(node.shape)
        for x in () if isinstance(node.primitive, Permute) else node.inputs:
            shapes.add(x.shape)
            while is_view(x) and not isinstance(x.primitive, Permute):
                (x,) = x.inputs
                shapes.add(x.shape)
    return shapes
