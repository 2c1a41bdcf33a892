"""What the loop nests of all products are made of: panels, tiles, sums in registers, results.

A tile is some rows of the result by some vectors of columns. Its rows lie along axes, and so do
the terms that are summed; everything a turn loads lies at constant distances from two pointers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from needle.compiler.emit.emit import Builder
from needle.compiler.emit.memory import Mask
from needle.compiler.emit.values import Value, is_float

#: finish(row, column, value, mask): ``row`` counts through all matrices of a batch, ``value`` is a
#: vector of finished elements from ``column`` on, of which those on the mask exist.
Epilogue = Callable[[Value, Value, Value, Mask], None]


class Axis(NamedTuple):
    """One of the axes that rows or terms are counted along: elements from one step to the next.

    `out` is the distance in the rows of the result, or of the other operand.
    """

    size: Any  # the terms of a block may be counted at run time
    stride: int
    out: int


Axes = tuple[Axis, ...]


def merged(*axes: Axis) -> Axes:
    """The same places by fewer axes."""
    result: list[Axis] = []
    for axis in axes:
        if result and result[-1][1:] == (axis.size * axis.stride, axis.size * axis.out):
            result[-1] = Axis(result[-1].size * axis.size, axis.stride, axis.out)
        elif axis.size > 1:
            result.append(axis)
    return tuple(result) or (Axis(1, 0, 0),)


def places(axes: Sequence[Axis]) -> list[Axis]:
    """Every step along axes, the last one fastest: its number, and where it lies."""
    steps = itertools.product(*(range(axis.size) for axis in axes))
    return [
        Axis(n, *(sum(i * axis[k] for i, axis in zip(at, axes, strict=True)) for k in (1, 2)))
        for n, at in enumerate(steps)
    ]


def length(axes: Axes) -> int:
    """How many steps there are along axes."""
    return math.prod(axis.size for axis in axes)


class Panel(NamedTuple):
    """Some columns of the result: the first, the mask of each vector of them."""

    column: Value
    masks: Sequence[int | None]


class Operands(NamedTuple):
    """Where a tile's first row and its columns lie, and elements from one term's to the next's."""

    left: Value
    right: Value
    stride: int


class Results(NamedTuple):
    """Where elements go: to the array `c`, or to `finish`; `ahead` asks for what that will read."""

    c: Value | None = None
    finish: Epilogue | None = None
    ahead: Callable[[Value, Value], None] | None = None


