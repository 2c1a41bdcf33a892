"""Kernels of their own: adding rows at an index, and running sums."""

from __future__ import annotations

import math
from dataclasses import dataclass

from needle.compiler.emit import like_numpy as emit_numpy
from needle.compiler.emit.values import Value
from needle.compiler.index import anchor
from needle.compiler.lower.elementwise import checked
from needle.compiler.lower.schedule import Scope, Slots
from needle.compiler.lower.work import Cost, Task, Work
from needle.compiler.target import ITEM_BYTES

COLUMNS = 64
"""Columns of a block when one matrix is shared out: whole cache lines of every type."""


@dataclass(frozen=True)
class _Columns(Work):
    """Work on `outer` matrices with `columns` columns each; a block is some columns of one."""

    outer: int
    columns: int
    width: int
    dtype: str
    rows: int

    @property
    def chunks(self) -> int:
        """Blocks of one matrix."""
        return -(-self.columns // COLUMNS)

    def write(self, task: Task) -> None:
        """Write the body: `column` for every vector of the blocks."""
        b = task.b

        with b.loop(task.begin, task.end) as loop:
            outer = loop.index / self.chunks
            number = loop.index - outer * self.chunks
            for start, left in b.piece(number, self.columns, COLUMNS):
                for part in b.sweep(left or COLUMNS, self.width):
                    self.column(task, outer, start + part.index, part.mask)

    def column(self, task: Task, outer: Value, first: Value, mask: int | None) -> None:
        """Write what is done to one vector of columns of a matrix."""
        raise NotImplementedError

    def cost_of(self, rows: int, fallible: bool) -> Cost:
        """An addition for each element that is read; `rows` of a matrix are written."""
        elements = self.outer * self.columns
        moved = elements * (self.rows + rows) * ITEM_BYTES[self.dtype]
        return Cost(self.outer * self.chunks, moved, elements * self.rows, 0, fallible)


@dataclass(frozen=True)
class CumulativeWork(_Columns):
    """Running sums down the columns of matrices of `rows` rows."""

    @staticmethod
    def of(scope: Scope) -> tuple[CumulativeWork, Slots]:
        """The work of a `Cumulative` node, and its pointers."""
        shape, slots = _matrices(scope)
        return CumulativeWork(*shape), slots

    @property
    def cost(self) -> Cost:
        """What it costs."""
        return self.cost_of(self.rows, fallible=False)

    def column(self, task: Task, outer: Value, first: Value, mask: int | None) -> None:
        """One vector of running sums."""
        b, (x, result) = task.b, task.pointers
        start = outer * (self.rows * self.columns) + first
        with b.loop(0, self.rows, 1, [b.zeros(self.dtype, self.width)]) as loop:
            at = start + loop.index * self.columns
            total = loop.carried[0] + b.load(x, at, self.dtype, self.width, mask)
            b.store(total, result, at, mask)
            loop.next(total)


@dataclass(frozen=True)
class ScatterWork(_Columns):
    """Rows of matrices added, in order, into the rows of others that an index names."""

    size: int
    index_dtype: str
    site: int

    @staticmethod
    def of(scope: Scope) -> tuple[ScatterWork, Slots]:
        """The work of a `ScatterAdd` node, and its pointers."""
        (outer, columns, width, dtype, size), slots = _matrices(scope)
        (node,) = scope.group.members
        n, kind = node.inputs[1].size, node.inputs[1].dtype.name
        return ScatterWork(outer, columns, width, dtype, n, size, kind, scope.site(node)), slots

    @property
    def cost(self) -> Cost:
        """What it costs."""
        return self.cost_of(self.size, fallible=True)

    def column(self, task: Task, outer: Value, first: Value, mask: int | None) -> None:
        """Zeros, then one vector of each row is added to another."""
        b, (updates, index, result) = task.b, task.pointers
        target = outer * (self.size * self.columns) + first
        source = outer * (self.rows * self.columns) + first
        with b.loop(0, self.size) as rows:
            at = target + rows.index * self.columns
            b.store(b.zeros(self.dtype, self.width), result, at, mask)
        with b.loop(0, self.rows) as rows:
            row = emit_numpy.cast(b, b.load(index, rows.index, self.index_dtype), "int64")
            row = checked(task, row, (self.site, self.size))
            at = source + rows.index * self.columns
            term = b.load(updates, at, self.dtype, self.width, mask)
            at = target + row * self.columns
            total = b.load(result, at, self.dtype, self.width, mask) + term
            b.store(total, result, at, mask)


def _matrices(scope: Scope) -> tuple[tuple[int, int, int, str, int], Slots]:
    """Matrices whose rows are a node's axis, as `_Columns` describes them, and the pointers."""
    (node,) = scope.group.members
    axis, dtype = node.primitive.axis, node.dtype.name  # type: ignore[attr-defined]
    outer, columns = math.prod(node.shape[:axis]), math.prod(node.shape[axis + 1 :])
    width = 1 if columns == 1 else scope.target.lanes(dtype)
    slots = *map(anchor, node.inputs), (node, 0)
    return (outer, columns, width, dtype, node.shape[axis]), slots
