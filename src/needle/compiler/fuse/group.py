"""Groups of nodes, each to become one kernel, and which of them come after which."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from needle.compiler.fuse.rules import (
    Edge,
    Partial,
    Pattern,
    is_map,
    is_reduce,
    is_source,
    is_view,
    per_row,
    reduce_pattern,
)  # fmt: skip
from needle.compiler.fuse.window import is_gradient
from needle.compiler.graph.graph import Node
from needle.compiler.graph.primitives import Concat, MatMul

MOST_MEMBERS = 100
"""Nodes of a kernel: LLVM's time grows faster than their number."""


@dataclass(eq=False)
class Group:
    """The nodes of one kernel.

    `kind` is "nest", "matmul", "concat" or "special" (one node with a kernel of its own). Nodes in
    `outer` have one value per outer position of the pattern; the others one per position. `state`
    marks the last phase, in which the inputs that hold state are overwritten. `before` has a bit
    for each group that must run earlier; `bits` are a group's own, several once it was joined.
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
    alive: bool = True
    bits: int = 0

    @staticmethod
    def of(node: Node, state: bool, number: int) -> Group:
        """A group of one node."""
        pattern = reduce_pattern(node) if is_reduce(node) and not per_row(node) else None
        size = node.inputs[0].size if is_reduce(node) else node.size
        one_per_row = is_reduce(node) and not isinstance(node.primitive, Partial)
        outer = {node} if one_per_row else set()
        return Group(_kind(node), size, pattern, state, number, [node], outer, bits=1 << number)

    def follows(self, other: Group) -> bool:
        """Whether the other group must run earlier."""
        return self.before & other.bits != 0

    @property
    def space(self) -> Pattern:
        """The iteration space: the pattern, or all elements in order."""
        return self.pattern if self.pattern is not None else ((self.size, False),)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.space} {' '.join(n.primitive.name for n in self.members)}>"


def _kind(node: Node) -> str:
    if is_map(node) or is_reduce(node) or is_view(node) or is_source(node):
        return "nest"
    if isinstance(node.primitive, MatMul):
        return "special" if is_gradient(node) else "matmul"
    return "concat" if isinstance(node.primitive, Concat) else "special"


class Groups:
    """All groups of a graph: where each node is, what it reads, and who reads it."""

    def __init__(self, order: list[Node]) -> None:
        self._order = {node: k for k, node in enumerate(order)}
        self._all: list[Group] = []
        self.home: dict[Node, Group] = {}
        self.readers: dict[Node, list[Group]] = {}
        self.edges: dict[Node, list[Edge]] = {}

    def alive(self) -> Iterator[Group]:
        """The groups that were not joined to others."""
        return (g for g in self._all if g.alive)

    def alone(self, node: Node, reads: list[Edge], state: bool) -> Group:
        """A group for a node that has none: to be started, or added to another."""
        self.edges[node] = reads
        group = Group.of(node, state, len(self._all))
        for source, _, _ in reads:
            other = self.home.get(source)
            if other is not None:
                group.before |= other.before | other.bits
        return group

    def start(self, group: Group) -> None:
        """Take a new group among the others."""
        self._all.append(group)
        self._settle(group, group)

    def add(self, group: Group, new: Group) -> None:
        """Put the node of a group that was not started into another."""
        group.members += new.members
        self._settle(group, new)
        self._depend(group, new.before & ~group.bits)

    def _settle(self, group: Group, new: Group) -> None:
        (node,) = new.members
        self.home[node] = group
        for source, kind, _ in self.edges[node]:
            readers = self.readers.setdefault(source, [])
            if kind != "free" and (not readers or readers[-1] is not group):
                readers.append(group)  # the loops of others have another order
            other = self.home.get(source)
            if other is not None and other is not group:
                other.users.add(group)

    def _depend(self, group: Group, before: int) -> None:
        """Record what a group comes after, in it and in all that come after it."""
        stack = [(group, before)]
        while stack:
            top, bits = stack.pop()
            if bits & ~top.before:
                top.before |= bits
                stack.extend((user, top.before) for user in top.users if user.alive)

    def between(self, first: Group, second: Group) -> bool:
        """Whether a third group must run after one of the two and before the other."""
        for early, late in ((first, second), (second, first)):
            if late.follows(early):
                middles = (user for user in early.users if user.alive and user is not late)
                if any(late.follows(middle) for middle in middles):
                    return True
        return False

    def join(self, group: Group, gone: Group, outer: set[Node]) -> None:
        """Move all nodes of one group into another; `outer`: those of both with a value a row."""
        gone.alive = False
        if group.pattern is None:
            group.pattern = gone.pattern
        group.outer = outer
        for node in gone.members:
            self.home[node] = group
        order = sorted([*group.members, *gone.members], key=self._order.__getitem__)
        group.members = order
        group.users = (group.users | gone.users) - {group, gone}
        group.bits |= gone.bits
        for source in {e.source for n in gone.members for e in self.edges[n]}:
            readers = self.readers[source]
            readers[:] = dict.fromkeys(group if g is gone else g for g in readers)
            producer = self.home.get(source, group)
            if producer is not group:
                producer.users.discard(gone)
                producer.users.add(group)
        group.before = (group.before | gone.before) & ~group.bits
        for user in list(group.users):
            self._depend(user, group.before | group.bits)


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
