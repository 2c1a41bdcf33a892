"""From groups to kernels: LLVM functions that every thread calls with its range of blocks.

A kernel is two functions: one of the run's interface, which loads the pointers from the step's table,
and the body, whose pointer parameters are ``noalias``. Groups with equal nests share a kernel.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from needle.compiler.emit import Builder, Module
from needle.compiler.emit_values import Value
from needle.compiler.fuse_group import Group, Memory
from needle.compiler.fuse_rules import refined, shapes_of
from needle.compiler.graph import Node
from needle.compiler.lower_matmul import MatMulWork
from needle.compiler.lower_movement import CumulativeWork, ScatterWork
from needle.compiler.lower_nest import NestWork
from needle.compiler.lower_schedule import Scheduler, collapsed, storage
from needle.compiler.primitives import Cumulative
from needle.compiler.program import Kernel
from needle.compiler.target import Target

Work = NestWork | MatMulWork | ScatterWork | CumulativeWork
"""What a kernel does: hashable, so that equal work is compiled once."""


@dataclass(frozen=True)
class Lowered:
    """A kernel, and the nodes whose buffers it is called with; `fallible` ones use the status."""

    group: Group
    kernel: str
    parameters: tuple[Node, ...]
    writes: tuple[Node, ...]
    blocks: int
    fallible: bool
    work: Work


@dataclass(frozen=True)
class _Outside:
    """Memory as one group sees it: what it computes itself is not there yet."""

    memory: Memory
    members: set[Node]

    def loaded(self, node: Node) -> bool:
        return self.memory.loaded(node) and node not in self.members

    def stored(self, node: Node) -> bool:
        return node in self.memory.kept and node not in self.members


@dataclass
class Kernels:
    """The kernels of a program, made as groups ask for them."""

    target: Target
    sites: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.module = Module(self.target)
        self._names: dict[Hashable, str] = {}
        self._made: list[tuple[str, Work]] = []

    def lower(self, group: Group, memory: Memory) -> Lowered:
        """Return a group's kernel; raise `UnfusableError` where the group is not aligned."""
        work, parameters = self._work(group, _Outside(memory, set(group.members)))
        name = self._names.get(work)
        if name is None:
            name = self._names[work] = f"k{len(self._names)}"
            self._write(name, work, len(parameters))
            self._made.append((name, work))
        return Lowered(
            group, name, tuple(parameters), tuple(group.outputs), work.blocks, work.fallible, work
        )

    def _work(self, group: Group, memory: _Outside) -> tuple[Work, list[Node]]:
        if group.kind == "matmul":
            return MatMulWork.of(group.members, group.outputs, memory, self._site, self.target)
        if group.kind == "special":
            (node,) = group.members
            make = CumulativeWork.of if isinstance(node.primitive, Cumulative) else ScatterWork.of
            site = 0 if isinstance(node.primitive, Cumulative) else self._site(node)
            return make(node, site, self.target), [*map(storage, node.inputs), node]
        axes = refined(group.space, shapes_of(group.members))
        space, inner = tuple(n for n, _ in axes), tuple(flag for _, flag in axes)
        scheduler = Scheduler(space, inner, memory, self._site)
        for node in group.outputs:
            scheduler.store(node, node in group.outer)
        nest = collapsed(scheduler.finish())
        return NestWork.of(nest, self.target), scheduler.parameters

    def _site(self, node: Node) -> int:
        """The number of the error that a bad index of this node raises."""
        where = str(node.source) if node.source else node.primitive.name
        size = node.inputs[0].shape[node.primitive.axis] if node.primitive.name == "gather" else (  # type: ignore[attr-defined]
            node.primitive.size)  # type: ignore[attr-defined]  # fmt: skip
        text = f"{where}: index {{index}} is out of range for size {size}"
        if text not in self.sites:
            self.sites.append(text)
        return self.sites.index(text)

    def _write(self, name: str, work: Work, count: int) -> None:
        count += work.fallible
        outer = self.module.function(name, INTERFACE, linkage="")
        table, begin, end, scratch = outer.arguments
        pointers = [outer.load(table, i, "ptr") for i in range(count)]
        outer.call(f"{name}.body", [*pointers, begin, end, scratch])
        outer.ret()
        names: list[tuple[str, str]] = [(f"p{i}", "ptr") for i in range(count)]
        parameters = [*names, *INTERFACE[1:]]
        body = self.module.function(f"{name}.body", parameters, attributes="noinline")
        _fill(body, work, body.arguments[:count], body.arguments[count:])

    def finish(self) -> tuple[str, tuple[Kernel, ...]]:
        """The header and the kernels, as the program keeps them."""
        own = {n for name, _ in self._made for n in (name, f"{name}.body")}
        kernels = tuple(
            Kernel(
                name,
                self.module.text_of((name, f"{name}.body")),
                work.scratch,
                work.bytes_moved,
                work.flops,
            )
            for name, work in self._made
        )
        return self.module.text(without=own), kernels


INTERFACE = (("table", "ptr"), ("begin", "int64"), ("end", "int64"), ("scratch", "ptr"))


def _fill(b: Builder, work: Work, pointers: Sequence[Value], rest: Sequence[Value]) -> None:
    begin, end, scratch = rest
    status = pointers[-1] if work.fallible else None
    work.write(b, pointers, status, begin, end, scratch)
    b.ret()
