"""Kernels of their own: adding rows at an index, and running sums."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from needle.compiler import emit_numpy
from needle.compiler.emit import Builder
from needle.compiler.emit_values import Value
from needle.compiler.graph import Node
from needle.compiler.target import ITEM_BYTES, Target

COLUMNS = 64
"""Columns of a block when one matrix is shared out: whole cache lines of every type."""


@dataclass(frozen=True)
class _Columns:
    """Work on `outer` matrices with `columns` columns each; a block is some columns of one."""

    outer: int
    columns: int
    width: int
    dtype: str

    @property
    def chunks(self) -> int:
        """Blocks of one matrix."""
        return -(-self.columns // COLUMNS)

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return self.outer * self.chunks

    @property
    def scratch(self) -> int:
        """Bytes of scratch a thread needs."""
        return 0

    def each(self, b: Builder, begin: Value, end: Value, body: Any) -> None:
        """`body(matrix, first column, mask)` for every vector of the blocks `begin..end`."""
        with b.loop(begin, end) as loop:
            outer = b.div(loop.index, self.chunks)
            first = (loop.index - outer * self.chunks) * COLUMNS
            if self.columns % COLUMNS == 0:
                b.sweep(COLUMNS, self.width, lambda i, mask: body(outer, first + i, mask))
                return
            left = self.columns % COLUMNS
            last = b.compare("eq", first, self.columns - left)

            def whole() -> tuple[Value, ...]:
                b.sweep(COLUMNS, self.width, lambda i, mask: body(outer, first + i, mask))
                return ()

            def rest() -> tuple[Value, ...]:
                b.sweep(left, self.width, lambda i, mask: body(outer, first + i, mask))
                return ()

            if self.columns < COLUMNS:
                rest()
            else:
                b.branch(last, rest, whole)


@dataclass(frozen=True)
class CumulativeWork(_Columns):
    """Running sums down the columns of matrices of `rows` rows."""

    rows: int
    fallible = False

    @staticmethod
    def of(node: Node, site: int, target: Target) -> CumulativeWork:
        """The work of a `Cumulative` node."""
        axis = node.primitive.axis  # type: ignore[attr-defined]
        columns = math.prod(node.shape[axis + 1 :])
        width = _width(columns, node.dtype.name, target)
        outer = math.prod(node.shape[:axis])
        return CumulativeWork(outer, columns, width, node.dtype.name, node.shape[axis])

    @property
    def flops(self) -> int:
        """Additions."""
        return self.outer * self.rows * self.columns

    @property
    def bytes_moved(self) -> int:
        """Bytes that must be read or written once."""
        return 2 * self.flops * ITEM_BYTES[self.dtype]

    def write(
        self,
        b: Builder,
        pointers: Sequence[Value],
        status: Value | None,
        begin: Value,
        end: Value,
        scratch: Value,
    ) -> None:
        """Write the body of the kernel."""
        x, result = pointers

        def column(outer: Value, first: Value, mask: int | None) -> None:
            start = outer * (self.rows * self.columns) + first
            with b.loop(0, self.rows, 1, [b.zeros(self.dtype, self.width)]) as loop:
                at = start + loop.index * self.columns
                total = loop.carried[0] + b.load(x, at, self.dtype, self.width, mask)
                b.store(total, result, at, mask)
                loop.next(total)

        self.each(b, begin, end, column)


@dataclass(frozen=True)
class ScatterWork(_Columns):
    """Rows of matrices added, in order, into the rows of others that an index names."""

    rows: int
    size: int
    index_dtype: str
    site: int
    fallible = True

    @staticmethod
    def of(node: Node, site: int, target: Target) -> ScatterWork:
        """The work of a `ScatterAdd` node."""
        updates, index = node.inputs
        axis, size = node.primitive.axis, node.primitive.size  # type: ignore[attr-defined]
        columns = math.prod(node.shape[axis + 1 :])
        width = _width(columns, node.dtype.name, target)
        return ScatterWork(math.prod(node.shape[:axis]), columns, width, updates.dtype.name,
                           index.size, size, index.dtype.name, site)  # fmt: skip

    @property
    def flops(self) -> int:
        """Additions."""
        return self.outer * self.rows * self.columns

    @property
    def bytes_moved(self) -> int:
        """Bytes that must be read or written once."""
        item = ITEM_BYTES[self.dtype]
        return (self.flops + self.outer * self.size * self.columns) * item

    def write(
        self,
        b: Builder,
        pointers: Sequence[Value],
        status: Value | None,
        begin: Value,
        end: Value,
        scratch: Value,
    ) -> None:
        """Write the body of the kernel."""
        assert status is not None
        updates, index, result = pointers[:3]

        def column(outer: Value, first: Value, mask: int | None) -> None:
            target = outer * (self.size * self.columns) + first
            source = outer * (self.rows * self.columns) + first
            with b.loop(0, self.size) as rows:
                at = target + rows.index * self.columns
                b.store(b.zeros(self.dtype, self.width), result, at, mask)
            with b.loop(0, self.rows) as rows:
                row = emit_numpy.cast(b, b.load(index, rows.index, self.index_dtype), "int64")
                row = checked(b, row, self.size, self.site, status)
                term = b.load(
                    updates, source + rows.index * self.columns, self.dtype, self.width, mask
                )
                at = target + row * self.columns
                total = b.load(result, at, self.dtype, self.width, mask) + term
                b.store(total, result, at, mask)

        self.each(b, begin, end, column)


def checked(b: Builder, index: Value, size: int, site: int, status: Value) -> Value:
    """A scalar index made safe; a bad one sets the status word to its site."""
    bad = b.compare("ge", b.bitcast(index, "uint64"), size)

    def report() -> tuple[Value, ...]:
        b.store(b.const(site + 1, "int64"), status, 0)
        b.store(index, status, 1)
        return ()

    b.branch(bad, report)
    return b.select(bad, 0, index)


def _width(columns: int, dtype: str, target: Target) -> int:
    return 1 if columns == 1 else target.lanes(dtype)
