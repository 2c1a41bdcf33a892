"""In which sweep and at which loop each instruction of a nest is computed, and what is kept.

A *phase* is one sweep over the inner axes: its reductions and stores need no result of a later one.
Values of an earlier phase are computed again, except costly ones, which wait in scratch.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import NamedTuple

from needle.compiler.fuse.rules import HEAVY
from needle.compiler.lower.instruction import Nest, Store, affines, dependencies
from needle.compiler.lower.layout import Layout
from needle.compiler.target import ITEM_BYTES

MOST_SCRATCH = 256 << 10
"""Bytes of a row, or of a block of columns, that are kept between sweeps: half a level-2 cache."""

REDUCTIONS = ("reduce", "arg")


Phase = tuple[list[int], list[Store]]
"""Reductions and stores of one sweep."""


class Saved(NamedTuple):
    """Where in scratch a value lies: bytes from its start, elements for each step of an axis."""

    start: int
    strides: tuple[tuple[int, int], ...]


class Phases:
    """The analysis of a nest in a layout.

    `depths`: the loop an instruction belongs to (0: none, 1: the items, then one a swept axis).
    `vectors`: whether its lanes differ. `phases`: reductions and stores of each sweep.
    """

    def __init__(self, nest: Nest, plan: Layout) -> None:
        self.nest, self.plan = nest, plan
        self.sweeps = [axis for axis, swept in enumerate(plan.swept) if swept]
        self.depths: list[int] = []
        self.vectors: list[bool] = []
        self._ready: list[int] = []
        self._analyse()
        self.phases = self._phases()
        self.scratch = 0
        self.saved = self._saved()

    def _analyse(self) -> None:
        vector = self.plan.vector
        outside = vector is not None and not self.plan.swept[vector]
        for i in self.nest.instructions:
            needs = dependencies(i)
            reduced = i.op in REDUCTIONS
            axes = {axis for a in affines(i) for axis, c in enumerate(a.coefs) if c}
            own = max((self._depth_of(axis) for axis in axes), default=0)
            below = max((self.depths[d] for d in needs), default=0)
            fixed = reduced or i.op == "product"
            self.depths.append(1 if fixed else max(own, below))
            self._ready.append(max((self._ready[d] for d in needs), default=0) + reduced)
            lane = i.op == "product" or vector in axes or any(self.vectors[d] for d in needs)
            self.vectors.append(self.plan.width > 1 and (outside if reduced else lane))

    def _depth_of(self, axis: int) -> int:
        return 2 + self.sweeps.index(axis) if axis in self.sweeps else 1

    def _phases(self) -> list[Phase]:
        found: dict[int, Phase] = {}
        for number, i in enumerate(self.nest.instructions):
            if i.op in REDUCTIONS:
                found.setdefault(self._ready[number] - 1, ([], []))[0].append(number)
        for store in self.nest.stores:
            if self.inside(store):
                found.setdefault(self._ready[store.value], ([], []))[1].append(store)
        return [found[phase] for phase in sorted(found)]

    def inside(self, store: Store) -> bool:
        """Whether a store happens in a sweep, not once an item."""
        return any(store.affine.coefs[axis] for axis in self.sweeps)

    def closure(self, wanted: Iterable[int], known: Collection[int] = ()) -> list[int]:
        """The instructions that values depend on, in order, up to reductions and `known` ones."""
        found: set[int] = set()
        stack = list(wanted)
        while stack:
            number = stack.pop()
            if number in found or self.nest.instructions[number].op in REDUCTIONS:
                continue
            found.add(number)
            if number not in known:
                stack.extend(dependencies(self.nest.instructions[number]))
        return sorted(found)

    def _saved(self) -> dict[int, Saved]:
        """Costly values that two sweeps need, and their places, as far as scratch goes."""
        uses: dict[int, int] = {}
        for reductions, stores in self.phases:
            operands = [self.nest.instructions[r].args[0] for r in reductions]
            for number in self.closure([*operands, *(s.value for s in stores)]):
                uses[number] = uses.get(number, 0) + 1
        strides, elements = self._strides()
        saved = {}
        for number, count in uses.items():
            i = self.nest.instructions[number]
            costly = i.op == "random" or (i.op == "apply" and i.attribute in HEAVY)
            innermost = self.depths[number] == 1 + len(self.sweeps)
            size = -(-elements * ITEM_BYTES[i.dtype] // 64) * 64
            fits = self.scratch + size <= MOST_SCRATCH
            if count > 1 and costly and innermost and self.vectors[number] and fits:
                saved[number] = Saved(self.scratch, strides)
                self.scratch += size
        return saved

    def _strides(self) -> tuple[tuple[tuple[int, int], ...], int]:
        """Elements from one step of each swept axis to the next, rows padded to whole vectors."""
        step = 1 if self.plan.vector in self.sweeps else self.plan.width
        strides = []
        for axis in reversed(self.sweeps):
            strides.append((axis, step))
            n = self.nest.space[axis]
            width = self.plan.width if axis == self.plan.vector else 1
            step *= math.ceil(n / width) * width
        return tuple(strides), step
