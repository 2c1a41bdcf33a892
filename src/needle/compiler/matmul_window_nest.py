"""The loop nest of a product with windows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from needle.compiler.emit import Builder
from needle.compiler.emit_values import Value
from needle.compiler.matmul import Epilogue
from needle.compiler.matmul_nest import multiply_add
from needle.compiler.matmul_window import Axes, Axis, Phase, WindowPlan, places
from needle.compiler.target import ITEM_BYTES


class Panel(NamedTuple):
    """Some columns: the first, the mask of each vector of them."""

    column: Value
    masks: list[int | None]


class Tile(NamedTuple):
    """Rows of the product held in registers: axes of rows, the first one's place in both."""

    axes: Axes
    left: Value
    row: Value


@dataclass(frozen=True)
class WindowNest:
    """Writes the loops of one kernel.

    `fill(image, row, chunk)` copies a band to scratch, `coming(window, count)` fetches what the
    bands of some windows are made of. Finished elements go to `finish`, or to `c`.
    """

    b: Builder
    plan: WindowPlan
    right: Value
    scratch: Value
    fill: Callable[[Value, Value, Value], None]
    coming: Callable[[Value, int], None]
    c: Value | None
    finish: Epilogue | None
    ahead: Callable[[Value, Value], None] | None

    def write(self, begin: Value, end: Value) -> None:
        """Write the code of blocks `begin..end`."""
        b, plan = self.b, self.plan
        per = plan.bands_per_block
        if not plan.transposed:
            with b.loop(begin * per, b.minimum(end * per, plan.bands)) as loop:
                self._fill(loop.index, b.index(0))
                for phase in plan.phases:
                    self._product(phase, loop.index * plan.band_rows + phase.row)
            return
        with b.loop(begin, end) as blocks:
            part = blocks.index if plan.chunks == 1 else b.div(blocks.index, plan.chunks)
            chunk = blocks.index - part * plan.chunks
            with b.loop(0, per) as loop:
                band = part * per + loop.index
                self._fill(band, chunk)
                top = part * plan.terms + chunk * plan.chunk
                self._gradient(top, band * plan.band_rows, b.compare("eq", loop.index, 0))

    def _fill(self, band: Value, chunk: Value) -> None:
        b, plan = self.b, self.plan
        per_image = plan.bands_per_image
        image = band if per_image == 1 else b.div(band, per_image)
        self.fill(image * plan.images, (band - image * per_image) * plan.rows, chunk)

    def _product(self, phase: Phase, first_row: Value) -> None:
        b, plan = self.b, self.plan
        left = b.address(self.scratch, phase.left, plan.dtype)
        zero = b.zeros(plan.dtype, plan.lanes)
        for column, masks in self._panels(phase):
            panel, start, stride = Panel(column, masks), column, plan.columns
            if plan.pack:  # the columns of a panel are all there
                start, stride, masks = column * plan.terms, plan.panel, [None] * len(masks)
            at = b.address(self.right, start + phase.right * stride, plan.dtype)
            for tile in self._tiles(phase):
                self._fetch(tile, first_row, panel)
                first = [zero] * (_count(tile.axes) * len(masks))
                sums = self._accumulate(tile, phase.terms, left, at, stride, masks, first)
                self._finish(tile, first_row, panel, sums)

    def _gradient(self, top: Value, first_term: Value, first: Value) -> None:
        """Add a band's terms to the sums, which lie in the result."""
        b, plan, (phase,) = self.b, self.plan, self.plan.phases
        assert self.c is not None
        right = b.address(self.right, first_term * plan.columns, plan.dtype)
        zero = b.zeros(plan.dtype, plan.lanes)
        for panel in self._panels(phase):
            source = b.address(right, panel.column, plan.dtype)
            for tile in self._tiles(phase):
                if plan.chunks == 1:  # else there is little to read for much to do
                    self._fetch_terms(tile, first_term + plan.band_rows)
                row = (top + tile.row) * plan.columns + panel.column
                to = b.address(self.c, row, plan.dtype)
                elements = [
                    (place.out * plan.columns + j * plan.lanes, mask)
                    for place in places(tile.axes)
                    for j, mask in enumerate(panel.masks)
                ]
                before = [
                    b.select(first, zero, b.load(to, at, plan.dtype, plan.lanes, mask))
                    for at, mask in elements
                ]
                sums = self._accumulate(
                    tile, phase.terms, self.scratch, source, plan.columns, panel.masks, before
                )
                for value, (at, mask) in zip(sums, elements, strict=True):
                    b.store(value, to, at, mask)

    def _panels(self, phase: Phase) -> Iterator[Panel]:
        """All columns, yielded inside a loop over whole panels; the last one may be narrower."""
        b, plan = self.b, self.plan
        width = phase.vectors * plan.lanes
        whole = plan.columns // width
        if whole:
            with b.loop(0, whole) as loop:
                yield Panel(loop.index * width, [None] * phase.vectors)
        rest = plan.columns - whole * width
        if rest:
            last = rest % plan.lanes or None
            masks = [*[None] * (-(-rest // plan.lanes) - 1), last]
            yield Panel(b.index(whole * width), masks)

    def _tiles(self, phase: Phase) -> Iterator[Tile]:
        """All tiles of a band: along each line those of full height, then those a step lower."""
        yield from self._lines(phase, 0, self.b.index(0), self.b.index(0))

    def _lines(self, phase: Phase, level: int, left: Value, row: Value) -> Iterator[Tile]:
        b, axis = self.b, phase.rows[level]
        if level < phase.line:
            with b.loop(0, axis.size) as loop:
                at = loop.index
                yield from self._lines(
                    phase, level + 1, left + at * axis.stride, row + at * axis.out
                )
            return
        tiles = -(-axis.size // phase.units)
        tall = tiles - (tiles * phase.units - axis.size)
        for units, low, high in ((phase.units, 0, tall), (phase.units - 1, tall, tiles)):
            if low < high:
                with b.loop(low, high) as loop:
                    at = loop.index * units + tall * (phase.units - units)
                    axes = (Axis(units, *axis[1:]), *phase.rows[level + 1 :])
                    yield Tile(axes, left + at * axis.stride, row + at * axis.out)

    def _accumulate(
        self,
        tile: Tile,
        axes: Axes,
        left: Value,
        right: Value,
        stride: int,
        masks: list[int | None],
        sums: Sequence[Value],
    ) -> Sequence[Value]:
        """Add products over the axes of the terms: one loop for each."""
        b, plan = self.b, self.plan
        offsets = [place.stride for place in places(tile.axes)]

        def level(depth: int, x: Value, y: Value, sums: Sequence[Value]) -> Sequence[Value]:
            if depth == len(axes):
                return self._multiply(offsets, x, y, masks, sums)
            axis = axes[depth]
            with b.loop(0, axis.size, 1, sums) as loop:
                inside = b.address(x, loop.index * axis.stride, plan.dtype)
                line = b.address(y, loop.index * (axis.out * stride), plan.dtype)
                loop.next(*level(depth + 1, inside, line, loop.carried))
            return loop.results

        return level(0, b.address(left, tile.left, plan.dtype), right, sums)

    def _multiply(
        self,
        offsets: Sequence[int],
        x: Value,
        y: Value,
        masks: list[int | None],
        sums: Sequence[Value],
    ) -> list[Value]:
        b, dtype, lanes = self.b, self.plan.dtype, self.plan.lanes
        columns = [b.load(y, j * lanes, dtype, lanes, mask) for j, mask in enumerate(masks)]
        result = []
        for i, offset in enumerate(offsets):
            factor = b.splat(b.load(x, offset, dtype), lanes)
            for j, values in enumerate(columns):
                result.append(multiply_add(b, factor, values, sums[i * len(columns) + j]))
        return result

    def _finish(self, tile: Tile, first_row: Value, panel: Panel, sums: Sequence[Value]) -> None:
        b, plan, masks = self.b, self.plan, panel.masks
        row = first_row + tile.row
        if self.finish is None:
            assert self.c is not None
            top = b.address(self.c, row * plan.columns + panel.column, plan.dtype)
            for place in places(tile.axes):
                for j, mask in enumerate(masks):
                    at = place.out * plan.columns + j * plan.lanes
                    b.store(sums[place.size * len(masks) + j], top, at, mask)
            return
        stage = b.address(self.scratch, plan.starts[1], plan.dtype)
        for at, value in enumerate(sums):
            b.store(value, stage, at * plan.lanes)
        for line, number in self._rows(tile.axes, row, b.index(0)):
            for j, mask in enumerate(masks):
                start = (number * len(masks) + j) * plan.lanes
                value = b.load(stage, start, plan.dtype, plan.lanes)
                self.finish(b, line, panel.column + j * plan.lanes, value, mask)

    def _fetch(self, tile: Tile, first_row: Value, panel: Panel) -> None:
        """Ask for what the epilogue and the next band will read, while the products are summed."""
        following = first_row + tile.row + self.plan.band_rows
        self.coming(following, _count(tile.axes) * self.plan.geometry.spread.width)
        if self.ahead is not None:
            for line, _ in self._rows(tile.axes, first_row + tile.row, self.b.index(0)):
                for j in range(len(panel.masks)):
                    self.ahead(line, panel.column + j * self.plan.lanes)

    def _fetch_terms(self, tile: Tile, following: Value) -> None:
        """Ask for a tile's share of what the next band reads of the images and the gradient."""
        b, plan = self.b, self.plan
        first = following + b.div(tile.row * plan.band_rows, plan.terms)
        number = -(-_count(tile.axes) * plan.band_rows // plan.terms)
        self.coming(first, number)
        with b.loop(0, number * plan.columns, 64 // ITEM_BYTES[plan.dtype]) as loop:
            b.prefetch(self.right, first * plan.columns + loop.index, plan.dtype, 2)

    def _rows(self, axes: Axes, row: Value, at: Value) -> Iterator[tuple[Value, Value]]:
        """The rows of a tile and their numbers in it, in loops: a long epilogue is written once."""
        if not axes:
            yield row, at
            return
        with self.b.loop(0, axes[0].size) as loop:
            step = loop.index
            yield from self._rows(axes[1:], row + step * axes[0].out, at * axes[0].size + step)


def _count(axes: Axes) -> int:
    return math.prod(axis.size for axis in axes)
