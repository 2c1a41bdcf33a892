"""Products whose left operand is made of sliding windows: convolutions, gradients of weights.

    reshape(permute(windows(pad x))) @ weight        the windows of x, one a row
    reshape(permute(windows(pad x)))^T @ grad        summed over all windows

Such an operand is never in memory: the product's kernel reads x where the windows lie.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from needle.compiler.graph.graph import Build, Graph, Node, rebuild
from needle.compiler.graph.primitives import MatMul, Pad, Permute, Windows
from needle.compiler.index import storage

PART_BYTES = 2 << 20
"""Memory for the partial sums of one gradient: what stays in the caches."""

MOST_PARTS = 32
LEAST_FLOPS = 1 << 20
"""A product of fewer operations is not cut: about 5 microseconds."""


class Pair(NamedTuple):
    """An amount along the height and one along the width of images."""

    height: int
    width: int


class Geometry(NamedTuple):
    """Windows of images, with zeros around and between their pixels.

    `axes` are those of images, height, width and channels. `low` zeros come first, up to `padded`
    pixels, `spread` is the distance of two pixels; `out` windows of `size` pixels that lie
    `dilation` apart begin every `stride` pixels.
    """

    axes: tuple[int, int, int, int]
    images: int
    source: Pair
    channels: int
    low: Pair
    padded: Pair
    spread: Pair
    out: Pair
    size: Pair
    stride: Pair
    dilation: Pair


def windowed(node: Node) -> tuple[Node, Geometry] | None:
    """The images that a product reads through windows, and how; None for any other node."""
    product = node.primitive
    if not isinstance(product, MatMul) or product.transpose_b:
        return None
    view = storage(node.inputs[0])
    order: tuple[int, ...] = tuple(range(6))
    if isinstance(view.primitive, Permute):
        order, (view,) = view.primitive.axes, view.inputs
    p = view.primitive
    if not isinstance(p, Windows) or len(order) != len(view.shape) or len(p.axes) != 2:
        return None
    within = (p.place, p.place + 1)
    outside = [axis for axis in range(6) if axis not in within]  # where the images' axes are
    channel = next(axis for axis in (3, 2, 1) if axis not in p.axes)
    axes = (0, *p.axes, channel)
    usual = (*(outside[axis] for axis in axes[:3]), *within, outside[channel])
    images, height, width, *size, channels = (view.shape[axis] for axis in usual)
    single = {axis for axis, n in enumerate(view.shape) if n == 1}
    if [a for a in order if a not in single] != [a for a in usual if a not in single]:
        return None
    if 0 in p.axes:
        return None
    parts = math.prod(node.shape[:-2])
    if node.inputs[0].shape[-1] != math.prod(size) * channels or images % parts:
        return None
    if parts > 1 and not product.transpose_a:
        return None
    most = p.sizes if {*p.strides, *p.dilations} == {1} and not product.transpose_a else (1, 1)
    x, low, spread = _inside(view.inputs[0], p.axes, most)
    source, padded = (Pair(*(y.shape[axis] for axis in p.axes)) for y in (x, view.inputs[0]))
    return x, Geometry(axes, images, source, channels, low, padded, spread, Pair(height, width),
                       Pair(*size), Pair(*p.strides), Pair(*p.dilations))  # fmt: skip


def _inside(x: Node, axes: tuple[int, ...], most: tuple[int, ...]) -> tuple[Node, Pair, Pair]:
    """What is padded with zeros, how much comes first, and the distance of two pixels.

    That is at most `most`, so that every window meets a pixel.
    """
    pad = x.primitive
    if isinstance(pad, Pad) and pad.value == 0:
        low, gaps = (Pair(*(n[a] for a in axes)) for n in (pad.low, pad.interior))
        spread = Pair(gaps.height + 1, gaps.width + 1)
        others = [a for a in range(len(x.shape)) if a not in axes]
        elsewhere = any(n[a] for n in (pad.low, pad.high, pad.interior) for a in others)
        if not elsewhere and all(a <= b for a, b in zip(spread, most, strict=True)):
            return x.inputs[0], low, spread
    return x, Pair(0, 0), Pair(1, 1)


def is_gradient(node: Node) -> bool:
    """Whether a node is a product that sums over all windows."""
    product = node.primitive
    return isinstance(product, MatMul) and product.transpose_a and windowed(node) is not None


def in_parts(graph: Graph) -> Graph:
    """The graph with weights' gradients summed over groups of images first.

    Each group is the work of one thread, and the groups' sums are added in order.
    """

    def rewrite(node: Node) -> Node:
        found = windowed(node) if is_gradient(node) and len(node.shape) == 2 else None
        if found is None:
            return node
        a, b = node.inputs
        most = min(MOST_PARTS, PART_BYTES // (node.size * node.dtype.itemsize))
        parts = max((p for p in range(1, most + 1) if found[1].images % p == 0), default=1)
        if parts == 1 or 2 * node.size * a.shape[0] < LEAST_FLOPS:
            return node
        build = Build(node.source)
        rows = a.shape[0] // parts
        left, right = (build.reshape(x, (parts, rows, x.shape[1])) for x in (a, b))
        return build.reduce("sum", build(node.primitive, left, right), (0,))

    return rebuild(graph, rewrite)
