"""Copy a panel of B to scratch: ``k`` rows of ``vectors`` vectors, one after the other."""

from __future__ import annotations

from dataclasses import dataclass

from needle.compiler.emit.emit import Builder
from needle.compiler.emit.values import Value
from needle.compiler.matmul.matmul import MatMulPlan
from needle.compiler.matmul.tile import Panel


@dataclass(frozen=True)
class Packer:
    """``packed[k, j] = B[k0 + k, column + j]`` for k < terms.

    Columns beyond n get any values: what is computed from them is never stored.
    """

    b: Builder
    plan: MatMulPlan
    right: Value
    packed: Value
    panel: Panel
    k0: Value
    terms: Value

    def write(self) -> None:
        """Write the code."""
        plan = self.plan
        if not plan.transpose_b:
            self._copy()
        elif plan.k_block // 2 >= plan.lanes or (plan.k_blocks == 1 and plan.k >= plan.lanes):
            self._transpose()
        else:
            self._transpose_elements()

    def _copy(self) -> None:
        b, plan = self.b, self.plan
        source = b.address(self.right, self.k0 * plan.n + self.panel.column, plan.dtype)
        with b.loop(0, self.terms) as loop:
            row = b.address(source, loop.index * plan.n, plan.dtype)
            to = b.address(self.packed, loop.index * plan.panel_columns, plan.dtype)
            for j, mask in enumerate(self.panel.masks):
                value = b.load(row, j * plan.lanes, plan.dtype, plan.lanes, mask)
                b.store(value, to, j * plan.lanes)

    def _transpose(self) -> None:
        """Squares of lanes x lanes; the last one overlaps the one before instead of being cut."""
        b, plan = self.b, self.plan
        stem = f"transpose.{plan.dtype}x{plan.lanes}.{plan.n}x{plan.k}.{plan.panel_columns}"
        with b.loop(0, self.terms, plan.lanes) as loop:
            k = b.minimum(loop.index, self.terms - plan.lanes)
            source = b.address(self.right, self.k0 + k, plan.dtype)
            to = b.address(self.packed, k * plan.panel_columns, plan.dtype)
            with b.loop(0, len(self.panel.masks)) as across:
                j = across.index * plan.lanes
                operands = source, self.panel.column + j, b.address(to, j, plan.dtype)
                b.shared(stem, operands, None, 1, self._square, attributes="noinline")

    def _square(self, b: Builder, source: Value, column: Value, to: Value) -> None:
        """Transpose rows ``column..`` of ``source`` (K apart) into ``to``."""
        plan, width = self.plan, self.plan.lanes
        rows = []
        for i in range(width):
            row = b.minimum(column + i, plan.n - 1)
            rows.append(b.load(source, row * plan.k, plan.dtype, width))
        for i, line in enumerate(transposed(b, rows)):
            b.store(line, to, i * plan.panel_columns)

    def _transpose_elements(self) -> None:
        """K shorter than a vector: element by element."""
        b, plan = self.b, self.plan
        with b.loop(0, len(self.panel.masks) * plan.lanes) as across:
            row = b.minimum(self.panel.column + across.index, plan.n - 1)
            with b.loop(0, self.terms) as loop:
                value = b.load(self.right, row * plan.k + loop.index, plan.dtype)
                b.store(value, self.packed, loop.index * plan.panel_columns + across.index)


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
