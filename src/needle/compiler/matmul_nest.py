"""The loop nest of a planned matrix product: panels, blocks of K, tiles, accumulators."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from needle.compiler.emit import Builder
from needle.compiler.emit_values import Value, is_float
from needle.compiler.matmul import Epilogue, MatMulPlan
from needle.compiler.target import ITEM_BYTES
from needle.compiler.matmul_pack import Index, Nest, Panel, pack_panel

AHEAD_BYTES = 1 << 14
"""Tiles of A that fit the nearest cache twice: heads of attention ran at 42 to 65% of the peak, at
68 to 83% with the next tile on its way. One matrix that stays in the cache needs no such help.
"""


def emit_matmul(
    b: Builder,
    plan: MatMulPlan,
    a: Value,
    right: Value,
    begin: Value,
    end: Value,
    scratch: Value,
    *,
    c: Value | None = None,
    epilogue: Epilogue | None = None,
    ahead: Callable[[Value, Value], None] | None = None,
) -> None:
    """Write the code that computes blocks ``begin..end`` of ``a @ right``.

    Results are stored to ``c``, or handed to ``epilogue``, which stores what it makes of them. The
    three matrices are contiguous. ``scratch`` has ``plan.scratch`` bytes.
    """
    per = plan.blocks_per_matrix
    packed, stage = scratch, b.address(scratch, plan.packed_elements, plan.dtype)

    def matrix(batch: Index, first: Value, last: Value) -> None:
        offset = [b.index(batch) * size for size in (plan.m * plan.k, plan.k * plan.n)]
        nest = Nest(
            b, plan, b.address(a, offset[0], plan.dtype), b.address(right, offset[1], plan.dtype),
            c, packed, stage, b.index(batch) * plan.m, epilogue, ahead,
        )  # fmt: skip
        _blocks(nest, first, last)

    if plan.batch == 1:
        matrix(0, begin, end)
        return
    with b.loop(b.div(begin, per), b.div(end + (per - 1), per)) as loop:
        start = loop.index * per
        matrix(loop.index, b.maximum(begin - start, 0), b.minimum(end - start, per))


def _blocks(nest: Nest, first: Value, last: Value) -> None:
    """Blocks of one matrix: a range of tiles by all panels, or of panels by all tiles."""
    b, plan = nest.b, nest.plan
    if plan.split == "rows":
        if plan.k_blocks == 1:
            _tile_range(nest, first, last)
            return
        with b.loop(first, last) as loop:  # partial sums of one block at a time fit the stage
            _tile_range(nest, loop.index, loop.index + 1)
        return
    low = first * plan.panels_per_block
    high = b.minimum(last * plan.panels_per_block, plan.panels)
    for start in range(0, plan.tiles, _stage_tiles(plan)):
        stop = min(start + _stage_tiles(plan), plan.tiles)
        _panel_range(nest, low, high, b.index(start), b.index(stop))


def _stage_tiles(plan: MatMulPlan) -> int:
    return plan.stage_rows // plan.height if plan.k_blocks > 1 else plan.tiles


def _tile_range(nest: Nest, first: Value, last: Value) -> None:
    b, plan = nest.b, nest.plan
    start = first * plan.tiles_per_block
    stop = b.minimum(last * plan.tiles_per_block, plan.tiles)
    _panel_range(nest, b.index(0), b.index(plan.panels), start, stop)


def _panel_range(nest: Nest, low: Value, high: Value, start: Value, stop: Value) -> None:
    """Panels ``low..high`` by tiles ``start..stop``: whole panels in a loop, then the last one."""
    b, plan = nest.b, nest.plan
    whole = plan.n // plan.panel_columns
    if whole:
        inside = b.index(whole) if high.literal is not None else b.minimum(high, whole)
        with b.loop(low, inside) as loop:
            panel = Panel(loop.index * plan.panel_columns, plan.vectors, None)
            _panel(nest, panel, start, stop)
    rest = plan.n - whole * plan.panel_columns
    if rest:
        lanes = rest % plan.lanes or None
        panel = Panel(b.index(whole * plan.panel_columns), -(-rest // plan.lanes), lanes)
        with b.loop(b.maximum(low, whole), high):
            _panel(nest, panel, start, stop)


def _panel(nest: Nest, panel: Panel, start: Value, stop: Value) -> None:
    """All of K for one panel, in blocks where it is long."""
    b, plan = nest.b, nest.plan
    with b.loop(0, plan.k_blocks) as loop:
        k0 = loop.index * plan.k_block
        terms = b.minimum(plan.k - k0, plan.k_block)
        if plan.pack and not plan.panels_given:
            pack_panel(nest, panel, k0, terms)
        for height, low, high in _heights(nest, start, stop):
            with b.loop(low, high) as tiles:
                _tile(nest, panel, tiles.index, tiles.index - start, height, k0, terms)


def _heights(nest: Nest, start: Value, stop: Value) -> Sequence[tuple[int, Value, Value]]:
    """The tiles of full height, then those one row lower."""
    b, plan = nest.b, nest.plan
    tall = plan.tall_tiles
    ranges = []
    if tall:
        ranges.append((plan.height, start, b.minimum(stop, tall)))
    if tall < plan.tiles:
        ranges.append((plan.height - 1, b.maximum(start, tall), stop))
    return ranges


def _tile(
    nest: Nest, panel: Panel, tile: Value, place: Value, height: int, k0: Value, terms: Value
) -> None:
    """One tile: accumulate ``terms`` products, then finish or keep the partial sums."""
    b, plan = nest.b, nest.plan
    row = tile * plan.height
    if plan.tall_tiles < plan.tiles and height < plan.height:
        row = row - (tile - plan.tall_tiles)
    kept = place * (plan.height * plan.panel_columns) if plan.k_blocks > 1 else b.index(0)
    stage = b.address(nest.stage, kept, plan.dtype)
    _fetch_rows(nest, panel, row, height)
    first = _first_sums(nest, panel, stage, height, k0)
    sums = _accumulate(nest, panel, row, height, k0, terms, first)
    if plan.k_blocks == 1 and nest.epilogue is None:
        _store_rows(nest, panel, row, sums)
        return
    for x, at in zip(sums, _offsets(nest, panel, height), strict=True):
        b.store(x, stage, at)
    if plan.k_blocks == 1:
        _finish_rows(nest, panel, row, height, stage)
    else:
        finished = b.compare("ge", k0 + terms, plan.k)
        b.branch(finished, lambda: _finish_rows(nest, panel, row, height, stage))


def _fetch_rows(nest: Nest, panel: Panel, row: Value, height: int) -> None:
    """Ask for what the epilogue will read, while the products are summed."""
    b, plan = nest.b, nest.plan
    if nest.ahead is None or plan.k_blocks > 1:
        return
    with b.loop(0, height) as loop:
        for j in range(panel.vectors):
            nest.ahead(row + loop.index + nest.first_row, panel.column + j * plan.lanes)


def _first_sums(nest: Nest, panel: Panel, stage: Value, height: int, k0: Value) -> list[Value]:
    b, plan = nest.b, nest.plan
    zero, places = b.zeros(plan.dtype, plan.lanes), _offsets(nest, panel, height)
    if plan.k_blocks == 1:
        return [zero] * len(places)
    first = b.compare("eq", k0, 0)
    return [b.select(first, zero, b.load(stage, at, plan.dtype, plan.lanes)) for at in places]


def _offsets(nest: Nest, panel: Panel, height: int) -> list[int]:
    """Where the accumulators of a tile lie in the stage."""
    columns = range(0, panel.vectors * nest.plan.lanes, nest.plan.lanes)
    return [i * nest.plan.panel_columns + j for i in range(height) for j in columns]


def _accumulate(
    nest: Nest, panel: Panel, row: Value, height: int, k0: Value, terms: Value, sums: list[Value]
) -> tuple[Value, ...]:
    """The inner loop: one vector load per column vector, one broadcast per row, all multiply-adds.

    Everything it loads lies at constant distances from two pointers. In a batch a small tile of
    A is followed by the next one meanwhile, a line a turn.
    """
    b, plan = nest.b, nest.plan
    across, along = (1, plan.m) if plan.transpose_a else (plan.k, 1)  # strides of A by row and k
    left = b.address(nest.a, row * across + k0 * along, plan.dtype)
    if plan.panels_given:
        before = panel.column * plan.k + k0 * plan.panel_columns
        right, stride = b.address(nest.right, before, plan.dtype), plan.panel_columns
    elif plan.pack:
        right, stride = nest.packed, plan.panel_columns
    else:
        right, stride = b.address(nest.right, k0 * plan.n + panel.column, plan.dtype), plan.n
    with b.loop(0, terms, 1, sums) as loop:
        from_a = b.address(left, loop.index * along, plan.dtype)
        from_b = b.address(right, loop.index * stride, plan.dtype)
        columns = [
            b.load(from_b, j * plan.lanes, plan.dtype, plan.lanes,
                   None if plan.pack else panel.mask(j))
            for j in range(panel.vectors)
        ]  # fmt: skip
        if plan.batch > 1 and height * plan.k * ITEM_BYTES[plan.dtype] <= AHEAD_BYTES:
            after = (
                2 * height - 1 if plan.transpose_a else loop.index * (height - 1) + height * plan.k
            )
            b.prefetch(from_a, after, plan.dtype)
        following = list(loop.carried)
        for i in range(height):
            factor = b.splat(b.load(from_a, i * across, plan.dtype), plan.lanes)
            for j, column in enumerate(columns):
                at = i * panel.vectors + j
                following[at] = multiply_add(b, factor, column, following[at])
        loop.next(*following)
    return loop.results


def multiply_add(b: Builder, x: Value, y: Value, z: Value) -> Value:
    """x * y + z, for floats in one rounding where the target can."""
    return b.fma(x, y, z) if is_float(x.dtype) else x * y + z


def _store_rows(nest: Nest, panel: Panel, row: Value, sums: Sequence[Value]) -> None:
    b, plan = nest.b, nest.plan
    assert nest.c is not None
    top = b.address(nest.c, (row + nest.first_row) * plan.n + panel.column, plan.dtype)
    for at, value in enumerate(sums):
        i, j = divmod(at, panel.vectors)
        b.store(value, top, i * plan.n + j * plan.lanes, panel.mask(j))


def _finish_rows(nest: Nest, panel: Panel, row: Value, height: int, stage: Value) -> None:
    """Row by row from the stage (in L1): a loop, so that a long epilogue is compiled once."""
    b, plan = nest.b, nest.plan
    with b.loop(0, height) as loop:
        line = row + loop.index + nest.first_row
        for j in range(panel.vectors):
            at = loop.index * plan.panel_columns + j * plan.lanes
            value = b.load(stage, at, plan.dtype, plan.lanes)
            column = panel.column + j * plan.lanes
            if nest.epilogue is not None:
                nest.epilogue(b, line, column, value, panel.mask(j))
            else:
                assert nest.c is not None
                b.store(value, nest.c, line * plan.n + column, panel.mask(j))
