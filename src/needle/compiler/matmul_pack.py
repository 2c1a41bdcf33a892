"""Copy a panel of B to scratch: ``k`` rows of ``vectors`` vectors, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from needle.compiler.emit import Builder
from needle.compiler.emit_memory import Mask
from needle.compiler.emit_values import Value
from needle.compiler.matmul import Epilogue, MatMulPlan

Index = Value | int


@dataclass(frozen=True)
class Panel:
    """Some columns of the result: ``vectors`` vectors from ``column`` on, the last one masked."""

    column: Value
    vectors: int
    last: int | None  # lanes of the last vector that exist; None: all

    def mask(self, vector: int) -> Mask:
        """The mask of one of the vectors."""
        return self.last if vector == self.vectors - 1 else None


@dataclass(frozen=True)
class Nest:
    """What the loops of one matrix share: the builder, the plan, the operands of this matrix."""

    b: Builder
    plan: MatMulPlan
    a: Value
    right: Value
    c: Value | None
    packed: Value
    stage: Value
    first_row: Index  # of this matrix, counted through the batch
    epilogue: Epilogue | None
    ahead: Callable[[Value, Value], None] | None  # asks for what the epilogue reads at an element


def pack_panel(nest: Nest, panel: Panel, k0: Value, terms: Value) -> None:
    """``packed[k, j] = B[k0 + k, column + j]`` for k < terms.

    Columns beyond n get any values: what is computed from them is never stored.
    """
    plan = nest.plan
    if not plan.transpose_b:
        _copy(nest, panel, k0, terms)
    elif plan.k_block // 2 >= plan.lanes or (plan.k_blocks == 1 and plan.k >= plan.lanes):
        _transpose(nest, panel, k0, terms)
    else:
        _transpose_elements(nest, panel, terms)


def _copy(nest: Nest, panel: Panel, k0: Value, terms: Value) -> None:
    b, plan, column = nest.b, nest.plan, panel.column
    source = b.address(nest.right, k0 * plan.n + column, plan.dtype)
    whole = column.literal is None
    with b.loop(0, terms) as loop:
        row = b.address(source, loop.index * plan.n, plan.dtype)
        to = b.address(nest.packed, loop.index * plan.panel_columns, plan.dtype)
        for j in range(panel.vectors):
            left = None if whole else plan.n - int(column.literal or 0) - j * plan.lanes
            value = b.load(row, j * plan.lanes, plan.dtype, plan.lanes, left)
            b.store(value, to, j * plan.lanes)


def _transpose(nest: Nest, panel: Panel, k0: Value, terms: Value) -> None:
    """Squares of lanes x lanes; the last one overlaps the one before instead of being cut."""
    b, plan = nest.b, nest.plan
    square = _square_function(b, plan)
    with b.loop(0, terms, plan.lanes) as loop:
        k = b.minimum(loop.index, terms - plan.lanes)
        source = b.address(nest.right, k0 + k, plan.dtype)
        to = b.address(nest.packed, k * plan.panel_columns, plan.dtype)
        with b.loop(0, panel.vectors) as across:
            j = across.index * plan.lanes
            b.call(square, (source, panel.column + j, b.address(to, j, plan.dtype)))


def _square_function(b: Builder, plan: MatMulPlan) -> str:
    """A function that transposes rows ``column..`` of ``source`` (K apart) into ``to``."""
    width = plan.lanes
    name = f"needle.transpose.{plan.dtype}x{width}.{plan.n}x{plan.k}.{plan.panel_columns}"
    if name in b.module:
        return name
    f = b.module.function(
        name, [("source", "ptr"), ("column", "int64"), ("to", "ptr")], attributes="noinline"
    )
    source, column, to = f.arguments
    rows = []
    for i in range(width):
        row = f.minimum(column + i, plan.n - 1)
        rows.append(f.load(source, row * plan.k, plan.dtype, width))
    for i, row in enumerate(transposed(f, rows)):
        f.store(row, to, i * plan.panel_columns)
    f.ret()
    return name


def transposed(b: Builder, rows: list[Value]) -> list[Value]:
    """The transpose of a square of vectors: swap off-diagonal quarters, then inside each quarter.

    log2(width) stages of two shuffles a pair.
    """
    width = len(rows)
    distance = width // 2
    while distance:
        low = [lane + width - distance if lane & distance else lane for lane in range(width)]
        high = [lane + width if lane & distance else lane + distance for lane in range(width)]
        for i in range(width):
            if not i & distance:
                x, y = rows[i], rows[i + distance]
                rows[i], rows[i + distance] = b.shuffle(x, y, low), b.shuffle(x, y, high)
        distance //= 2
    return rows


def _transpose_elements(nest: Nest, panel: Panel, terms: Value) -> None:
    """K shorter than a vector: element by element."""
    b, plan = nest.b, nest.plan
    with b.loop(0, panel.vectors * plan.lanes) as across:
        row = b.minimum(panel.column + across.index, plan.n - 1)
        with b.loop(0, terms) as loop:
            value = b.load(nest.right, row * plan.k + loop.index, plan.dtype)
            b.store(value, nest.packed, loop.index * plan.panel_columns + across.index)
