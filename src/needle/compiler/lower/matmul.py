"""A matrix product and the elementwise work on its result, done tile by tile in registers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from needle.compiler.emit.memory import Mask
from needle.compiler.emit.values import Value
from needle.compiler.fuse.rules import Pattern, refined, shapes_of
from needle.compiler.graph.graph import Node
from needle.compiler.index import anchor
from needle.compiler.lower.elementwise import Place
from needle.compiler.lower.instruction import Nest
from needle.compiler.lower.layout import Layout
from needle.compiler.lower.nest import NestWriter
from needle.compiler.lower.schedule import Scheduler, Scope, Slots
from needle.compiler.lower.work import Cost, Task, Work
from needle.compiler.matmul.matmul import MatMulPlan, plan_matmul
from needle.compiler.matmul.nest import emit_matmul
from needle.compiler.matmul.tile import Results
from needle.compiler.target import ITEM_BYTES, Target


@dataclass(frozen=True)
class EpilogueWork:
    """Elementwise work on the elements of a product as they are finished, and where they go.

    The last axis of the nest is that of the columns.
    """

    nest: Nest
    plain: bool

    @staticmethod
    def of(scope: Scope, operands: Slots) -> tuple[EpilogueWork, Slots]:
        """The epilogue of a product, and the pointers, those to its operands first."""
        members, outputs = scope.group.members, scope.group.outputs
        node = members[0]
        rows, columns = math.prod(node.shape[:-1]), node.shape[-1]
        axes: Pattern = ((rows, False), (columns, True))
        if rows > 1 and columns > 1:
            finer = refined(axes, shapes_of(members))
            axes = finer if finer[-1] == axes[-1] else axes
        scheduler = Scheduler(axes, scope, product=node)
        scheduler.parameters += [x for x, _ in operands]  # apart from those of the epilogue
        for output in outputs:
            scheduler.store(output, False)
        nest, slots = scheduler.finish(collapse=len(axes) > 2)
        return EpilogueWork(nest, outputs == [node]), (*operands, *slots[len(operands) :])

    @property
    def bytes(self) -> int:
        """Bytes written for each element of the product."""
        return sum(ITEM_BYTES[self.nest.dtypes[s.parameter]] for s in self.nest.stores)

    def results(self, task: Task, lanes: int) -> Results:
        """The array of the product, or else what stores finished elements, `lanes` at a time."""
        if self.plain:
            return Results(task.pointers[self.nest.stores[0].parameter])
        last = len(self.nest.space) - 1
        writer = NestWriter(task, self.nest, Layout(last, lanes, (False,) * (last + 1), 1, 1))
        every = range(len(self.nest.instructions))
        product = [k for k in every if self.nest.instructions[k].op == "product"]
        top = writer.top()

        rows = list(enumerate(self.nest.space[:last]))

        def at(row: Value, column: Value, mask: Mask) -> Place:
            return top.at(last, column, mask).along(rows, row)

        loads = ((i, i.affine) for i in self.nest.loads)
        by_row = [i for i, at in loads if any(at.coefs[:last]) and not at.dynamic]

        def ahead(row: Value, column: Value) -> None:
            place = at(row, column, None)
            for i in by_row:
                task.b.prefetch(task.pointers[i.attribute], place.first(i.affine), i.dtype)

        def finish(row: Value, column: Value, value: Value, mask: Mask) -> None:
            place = at(row, column, mask)
            place.values.update(dict.fromkeys(product, value))
            writer.emit(place, every, 1)
            for store in self.nest.stores:
                place.store(store)

        return Results(None, finish, ahead if by_row else None)


@dataclass(frozen=True)
class MatMulWork(Work):
    """A product with an epilogue; parameters are a, b, then those of the epilogue."""

    plan: MatMulPlan
    epilogue: EpilogueWork

    @staticmethod
    def of(scope: Scope) -> tuple[MatMulWork, Slots]:
        """The work of a group whose first member is the product, and its pointers."""
        node = scope.group.members[0]
        epilogue, slots = EpilogueWork.of(scope, tuple(map(anchor, node.inputs)))
        return MatMulWork(plan_of(node, scope.target), epilogue), slots

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
        results = self.epilogue.results(task, self.plan.lanes)
        b, (a, right, *_), _, begin, end, scratch = task
        emit_matmul(b, self.plan, (a, right), (begin, end), scratch, results)


def plan_of(node: Node, target: Target) -> MatMulPlan:
    """The plan of a product node."""
    primitive: Any = node.primitive
    left, right = node.inputs
    m, n = node.shape[-2:]
    return plan_matmul(
        target, m, n, left.shape[-2 if primitive.transpose_a else -1], node.dtype.name,
        transpose_a=primitive.transpose_a, transpose_b=primitive.transpose_b,
        batch=math.prod(node.shape[:-2]), panels_given=len(right.shape) > len(node.shape),
    )  # fmt: skip