@dataclass(frozen=True)
class TileNest:
    """Writes the parts of a loop nest; results have so many columns."""

    b: Builder
    dtype: str
    lanes: int
    columns: int
    results: Results

    def panels(self, vectors: int, low: Value | int, high: Value | int) -> Iterator[Panel]:
        """Panels, yielded inside a loop over whole ones; the last one may be narrower."""
        b, lanes = self.b, self.lanes
        whole, rest = divmod(self.columns, vectors * lanes)
        if whole:
            with b.loop(low, b.minimum(b.index(high), whole)) as loop:
                yield Panel(loop.index * (vectors * lanes), [None] * vectors)
        if rest:
            masks = [*[None] * (-(-rest // lanes) - 1), rest % lanes or None]
            with b.loop(b.maximum(b.index(low), whole), high):
                yield Panel(b.index(whole * vectors * lanes), masks)

    def heights(
        self, rows: int, height: int, low: Value | int, high: Value | int
    ) -> Iterator[tuple[int, Value, Value]]:
        """Tiles of full height, then those a row lower: height, first row, number; in loops."""
        b = self.b
        tiles = -(-rows // height)
        tall = tiles - (tiles * height - rows)
        if tall:
            with b.loop(low, b.minimum(b.index(high), tall)) as loop:
                yield height, loop.index * height, loop.index
        if tall < tiles:
            with b.loop(b.maximum(b.index(low), tall), high) as loop:
                yield height - 1, loop.index * (height - 1) + tall, loop.index

    def accumulate(
        self,
        rows: Axes,
        terms: Axes,
        operands: Operands,
        masks: Sequence[int | None],
        sums: Sequence[Value],
        meanwhile: Callable[[Value, Value], None] | None = None,
    ) -> Sequence[Value]:
        """Add products over the axes of the terms, one loop for each.

        `meanwhile` gets the pointer to a turn's first row and its number.
        """
        b, dtype = self.b, self.dtype
        offsets = [place.stride for place in places(rows)]

        def level(x: Value, y: Value, axes: Axes, sums: Sequence[Value]) -> Sequence[Value]:
            axis, *inner = axes
            with b.loop(0, axis.size, 1, sums) as loop:
                at = b.address(x, loop.index * axis.stride, dtype)
                line = b.address(y, loop.index * (axis.out * operands.stride), dtype)
                if inner:
                    following = level(at, line, tuple(inner), loop.carried)
                else:
                    columns = self._load(line, masks)
                    if meanwhile is not None:
                        meanwhile(at, loop.index)
                    following = self._multiply(at, offsets, columns, loop.carried)
                loop.next(*following)
            return loop.results

        return level(operands.left, operands.right, terms, sums)

    def _load(self, line: Value, masks: Sequence[int | None]) -> list[Value]:
        lanes = self.lanes
        return [
            self.b.load(line, j * lanes, self.dtype, lanes, mask) for j, mask in enumerate(masks)
        ]

    def _multiply(
        self, at: Value, offsets: Sequence[int], columns: Sequence[Value], sums: Sequence[Value]
    ) -> list[Value]:
        b, following = self.b, iter(sums)
        result = []
        for offset in offsets:
            factor = b.splat(b.load(at, offset, self.dtype), self.lanes)
            result += [multiply_add(b, factor, values, next(following)) for values in columns]
        return result

    def elements(self, rows: Axes, panel: Panel) -> list[tuple[int, int | None]]:
        """Where in the result each vector of a tile lies, from the first one on, and its mask."""
        return [
            (place.out * self.columns + j * self.lanes, mask)
            for place in places(rows)
            for j, mask in enumerate(panel.masks)
        ]

    def place(self, row: Value, panel: Panel) -> Value:
        """The pointer to a tile's first element in the result."""
        assert self.results.c is not None
        return self.b.address(self.results.c, row * self.columns + panel.column, self.dtype)

    def store(self, rows: Axes, to: Value, panel: Panel, sums: Sequence[Value]) -> None:
        """Store the elements of a tile, the first one at `to`."""
        for value, (at, mask) in zip(sums, self.elements(rows, panel), strict=True):
            self.b.store(value, to, at, mask)

    def keep(self, sums: Sequence[Value], stage: Value) -> None:
        """Write sums to the stage (in L1)."""
        for at, value in enumerate(sums):
            self.b.store(value, stage, at * self.lanes)

    def finish(
        self, rows: Axes, row: Value, panel: Panel, sums: Sequence[Value], stage: Value
    ) -> None:
        """Store a tile's sums, or finish them row by row from the stage, where they are kept."""
        finish, lanes = self.results.finish, self.lanes
        if finish is None:
            self.store(rows, self.place(row, panel), panel, sums)
            return
        for line, number in self._rows(rows, row, self.b.index(0)):
            for j, mask in enumerate(panel.masks):
                start = number * (len(panel.masks) * lanes) + j * lanes
                value = self.b.load(stage, start, self.dtype, lanes)
                finish(line, panel.column + j * lanes, value, mask)

    def fetch(self, rows: Axes, row: Value, panel: Panel) -> None:
        """Ask for what the epilogue will read, while the products are summed."""
        if self.results.ahead is not None:
            for line, _ in self._rows(rows, row, self.b.index(0)):
                for j in range(len(panel.masks)):
                    self.results.ahead(line, panel.column + j * self.lanes)

    def _rows(self, axes: Axes, row: Value, at: Value) -> Iterator[tuple[Value, Value]]:
        """The rows of a tile and their numbers in it, in loops: a long epilogue is written once."""
        if not axes:
            yield row, at
            return
        with self.b.loop(0, axes[0].size) as loop:
            step = loop.index
            yield from self._rows(axes[1:], row + step * axes[0].out, at * axes[0].size + step)


def multiply_add(b: Builder, x: Value, y: Value, z: Value) -> Value:
    """x * y + z, for floats in one rounding where the target can."""
    return b.fma(x, y, z) if is_float(x.dtype) else x * y + z
