"""One instruction at one place of a loop nest: addresses, loads, arithmetic, stores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from needle.compiler.emit import like_numpy as emit_numpy
from needle.compiler.emit.emit import Builder
from needle.compiler.emit.memory import Mask
from needle.compiler.emit.values import Value
from needle.compiler.index import Affine, Guard
from needle.compiler.lower import random as lower_random
from needle.compiler.lower.instruction import Instruction, Store
from needle.compiler.lower.work import Task

COMBINE = {"sum": "add", "prod": "mul", "max": "max", "min": "min"}
"""The elementwise function that each reduction repeats."""


@dataclass
class Place:
    """Where in a nest code is being written.

    `variables` holds the position on each axis (of the first lane on the vector axis), `mask` the
    number of lanes left if not all take part, `values` what is known here, `saved` what an earlier
    sweep left in scratch.
    """

    task: Task
    vector: int | None
    width: int
    variables: dict[int, Value] = field(default_factory=dict)
    mask: Mask = None
    block: Value | None = None
    values: dict[int, Value] = field(default_factory=dict)
    saved: set[int] = field(default_factory=set)

    @property
    def b(self) -> Builder:
        """The builder."""
        return self.task.b

    def at(self, axis: int, position: Value, mask: Mask) -> Place:
        """The place inside a loop over `axis`; values known so far stay known."""
        variables = {**self.variables, axis: position}
        values, saved = dict(self.values), set(self.saved)
        return replace(self, variables=variables, mask=mask, values=values, saved=saved)

    def along(self, axes: Sequence[tuple[int, int]], number: Value) -> Place:
        """The place at a number that is counted along axes of these sizes, the last one fastest."""
        place = self
        for axis, size in axes[:0:-1]:
            before = number / size
            place = place.at(axis, number - before * size, self.mask)
            number = before
        return place.at(axes[0][0], number, self.mask) if axes else place

    # -- index functions --------------------------------------------------------------------------

    def step(self, affine: Affine) -> int:
        """How far the function moves from one lane to the next, dynamic terms aside."""
        return 0 if self.vector is None or self.width == 1 else affine.coefs[self.vector]

    def first(self, affine: Affine) -> Value:
        """The function's value in the first lane, terms that are vectors left out."""
        b = self.b
        total = b.const(0, "int64")
        for axis, coef in enumerate(affine.coefs):
            variable = self.variables.get(axis)
            if coef and variable is not None:
                total = total + variable * coef
        return self._plus(total, affine, vectors=False) + affine.const

    def each(self, affine: Affine) -> Value:
        """The function's value in every lane; a scalar if the lanes agree."""
        total = self.first(affine)
        if self.step(affine):
            total = total + self.b.lanes(self.width) * self.step(affine)
        return self._plus(total, affine, vectors=True)

    def _plus(self, total: Value, affine: Affine, *, vectors: bool) -> Value:
        """Add the dynamic terms that are vectors, or those that are not."""
        for number, coef in affine.dynamic:
            if (self.values[number].width > 1) == vectors:
                total = total + self.values[number] * coef
        return total

    def holds(self, guards: Sequence[Guard]) -> Value | None:
        """A bool, or one for each lane: whether all guards hold. None without guards."""
        result: Value | None = None
        for affine, stop in guards:
            at = self.b.bitcast(self.each(affine), "uint64")
            inside = at < stop
            result = inside if result is None else result & inside
        return result

    def active(self, guards: Sequence[Guard] = ()) -> Mask:
        """The lanes that take part: those of the tail, where all guards hold."""
        inside = self.holds(guards)
        if inside is None:
            return self.mask
        inside = self.b.splat(inside, self.width)
        return inside if self.mask is None else inside & self.tail()

    def tail(self) -> Value:
        """The lanes on the mask, as bools."""
        if isinstance(self.mask, Value):
            return self.mask
        left = self.width if self.mask is None else self.mask
        return self.b.lanes(self.width, "int32") < left

    # -- memory -----------------------------------------------------------------------------------

    def load(self, i: Instruction, vector: bool) -> Value:
        """The element at an index; lanes where a guard fails hold some other element or zero."""
        b = self.b
        pointer = self.task.pointers[i.attribute]
        if not vector:
            at = self.first(i.affine)
            inside = self.holds(i.guards)
            at = at if inside is None else b.select(inside, at, 0)
            return b.load(pointer, at, i.dtype)
        same = all(self.values[d].width == 1 for d, _ in i.affine.dynamic)
        if same and self.step(i.affine) == 1:
            return b.load(pointer, self.first(i.affine), i.dtype, self.width, self.active(i.guards))
        if same and self.step(i.affine) == -1 and not i.guards and self.mask is None:
            start = self.first(i.affine) - (self.width - 1)
            return b.reverse(b.load(pointer, start, i.dtype, self.width))
        indices = b.splat(self.each(i.affine), self.width)
        return b.gather(pointer, indices, i.dtype, self.active(i.guards))

    def store(self, store: Store) -> None:
        """Write a value to its buffer."""
        pointer, value = self.task.pointers[store.parameter], self.values[store.value]
        at = self.first(store.affine)
        if store.combine:
            assert self.block is not None
            at = at + self.block * store.size
            width = self.width if self.step(store.affine) else 1
            value = self.b.splat(value, width)
            before = self.b.load(pointer, at, value.dtype, width, self.mask if width > 1 else None)
            value = emit_numpy.apply(self.b, COMBINE[store.combine], before, value)
        if self.step(store.affine) > 1:  # a column, or every n-th element, of a concatenation
            places = self.each(store.affine)
            self.b.scatter(self.b.splat(value, self.width), pointer, places, self.mask)
        elif self.step(store.affine):
            self.b.store(self.b.splat(value, self.width), pointer, at, self.mask)
        else:
            self.b.store(self.b.extract(value, 0), pointer, at)


