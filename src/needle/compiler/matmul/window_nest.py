"""The loop nest of a product with windows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from needle.compiler.emit.values import Value
from needle.compiler.matmul.tile import (
    Axes,
    Axis,
    Operands,
    Panel,
    TileNest,
    length,
)  # fmt: skip
from needle.compiler.matmul.window import Phase, WindowPlan
from needle.compiler.target import ITEM_BYTES


class Tile(NamedTuple):
    """Rows of the product held in registers: axes of rows, the first one's place in both."""

    axes: Axes
    left: Value
    row: Value


@dataclass(frozen=True)
class WindowNest(TileNest):
    """Writes the loops of one kernel, where it is known how bands are made."""

    plan: WindowPlan
    right: Value
    scratch: Value

    def fill(self, image: Value, row: Value, chunk: Value) -> None:
        """Write a band to scratch: that of an image and all after it, from a row of windows on."""
        raise NotImplementedError

    def coming(self, window: Value, count: int) -> None:
        """Ask for what the bands of some windows are made of."""
        raise NotImplementedError

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
            part = blocks.index if plan.chunks == 1 else blocks.index / plan.chunks
            chunk = blocks.index - part * plan.chunks
            with b.loop(0, per) as loop:
                band = part * per + loop.index
                self._fill(band, chunk)
                top = part * plan.terms + chunk * plan.chunk
                self._gradient(top, band * plan.band_rows, b.compare("eq", loop.index, 0))

    def _fill(self, band: Value, chunk: Value) -> None:
        plan = self.plan
        per_image = plan.bands_per_image
        image = band if per_image == 1 else band / per_image
        self.fill(image * plan.images, (band - image * per_image) * plan.rows, chunk)

    def _product(self, phase: Phase, first_row: Value) -> None:
        b, plan = self.b, self.plan
        left = b.address(self.scratch, phase.left, plan.dtype)
        stage = b.address(self.scratch, plan.starts[1], plan.dtype)
        for panel in self._panels(phase):
            start, stride, masks = panel.column, plan.columns, panel.masks
            if plan.pack:  # the columns of a panel are all there
                start, stride, masks = start * plan.terms, plan.panel, [None] * len(masks)
            right = b.address(self.right, start + phase.right * stride, plan.dtype)
            first = [b.zeros(plan.dtype, plan.lanes)] * len(masks)
            for axes, place, row in self._tiles(phase):
                line = first_row + row
                self.coming(line + plan.band_rows, length(axes) * plan.geometry.spread.width)
                self.fetch(axes, line, panel)
                operands = Operands(b.address(left, place, plan.dtype), right, stride)
                sums = self.accumulate(axes, phase.terms, operands, masks, first * length(axes))
                if self.results.finish is not None:
                    self.keep(sums, stage)
                self.finish(axes, line, panel, sums, stage)

    def _gradient(self, top: Value, first_term: Value, first: Value) -> None:
        """Add a band's terms to the sums, which lie in the result."""
        b, plan, (phase,) = self.b, self.plan, self.plan.phases
        right = b.address(self.right, first_term * plan.columns, plan.dtype)
        zero = b.zeros(plan.dtype, plan.lanes)
        for panel in self._panels(phase):
            source = b.address(right, panel.column, plan.dtype)
            for tile in self._tiles(phase):
                if plan.chunks == 1:  # else there is little to read for much to do
                    self._fetch_terms(tile, first_term + plan.band_rows)
                to = self.place(top + tile.row, panel)
                before = [
                    b.select(first, zero, b.load(to, at, plan.dtype, plan.lanes, mask))
                    for at, mask in self.elements(tile.axes, panel)
                ]
                left = b.address(self.scratch, tile.left, plan.dtype)
                operands = Operands(left, source, plan.columns)
                sums = self.accumulate(tile.axes, phase.terms, operands, panel.masks, before)
                self.store(tile.axes, to, panel, sums)

    def _panels(self, phase: Phase) -> Iterator[Panel]:
        """All columns."""
        width = phase.vectors * self.lanes
        return self.panels(phase.vectors, 0, -(-self.columns // width))

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
        for units, at, _ in self.heights(axis.size, phase.units, 0, tiles):
            axes = (Axis(units, *axis[1:]), *phase.rows[level + 1 :])
            yield Tile(axes, left + at * axis.stride, row + at * axis.out)

    def _fetch_terms(self, tile: Tile, following: Value) -> None:
        """Ask for a tile's share of what the next band reads of the images and the gradient."""
        b, plan = self.b, self.plan
        first = following + tile.row * plan.band_rows / plan.terms
        number = -(-length(tile.axes) * plan.band_rows // plan.terms)
        self.coming(first, number)
        with b.loop(0, number * plan.columns, 64 // ITEM_BYTES[plan.dtype]) as loop:
            b.prefetch(self.right, first * plan.columns + loop.index, plan.dtype, 2)
