"""A product with windows: images are computed where they are copied, then comes its epilogue."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from needle.compiler.emit import Builder
from needle.compiler.emit_values import Value
from needle.compiler.fuse_window import windowed
from needle.compiler.graph import Node
from needle.compiler.lower_elementwise import Place
from needle.compiler.lower_index import Affine, Copy, anchor, split, strides_of
from needle.compiler.lower_instruction import Nest, Store
from needle.compiler.lower_layout import Layout
from needle.compiler.lower_matmul import EpilogueWork
from needle.compiler.lower_nest import NestWriter
from needle.compiler.lower_schedule import Scheduler, Scope, Slots
from needle.compiler.lower_work import Cost, Task, Work
from needle.compiler.matmul_window import WindowPlan, window_plan
from needle.compiler.matmul_window_nest import WindowNest
from needle.compiler.target import ITEM_BYTES


@dataclass(frozen=True)
class WindowWork(Work):
    """A product with windows; parameters are those of the images, the other operand, the rest.

    `fill` computes the images in a band: its axes are image, row, pixel, block of channels and
    channel, its first parameter is the band.
    """

    plan: WindowPlan
    fill: Nest
    epilogue: EpilogueWork

    @staticmethod
    def of(scope: Scope) -> tuple[WindowWork, Slots]:
        """The work of a group whose first member is the product, and its pointers."""
        node = scope.group.members[0]
        plan, found = window_plan(node, scope.target), windowed(node)
        assert plan is not None and found is not None
        fill, sources = _fill(found[0], plan, scope)
        epilogue, slots = EpilogueWork.of(scope, (*sources, anchor(node.inputs[1])))
        return WindowWork(plan, fill, epilogue), slots

    @property
    def cost(self) -> Cost:
        """Multiplications and additions of the product; images, the other operand, results."""
        p, g, item = self.plan, self.plan.geometry, ITEM_BYTES[self.plan.dtype]
        loads = sum(any(i.affine.coefs[:3]) for i in self.fill.loads)
        images = g.images * g.source.height * g.source.width * g.channels * max(1, loads)
        rows = g.images * g.out.height * g.out.width
        inside, result = (rows, p.parts * p.terms) if p.transposed else (p.terms, rows)
        moved = (images + inside * p.columns) * item + result * p.columns * self.epilogue.bytes
        fallible = self.epilogue.nest.fallible or self.fill.fallible
        return Cost(p.blocks, moved, 2 * p.products, p.scratch, fallible)

    def write(self, task: Task) -> None:
        """Write the body."""
        b, pointers, scratch = task.b, task.pointers, task.scratch
        count = len(self.fill.dtypes) - 1

        def fill(image: Value, row: Value, chunk: Value) -> None:
            _Band(task._replace(pointers=pointers[:count]), self.plan, self.fill).write(
                image, row, chunk
            )

        def coming(window: Value, number: int) -> None:
            self._fetch(b, pointers, window, number)

        plan, results = self.plan, self.epilogue.results(task, self.plan.lanes)
        nest = WindowNest(b, plan.dtype, plan.lanes, plan.columns, results, plan, pointers[count],
                          scratch, fill, coming)  # fmt: skip
        nest.write(task.begin, task.end)

    def _fetch(self, b: Builder, pointers: Sequence[Value], window: Value, number: int) -> None:
        """Ask for the arrays that lie in memory as the images do, as far as some windows go."""
        g, space = self.plan.geometry, self.fill.space
        image, windows = math.prod(g.source) * g.channels, math.prod(g.out)
        common = math.gcd(image, windows)
        start = window * (image // common)
        start = start if windows == common else b.div(start, windows // common)
        for i in self.fill.loads:
            if i.affine.dynamic or i.guards:
                continue
            steps = zip(space, i.affine.coefs, strides_of(space), strict=True)
            if all(n == 1 or coef == stride for n, coef, stride in steps):
                at = start + i.affine.const
                line = 64 // ITEM_BYTES[i.dtype]
                with b.loop(0, -(-number * image // windows), line) as loop:
                    b.prefetch(pointers[i.attribute - 1], at + loop.index, i.dtype, 2)


def _fill(images: Node, plan: WindowPlan, scope: Scope) -> tuple[Nest, Slots]:
    """What computes the images, and its pointers but that to the band."""
    g = plan.geometry
    axes = tuple((n, False) for n in (g.images, *g.source, plan.chunks))
    scheduler = Scheduler((*axes, (plan.chunk, True)), scope)
    band = Node(Copy(images.shape), (images,), images.shape, images.dtype)
    scheduler.parameter(band)
    shape = (g.images, *g.source, g.channels)
    place = split(scheduler.position(None), shape, scheduler.space, scheduler.divide)
    index = tuple(place[g.axes.index(axis)] for axis in range(4))
    value = scheduler.value(images, index)
    scheduler.stores.append(Store(value, 0, Affine(0, (*plan.strides, 0, 1))))
    nest, slots = scheduler.finish(collapse=False)
    return nest, slots[1:]


@dataclass(frozen=True)
class _Band:
    """Writes the code that copies a band to scratch."""

    task: Task
    plan: WindowPlan
    nest: Nest

    def write(self, image: Value, row: Value, chunk: Value) -> None:
        """Zeros everywhere if there are any, then the pixels inside the images."""
        b, plan, g = self.task.b, self.plan, self.plan.geometry
        if plan.padded != g.source:
            self._clear()
        images, rows, pixels = plan.strides
        first = row * g.stride.height - plan.before.height  # the image's row that comes first
        origin = b.const(plan.before.width * pixels, "int64") - first * rows - image * images
        writer, top = self._begin(b.address(self.task.scratch, origin, plan.dtype), chunk)
        low = b.maximum(first, 0)
        high = b.minimum(first + plan.span, g.source.height)
        with b.loop(image, image + plan.images) as i, b.loop(low, high) as j:
            place = top.at(0, i.index, None).at(1, j.index, None)
            with b.loop(0, g.source.width) as k:
                writer.item(place.at(2, k.index, None))

    def _clear(self) -> None:
        b, plan = self.task.b, self.plan
        zero = b.zeros(plan.dtype, plan.lanes)

        def body(index: Value, mask: int | None) -> None:
            b.store(zero, self.task.scratch, index, mask)

        b.sweep(plan.sizes[0], plan.lanes, body)

    def _begin(self, origin: Value, chunk: Value) -> tuple[NestWriter, Place]:
        """The writer of the nest and the place outside its loops, with all that is known there."""
        plan = self.plan
        width = 1
        apart = plan.geometry.axes[3] != 3  # gathering few channels takes longer than one by one
        while width < plan.chunk and width < 2 * plan.lanes and (not apart or plan.chunk > 8):
            width *= 2
        layout = Layout(4, width, (False,) * 4 + (True,), 1, 1)
        task = self.task._replace(pointers=(origin, *self.task.pointers))
        writer = NestWriter(task, self.nest, layout)
        return writer, writer.top().at(3, chunk, None)
