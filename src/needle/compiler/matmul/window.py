"""The plan of a product with windows: bands, phases, tiles, blocks.

A *band* is some rows of windows of one image, or whole images. What its windows read is copied to
scratch, with the zeros around it; there the element of window (n, i, j) at (k, l, c) lies at a sum
of multiples of the six, so a tile of windows is addressed from one pointer:

    for band:
        copy the rows of the images to scratch
        for panel of columns, for tile of windows:
            for k, l, c: accumulators += band[windows, k, l, c] * weight[k, l, c, columns]

The weights' gradient is the same with windows and (k, l, c) exchanged; its sums go on from band to
band of a part of the images, in memory. Zeros between the pixels (the gradient of a convolution
with a stride) are not multiplied: windows that meet pixels at the same of their places are a
*phase*, a convolution of its own with part of the weights.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from needle.compiler.fuse.window import Geometry, Pair, windowed
from needle.compiler.graph.graph import Node
from needle.compiler.matmul.matmul import tile_cycles, tile_shapes
from needle.compiler.matmul.tile import Axes, Axis, length, merged
from needle.compiler.target import ITEM_BYTES, Target

MOST_BLOCKS = 32
LEAST_BANDS = 8
BAND_ROWS = 256
"""Windows of a band that are enough: the weights are read once for each."""


class Phase(NamedTuple):
    """Rows and terms of one product, and where the first of them lie.

    Tiles are `units` steps along axis `line` of the rows, with all of the axes inside it, by
    `vectors`.
    """

    left: int
    right: int
    row: int
    rows: Axes
    terms: Axes
    line: int = 0
    units: int = 1
    vectors: int = 1

    @property
    def unit(self) -> int:
        """Rows of one step along the line."""
        return length(self.rows[self.line + 1 :])

    @property
    def depth(self) -> int:
        """Number of terms."""
        return length(self.terms)


class Steps(NamedTuple):
    """One phase along the height or width: windows, their pixels, the first of both."""

    windows: int
    pixels: int
    first: int  # of the pixels of a window
    shift: int  # from a window's number to its first pixel


def steps_of(out: int, size: int, low: int, spread: int) -> list[Steps]:
    """The phases along one axis: window o, place k meets pixel (o + k - low) / spread.

    >>> steps_of(4, 3, 1, 2)  # places 1; 0 and 2
    [Steps(windows=2, pixels=1, first=1, shift=0), Steps(windows=2, pixels=2, first=0, shift=0)]
    """
    found = []
    for o in range(min(spread, out)):
        first = (low - o) % spread
        pixels = max(0, -(-(size - first) // spread))
        found.append(Steps(-(-(out - o) // spread), pixels, first, (o + first - low) // spread))
    return found


@dataclass(frozen=True)
class WindowPlan:
    """How a product with windows is cut.

    `images` and `rows` of windows (of each phase) make a band, `chunk` of the channels a block of
    a gradient. `before` zeros lie around what a band reads, up to `padded` pixels.
    """

    geometry: Geometry
    columns: int
    dtype: str
    transposed: bool
    parts: int
    before: Pair
    padded: Pair
    images: int
    rows: int
    chunk: int
    lanes: int
    pack: bool = False
    phases: tuple[Phase, ...] = ()

    @property
    def grid(self) -> int:
        """Rows of windows of an image's first phase."""
        return -(-self.geometry.out.height // self.geometry.spread.height)

    @property
    def span(self) -> int:
        """Padded rows of an image that a band reads."""
        g = self.geometry
        if g.spread != (1, 1):
            return self.padded.height - self.grid + self.rows
        return (self.rows - 1) * g.stride.height + (g.size.height - 1) * g.dilation.height + 1

    @property
    def bands_per_image(self) -> int:
        """Bands of an image, 1 if they hold some."""
        return self.grid // self.rows

    @property
    def band_rows(self) -> int:
        """Windows of a band."""
        g = self.geometry
        return self.images * (g.out.height // self.bands_per_image) * g.out.width

    @property
    def bands(self) -> int:
        """Bands of all images."""
        return self.geometry.images // self.images * self.bands_per_image

    @property
    def bands_per_block(self) -> int:
        """Bands of a block: of a part of a gradient, or of 32 blocks in all."""
        return -(-self.bands // (self.parts if self.transposed else MOST_BLOCKS))

    @property
    def chunks(self) -> int:
        """Blocks of channels of a gradient."""
        return self.geometry.channels // self.chunk

    @property
    def blocks(self) -> int:
        """All blocks; kernels get ranges of them."""
        gradient = self.parts * self.chunks
        return gradient if self.transposed else -(-self.bands // self.bands_per_block)

    @property
    def terms(self) -> int:
        """Elements of a window."""
        return math.prod(self.geometry.size) * self.geometry.channels

    @property
    def panel(self) -> int:
        """Columns of a panel of the weights, where they lie in panels: (panels, terms, columns)."""
        return self.phases[0].vectors * self.lanes

    @property
    def products(self) -> int:
        """Multiplications in all."""
        band = sum(p.depth * length(p.rows) for p in self.phases)
        return band * self.columns * self.bands * self.chunks

    @property
    def strides(self) -> tuple[int, int, int]:
        """Elements from image to image, row to row and pixel to pixel of a band in scratch."""
        width = self.padded.width * self.chunk
        return self.span * width, width, self.chunk

    @property
    def sizes(self) -> tuple[int, int]:
        """Elements of scratch: a band, the accumulators of a tile."""
        tiles = [p.units * p.unit * p.vectors * self.lanes for p in self.phases]
        return self.images * self.strides[0], max(tiles)

    @property
    def starts(self) -> list[int]:
        """Where in scratch the two lie, in elements, and its end: whole cache lines."""
        line = 64 // ITEM_BYTES[self.dtype]
        return [0, *itertools.accumulate(-(-n // line) * line for n in self.sizes)]

    @property
    def scratch(self) -> int:
        """Bytes of scratch a thread needs."""
        return self.starts[-1] * ITEM_BYTES[self.dtype]


def window_plan(node: Node, target: Target) -> WindowPlan | None:
    """The plan of a product with windows; None for any other node."""
    found = windowed(node)
    if found is None:
        return None
    transposed: bool = node.primitive.transpose_a  # type: ignore[attr-defined]
    parts = math.prod(node.shape[:-2])
    return plan_window(target, found[1], node.shape[-1], node.dtype.name, transposed, parts)


@functools.lru_cache(maxsize=1024)
def plan_window(
    target: Target, geometry: Geometry, columns: int, dtype: str, transposed: bool, parts: int
) -> WindowPlan:
    """Choose bands, tiles and blocks."""
    g, chunk = geometry, geometry.channels
    while transposed and parts * (g.channels // chunk) < (16 if chunk % 32 == 0 else 4):
        if chunk % 8:
            break
        chunk //= 2
    before, padded = g.low, g.padded
    if g.spread != (1, 1):
        before, padded = _around(g)
    plan = WindowPlan(geometry, columns, dtype, transposed, parts, before, padded, 1, 1, chunk,
                      target.lanes(dtype))  # fmt: skip
    plan = _banded(target, plan)
    plan = replace(plan, pack=not transposed and _packs(target, plan))
    phases = [_tiled(target, plan, phase) for phase in _phases(plan)]
    if plan.pack:
        deepest = max(phases, key=lambda phase: phase.depth)
        phases = [_tiled(target, plan, phase, deepest.vectors) for phase in phases]
    return replace(plan, phases=tuple(phases))


def _around(g: Geometry) -> tuple[Pair, Pair]:
    """The zeros before images whose pixels are not spread, and their size with all zeros."""
    before, padded = [], []
    for out, size, low, spread, source in zip(
        g.out, g.size, g.low, g.spread, g.source, strict=True
    ):
        steps = steps_of(out, size, low, spread)
        first = max(0, *(-s.shift for s in steps))
        last = max(source, *(s.windows + s.shift + s.pixels - 1 for s in steps))
        before.append(first)
        padded.append(first + last)
    return Pair(*before), Pair(*padded)


def _packs(target: Target, plan: WindowPlan) -> bool:
    """Whether the weights are laid out in panels: where vectors cannot be loaded from them.

    Rows whose distance is a multiple of 512 bytes fall into few cache sets.
    """
    ragged = plan.columns % plan.lanes and not target.has_mask(plan.dtype)
    conflicts = plan.columns * ITEM_BYTES[plan.dtype] % 512 == 0 and plan.terms >= 64
    return bool(ragged or conflicts)


def _banded(target: Target, plan: WindowPlan) -> WindowPlan:
    """Rows and images of a band: half a level-2 cache, and enough bands for threads."""
    g, item, enough = plan.geometry, ITEM_BYTES[plan.dtype], BAND_ROWS
    if plan.transposed:  # the terms of a tile should lie in L1, but sums in memory are costly
        sums = math.prod(g.size) * plan.chunk * plan.columns * item
        enough = BAND_ROWS // 2 if sums <= target.l2 // 4 else 2 * BAND_ROWS

    def fits(rows: int) -> bool:
        few = plan.transposed or g.images * (plan.grid // rows) < MOST_BLOCKS
        small = replace(plan, rows=rows).strides[0] * item <= target.l2 // 4
        return small and not (few and rows * g.out.width > enough)

    even = g.out.height % g.spread.height == 0
    rows = (r for r in range(plan.grid, 0, -1) if plan.grid % r == 0)
    plan = replace(plan, rows=next(filter(fits, rows), 1) if even else plan.grid)
    if plan.rows < plan.grid:
        return plan
    least = plan.parts if plan.transposed else min(g.images, LEAST_BANDS)
    room = target.l2 // 2 // (plan.strides[0] * item)
    most = min(g.images // least, room, -(-enough // plan.band_rows))
    counts = (n for n in range(most, 0, -1) if g.images // plan.parts % n == 0)
    return replace(plan, images=next(counts, 1))


def _phases(plan: WindowPlan) -> Iterator[Phase]:
    """The products of a plan, without their tiles."""
    (image, row, pixel), g = plan.strides, plan.geometry
    across = g.out.width
    axes = [steps_of(*along) for along in zip(g.out, g.size, g.low, g.spread, strict=True)]
    for (a, high), (b, wide) in itertools.product(*map(enumerate, axes)):
        left = (high.shift + plan.before.height) * row + (wide.shift + plan.before.width) * pixel
        right = (high.first * g.size.width + wide.first) * g.channels
        windows = merged(
            Axis(plan.images, image, g.out.height * across),
            Axis(min(plan.rows, high.windows), row * g.stride.height, g.spread.height * across),
            Axis(wide.windows, pixel * g.stride.width, g.spread.width),
        )
        lines = row * g.dilation.height, g.spread.height * g.size.width * g.channels
        terms = merged(
            Axis(high.pixels, *lines),
            Axis(wide.pixels, pixel * g.dilation.width, g.spread.width * g.channels),
            Axis(plan.chunk, 1, 1),
        )
        both = (terms, windows) if plan.transposed else (windows, terms)
        yield Phase(left, right, a * across + b, *both)


def _tiled(target: Target, plan: WindowPlan, phase: Phase, wide: int = 0) -> Phase:
    """The phase with the tile of the fewest cycles, of `wide` vectors if that is given."""
    axes = phase.rows
    column_vectors = -(-plan.columns // plan.lanes)
    found = []
    for height, vectors in tile_shapes(target):
        if wide and vectors != wide:
            continue
        unit = 1
        for line in reversed(range(len(axes))):
            size = axes[line].size
            if height % unit == 0 and height // unit <= size:
                units = -(-size // -(-size // (height // unit)))
                shape = units * unit, vectors
                cycles = tile_cycles(shape, size * unit, column_vectors, phase.depth)
                lines = length(axes[:line])
                found.append((lines * cycles, line, units, vectors))
            unit *= size
    _, line, units, vectors = min(found)
    return phase._replace(line=line, units=units, vectors=vectors)