def write(place: Place, i: Instruction, vector: bool) -> Value:
    """Write the code of one instruction; the result is a vector where lanes may differ."""
    b, args = place.b, [place.values[a] for a in i.args]
    attribute: Any = i.attribute
    if i.op == "const":
        return b.const(attribute.value, i.dtype)
    if i.op == "load":
        return place.load(i, vector)
    if i.op == "apply":
        return emit_numpy.apply(b, attribute, *args)
    if i.op == "cast":
        return emit_numpy.cast(b, args[0], i.dtype)
    if i.op == "where":
        return b.select(*args)
    assert i.op in ("iota", "random", "pick", "index", "divide"), i.op
    if i.op == "pick":
        inside = place.holds(i.guards)
        assert inside is not None
        return b.select(inside, *args)
    if i.op == "index":
        return _checked(place, i, args[0])
    if i.op == "random" and attribute != "normal" and place.width % 8 == 0:
        lanes_follow = all(place.values[d].width == 1 for d, _ in i.affine.dynamic)
        if place.step(i.affine) == 1 and lanes_follow:
            first = place.first(i.affine)
            aligned = _multiple_of_four(i.affine, place.vector)
            return lower_random.draw_run(
                b, attribute, args[0], args[1], first, place.width, aligned
            )
    position = place.each(i.affine)
    if i.op == "iota":
        return emit_numpy.cast(b, position, i.dtype)
    if i.op == "divide":
        return position / attribute
    return lower_random.draw(b, attribute, args[0], args[1], position)


def _multiple_of_four(affine: Affine, vector: int | None) -> bool:
    """Whether the first lane's position always is one: vectors begin at multiples of 8."""
    others = [c for axis, c in enumerate(affine.coefs) if axis != vector]
    return not affine.dynamic and not any(c % 4 for c in (affine.const, *others))


def _checked(place: Place, i: Instruction, index: Value) -> Value:
    """An index made safe, in those lanes that take part."""
    active = place.active(i.guards)
    if isinstance(active, int):
        active = place.tail()
    if index.width == 1 and (place.mask is not None or (active is not None and active.width > 1)):
        active = None
    index = emit_numpy.cast(place.b, index, "int64")
    return checked(place.task, index, i.attribute, active)


def checked(task: Task, index: Value, where: tuple[int, int], active: Value | None = None) -> Value:
    """An index made safe; a bad one sets the status word to its site. `where`: site and size."""
    b, (site, size) = task.b, where
    bad = b.bitcast(index, "uint64") >= size
    counted = bad if active is None else bad & active

    with b.when(b.any(counted)):
        assert task.status is not None
        # Some bad index, not the first: adding a select and a reduction is cheaper than a loop.
        wrong = b.select(counted, index, 0) if index.width > 1 else index
        b.store(b.const(site + 1, "int64"), task.status, 0)
        one = b.reduce(lambda x, y: b.select(b.compare("ne", x, 0), x, y), wrong)
        b.store(one, task.status, 1)
    return b.select(bad, 0, index)
