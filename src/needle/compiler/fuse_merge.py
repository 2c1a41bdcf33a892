"""Joining whole groups, once all nodes have a place.

The first pass sees a node before its users, so two groups over one space that read the same arrays,
or feed one another, may still stand apart. Here they are joined where one loop nest serves both.
"""

from __future__ import annotations


from needle.compiler.fuse_rules import Edge, Partial, is_reduce, reduce_pattern
from needle.compiler.fuse_group import MOST_MEMBERS, Group, Groups
from needle.compiler.graph import Node


def merge(groups: Groups) -> None:
    """Join groups until no pair fits; each round tries the neighbours of every group."""
    changed = True
    while changed:
        changed = False
        for group in list(groups.alive()):
            for other in _neighbours(groups, group):
                if other.alive and group.alive and _fits(groups, other, group):
                    groups.join(other, group)
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


def _fits(groups: Groups, first: Group, second: Group) -> bool:
    """Whether two groups can be one kernel."""
    if first.kind != "nest" or second.kind != "nest" or first.state != second.state:
        return False
    if len(first.members) + len(second.members) > MOST_MEMBERS or first.size != second.size:
        return False
    pattern = first.pattern if first.pattern is not None else second.pattern
    if second.pattern not in (None, pattern):
        return False
    if not all(_in_step(groups, a, b, pattern) for a, b in ((first, second), (second, first))):
        return False
    return not groups.between(first, second)


def _in_step(groups: Groups, reader: Group, other: Group, pattern: object) -> bool:
    """Whether all that `reader` reads of `other` is read in the loops' own order."""
    for node in reader.members:
        for edge in groups.edges[node]:
            if groups.home.get(edge.source) is other and not aligned(
                edge, node, node in reader.outer, edge.source in other.outer, pattern
            ):
                return False
    return True


def aligned(edge: Edge, node: Node, outer: bool, source_outer: bool, pattern: object) -> bool:
    """Whether a node can read a value of its own group: at the same position, or one per row."""
    if isinstance(edge.source.primitive, Partial):
        return False
    if isinstance(node.primitive, Partial) and node.inputs[0].shape[1] == 1:
        return edge.kind == "same" and source_outer
    inner = is_reduce(node) or not outer
    if is_reduce(node) and reduce_pattern(node) != pattern:
        return False
    if edge.kind == "same":
        return source_outer != inner
    return edge.kind == "spread" and source_outer and inner and edge.pattern == pattern
