"""Which nodes share a kernel.

Nodes are taken in order; each joins the group of a node it reads where one loop nest can serve both
and no cycle between kernels would arise; otherwise it starts a group. Then whole groups are joined
(`merge`), such as readers of the same array, and it is decided what is kept in memory and what
is computed again where it is used (`memory`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from needle.compiler.fuse import blocks as fuse_blocks
from needle.compiler.fuse import cross as fuse_cross
from needle.compiler.fuse import memory as fuse_memory
from needle.compiler.fuse import merge as fuse_merge
from needle.compiler.fuse.group import Group, Groups, Memory
from needle.compiler.fuse.merge import joint
from needle.compiler.fuse.rules import (
    Edge,
    edges,
    is_map,
    is_source,
    is_view,
    stored_operands,
)  # fmt: skip
from needle.compiler.graph.graph import Graph, Node
from needle.compiler.graph.primitives import Input, Reshape
from needle.compiler.index import storage

REWRITES = (fuse_cross.split, fuse_blocks.divided)
"""Reductions in two steps, once groups show where: by a kernel that is there, or for themselves."""


class Fused(NamedTuple):
    """The graph, with reductions in two steps where that pays, its groups and its memory."""

    graph: Graph
    groups: list[Group]
    memory: Memory


def fuse(graph: Graph, tied: Collection[int] = (), *, fusing: bool = True) -> Fused:
    """Return the groups, in an order that respects what they read, and what is kept in memory.

    Outputs must be distinct in memory and no inputs; those in `tied`, by position, are new values
    of state. Without `fusing` each node is a group.
    """
    fuser = Fuser(graph, tied, fusing)
    for rewrite in REWRITES if fusing else ():
        rewritten = rewrite(graph, fuser.groups)
        if rewritten is not graph:
            graph, fuser = rewritten, Fuser(rewritten, tied, fusing)
    groups = list(fuser.groups.alive())
    kept = fuse_memory.kept_nodes(fuser.groups, graph, recompute=fusing)
    for group in groups:
        group.outputs = [node for node in group.members if node in kept]
    ordered = sorted(groups, key=lambda g: (g.state, g.before.bit_count(), g.number))
    return Fused(graph, [g for g in ordered if g.outputs], Memory(kept, fuser.copied))


class Fuser:
    """Builds the groups of a graph, node by node."""

    def __init__(self, graph: Graph, tied: Collection[int], fusing: bool) -> None:
        nodes = graph.nodes()
        self.fusing = fusing
        self.groups = Groups(nodes)
        self.state = _state_nodes(graph, {graph.outputs[k] for k in tied})
        self.inlined: set[Node] = set()
        self.copied: set[Node] = set()
        self.users = graph.users()
        for node in nodes:
            if node.size and not (is_view(node) or is_source(node) or self._inline(node)):
                self._place(node)
        for node in map(storage, graph.outputs):
            if node.size and node not in self.groups.home:
                self._copy(node)
        if fusing:
            fuse_merge.merge(self.groups)
            fuse_merge.end_products(self.groups)

    def _inline(self, node: Node) -> bool:
        """Whether a node is computed wherever it is used: scalars made of inputs alone."""
        scalar = node.size == 1 and is_map(node) and not stored_operands(node)
        sources = [e.source for e in edges(node)] if scalar else [node]
        if all(is_source(x) or x in self.inlined for x in sources):
            self.inlined.add(node)
        return node in self.inlined

    def _copy(self, node: Node) -> None:
        """A kernel that writes out a view, a literal or an inlined node."""
        self.copied.add(node)
        self.groups.start(self.groups.alone(node, edges(node), node in self.state))

    def _place(self, node: Node) -> None:
        for x in stored_operands(node):
            if x not in self.groups.home and not isinstance(x.primitive, Input):
                self._copy(x)
        home, reads = self.groups.home, edges(node)
        new = self.groups.alone(node, reads, node in self.state)
        if self.fusing and new.kind == "nest":
            producers = {home[e.source] for e in reads if e.source in home}
            latest = sorted(producers, key=lambda g: (-g.before.bit_count(), -g.number))
            if any(self._join(group, new, reads) for group in latest):
                return
        self.groups.start(new)

    def _join(self, group: Group, new: Group, reads: list[Edge]) -> bool:
        """Add a new group to one that it reads, where both can be one kernel."""
        inside = [e for e in reads if self.groups.home.get(e.source) is group]
        if group.kind == "matmul" and not self._ends_product(new.members[0], inside):
            return False
        outer = joint(self.groups, group, new) if group.kind in ("nest", "matmul") else None
        if outer is None:
            return False
        self.groups.add(group, new)
        group.outer = outer
        if group.pattern is None:
            group.pattern = new.pattern
        return True

    def _ends_product(self, node: Node, inside: list[Edge]) -> bool:
        """Whether work on a product is done in its epilogue, before all readers are known.

        It is where nobody else reads the product, where its result must be in memory anyway, and
        for masks, which are much smaller than what they are made of.
        """
        alone = all(len(self.users[e.source]) == 1 for e in inside)
        stored = any(x is node for u in self._readers(node) for x in stored_operands(u))
        small = all(node.dtype.itemsize * 4 <= e.source.dtype.itemsize for e in inside)
        return alone or stored or small

    def _readers(self, node: Node) -> list[Node]:
        """The users of a node and of its reshapes."""
        found: list[Node] = []
        stack = [node]
        while stack:
            for user in self.users[stack.pop()]:
                (stack if isinstance(user.primitive, Reshape) else found).append(user)
        return found


def _state_nodes(graph: Graph, tied: set[Node]) -> set[Node]:
    """Maps and views whose every use leads to a tied output: the updates of state."""
    users = graph.users()
    plain = set(graph.outputs) - tied
    found: set[Node] = set()
    for node in reversed(graph.nodes()):
        movable = is_map(node) or is_view(node)
        used = bool(users[node]) or node in tied
        if used and movable and node not in plain and all(u in found for u in users[node]):
            found.add(node)
    return found


def separate(group: Group) -> list[Group]:
    """The nodes of a group one by one: what is done where the group turns out not to be aligned."""
    singles = [Group.of(node, group.state, group.number) for node in group.members]
    for single in singles:
        single.outputs = single.members
    return singles
