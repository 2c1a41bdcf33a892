"""Several pieces of work as one kernel: side by side, or small ones at the end of a large one.

In a `Bundle` are independent pieces, such as an optimizer's update of all parameters. Their blocks
are counted through. Pieces that do the same on other buffers share one body, and
a table says for each piece where its blocks begin, which pointers are its own, and how long it is:
elementwise work on arrays of any size is one formula in one loop.

In a `Tailed` kernel the thread that finishes last goes on. A reduction over blocks leaves partial
results; adding them takes less time than a barrier. Threads count the blocks they have done, and
whoever completes the count adds the parts, in the order of the blocks, and goes on to the few
scalars that follow. The result does not depend on who that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from needle.compiler.emit.emit import Builder
from needle.compiler.emit.values import Value
from needle.compiler.lower.nest import NestWork, NestWriter
from needle.compiler.lower.work import Cost, Task, Work

UNIT = 1024
"""Elements of a block where the length is an argument: few, so that threads share evenly."""


class Piece(NamedTuple):
    """Some work, its number of pointers and its cost; its arrays' length if that is an argument."""

    work: Work
    pointers: int
    cost: Cost
    length: int = 0


_Row = tuple[int, int, int, int]
"""Of a piece: the first of its blocks, how many there are, its first pointer, its length."""


@dataclass(frozen=True)
class Bundle(Work):
    """Several pieces of work in one kernel; pointers are those of each piece in turn."""

    pieces: tuple[Piece, ...]

    @property
    def cost(self) -> Cost:
        """The cost of all pieces."""
        return Cost.total(piece.cost for piece in self.pieces)

    def functions(self, outer: Builder, count: int) -> list[str]:
        """Write the kernel, already begun, and a body for each distinct work."""
        status = [outer.load(outer.arguments[0], count, "ptr")] if self.cost.fallible else []
        names: list[str] = []
        for (work, pointers), rows in self._classes().items():
            names.append(f"{outer.name}.part{len(names)}")
            length = (("length", "int64"),)
            work.body(outer.module, names[-1], pointers, bool(status), length)
            _call(outer, names[-1], pointers, rows, status)
        outer.ret()
        return names

    def _classes(self) -> dict[tuple[Work, int], list[_Row]]:
        """The pieces of each distinct work, which has so many pointers."""
        classes: dict[tuple[Work, int], list[_Row]] = {}
        block = base = 0
        for work, pointers, cost, length in self.pieces:
            rows = classes.setdefault((work, pointers), [])
            rows.append((block, cost.blocks, base, length))
            block += cost.blocks
            base += pointers
        return classes


def _call(b: Builder, name: str, count: int, rows: Sequence[_Row], status: Sequence[Value]) -> None:
    """Call a body for each of its pieces that has blocks in the range."""
    table, begin, end, scratch = b.arguments
    data = Value(b.module.table(f"{name}.rows", np.array(rows, "int64")), "ptr", 1, b)
    with b.loop(0, len(rows)) as loop:
        first, blocks, base, length = (b.load(data, loop.index * 4 + k, "int64") for k in range(4))
        low, high = b.maximum(begin - first, 0), b.minimum(end - first, blocks)

        with b.when(low < high):
            pointers = [b.load(table, base + k, "ptr") for k in range(count)]
            b.call(name, [*pointers, *status, low, high, scratch, length])


def piece_of(work: Work, pointers: int) -> Piece:
    """A piece of a bundle; elementwise work on whole arrays becomes independent of their size."""
    if not isinstance(work, NestWork) or not _is_flat(work):
        return Piece(work, pointers, work.cost)
    (n,) = work.nest.space
    flat = FlatWork(replace(work.nest, space=(0,)), replace(work.plan, items=1, chunk=1))
    return Piece(flat, pointers, work.cost._replace(blocks=-(-n // UNIT)), n)


def _is_flat(work: NestWork) -> bool:
    nest = work.nest
    if len(nest.space) != 1:
        return False
    affines = [*(i.affine for i in nest.instructions), *(s.affine for s in nest.stores)]
    plain = all(a.const == 0 and not a.dynamic and a.coefs[0] in (0, 1) for a in affines)
    guarded = any(i.guards or i.op in ("reduce", "arg") for i in nest.instructions)
    fits = UNIT % work.plan.width == 0
    return plain and not guarded and fits and not work.cost.fallible


@dataclass(frozen=True)
class FlatWork(NestWork):
    """An elementwise formula over arrays whose length is the last argument."""

    def write(self, task: Task) -> None:
        """Write the body."""
        b, length, width = task.b, task.b.arguments[-1], self.plan.width
        writer = NestWriter(task, self.nest, self.plan)
        place = writer.top()
        stop = b.minimum(task.end * UNIT, length)
        whole = stop & -width
        with b.loop(task.begin * UNIT, whole, width) as loop:
            writer.item(place.at(0, loop.index, None))
        tail = place.at(0, whole, b.mask(stop - whole, width))
        with b.when(whole < stop):
            writer.item(tail)


@dataclass(frozen=True)
class Tailed(Work):
    """Work whose pointers come first, then pieces that run after it on the pointers in `slots`.

    The last pointer is the counter of finished blocks, if there are several.
    """

    main: Work
    pointers: int
    tails: tuple[tuple[Work, tuple[int, ...]], ...]

    @property
    def cost(self) -> Cost:
        """The cost of all, in the blocks of the main work."""
        costs = [self.main.cost, *(work.cost for work, _ in self.tails)]
        return Cost.total(costs)._replace(blocks=costs[0].blocks)

    @property
    def counted(self) -> bool:
        """Whether a counter is needed."""
        return self.main.cost.blocks > 1

    def write(self, task: Task) -> None:
        """Write the body."""
        b = task.b
        self.main.write(task._replace(pointers=task.pointers[: self.pointers]))
        last = task.begin < task.end
        counter = task.pointers[-1]
        if self.counted:
            # Acquire and release: what all threads wrote before they counted is seen by the last.
            done = task.end - task.begin
            before = b.emit(f"atomicrmw add {counter.typed}, {done.typed} acq_rel", "int64")
            last = last & b.compare("eq", before + done, self.cost.blocks)

        with b.when(last):
            if self.counted:
                b.store(b.const(0, "int64"), counter, 0)
            for work, slots in self.tails:
                pointers = tuple(task.pointers[slot] for slot in slots)
                begin, end = b.const(0, "int64"), b.const(work.cost.blocks, "int64")
                work.write(task._replace(pointers=pointers, begin=begin, end=end))
