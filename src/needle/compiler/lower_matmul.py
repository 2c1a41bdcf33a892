"""A matrix product and the elementwise work on its result, done tile by tile in registers."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from needle.compiler.emit import Builder
from needle.compiler.emit_memory import Mask
from needle.compiler.emit_values import Value
from needle.compiler.fuse_rules import Pattern, refined, shapes_of
from needle.compiler.graph import Node
from needle.compiler.lower_elementwise import Place
from needle.compiler.lower_layout import Layout
from needle.compiler.lower_nest import NestWriter
from needle.compiler.lower_index import anchor
from needle.compiler.lower_instruction import Nest, anchored, collapsed
from needle.compiler.lower_schedule import Buffers, Scheduler
from needle.compiler.lower_work import Cost, Task, Work
from needle.compiler.matmul import Epilogue, MatMulPlan, plan_matmul
from needle.compiler.matmul_nest import emit_matmul
from needle.compiler.target import ITEM_BYTES, Target


Ahead = Callable[[Value, Value], None]


@dataclass(frozen=True)
class EpilogueWork:
    """Elementwise work on the elements of a product as they are finished, and where they go.

    The last axis of the nest is that of the columns.
    """

    nest: Nest
    plain: bool

    @staticmethod
    def of(
        members: Sequence[Node],
        outputs: Sequence[Node],
        memory: Buffers,
        site: Callable[[Node], int],
        operands: Sequence[Node],
    ) -> tuple[EpilogueWork, list[Node], tuple[int, ...]]:
        """The epilogue of a product, all parameters (the operands' first), offsets of its own."""
        node = members[0]
        rows, columns = math.prod(node.shape[:-1]), node.shape[-1]
        axes: Pattern = ((rows, False), (columns, True))
        if rows > 1 and columns > 1:
            finer = refined(axes, shapes_of(members))
            axes = finer if finer[-1] == axes[-1] else axes
        space, inner = zip(*axes, strict=True)
        scheduler = Scheduler(space, inner, memory, site, product=node)
        scheduler.parameters += operands  # apart from those of the epilogue
        for output in outputs:
            scheduler.store(output, False)
        nest = scheduler.finish()
        nest, offsets = anchored(collapsed(nest) if len(axes) > 2 else nest)
        work = EpilogueWork(nest, list(outputs) == [node])
        return work, scheduler.parameters, offsets[len(operands) :]

    @property
    def bytes(self) -> int:
        """Bytes written for each element of the product."""
        return sum(ITEM_BYTES[self.nest.dtypes[s.parameter]] for s in self.nest.stores)

    def writer(self, task: Task, lanes: int) -> tuple[Value | None, Epilogue | None, Ahead | None]:
        """The array of the product, or else what stores finished elements, `lanes` at a time.

        Last what fetches the arrays that it will read of a row, from a column on.
        """
        if self.plain:
            return task.pointers[self.nest.stores[0].parameter], None, None
        last = len(self.nest.space) - 1
        writer = NestWriter(task, self.nest, Layout(last, lanes, (False,) * (last + 1), 1, 1))
        every = range(len(self.nest.instructions))
        product = [k for k in every if self.nest.instructions[k].op == "product"]
        top = writer.top()

        def at(row: Value, column: Value, mask: Mask) -> Place:
            place = top.at(last, column, mask)
            for axis in range(last - 1, 0, -1):
                before = task.b.div(row, self.nest.space[axis])
                place = place.at(axis, row - before * self.nest.space[axis], mask)
                row = before
            return place.at(0, row, mask)

        loads = [i for i in self.nest.instructions if i.op == "load" and i.affine is not None]
        by_row = [i for i in loads if any(i.affine.coefs[:last]) and not i.affine.dynamic]  # type: ignore[union-attr]

        def ahead(row: Value, column: Value) -> None:
            place = at(row, column, None)
            for i in by_row:
                assert i.affine is not None
                task.b.prefetch(task.pointers[i.attribute], place.first(i.affine), i.dtype)

        def finish(b: Builder, row: Value, column: Value, value: Value, mask: Mask) -> None:
            place = at(row, column, mask)
            place.values.update(dict.fromkeys(product, value))
            writer.emit(place, every, 1)
            for store in self.nest.stores:
                place.store(store)

        return None, finish, ahead if by_row else None


@dataclass(frozen=True)
class MatMulWork(Work):
    """A product with an epilogue; parameters are a, b, then those of the epilogue."""

    plan: MatMulPlan
    epilogue: EpilogueWork

    @staticmethod
    def of(
        members: Sequence[Node],
        outputs: Sequence[Node],
        memory: Buffers,
        site: Callable[[Node], int],
        target: Target,
    ) -> tuple[MatMulWork, list[Node], tuple[int, ...]]:
        """The work of a group whose first member is the product, its parameters, their offsets."""
        node = members[0]
        (left, first), (right, second) = map(anchor, node.inputs)
        epilogue, parameters, rest = EpilogueWork.of(members, outputs, memory, site, [left, right])
        return MatMulWork(plan_of(node, target), epilogue), parameters, (first, second, *rest)

    @property
    def cost(self) -> Cost:
        """Multiplications and additions of the product; operands and results."""
        p = self.plan
        operands = p.batch * (p.m * p.k + p.k * p.n) * ITEM_BYTES[p.dtype]
        moved = operands + p.batch * p.m * p.n * self.epilogue.bytes
        flops = 2 * p.batch * p.m * p.n * p.k
        return Cost(p.blocks, moved, flops, p.scratch, self.epilogue.nest.fallible)

    def write(self, task: Task) -> None:
        """Write the body."""
        c, finish, ahead = self.epilogue.writer(task, self.plan.lanes)
        b, (a, right, *_), _, begin, end, scratch = task
        emit_matmul(b, self.plan, a, right, begin, end, scratch, c=c, epilogue=finish, ahead=ahead)


def plan_of(node: Node, target: Target) -> MatMulPlan:
    """The plan of a product node."""
    primitive: Any = node.primitive
    a = node.inputs[0]
    m, n = node.shape[-2:]
    k = a.shape[-2] if primitive.transpose_a else a.shape[-1]
    transposed = primitive.transpose_a, primitive.transpose_b
    panels = len(node.inputs[1].shape) > len(node.shape)
    batch = math.prod(node.shape[:-2])
    return _plan(target, (m, n, k), node.dtype.name, transposed, batch, panels)


@functools.lru_cache(maxsize=1024)
def _plan(
    target: Target,
    sizes: tuple[int, int, int],
    dtype: str,
    transposed: tuple[bool, bool],
    batch: int,
    panels: bool,
) -> MatMulPlan:
    first, second = transposed
    return plan_matmul(target, *sizes, dtype, transpose_a=first, transpose_b=second, batch=batch,
                       panels_given=panels)  # fmt: skip
