"""A product with windows: images are computed where they are copied, then comes its epilogue."""

from __future__ import annotations

import math
from dataclasses import dataclass

from needle.compiler.emit.values import Value
from needle.compiler.fuse.window import windowed
from needle.compiler.graph.graph import Node
from needle.compiler.index import Affine, Copy, anchor, split, strides_of
from needle.compiler.lower.instruction import Nest, Store
from needle.compiler.lower.layout import Layout
from needle.compiler.lower.matmul import EpilogueWork
from needle.compiler.lower.nest import NestWriter
from needle.compiler.lower.schedule import Scheduler, Scope, Slots
from needle.compiler.lower.work import Cost, Task, Work
from needle.compiler.matmul.window import WindowPlan, window_plan
from needle.compiler.matmul.window_nest import WindowNest
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
        plan, results = self.plan, self.epilogue.results(task, self.plan.lanes)
        count = len(self.fill.dtypes) - 1
        task, right = task._replace(pointers=task.pointers[:count]), task.pointers[count]
        nest = _ImagesNest(task.b, plan.dtype, plan.lanes, plan.columns, results, plan, right,
                           task.scratch, task, self.fill)  # fmt: skip
        nest.write(task.begin, task.end)


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
class _ImagesNest(WindowNest):
    """The loops of a product whose bands are made by a nest."""

    task: Task
    nest: Nest

    def coming(self, window: Value, count: int) -> None:
        """Ask for the arrays that lie in memory as the images do, as far as some windows go."""
        b, g, space = self.b, self.plan.geometry, self.nest.space
        image, windows = math.prod(g.source) * g.channels, math.prod(g.out)
        common = math.gcd(image, windows)
        start = window * (image // common)
        start = start if windows == common else start / (windows // common)
        for i in self.nest.loads:
            if i.affine.dynamic or i.guards:
                continue
            steps = zip(space, i.affine.coefs, strides_of(space), strict=True)
            if all(n == 1 or coef == stride for n, coef, stride in steps):
                at = start + i.affine.const
                line = 64 // ITEM_BYTES[i.dtype]
                with b.loop(0, -(-count * image // windows), line) as loop:
                    pointer = self.task.pointers[i.attribute - 1]
                    b.prefetch(pointer, at + loop.index, i.dtype, 2)

    def fill(self, image: Value, row: Value, chunk: Value) -> None:
        """Zeros everywhere if there are any, then the pixels inside the images."""
        b, plan, g = self.b, self.plan, self.plan.geometry
        if plan.padded != g.source:
            b.fill(b.zeros(plan.dtype, plan.lanes), self.scratch, 0, plan.sizes[0])
        images, rows, pixels = plan.strides
        first = row * g.stride.height - plan.before.height  # the image's row that comes first
        origin = b.const(plan.before.width * pixels, "int64") - first * rows - image * images
        writer = self._writer(b.address(self.scratch, origin, plan.dtype))
        top = writer.top().at(3, chunk, None)
        low = b.maximum(first, 0)
        high = b.minimum(first + plan.span, g.source.height)
        with b.loop(image, image + plan.images) as i, b.loop(low, high) as j:
            place = top.at(0, i.index, None).at(1, j.index, None)
            with b.loop(0, g.source.width) as k:
                writer.item(place.at(2, k.index, None))

    def _writer(self, origin: Value) -> NestWriter:
        """What writes the code of a pixel; `origin` is where the first one of all would lie."""
        plan, width = self.plan, 1
        apart = plan.geometry.axes[3] != 3  # gathering few channels takes longer than one by one
        while width < plan.chunk and width < 2 * plan.lanes and (not apart or plan.chunk > 8):
            width *= 2
        task = self.task._replace(pointers=(origin, *self.task.pointers))
        return NestWriter(task, self.nest, Layout(4, width, (False,) * 4 + (True,), 1, 1))
