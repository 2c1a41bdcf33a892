"""Reductions across the blocks of a kernel.

A kernel that walks over rows can also sum down the columns, or sum everything: each block leaves a
partial result, and the partial results are added in the order of the blocks by a second, small
reduction. After this pass the graph says so: `sum(x)` is `sum(partial(x))`.
"""

from __future__ import annotations

from typing import NamedTuple

from needle.compiler.fuse.group import Group, Groups
from needle.compiler.fuse.merge import aligned
from needle.compiler.fuse.rules import Partial, is_reduce, outer_size
from needle.compiler.graph.graph import Build, Graph, Node, rebuild
from needle.compiler.graph.primitives import Reduce

BLOCK_ELEMENTS = 16384
"""Elements of a block that leaves partial results: about 4 microseconds of work."""

MOST_BLOCKS = 32


class Crossing(NamedTuple):
    """The rows and columns of the kernel that makes the parts of a reduction."""

    rows: int
    columns: int


def _crossings(groups: Groups) -> dict[Node, Crossing]:
    """The reductions that a row-wise kernel can make on its way."""
    found: dict[Node, Crossing] = {}
    for group in groups.alive():
        for host in _hosts(groups, group):
            (rows, _), (columns, _) = host.space
            if _convertible(groups, group, host, rows, columns):
                reductions = filter(is_reduce, group.members)
                found.update(dict.fromkeys(reductions, Crossing(rows, columns)))
                break
    return found


def _hosts(groups: Groups, group: Group) -> list[Group]:
    """Row-wise kernels that make, or read, what a group reduces."""
    if group.kind != "nest" or not group.pattern or not group.pattern[0][1]:
        return []
    found: dict[Group, None] = {}
    for node in group.members:
        for source, kind, _ in groups.edges[node]:
            if source in groups.home:
                found[groups.home[source]] = None
            if kind == "same" and source.size > 1:
                found.update(dict.fromkeys(groups.readers.get(source, ())))
    return [g for g in found if g is not group and _is_host(g) and g.state == group.state]


def _is_host(group: Group) -> bool:
    """Whether a kernel walks over rows and sweeps columns."""
    return group.kind == "nest" and [inner for _, inner in group.space] == [False, True]


def _convertible(groups: Groups, group: Group, host: Group, rows: int, columns: int) -> bool:
    """Whether all reductions of a group can be made by blocks of the host's rows."""
    whole = group.pattern in (((rows, True), (columns, False)), ((rows * columns, True),))
    per_row = group.pattern == ((rows, True),) and rows == outer_size(host.space)
    if not (whole or per_row) or host.follows(group):
        return False
    for node in group.members:
        after = node in group.outer and not is_reduce(node)
        if is_reduce(node) and not isinstance(node.primitive, Reduce):
            return False
        for edge in groups.edges[node]:
            home = groups.home.get(edge.source)
            if home is group and edge.source in group.outer and not after:
                return False
            if after or home is None or home is group:
                continue
            if home is not host and home.follows(host):
                return False
            one_per_row = edge.source in host.outer
            if home is host and not aligned(edge, per_row, one_per_row, host.pattern):
                return False
    return True


def split(graph: Graph, groups: Groups) -> Graph:
    """The graph with each reduction that a row-wise kernel can make on its way in two steps."""
    found = _crossings(groups)
    order = iter(graph.nodes())

    def rewrite(node: Node) -> Node:
        # `node` may have new inputs: it is found by its place in the order.
        crossing = found.get(next(order))
        return _in_parts(node, *crossing) if crossing is not None else node

    return rebuild(graph, rewrite) if found else graph


def _in_parts(node: Node, rows: int, columns: int) -> Node:
    (x,), build = node.inputs, Build(node.source)
    fn: str = node.primitive.fn  # type: ignore[attr-defined]
    if node.size == 1 and x.size == rows * columns:
        x = build.reduce(fn, build.reshape(x, (rows, columns)), (1,))
    flat = build.reshape(x, (rows, x.size // rows))
    partial = build(Partial(fn, chunk_of(rows, columns)), flat)
    return build.reshape(build.reduce(fn, partial, (0,)), node.shape)


def chunk_of(rows: int, columns: int) -> int:
    """Rows of a block: some microseconds of work, and an even number of blocks."""
    blocks = max(1, min(MOST_BLOCKS, rows, rows * max(columns, 64) // BLOCK_ELEMENTS))
    return -(-rows // (blocks + blocks % 2 if blocks > 1 else 1))
