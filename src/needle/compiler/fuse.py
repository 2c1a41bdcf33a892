"""Which nodes share a kernel.

Nodes are taken in order; each joins the group of a node it reads, or of another reader of the same
array, where one loop nest can serve both and no cycle between kernels would arise; otherwise it
starts a group. What is kept in memory afterwards is decided by `needed`: nodes that another group
reads, except where reading their operands instead costs no more bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from needle.compiler.fuse_rules import (
    Edge,
    Pattern,
    all_edges,
    edges,
    is_map,
    is_reduce,
    is_source,
    is_view,
    outer_size,
    reduce_pattern,
    stored_operands,
    total_size,
)
from needle.compiler.graph import Graph, Node
from needle.compiler.lower_schedule import storage
from needle.compiler.primitives import Input, MatMul

MOST_MEMBERS = 100
"""Nodes of a kernel: LLVM's time grows faster than their number."""


@dataclass
class Memory:
    """Which nodes have a buffer. `copied` ones are moved or repeated values: whoever can computes
    them again, since the copy may be made later than what it copies.
    """

    kept: set[Node]
    copied: set[Node]

    def loaded(self, node: Node) -> bool:
        """Whether a loop nest reads the node from memory."""
        return node in self.kept and node not in self.copied


@dataclass(eq=False)
class Group:
    """The nodes of one kernel.

    `kind` is "nest", "matmul" or "special" (one node with a kernel of its own). Nodes in `outer`
    have one value per outer position of the pattern; the others one per position. `state` marks the
    last phase, in which the inputs that hold state are overwritten.
    """

    kind: str
    size: int
    pattern: Pattern | None
    state: bool
    number: int
    members: list[Node] = field(default_factory=list)
    outer: set[Node] = field(default_factory=set)
    outputs: list[Node] = field(default_factory=list)
    before: int = 0
    users: set[Group] = field(default_factory=set)

    @property
    def space(self) -> Pattern:
        """The iteration space: the pattern, or all elements in order."""
        return self.pattern if self.pattern is not None else ((self.size, False),)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.space} {' '.join(n.primitive.name for n in self.members)}>"


class Fuser:
    """Builds the groups of a graph, node by node."""

    def __init__(self, graph: Graph, tied: Iterable[Node] = (), fusing: bool = True) -> None:
        self.graph, self.fusing = graph, fusing
        self.groups: list[Group] = []
        self.home: dict[Node, Group] = {}
        self.readers: dict[Node, list[Group]] = {}
        self.state = _state_nodes(graph, set(tied))
        self.inlined: set[Node] = set()
        self.copied: set[Node] = set()
        for node in graph.nodes():
            if node.size and not (is_view(node) or is_source(node) or self._inline(node)):
                self._place(node)
        for node in map(storage, graph.outputs):
            if node.size and node not in self.home:
                self._copy(node)

    # -- placing nodes ----------------------------------------------------------------------------

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
        self._new("nest", node, list(edges(node)))

    def _place(self, node: Node) -> None:
        for x in stored_operands(node):
            if x not in self.home and not isinstance(x.primitive, Input):
                self._copy(x)
        reads = all_edges(node)
        if not (is_map(node) or is_reduce(node)):
            self._new("matmul" if isinstance(node.primitive, MatMul) else "special", node, reads)
            return
        for group in self._candidates(node, reads) if self.fusing else ():
            if self._join(group, node, reads):
                return
        group = self._new("nest", node, reads)
        if is_reduce(node):
            group.pattern, group.size = reduce_pattern(node), node.inputs[0].size
            group.outer.add(node)

    def _new(self, kind: str, node: Node, reads: list[Edge]) -> Group:
        state = node in self.state
        group = Group(kind, node.size, None, state, len(self.groups))
        self.groups.append(group)
        self._add(group, node, reads)
        return group

    def _add(self, group: Group, node: Node, reads: list[Edge]) -> None:
        group.members.append(node)
        self.home[node] = group
        before = 0
        for source, _, _ in reads:
            self.readers.setdefault(source, []).append(group)
            other = self.home.get(source)
            if other is not None and other is not group:
                before |= other.before | 1 << other.number
                other.users.add(group)
        self._depend(group, before)

    def _depend(self, group: Group, before: int) -> None:
        """Record what a group comes after, in it and in all that come after it."""
        stack = [group]
        while stack:
            top = stack.pop()
            if before & ~top.before:
                top.before |= before
                stack.extend(top.users)

    def _candidates(self, node: Node, reads: list[Edge]) -> Iterator[Group]:
        """Groups the node may join, the latest producer first, then readers of the same arrays."""
        producers = {self.home[e.source] for e in reads if e.source in self.home}
        yield from sorted(producers, key=lambda g: (-g.before.bit_count(), -g.number))
        size = node.inputs[0].size if is_reduce(node) else node.size
        seen = set(producers)
        for source, kind, _ in reads:
            if kind == "same" and source.size == size:
                for group in reversed(self.readers.get(source, ())[-4:]):
                    if group not in seen and group.size == size:
                        seen.add(group)
                        yield group

    def _join(self, group: Group, node: Node, reads: list[Edge]) -> bool:
        if group.state != (node in self.state) or len(group.members) >= MOST_MEMBERS:
            return False
        level = _level(group, node, [e for e in reads if self.home.get(e.source) is group])
        if level is None or self._cyclic(group, reads):
            return False
        if is_reduce(node):
            group.pattern = reduce_pattern(node)
        if level == "outer":
            group.outer.add(node)
        self._add(group, node, reads)
        return True

    def _cyclic(self, group: Group, reads: list[Edge]) -> bool:
        """Whether something the node reads comes after the group."""
        others = (self.home.get(e.source) for e in reads)
        return any(o is not None and o is not group and o.before >> group.number & 1 for o in others)

    # -- the result -------------------------------------------------------------------------------

    def ordered(self) -> list[Group]:
        """Groups after those they read; what writes state comes last."""
        return sorted(self.groups, key=lambda g: (g.state, g.before.bit_count(), g.number))


