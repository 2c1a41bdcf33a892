"""The loop nest of a planned matrix product: panels, blocks of K, tiles, accumulators."""

from __future__ import annotations

from dataclasses import dataclass, replace

from needle.compiler.emit.emit import Builder
from needle.compiler.emit.values import Value
from needle.compiler.matmul.matmul import MatMulPlan
from needle.compiler.matmul.pack import Packer
from needle.compiler.matmul.tile import Axis, Operands, Panel, Results, TileNest
from needle.compiler.target import ITEM_BYTES

AHEAD_BYTES = 1 << 14
"""Tiles of A that fit the nearest cache twice: heads of attention ran at 42 to 65% of the peak, at
68 to 83% with the next tile on its way. One matrix that stays in the cache needs no such help.
"""


def emit_matmul(
    b: Builder,
    plan: MatMulPlan,
    operands: tuple[Value, Value],
    blocks: tuple[Value, Value],
    scratch: Value,
    results: Results,
) -> None:
    """Write the code that computes a range of blocks of the product of two operands.

    The three matrices are contiguous. ``scratch`` has ``plan.scratch`` bytes.
    """
    (begin, end), per = blocks, plan.blocks_per_matrix
    stage = b.address(scratch, plan.packed_elements, plan.dtype)
    nest = MatMulNest(b, plan.dtype, plan.lanes, plan.n, results, plan, *operands, b.index(0),
                      scratch, stage)  # fmt: skip
    if plan.batch == 1:
        nest.write(begin, end)
        return
    with b.loop(begin / per, (end + (per - 1)) / per) as loop:
        start = loop.index * per
        first, last = b.maximum(begin - start, 0), b.minimum(end - start, per)
        nest.of_batch(loop.index).write(first, last)


@dataclass(frozen=True)
class MatMulNest(TileNest):
    """Writes the loops of one matrix of a batch; its rows are counted from `first_row` on."""

    plan: MatMulPlan
    a: Value
    right: Value
    first_row: Value
    packed: Value
    stage: Value

    def of_batch(self, number: Value) -> MatMulNest:
        """The nest of another matrix."""
        b, plan = self.b, self.plan
        offsets = [number * size for size in (plan.m * plan.k, plan.k * plan.n)]
        a = b.address(self.a, offsets[0], plan.dtype)
        right = b.address(self.right, offsets[1], plan.dtype)
        return replace(self, a=a, right=right, first_row=number * plan.m)

    def write(self, first: Value, last: Value) -> None:
        """Write the code of some blocks: a range of tiles by all panels, or of panels by tiles."""
        b, plan = self.b, self.plan
        if plan.split == "rows":
            if plan.k_blocks == 1:
                self._tile_range(first, last)
                return
            with b.loop(first, last) as loop:  # partial sums of one block at a time fit the stage
                self._tile_range(loop.index, loop.index + 1)
            return
        low = first * plan.panels_per_block
        high = b.minimum(last * plan.panels_per_block, plan.panels)
        step = plan.stage_rows // plan.height if plan.k_blocks > 1 else plan.tiles
        for start in range(0, plan.tiles, step):
            stop = min(start + step, plan.tiles)
            self._panel_range(low, high, b.index(start), b.index(stop))

    def _tile_range(self, first: Value, last: Value) -> None:
        b, plan = self.b, self.plan
        start = first * plan.tiles_per_block
        stop = b.minimum(last * plan.tiles_per_block, plan.tiles)
        self._panel_range(b.index(0), b.index(plan.panels), start, stop)

    def _panel_range(self, low: Value, high: Value, start: Value, stop: Value) -> None:
        """All of K, in blocks where it is long, for panels ``low..high``, tiles ``start..stop``."""
        b, plan = self.b, self.plan
        for panel in self.panels(plan.vectors, low, high):
            with b.loop(0, plan.k_blocks) as loop:
                k0 = loop.index * plan.k_block
                terms = b.minimum(plan.k - k0, plan.k_block)
                if plan.pack and not plan.panels_given:
                    Packer(b, plan, self.right, self.packed, panel, k0, terms).write()
                for height, row, number in self.heights(plan.m, plan.height, start, stop):
                    self._tile(panel, height, row, number - start, k0, terms)

    def _tile(
        self, panel: Panel, height: int, row: Value, place: Value, k0: Value, terms: Value
    ) -> None:
        """One tile: accumulate ``terms`` products, then finish or keep the partial sums."""
        b, plan = self.b, self.plan
        across, along = (1, plan.m) if plan.transpose_a else (plan.k, 1)  # strides by row and k
        rows, line = (Axis(height, across, 1),), row + self.first_row
        kept = place * (plan.height * plan.panel_columns) if plan.k_blocks > 1 else b.index(0)
        stage = b.address(self.stage, kept, plan.dtype)
        if plan.k_blocks == 1:
            self.fetch(rows, line, panel)
        left = b.address(self.a, row * across + k0 * along, plan.dtype)
        right, stride = self._columns(panel, k0)
        masks = [None] * len(panel.masks) if plan.pack else panel.masks
        first = self._first_sums(height * len(masks), stage, k0)
        sums = self.accumulate(
            rows, (Axis(terms, along, 1),), Operands(left, right, stride), masks, first,
            lambda at, turn: self._ask_for_a(height, at, turn),
        )  # fmt: skip
        if plan.k_blocks > 1 or self.results.finish is not None:
            self.keep(sums, stage)
        if plan.k_blocks == 1:
            self.finish(rows, line, panel, sums, stage)
        else:
            with b.when(k0 + terms >= plan.k):
                self.finish(rows, line, panel, sums, stage)

    def _columns(self, panel: Panel, k0: Value) -> tuple[Value, int]:
        """Where the columns of a panel lie, and elements from one term's to the next's."""
        b, plan = self.b, self.plan
        if plan.panels_given:
            before = panel.column * plan.k + k0 * plan.panel_columns
            return b.address(self.right, before, plan.dtype), plan.panel_columns
        if plan.pack:
            return self.packed, plan.panel_columns
        return b.address(self.right, k0 * plan.n + panel.column, plan.dtype), plan.n

    def _first_sums(self, number: int, stage: Value, k0: Value) -> list[Value]:
        b, plan = self.b, self.plan
        zero = b.zeros(plan.dtype, plan.lanes)
        if plan.k_blocks == 1:
            return [zero] * number
        first, places = b.compare("eq", k0, 0), range(0, number * plan.lanes, plan.lanes)
        return [b.select(first, zero, b.load(stage, at, plan.dtype, plan.lanes)) for at in places]

    def _ask_for_a(self, height: int, at: Value, turn: Value) -> None:
        """In a batch a small tile of A is followed by the next one meanwhile, a line a turn."""
        plan = self.plan
        if plan.batch > 1 and height * plan.k * ITEM_BYTES[plan.dtype] <= AHEAD_BYTES:
            after = 2 * height - 1 if plan.transpose_a else turn * (height - 1) + height * plan.k
            self.b.prefetch(at, after, plan.dtype)
