"""Convolution as the matrix product's nest with another address function: no matrix of windows.

A *band* is some rows of windows of one image, or whole images. What its windows read is copied to
scratch, with the zeros around it; there the element of window (n, i, j) at (k, l, c) lies at a sum
of multiples of the six, so a tile of windows is addressed from one pointer:

    for band:
        copy the rows of the images to scratch
        for panel of columns, for tile of windows:
            for k, l, c: accumulators += band[windows, k, l, c] * weight[k, l, c, columns]

The weights' gradient is the same with windows and (k, l, c) exchanged; its sums go on from band to
band of a part of the images, in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from needle.compiler.emit import Builder
from needle.compiler.emit_values import Value
from needle.compiler.fuse_window import Geometry
from needle.compiler.matmul import Epilogue, tile_cycles, tile_shapes
from needle.compiler.matmul_nest import multiply_add
from needle.compiler.target import ITEM_BYTES, Target

MOST_BLOCKS = 32
LEAST_BANDS = 8
BAND_ROWS = 256
"""Windows of a band that are enough: the weights are read once for each."""


class Axis(NamedTuple):
    """One of the axes that rows or terms are counted along: elements from one step to the next.

    `out` is the distance in the result's rows, or in the other operand's.
    """

    size: int
    stride: int
    out: int


Axes = tuple[Axis, ...]


def merged(axes: Sequence[Axis]) -> Axes:
    """The same places by fewer axes."""
    result: list[Axis] = []
    for axis in axes:
        if result and result[-1][1:] == (axis.size * axis.stride, axis.size * axis.out):
            result[-1] = Axis(result[-1].size * axis.size, axis.stride, axis.out)
        elif axis.size > 1:
            result.append(axis)
    return tuple(result) or (Axis(1, 0, 0),)


@dataclass(frozen=True)
class WindowPlan:
    """How a product with windows is cut.

    `images` and `rows` of windows make a band, `chunk` of the channels a block of a gradient.
    Tiles are `units` steps along axis `line` of the rows, with all of the axes inside it, by
    `vectors`.
    """

    geometry: Geometry
    columns: int
    dtype: str
    transposed: bool
    parts: int
    images: int
    rows: int
    chunk: int
    lanes: int
    line: int
    units: int
    vectors: int

    @property
    def band_rows(self) -> int:
        """Windows of a band."""
        return self.images * self.rows * self.geometry.out.width

    @property
    def terms(self) -> int:
        """Elements of a window."""
        return math.prod(self.geometry.size) * self.geometry.channels

    @property
    def bands(self) -> int:
        """Bands of all images."""
        g = self.geometry
        return g.images // self.images * (g.out.height // self.rows)

    @property
    def chunks(self) -> int:
        """Blocks of channels of a gradient."""
        return self.geometry.channels // self.chunk

    @property
    def strides(self) -> tuple[int, int, int]:
        """Elements from image to image, row to row and pixel to pixel of a band in scratch."""
        width = self.geometry.padded.width * self.chunk
        return self.geometry.span(self.rows) * width, width, self.chunk

    @property
    def window_axes(self) -> Axes:
        """The axes along which the windows of a band lie."""
        (image, row, pixel), g = self.strides, self.geometry
        across = g.out.width
        return merged([
            Axis(self.images, image, self.rows * across),
            Axis(self.rows, row * g.stride.height, across),
            Axis(across, pixel * g.stride.width, 1),
        ])  # fmt: skip

    @property
    def term_axes(self) -> Axes:
        """The axes along which the elements of a window lie."""
        (_, row, pixel), g = self.strides, self.geometry
        return merged([
            Axis(g.size.height, row * g.dilation.height, g.size.width * g.channels),
            Axis(g.size.width, pixel * g.dilation.width, g.channels),
            Axis(self.chunk, 1, 1),
        ])  # fmt: skip

    @property
    def row_axes(self) -> Axes:
        """The axes of the product's rows."""
        return self.term_axes if self.transposed else self.window_axes

    @property
    def bands_per_block(self) -> int:
        """Bands of a block: of a part of a gradient, or of 32 blocks in all."""
        return -(-self.bands // (self.parts if self.transposed else MOST_BLOCKS))

    @property
    def blocks(self) -> int:
        """All blocks; kernels get ranges of them."""
        gradient = self.parts * self.chunks
        return gradient if self.transposed else -(-self.bands // self.bands_per_block)

    @property
    def unit(self) -> int:
        """Rows of one step along the line."""
        return math.prod(axis.size for axis in self.row_axes[self.line + 1 :])

    @property
    def band_elements(self) -> int:
        """Scratch for a band."""
        return self.images * self.strides[0]

    @property
    def stage_elements(self) -> int:
        """Scratch for the accumulators of a tile."""
        return self.units * self.unit * self.vectors * self.lanes

    @property
    def scratch(self) -> int:
        """Bytes of scratch a thread needs, 64-byte aligned."""
        item = ITEM_BYTES[self.dtype]
        return sum(
            -(-n * item // 64) * 64 for n in (self.band_elements, self.stage_elements)
        )  # fmt: skip


def plan_window(
    target: Target, geometry: Geometry, columns: int, dtype: str, *, transposed: bool, parts: int
) -> WindowPlan:
    """Choose bands, tiles and blocks."""
    g, item = geometry, ITEM_BYTES[dtype]
    chunk = g.channels
    while transposed and parts * (g.channels // chunk) < 16 and chunk % 32 == 0:
        chunk //= 2
    line = g.padded.width * chunk * item
    rows = _rows(target, g, line)
    images = 1
    if rows == g.out.height:
        least = parts if transposed else min(g.images, LEAST_BANDS)
        fits = target.l2 // 2 // (line * g.padded.height)
        enough = -(-BAND_ROWS // (rows * g.out.width))
        most = min(g.images // least, fits, enough)
        images = max((n for n in range(1, most + 1) if g.images // parts % n == 0), default=1)
    rough = WindowPlan(geometry, columns, dtype, transposed, parts, images, rows, chunk,
                       target.lanes(dtype), 0, 1, 1)  # fmt: skip
    line_axis, units, vectors = _tile(target, rough)
    return WindowPlan(geometry, columns, dtype, transposed, parts, images, rows, chunk,
                      rough.lanes, line_axis, units, vectors)  # fmt: skip


def _rows(target: Target, g: Geometry, line: int) -> int:
    """Rows of windows in a band: a quarter of the level-2 cache, and enough bands for threads."""

    def fits(rows: int) -> bool:
        few = g.images * (g.out.height // rows) < MOST_BLOCKS and rows * g.out.width > BAND_ROWS
        return g.span(rows) * line <= target.l2 // 4 and not few

    rows = (r for r in range(g.out.height, 0, -1) if g.out.height % r == 0)
    return next(filter(fits, rows), 1)


def _tile(target: Target, plan: WindowPlan) -> tuple[int, int, int]:
    """Line, steps and vectors of the tile with the fewest cycles."""
    axes = plan.row_axes
    column_vectors = -(-plan.columns // plan.lanes)
    terms = plan.band_rows if plan.transposed else plan.terms
    found = []
    for height, vectors in tile_shapes(target):
        unit = 1
        for line in reversed(range(len(axes))):
            length = axes[line].size
            if height % unit == 0 and height // unit <= length:
                tiles = -(-length // (height // unit))
                even = -(-length // tiles)
                shape = even * unit, vectors
                cycles = tile_cycles(shape, length * unit, column_vectors, terms)
                lines = math.prod(axis.size for axis in axes[:line])
                found.append((lines * cycles, line, even, vectors))
            unit *= length
    return min(found)[1:]


class Tile(NamedTuple):
    """Rows of the product held in registers: where they lie from a first element, and which."""

    offsets: tuple[int, ...]
    left: Value  # elements from the band's first to the tile's
    row: Value


@dataclass(frozen=True)
class WindowNest:
    """Writes the loops of one kernel.

    `fill(image, row, chunk, scratch)` copies a band. Finished
    elements go to `finish`, or to `c`.
    """

    b: Builder
    plan: WindowPlan
    right: Value
    c: Value | None
    scratch: Value
    fill: Callable[[Value, Value, Value], None]
    finish: Epilogue | None

    def write(self, begin: Value, end: Value) -> None:
        """Write the code of blocks `begin..end`."""
        b, plan = self.b, self.plan
        per = plan.bands_per_block
        if not plan.transposed:
            with b.loop(begin * per, b.minimum(end * per, plan.bands)) as loop:
                self._band(loop.index, b.index(0))
                self._product(loop.index * plan.band_rows)
            return
        with b.loop(begin, end) as blocks:
            part = blocks.index if plan.chunks == 1 else b.div(blocks.index, plan.chunks)
            chunk = blocks.index - part * plan.chunks
            with b.loop(0, per) as loop:
                band = part * per + loop.index
                self._band(band, chunk)
                first = b.compare("eq", loop.index, 0)
                self._gradient(part, chunk, band * plan.band_rows, first)

    def _band(self, band: Value, chunk: Value) -> None:
        b, plan = self.b, self.plan
        per_image = plan.geometry.out.height // plan.rows
        image = band if per_image == 1 else b.div(band, per_image)
        self.fill(image * plan.images, (band - image * per_image) * plan.rows, chunk)

    def _product(self, first_row: Value) -> None:
        b, plan = self.b, self.plan
        zero = b.zeros(plan.dtype, plan.lanes)
        for column, widths in self._panels():
            for tile in self._tiles():
                first = [zero] * (len(tile.offsets) * len(widths))
                sums = self._accumulate(tile, plan.term_axes, self.right, column, widths, first)
                self._finish(first_row + tile.row, column, widths, sums)

    def _gradient(self, part: Value, chunk: Value, first_term: Value, first: Value) -> None:
        """Add a band's terms to the sums, which lie in the result."""
        b, plan = self.b, self.plan
        assert self.c is not None
        right = b.address(self.right, first_term * plan.columns, plan.dtype)
        top = part * plan.terms + chunk * plan.chunk
        for column, widths in self._panels():
            for tile in self._tiles():
                at = b.address(self.c, (top + tile.row) * plan.columns + column, plan.dtype)
                places = [
                    (i * plan.columns + j * plan.lanes, mask)
                    for i in range(len(tile.offsets))
                    for j, mask in enumerate(widths)
                ]
                zero = b.zeros(plan.dtype, plan.lanes)
                sums = [
                    b.select(first, zero, b.load(at, i, plan.dtype, plan.lanes, mask))
                    for i, mask in places
                ]
                done = self._accumulate(tile, plan.window_axes, right, column, widths, sums)
                for value, (i, mask) in zip(done, places, strict=True):
                    b.store(value, at, i, mask)

    def _panels(self) -> Iterator[tuple[Value, list[int | None]]]:
        """The first column of each panel, and the masks of its vectors; yields inside loops."""
        b, plan = self.b, self.plan
        width = plan.vectors * plan.lanes
        whole = plan.columns // width
        if whole:
            with b.loop(0, whole) as loop:
                yield loop.index * width, [None] * plan.vectors
        rest = plan.columns - whole * width
        if rest:
            last = rest % plan.lanes or None
            yield b.index(whole * width), [*[None] * (-(-rest // plan.lanes) - 1), last]

    def _tiles(self) -> Iterator[Tile]:
        """All tiles of a band: along each line those of full height, then those a step lower."""
        axes = self.plan.row_axes
        zero = self.b.index(0)
        yield from self._lines(axes, 0, zero, zero)

    def _lines(self, axes: Axes, level: int, left: Value, row: Value) -> Iterator[Tile]:
        b, plan = self.b, self.plan
        axis = axes[level]
        if level < plan.line:
            with b.loop(0, axis.size) as loop:
                step = loop.index
                yield from self._lines(
                    axes, level + 1, left + step * axis.stride, row + step * axis.out
                )
            return
        tiles = -(-axis.size // plan.units)
        tall = tiles - (tiles * plan.units - axis.size)
        for units, low, high in ((plan.units, 0, tall), (plan.units - 1, tall, tiles)):
            if low < high:
                offsets = tuple(_places(Axis(units, *axis[1:]), *axes[level + 1 :]))
                with b.loop(low, high) as loop:
                    step = loop.index * units + tall * (plan.units - units)
                    yield Tile(offsets, left + step * axis.stride, row + step * axis.out)

    def _accumulate(
        self,
        tile: Tile,
        axes: Axes,
        right: Value,
        column: Value,
        widths: list[int | None],
        sums: Sequence[Value],
    ) -> Sequence[Value]:
        """Add products over the axes of the terms: one loop for each."""
        b, plan = self.b, self.plan
        left = b.address(self.scratch, tile.left, plan.dtype)
        right = b.address(right, column, plan.dtype)

        def level(depth: int, x: Value, y: Value, sums: Sequence[Value]) -> Sequence[Value]:
            if depth == len(axes):
                return self._multiply(tile.offsets, x, y, widths, sums)
            axis = axes[depth]
            with b.loop(0, axis.size, 1, sums) as loop:
                step = loop.index
                inside = b.address(x, step * axis.stride, plan.dtype)
                line = b.address(y, step * (axis.out * plan.columns), plan.dtype)
                loop.next(*level(depth + 1, inside, line, loop.carried))
            return loop.results

        return level(0, left, right, sums)

    def _multiply(
        self,
        offsets: Sequence[int],
        x: Value,
        y: Value,
        widths: list[int | None],
        sums: Sequence[Value],
    ) -> list[Value]:
        b, plan = self.b, self.plan
        columns = [
            b.load(y, j * plan.lanes, plan.dtype, plan.lanes, mask) for j, mask in enumerate(widths)
        ]
        result = []
        for i, offset in enumerate(offsets):
            factor = b.splat(b.load(x, offset, plan.dtype), plan.lanes)
            for j, values in enumerate(columns):
                result.append(multiply_add(b, factor, values, sums[i * len(columns) + j]))
        return result

    def _finish(
        self, row: Value, column: Value, widths: list[int | None], sums: Sequence[Value]
    ) -> None:
        b, plan = self.b, self.plan
        if self.finish is None:
            assert self.c is not None
            top = b.address(self.c, row * plan.columns + column, plan.dtype)
            for at, value in enumerate(sums):
                i, j = divmod(at, len(widths))
                b.store(value, top, i * plan.columns + j * plan.lanes, widths[j])
            return
        stage = b.address(self.scratch, plan.scratch // ITEM_BYTES[plan.dtype], plan.dtype)
        stage = b.address(stage, -plan.stage_elements, plan.dtype)
        for at, value in enumerate(sums):
            b.store(value, stage, at * plan.lanes)
        with b.loop(0, len(sums) // len(widths)) as loop:  # a long epilogue is compiled once
            for j, mask in enumerate(widths):
                place = (loop.index * len(widths) + j) * plan.lanes
                value = b.load(stage, place, plan.dtype, plan.lanes)
                self.finish(b, row + loop.index, column + j * plan.lanes, value, mask)


def _places(*axes: Axis) -> Iterator[int]:
    """Where the elements along axes lie, row by row."""
    if not axes:
        yield 0
        return
    for step in range(axes[0].size):
        yield from (step * axes[0].stride + rest for rest in _places(*axes[1:]))
