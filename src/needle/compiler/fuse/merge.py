"""Joining whole groups, once all nodes have a place.

The first pass sees a node before its users, so two groups over one space that read the same arrays,
or feed one another, may still stand apart. Here they are joined where one loop nest serves both.
"""

from __future__ import annotations

from needle.compiler.fuse.group import MOST_MEMBERS, Group, Groups
from needle.compiler.fuse.rules import (
    Edge,
    Partial,
    Pattern,
    is_reduce,
    is_view,
    outer_size,
    per_row,
)  # fmt: skip
from needle.compiler.graph.graph import Node


def merge(groups: Groups) -> None:
    """Join groups until no pair fits; each round tries the neighbours of every group."""
    changed = True
    while changed:
        changed = False
        for group in [g for g in groups.alive() if g.kind == "nest"]:
            for other in _neighbours(groups, group):
                if not other.alive or not group.alive:
                    continue
                large, small = sorted((other, group), key=lambda g: -g.size)
                outer = joint(groups, large, small)
                if outer is not None:
                    groups.join(large, small, outer)
                    changed = True


def _neighbours(groups: Groups, group: Group) -> list[Group]:
    """Groups that feed a group, and those that read arrays it reads."""
    found: dict[Group, None] = {}
    for node in group.members:
        for source, kind, _ in groups.edges[node]:
            if source in groups.home and kind != "stored":
                found[groups.home[source]] = None
            if kind == "same" and source.size > 1:
                found.update(dict.fromkeys(groups.readers.get(source, ())[-8:]))
    found.pop(group, None)
    return [g for g in found if g.kind == "nest"]


def end_products(groups: Groups) -> None:
    """Make a group the epilogue of a product if it is all that becomes of it.

    Last, when reductions have found their groups: what is made for them stays with them.
    """
    for product in [g for g in groups.alive() if g.kind == "matmul" and len(g.users) == 1]:
        (group,) = product.users
        outer = joint(groups, product, group) if group.kind == "nest" else None
        if outer is not None:
            first = product.members[0]
            groups.join(product, group, outer)
            product.members.sort(key=lambda node: node is not first)  # whatever stood before it


def joint(groups: Groups, first: Group, second: Group) -> set[Node] | None:
    """The nodes with one value per row if both groups were one kernel; None if they cannot be.

    All that the second computes may be one value per row of the first.
    """
    if first.state != second.state or len(first.members) + len(second.members) > MOST_MEMBERS:
        return None
    in_place = second.pattern is None and not any(map(is_view, second.members))
    if first.kind == "matmul" and not in_place:
        return None
    pattern = first.pattern if first.pattern is not None else second.pattern
    found = None
    if first.size == second.size and second.pattern in (None, pattern):
        found = _in_step(groups, first, second, first.outer | second.outer, pattern)
    if found is None and in_place and second.size == outer_size(first.space):
        rows = {node for node in second.members if not is_reduce(node)}
        found = _in_step(groups, first, second, first.outer | rows, pattern)
    return None if found is None or groups.between(first, second) else found


def _in_step(
    groups: Groups, first: Group, second: Group, outer: set[Node], pattern: Pattern | None
) -> set[Node] | None:
    """`outer`, if all that the groups read of each other is read in the loops' own order."""
    reads = [(second, first), (first, second)] if first in second.users else [(second, first)]
    for reader, other in reads:
        for node in reader.members:
            rows = per_row(node) or (node in outer and not is_reduce(node))
            for edge in groups.edges[node]:
                if groups.home.get(edge.source) is other and not aligned(
                    edge, rows, edge.source in outer, pattern
                ):
                    return None
    return outer


def aligned(edge: Edge, reads_rows: bool, one_per_row: bool, pattern: Pattern | None) -> bool:
    """Whether a node can read a value of its own group: at the same position, or one per row."""
    if isinstance(edge.source.primitive, Partial):
        return False
    if edge.kind == "same":
        return one_per_row == reads_rows
    return edge.kind == "spread" and one_per_row and not reads_rows and edge.pattern == pattern
