"""Which nodes share a kernel.

Nodes are taken in order; each joins the group of a node it reads where one loop nest can serve both
and no cycle between kernels would arise; otherwise it starts a group. Then whole groups are joined
(`fuse_merge`), such as readers of the same array, and it is decided what is kept in memory and what
is computed again where it is used (`fuse_memory`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from needle.compiler import fuse_blocks, fuse_cross, fuse_memory, fuse_merge
from needle.compiler.fuse_group import MOST_MEMBERS, Group, Groups, Memory
from needle.compiler.fuse_window import is_gradient
from needle.compiler.fuse_rules import (
    Edge, Partial, all_edges, edges, is_map, is_reduce, is_source, is_view, outer_size,
    reduce_pattern, stored_operands, total_size,
)  # fmt: skip
from needle.compiler.graph import Graph, Node
from needle.compiler.lower_index import storage
from needle.compiler.primitives import Concat, Input, MatMul, Reshape

CROSSING_ROUNDS = 3
"""A reduction taken into a kernel can bring with it the operand of another; two are usual."""


class Fused(NamedTuple):
    """The graph, with reductions in two steps where that pays, its groups and its memory."""

    graph: Graph
    groups: list[Group]
    memory: Memory


def fuse(graph: Graph, tied: Iterable[Node] = (), *, fusing: bool = True) -> Fused:
    """Return the groups, in an order that respects what they read, and what is kept in memory.

    Outputs must be distinct in memory and no inputs. Without `fusing` each node is a group.
    """
    places = {node: k for k, node in enumerate(graph.outputs)}
    marked = [places[node] for node in tied]
    fuser = _fused(graph, tied, fusing)
    for _ in range(CROSSING_ROUNDS if fusing else 0):
        found = fuse_cross.crossings(fuser.groups)
        if not found:
            break
        graph = fuse_cross.split(graph, found)
        fuser = _fused(graph, [graph.outputs[k] for k in marked], fusing)
    if fuse_blocks.is_long(graph):
        graph = fuse_blocks.divided(graph)
        fuser = _fused(graph, [graph.outputs[k] for k in marked], fusing)
    groups = list(fuser.groups.alive())
    kept = fuse_memory.kept_nodes(fuser.groups, graph, recompute=fusing)
    for group in groups:
        group.outputs = [node for node in group.members if node in kept]
    ordered = sorted(groups, key=lambda g: (g.state, g.before.bit_count(), g.number))
    return Fused(graph, [g for g in ordered if g.outputs], Memory(kept, fuser.copied))


def _fused(graph: Graph, tied: Iterable[Node], fusing: bool) -> Fuser:
    fuser = Fuser(graph, tied, fusing)
    if fusing:
        fuse_merge.merge(fuser.groups)
    return fuser


class Fuser:
    """Builds the groups of a graph, node by node."""

    def __init__(self, graph: Graph, tied: Iterable[Node], fusing: bool) -> None:
        self.fusing = fusing
        self.groups = Groups()
        self.state = _state_nodes(graph, set(tied))
        self.inlined: set[Node] = set()
        self.copied: set[Node] = set()
        self.users = graph.users()
        self.outputs = {storage(n) for n in graph.outputs}
        nodes = graph.nodes()
        self.groups.number_nodes(nodes)
        for node in nodes:
            if node.size and not (is_view(node) or is_source(node) or self._inline(node)):
                self._place(node)
        for node in map(storage, graph.outputs):
            if node.size and node not in self.groups.home:
                self._copy(node)

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
        self._start("nest", node, list(edges(node)))

    def _place(self, node: Node) -> None:
        for x in stored_operands(node):
            if x not in self.groups.home and not isinstance(x.primitive, Input):
                self._copy(x)
        reads = all_edges(node)
        if not (is_map(node) or is_reduce(node)):
            product = isinstance(node.primitive, MatMul) and not is_gradient(node)
            kind = "concat" if isinstance(node.primitive, Concat) else "special"
            self._start("matmul" if product else kind, node, reads)
            return
        home = self.groups.home
        producers = {home[e.source] for e in reads if e.source in home}
        latest = sorted(producers, key=lambda g: (-g.before.bit_count(), -g.number))
        if self.fusing and any(self._join(group, node, reads) for group in latest):
            return
        self._start("nest", node, reads)

    def _start(self, kind: str, node: Node, reads: list[Edge]) -> None:
        pattern = reduce_pattern(node) if is_reduce(node) else None
        size = node.size if pattern is None else node.inputs[0].size
        group = self.groups.new(kind, size, pattern, node in self.state)
        if pattern is not None and not isinstance(node.primitive, Partial):
            group.outer.add(node)
        self.groups.add(group, node, reads)

    def _join(self, group: Group, node: Node, reads: list[Edge]) -> bool:
        if group.state != (node in self.state) or len(group.members) >= MOST_MEMBERS:
            return False
        inside = [e for e in reads if self.groups.home.get(e.source) is group]
        if group.kind == "matmul" and not self._ends_product(node, inside):
            return False
        level = _level(group, node, inside)
        if level is None or self.groups.cyclic(group, reads):
            return False
        if is_reduce(node) and not _per_row(node):
            group.pattern = reduce_pattern(node)
        if level == "outer":
            group.outer.add(node)
        self.groups.add(group, node, reads)
        return True

    def _ends_product(self, node: Node, inside: list[Edge]) -> bool:
        """Whether work on a product is better done in its epilogue than where its result is read.

        It is where nobody else reads the product, where its result must be in memory anyway, and
        for masks, which are much smaller than what they are made of.
        """
        alone = all(len(self.users[e.source]) == 1 for e in inside)
        stored = any(x is node for u in self._readers(node) for x in stored_operands(u))
        small = all(node.dtype.itemsize * 4 <= e.source.dtype.itemsize for e in inside)
        return alone or stored or small or node in self.outputs

    def _readers(self, node: Node) -> list[Node]:
        """The users of a node and of its reshapes."""
        found: list[Node] = []
        stack = [node]
        while stack:
            for user in self.users[stack.pop()]:
                (stack if isinstance(user.primitive, Reshape) else found).append(user)
        return found


def _level(group: Group, node: Node, inside: list[Edge]) -> str | None:
    """Where in a group a node would be computed, "inner" or "outer"; None if it does not fit."""
    if group.kind in ("special", "concat") or (group.kind == "matmul" and not inside):
        return None
    if is_reduce(node):
        return _reduce_level(group, node, inside)
    levels = set()
    for source, kind, pattern in inside:
        outer = source in group.outer
        if isinstance(source.primitive, Partial):
            return None
        if kind == "same":
            levels.add("outer" if outer else "inner")
        elif kind == "spread" and outer and pattern == group.pattern:
            levels.add("inner")
        else:
            return None
    level = levels.pop() if len(levels) == 1 else None if levels else "inner"
    size = outer_size(group.space) if level == "outer" else group.size
    return level if node.size == size else None


def _per_row(node: Node) -> bool:
    """Whether a node sums one value per row over the rows of a block."""
    return isinstance(node.primitive, Partial) and node.inputs[0].shape[1] == 1


def _reduce_level(group: Group, node: Node, inside: list[Edge]) -> str | None:
    pattern = reduce_pattern(node)
    if _per_row(node):
        outer = all(e.kind == "same" and e.source in group.outer for e in inside)
        fits = bool(inside) and outer and outer_size(group.space) == node.inputs[0].size
        return "blocks" if fits else None
    if group.kind != "nest" or group.size != total_size(pattern):
        return None
    if group.pattern not in (None, pattern) or (
        group.pattern is None and not fuse_blocks.parallel(pattern)
    ):
        return None
    level = "blocks" if isinstance(node.primitive, Partial) else "outer"
    for edge in inside:
        if not fuse_merge.aligned(edge, node, True, edge.source in group.outer, pattern):
            return None
    return level


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
    return [_single(group, node) for node in group.members]


def _single(group: Group, node: Node) -> Group:
    kind = "nest" if is_map(node) or is_reduce(node) or is_view(node) else group.kind
    result = Group(kind, node.size, None, group.state, group.number, [node], outputs=[node])
    if is_reduce(node):
        result.pattern, result.size = reduce_pattern(node), node.inputs[0].size
        if not isinstance(node.primitive, Partial):
            result.outer.add(node)
    return result