def _level(group: Group, node: Node, inside: list[Edge]) -> str | None:
    """Where in a group a node would be computed, "inner" or "outer"; None if it does not fit."""
    if group.kind == "special" or (group.kind == "matmul" and not inside):
        return None
    if is_reduce(node):
        return _reduce_level(group, node, inside)
    levels = set()
    for source, kind, pattern in inside:
        outer = source in group.outer
        if kind == "same":
            levels.add("outer" if outer else "inner")
        elif kind == "spread" and outer and pattern == group.pattern:
            levels.add("inner")
        else:
            return None
    level = levels.pop() if len(levels) == 1 else None if levels else "inner"
    size = outer_size(group.space) if level == "outer" else group.size
    return level if node.size == size else None


def _reduce_level(group: Group, node: Node, inside: list[Edge]) -> str | None:
    pattern = reduce_pattern(node)
    if group.kind != "nest" or group.size != total_size(pattern):
        return None
    if group.pattern not in (None, pattern) or (group.pattern is None and not _parallel(pattern)):
        return None
    for source, kind, spread in inside:
        outer = source in group.outer
        if not ((kind == "same" and not outer) or (kind == "spread" and outer and spread == pattern)):
            return None
    return "outer"


def _parallel(pattern: Pattern) -> bool:
    """Whether a reduction leaves enough outer positions to keep all threads busy."""
    return outer_size(pattern) >= 32 or total_size(pattern) <= 1 << 15


def _state_nodes(graph: Graph, tied: set[Node]) -> set[Node]:
    """Maps and views whose every use leads to a tied output: the updates of state."""
    users = graph.users()
    plain = set(graph.outputs) - tied
    found: set[Node] = set()
    for node in reversed(graph.nodes()):
        movable = is_map(node) or is_view(node)
        if movable and node not in plain and all(u in found for u in users[node]):
            found.add(node)
    return found


def kept_nodes(groups: Iterable[Group], graph: Graph) -> set[Node]:
    """All nodes that have a buffer: inputs, outputs, and what a group reads of another."""
    kept = {storage(n) for n in graph.outputs} | set(graph.inputs)
    home = {n: g for g in groups for n in g.members}
    for group in groups:
        for node in group.members:
            reads = (e.source for e in all_edges(node))
            kept.update(x for x in reads if x in home and home[x] is not group)
    return kept


def fuse(
    graph: Graph, tied: Iterable[Node] = (), *, fusing: bool = True
) -> tuple[list[Group], Memory]:
    """Return the groups in an order that respects what they read, and the nodes kept in memory.

    Outputs must be distinct in memory and no inputs. Without `fusing` each node is a group.
    """
    fuser = Fuser(graph, tied, fusing)
    groups = fuser.ordered()
    kept = kept_nodes(groups, graph)
    for group in groups:
        group.outputs = [node for node in group.members if node in kept]
    return groups, Memory(kept, fuser.copied)


def separate(group: Group) -> list[Group]:
    """The nodes of a group one by one: what is done where the group turns out not to be aligned."""
    return [_single(group, node) for node in group.members]


def _single(group: Group, node: Node) -> Group:
    kind = "nest" if is_map(node) or is_reduce(node) or is_view(node) else group.kind
    result = Group(kind, node.size, None, group.state, group.number, [node], outputs=[node])
    if is_reduce(node):
        result.pattern, result.size = reduce_pattern(node), node.inputs[0].size
        result.outer.add(node)
    return result
