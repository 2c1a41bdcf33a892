"""A loop nest as native code.

The space's outer axes are cut into blocks; for each outer position ("item") the inner axes are
swept once per *phase*: a phase holds the reductions and stores that need no result of a later
one. One axis, the last, runs in vectors. An instruction is written at the outermost loop where its
value is known, so what is constant along a row is computed once a row.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from needle.compiler.emit.values import Value
from needle.compiler.lower import reduce as lower_reduce
from needle.compiler.lower.elementwise import Place, write
from needle.compiler.lower.instruction import Nest, Store
from needle.compiler.lower.layout import Layout, layout
from needle.compiler.lower.phases import Phase, Phases
from needle.compiler.lower.reduce import State
from needle.compiler.lower.schedule import Scheduler, Slots
from needle.compiler.lower.work import Cost, Task, Work
from needle.compiler.target import ITEM_BYTES


@dataclass(frozen=True)
class NestWork(Work):
    """A nest with its layout."""

    nest: Nest
    plan: Layout

    @staticmethod
    def of(scheduler: Scheduler) -> tuple[NestWork, Slots]:
        """The work of what was scheduled, and its pointers."""
        nest, slots = scheduler.finish()
        return NestWork(nest, layout(nest, scheduler.scope.target)), slots

    @functools.cached_property
    def cost(self) -> Cost:
        """Elementwise operations, each counted once an element; addresses, each read once."""
        nest, scratch = self.nest, Phases(self.nest, self.plan).scratch
        count = sum(i.op in ("apply", "reduce", "arg", "where") for i in nest.instructions)
        moved = 0
        for parameter, affine in set(nest.accesses):
            sizes = zip(affine.coefs, nest.space, strict=True)
            moved += math.prod(n for c, n in sizes if c) * ITEM_BYTES[nest.dtypes[parameter]]
        flops = count * math.prod(nest.space)
        return Cost(self.plan.blocks, moved, flops, scratch, nest.fallible)

    def write(self, task: Task) -> None:
        """Write the body."""
        NestWriter(task, self.nest, self.plan).write()


class NestWriter(Phases):
    """Writes the body of one nest kernel."""

    def __init__(self, task: Task, nest: Nest, plan: Layout) -> None:
        super().__init__(nest, plan)
        self.task, self.b = task, task.b

    # -- code -------------------------------------------------------------------------------------

    def top(self) -> Place:
        """The place outside all loops, with what is known there."""
        place = Place(self.task, self.plan.vector, self.plan.width)
        self.emit(place, range(len(self.nest.instructions)), 0)
        return place

    def write(self) -> None:
        """Write the loops over all blocks."""
        place, begin, end = self.top(), self.task.begin, self.task.end
        partial = [s for s in self.nest.stores if s.combine]
        if not partial:
            self._items(place, begin, end)
            return
        with self.b.loop(begin, end) as loop:
            place.block = loop.index
            for store in partial:
                self._clear(place, store)
            self._items(place, loop.index, loop.index + 1)

    def _clear(self, place: Place, store: Store) -> None:
        """Set a block's partial results to the reduction's neutral element."""
        b, dtype = self.b, self.nest.dtypes[store.parameter]
        value = lower_reduce.neutral(store.combine, dtype)
        width = self.plan.width if store.size >= self.plan.width else 1
        assert place.block is not None
        pointer, start = self.task.pointers[store.parameter], place.block * store.size
        b.fill(b.const(value, dtype, width), pointer, start, store.size)

    def _items(self, place: Place, begin: Value, end: Value) -> None:
        b, plan = self.b, self.plan
        first = begin * plan.chunk
        last = end * plan.chunk
        if plan.blocks * plan.chunk != plan.items:
            over = last > plan.items
            last = b.select(over, plan.items, last)
        with b.loop(first, last) as loop:
            self._position(place, loop.index)

    def _position(self, place: Place, item: Value) -> None:
        """All phases of one outer position."""
        plan, sizes = self.plan, list(self.nest.space)
        if plan.vector is not None:
            sizes[plan.vector] = -(-sizes[plan.vector] // plan.width)
        outer = [axis for axis, swept in enumerate(plan.swept) if not swept]
        place = place.along([(axis, sizes[axis]) for axis in outer], item)
        if plan.vector not in outer:
            self.item(place)
            return
        assert plan.vector is not None
        axis, chunk = plan.vector, place.variables[plan.vector]

        for start, mask in self.b.piece(chunk, self.nest.space[axis], plan.width):
            self.item(place.at(axis, start, mask))

    def item(self, place: Place) -> None:
        """The sweeps of one item in order, then what is stored once an item."""
        for reductions, stores in self.phases:
            self._sweep(place, reductions, stores)
        for store in self.nest.stores:
            if not self.inside(store):
                self.emit(place, self.closure([store.value]), 1)
                place.store(store)

    def _sweep(self, place: Place, reductions: list[int], stores: list[Store]) -> None:
        operands = [self._operand(r) for r in reductions]
        needed = self.closure([*operands, *(s.value for s in stores)], place.saved)
        self.emit(place, needed, 1)
        states = [
            lower_reduce.start(self.b, i, self.nest.instructions[i.args[0]].dtype, self.plan.width)
            for i in (self.nest.instructions[r] for r in reductions)
        ]
        first = [v for state in states for v in state] * self.plan.turns
        flat = self._loops(place, 0, needed, (reductions, stores), first)
        for k, r in enumerate(reductions):
            instruction = self.nest.instructions[r]
            across = self.plan.width > 1 and not self.vectors[r]
            turns = [group[k] for group in self._grouped(reductions, flat)]
            place.values[r] = lower_reduce.finish(self.b, instruction, turns, across)
        place.saved |= self.saved.keys() & set(needed)

    def _loops(
        self, place: Place, level: int, needed: list[int], phase: Phase, carried: Sequence[Value]
    ) -> Sequence[Value]:
        axis, last = self.sweeps[level], level == len(self.sweeps) - 1
        vector = axis == self.plan.vector
        turns = self.plan.turns if last else 1
        for loop in self.b.sweep(
            self.nest.space[axis], self.plan.width if vector else turns, carried
        ):
            values: Sequence[Value] = loop.carried
            for turn in range(turns if loop.mask is None or vector else loop.mask):
                inside = place.at(axis, loop.index + turn, loop.mask if vector else place.mask)
                self.emit(inside, needed, 2 + level)
                if last:
                    values = self._turn(inside, phase, values, turn)
                else:
                    values = self._loops(inside, level + 1, needed, phase, values)
            loop.next(*values)
        return loop.results

    def _turn(
        self, place: Place, phase: Phase, carried: Sequence[Value], turn: int
    ) -> Sequence[Value]:
        """What is stored and reduced at one place; the states after it."""
        reductions, stores = phase
        for store in stores:
            place.store(store)
        groups = self._grouped(reductions, carried)
        groups[turn] = [
            lower_reduce.step(place, self.nest.instructions[r], state)
            for r, state in zip(reductions, groups[turn], strict=True)
        ]
        return [v for group in groups for state in group for v in state]

    def _grouped(self, reductions: list[int], carried: Sequence[Value]) -> list[list[State]]:
        """Flat values as the states of all reductions, once for each turn."""
        values = iter(carried)
        return [
            [
                tuple(next(values) for _ in range(lower_reduce.parts(self.nest.instructions[r])))
                for r in reductions
            ]
            for _ in range(self.plan.turns)
        ]

    def _operand(self, reduction: int) -> int:
        return self.nest.instructions[reduction].args[0]

    def emit(self, place: Place, numbers: Iterable[int], depth: int) -> None:
        """Write those instructions that belong to one loop depth and have no value yet."""
        for number in numbers:
            i = self.nest.instructions[number]
            known = number in place.values or i.op in ("reduce", "arg")
            if self.depths[number] != depth or known:
                continue
            if number in place.saved:
                place.values[number] = self._kept(place, number, None)
                continue
            place.values[number] = write(place, i, self.vectors[number])
            if number in self.saved:
                self._kept(place, number, place.values[number])

    def _kept(self, place: Place, number: int, value: Value | None) -> Value:
        """Write a value to scratch, or read it back; whole vectors, since there is room."""
        at, dtype = self.b.const(0, "int64"), self.nest.instructions[number].dtype
        for axis, stride in self.saved[number].strides:
            at = at + place.variables[axis] * stride
        memory = self.b.address(self.task.scratch, self.saved[number].start, "uint8")
        if value is None:
            return self.b.load(memory, at, dtype, self.plan.width)
        self.b.store(value, memory, at)
        return value
