"""What all kernels have in common: work in blocks, what it costs, and the functions that do it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from needle.compiler.emit.emit import Builder, Module
from needle.compiler.emit.values import Value

Parameters = tuple[tuple[str, str], ...]
INTERFACE: Parameters = (("table", "ptr"), ("begin", "int64"), ("end", "int64"), ("scratch", "ptr"))


class Task(NamedTuple):
    """What a kernel's body gets: pointers, a range of blocks, scratch; `status` if it can fail."""

    b: Builder
    pointers: tuple[Value, ...]
    status: Value | None
    begin: Value
    end: Value
    scratch: Value


class Cost(NamedTuple):
    """Blocks, bytes that must be read or written once, operations, bytes of scratch a thread.

    `fallible` work can meet a bad index and report it in the status word.
    """

    blocks: int
    bytes: int
    flops: int
    scratch: int = 0
    fallible: bool = False

    @staticmethod
    def total(costs: Iterable[Cost]) -> Cost:
        """The cost of all together."""
        blocks, moved, flops, scratch, fallible = zip(*costs, strict=True)
        return Cost(sum(blocks), sum(moved), sum(flops), max(scratch), any(fallible))


@dataclass(frozen=True)
class Work:
    """Some work on buffers that are told apart by number only: equal work is one kernel."""

    @property
    def cost(self) -> Cost:
        """What it costs."""
        raise NotImplementedError

    @property
    def counted(self) -> bool:
        """Whether threads count the blocks done, in a word given after the other buffers."""
        return False

    def write(self, task: Task) -> None:
        """Write the body."""
        raise NotImplementedError

    def functions(self, outer: Builder, count: int) -> list[str]:
        """Write the kernel, already begun, of so many pointers; returns its helpers' names."""
        table, *rest = outer.arguments
        count += self.counted
        pointers = [outer.load(table, i, "ptr") for i in range(count + self.cost.fallible)]
        name = f"{outer.name}.body"
        outer.call(name, [*pointers, *rest])
        outer.ret()
        self.body(outer.module, name, count, self.cost.fallible)
        return [name]

    def body(
        self, module: Module, name: str, count: int, fallible: bool, more: Parameters = ()
    ) -> None:
        """Write the function that does the work; it may have more parameters."""
        names = [*(f"p{i}" for i in range(count)), *["status"] * fallible]
        pointers = [(name, "ptr") for name in names]
        parameters = [*pointers, *INTERFACE[1:], *more]
        b = module.function(name, parameters, attributes="noinline")
        status = b.arguments[count] if fallible else None
        first = len(pointers)
        self.write(Task(b, b.arguments[:count], status, *b.arguments[first : first + 3]))
        b.ret()
