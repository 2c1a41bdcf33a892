"""Sums over many rows of a matrix, made in two steps: over blocks of rows, then over the blocks.

All threads share the blocks, and each block is read once, row by row, while it is in the cache.
Blocks make one pass over memory of a mean and what is centred by it, too. With c = x - m, d the
mean of a block less m, and c' = x - (m + d),

    sum(c u) = sum over blocks of (sum(c' u) + d sum(u)),  sum(c c) = ... (sum(c' c') + R d d),

which needs m only after the blocks (T. Chan, G. Golub, R. LeVeque, 1979). A variance in this form
loses no more digits than one around the mean of all.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from needle.compiler.fuse.rules import Pattern, edges, outer_size, reduce_pattern, total_size
from needle.compiler.graph.graph import Build, Graph, Node, rebuild
from needle.compiler.graph.primitives import Binary, Reduce
from needle.compiler.index import storage

LONG, FEW, COLUMNS = 1 << 16, 4, 64
"""Reductions of so many elements to so few rows, or columns of 64, are made in two steps."""

MOST_ROWS, MOST_ELEMENTS = 511, 1 << 18
"""Matrices with more of both do not stay in the cache while whole columns of them are summed."""

MOST_BLOCKS, BLOCK_BYTES, BLOCK_COLUMNS = 64, 1 << 16, 128
"""Blocks of a reduction, at most; bytes of the columns of a block that are swept at once."""

MOST_TERMS = 1 << 13
"""Terms of a block, in all lanes of a row or in 16 rows of a column, where one sum has more than
`LONG`: rounding grows with their number (22 eps for a million equal terms in 64 blocks).
"""


def divided(graph: Graph, groups: object = None) -> Graph:
    """The graph with long reductions to few elements in two steps."""
    return rebuild(graph, _Divider().rewrite) if any(map(_cut, graph.nodes())) else graph


class _Cut(NamedTuple):
    """A reduction's space with one reduced axis cut into blocks, and which of its axes they are."""

    shape: tuple[int, ...]
    reduced: tuple[int, ...]
    blocks: int


def _cut(node: Node) -> _Cut | None:
    """How to divide a reduction; None if it is better done at once."""
    if not isinstance(node.primitive, Reduce) or node.inputs[0].size < LONG:
        return None
    pattern = reduce_pattern(node)
    terms = total_size(pattern) // outer_size(pattern)
    few = outer_size(pattern) < FEW * (1 if pattern[-1][1] else COLUMNS)
    if not few and not tall(pattern) and terms <= LONG:
        return None
    sizes = [n for n, _ in pattern]
    reduced = [axis for axis, (_, inner) in enumerate(pattern) if inner]
    cut = max(reduced, key=lambda axis: sizes[axis])
    swept = total_size(pattern) // outer_size(pattern) * min(outer_size(pattern), BLOCK_COLUMNS)
    wanted = max(MOST_BLOCKS // 2, min(MOST_BLOCKS, swept * node.dtype.itemsize // BLOCK_BYTES))
    if terms > LONG:
        wanted = max(wanted, terms // (MOST_TERMS if pattern[-1][1] else MOST_TERMS // 16))
    blocks = next((p for p in range(wanted, 1, -1) if sizes[cut] % p == 0), 0)
    if not blocks:
        return None
    shape = (*sizes[:cut], blocks, sizes[cut] // blocks, *sizes[cut + 1 :])
    return _Cut(shape, tuple(axis + (axis >= cut) for axis in reduced), cut)


def tall(pattern: Pattern) -> bool:
    """Whether columns are summed that are too long for the cache."""
    rows = total_size(pattern) // max(outer_size(pattern), 1)
    large = rows > MOST_ROWS and total_size(pattern) > MOST_ELEMENTS
    return large and not pattern[-1][1]


class _Centred(NamedTuple):
    """A product of `x - centre`, the centre one number a column, and `other` (None: itself)."""

    x: Node
    centre: Node
    other: Node | None


class _Divider:
    """Rewrites a graph, node by node.

    `levels`: how many divided reductions stand one after the other below a node.
    `parts`: the sums over blocks that are already there, by what is summed.
    """

    def __init__(self) -> None:
        self.levels: dict[Node, int] = {}
        self.parts: dict[tuple[str, Node, _Cut], Node] = {}

    def rewrite(self, node: Node) -> Node:
        """The node, a long reduction in two steps."""
        cut, result = _cut(node), node
        level = max((self.levels[x] for x in node.inputs), default=0)
        if cut is not None:
            centred = self._centred(node)
            if centred is not None:
                level = self.levels[centred.x]
            level += 1
            result = self._divided(node, cut, centred)
        self.levels[result] = level
        return result

    def _centred(self, node: Node) -> _Centred | None:
        """What is summed, if that is a centred product all but whose centre is there early."""
        (product,) = node.inputs
        summed = node.primitive.fn == "sum" and node.dtype.kind == "f"  # type: ignore[attr-defined]
        if not summed or product.primitive != Binary("mul"):
            return None
        pattern = reduce_pattern(node)
        for c, other in (product.inputs, product.inputs[::-1]):
            if c.primitive != Binary("sub"):
                continue
            x, spread = c.inputs
            late = self.levels[spread] > self.levels[x]
            early = other is c or self.levels[other] <= self.levels[x]
            if late and early:
                *_, (centre, kind, found) = edges(c)
                if kind == "spread" and found == pattern:
                    return _Centred(x, centre, None if other is c else other)
        return None

    def _divided(self, node: Node, cut: _Cut, centred: _Centred | None) -> Node:
        fn: str = node.primitive.fn  # type: ignore[attr-defined]
        build = Build(node.source)
        if centred is None:
            parts = self._parts(build, fn, node.inputs[0], cut)
        else:
            parts = self._centred_parts(build, centred, cut)
        kept = sum(axis not in cut.reduced for axis in range(cut.blocks))
        return build.reshape(build.reduce(fn, parts, (kept,)), node.shape)

    def _parts(self, build: Build, fn: str, x: Node, cut: _Cut) -> Node:
        """The reductions of the blocks."""
        key = fn, storage(x), cut
        if key not in self.parts:
            self.parts[key] = build.reduce(fn, build.reshape(x, cut.shape), cut.reduced)
        return self.parts[key]

    def _centred_parts(self, build: Build, product: _Centred, cut: _Cut) -> Node:
        """The sums of the blocks of a product whose centre is known later."""
        rows = math.prod(cut.shape[axis] for axis in cut.reduced)
        column = [1 if axis in cut.reduced else n for axis, n in enumerate(cut.shape)]
        sums = self._parts(build, "sum", product.x, cut)
        mean = build.binary("mul", sums, build.full(1 / rows, sums))
        spread = build.broadcast(build.reshape(mean, column), cut.shape)
        around = build.binary("sub", build.reshape(product.x, cut.shape), spread)
        kept = [axis for axis in range(len(cut.shape)) if axis not in cut.reduced]
        one = [1 if axis == cut.blocks else cut.shape[axis] for axis in kept]
        centre = build.broadcast(build.reshape(product.centre, one), mean.shape)
        shift = build.binary("sub", mean, centre)
        if product.other is None:
            factor, weight = around, build.binary("mul", shift, build.full(rows, shift))
        else:
            factor = build.reshape(product.other, cut.shape)
            weight = self._parts(build, "sum", product.other, cut)
        inside = build.reduce("sum", build.binary("mul", around, factor), cut.reduced)
        return build.binary("add", inside, build.binary("mul", weight, shift))
