"""From groups to kernels: LLVM functions that every thread calls with its range of blocks.

A kernel is two functions: one with the interface of the run, which loads the pointers from the
step's table, and the body, whose pointer parameters are ``noalias``. Equal work has one kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from needle.compiler.emit.emit import Module
from needle.compiler.fuse.group import Group, Memory
from needle.compiler.fuse.rules import Partial, refined, shapes_of
from needle.compiler.fuse.window import windowed
from needle.compiler.graph.graph import Node
from needle.compiler.graph.primitives import Concat, Cumulative, MatMul, ScatterAdd
from needle.compiler.lower.bundle import Bundle, Tailed, piece_of
from needle.compiler.lower.instruction import joined
from needle.compiler.lower.matmul import MatMulWork
from needle.compiler.lower.movement import CumulativeWork, ScatterWork
from needle.compiler.lower.nest import NestWork
from needle.compiler.lower.schedule import Scheduler, Scope, Slots
from needle.compiler.lower.window import WindowWork
from needle.compiler.lower.work import INTERFACE, Work
from needle.compiler.program import Kernel
from needle.compiler.target import Target


@dataclass(frozen=True)
class Lowered:
    """Work, its pointers (each a node's buffer and an offset in bytes), and the nodes it writes."""

    members: tuple[Node, ...]
    state: bool
    work: Work
    slots: tuple[tuple[Node, int], ...]
    writes: tuple[Node, ...]

    @property
    def parameters(self) -> tuple[Node, ...]:
        """Each pointer's node."""
        return tuple(node for node, _ in self.slots)


def with_tail(host: Lowered, tail: Lowered) -> Lowered:
    """A kernel that does small work on its results, or on earlier ones, when it is done."""
    work = host.work
    if not isinstance(work, Tailed):
        work = Tailed(work, len(host.slots), ())
    slots = tuple(dict.fromkeys((*host.slots, *tail.slots)))
    last = tail.work, tuple(slots.index(slot) for slot in tail.slots)
    work = replace(work, tails=(*work.tails, last))
    members, writes = (*host.members, *tail.members), (*host.writes, *tail.writes)
    return Lowered(members, host.state, work, slots, writes)


def overwriting(one: Lowered, output: Node, target: Node) -> Lowered:
    """A kernel that writes an output over an input it reads: the buffer is passed once."""
    nodes = one.parameters
    if target not in nodes:
        return one
    assert isinstance(one.work, NestWork)
    gone = nodes.index(output)
    work = replace(one.work, nest=joined(one.work.nest, gone, nodes.index(target)))
    return replace(one, work=work, slots=(*one.slots[:gone], *one.slots[gone + 1 :]))


def bundled(parts: Sequence[Lowered]) -> Lowered:
    """Independent pieces of work as one."""
    if len(parts) == 1:
        return parts[0]
    return Lowered(
        tuple(dict.fromkeys(n for part in parts for n in part.members)),
        parts[0].state,
        Bundle(tuple(piece_of(p.work, len(p.slots)) for p in parts)),
        tuple(slot for part in parts for slot in part.slots),
        tuple(dict.fromkeys(n for part in parts for n in part.writes)),
    )


def _lowered(scope: Scope, made: tuple[Work, Slots]) -> Lowered:
    (work, starts), group = made, scope.group
    slots = tuple((node, node.dtype.itemsize * start) for node, start in starts)
    return Lowered(tuple(group.members), group.state, work, slots, tuple(group.outputs))


def _concat(scope: Scope) -> Lowered:
    """The pieces of a concatenation are written by a loop nest each, in one kernel."""
    (node,) = scope.group.members
    parts = []
    for k, x in enumerate(node.inputs):
        if x.size:
            axes = refined(tuple((n, False) for n in x.shape), shapes_of([x]))
            scheduler = Scheduler(axes, scope)
            scheduler.store_piece(node, k)
            parts.append(_lowered(scope, NestWork.of(scheduler)))
    return bundled(parts)


@dataclass
class Kernels:
    """The kernels of a program, made as groups ask for them."""

    target: Target
    sites: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.module = Module(self.target)
        self._names: dict[Work, str] = {}
        self._made: list[tuple[list[str], Work]] = []

    def lower(self, group: Group, memory: Memory) -> Lowered:
        """Return a group's kernel; raise `UnfusableError` where the group is not aligned."""
        scope, node = Scope(group, memory, self._site, self.target), group.members[0]
        match node.primitive:
            case MatMul():
                return _lowered(scope, (WindowWork if windowed(node) else MatMulWork).of(scope))
            case Cumulative():
                return _lowered(scope, CumulativeWork.of(scope))
            case ScatterAdd():
                return _lowered(scope, ScatterWork.of(scope))
            case Concat() if group.kind == "concat":
                return _concat(scope)
        scheduler = Scheduler(refined(group.space, shapes_of(group.members)), scope)
        for node in group.outputs:
            if isinstance(node.primitive, Partial):
                scheduler.partial(node)
            else:
                scheduler.store(node, node in group.outer)
        return _lowered(scope, NestWork.of(scheduler))

    def kernel(self, lowered: Lowered) -> str:
        """The name of the kernel that does a piece of work; equal work has one kernel."""
        work = lowered.work
        if work not in self._names:
            name = self._names[work] = f"k{len(self._names)}"
            outer = self.module.function(name, INTERFACE, linkage="")
            functions = [name, *work.functions(outer, len(lowered.slots))]
            self._made.append((functions, work))
        return self._names[work]

    def _site(self, node: Node) -> int:
        """The number of the error that a bad index of this node raises."""
        where = str(node.source) if node.source else node.primitive.name
        kind: Any = node.primitive
        size = kind.size if isinstance(kind, ScatterAdd) else node.inputs[0].shape[kind.axis]
        text = f"{where}: index {{index}} is out of range for size {size}"
        if text not in self.sites:
            self.sites.append(text)
        return self.sites.index(text)

    def finish(self) -> tuple[str, tuple[Kernel, ...]]:
        """The header and the kernels, as the program keeps them."""
        own = {name for functions, _ in self._made for name in functions}
        kernels = []
        for functions, work in self._made:
            text, (_, moved, flops, scratch, _) = self.module.text_of(functions), work.cost
            kernels.append(Kernel(functions[0], text, scratch, moved, flops))
        return self.module.text(without=own), tuple(kernels)
