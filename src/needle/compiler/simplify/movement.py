"""Rules for nodes that move elements: they are composed, and elementwise work goes below them.

All exact. Afterwards a Broadcast always repeats elements (else it is a Reshape), a Reshape never
stands on a Reshape, and a constant array is a Broadcast of a 0-d Constant.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from needle.compiler.graph.graph import Build, Node
from needle.compiler.graph.primitives import (
    Broadcast,
    Concat,
    Constant,
    Elementwise,
    Flip,
    Pad,
    Permute,
    Primitive,
    Reduce,
    Reshape,
    Slice,
    Windows,
)  # fmt: skip
from needle.compiler.index import anchor
from needle.compiler.simplify.rewriter import (
    Rewriter,
    scalar,
    stretched_axes,
)  # fmt: skip


def empty_is_constant(p: Primitive, below: object, node: Node, make: Build) -> Node | None:
    """A node without elements, or made of none: zeros (ones for a product, a pad's value)."""
    if node.size == 0:
        done = isinstance(p, Broadcast) and scalar(node) is not None
        return None if done else make.full(0, node)
    if not node.inputs or any(x.size for x in node.inputs):
        return None
    if isinstance(p, Pad):
        return make.full(p.value, node)
    return make.full(int(isinstance(p, Reduce) and p.fn == "prod"), node)


def order_kept(
    p: Broadcast | Reshape | Permute | Slice | Pad | Reduce | Concat,
    below: object,
    node: Node,
    make: Rewriter,
) -> Node | None:
    """What keeps all elements in their order is a reshape; a reshape to its own shape -> x."""
    x = node.inputs[0]
    order = [axis for axis in p.axes if x.shape[axis] != 1] if isinstance(p, Permute) else []
    new_shape = isinstance(p, Reshape) and x.shape != node.shape
    if x.size != node.size or order != sorted(order) or new_shape:
        return None
    return make.reshape(x, node.shape)


def last_shape_holds(
    p: Reshape | Broadcast, below: Reshape | Broadcast, node: Node, make: Rewriter
) -> Node | None:
    """reshape(reshape x) -> reshape x; broadcast(broadcast x), or of unit axes before x, alike.

    A number is broadcast at once.
    """
    (x,) = node.inputs
    (source,) = x.inputs
    if not source.shape:
        return make.broadcast(source, node.shape)
    first_axes = len(x.shape) - len(source.shape)
    units_first = isinstance(p, Broadcast) and x.shape == (1,) * first_axes + source.shape
    return make(p, source) if type(p) is type(below) or units_first else None


def compose_permutes(p: Permute, below: Permute, node: Node, make: Rewriter) -> Node | None:
    """permute(permute x) -> permute x."""
    return make.permute(node.inputs[0].inputs[0], [below.axes[axis] for axis in p.axes])


def compose_slices(p: Slice, below: Slice, node: Node, make: Rewriter) -> Node | None:
    """x[a:b][c:d] -> x[a+c:a+d]."""
    steps = tuple(s * t for s, t in zip(below.steps, p.steps, strict=True))
    starts = tuple(a + s * b for a, s, b in zip(below.starts, below.steps, p.starts, strict=True))
    stops = tuple(a + (n - 1) * s + 1 for a, n, s in zip(starts, node.shape, steps, strict=True))
    return make(Slice(starts, stops, steps), node.inputs[0].inputs[0])


def compose_pads(p: Pad, below: Pad, node: Node, make: Rewriter) -> Node | None:
    """pad(pad x) with one value -> pad x, unless both put something between along an axis."""
    amounts = zip(p.interior, below.low, below.high, below.interior, strict=True)
    fits = all(gap == 0 or not any(inside) for gap, *inside in amounts)
    if not fits or Constant(p.value, node.dtype) != Constant(below.value, node.dtype):
        return None
    pairs = ((p.low, below.low), (p.high, below.high), (p.interior, below.interior))
    low, high, gaps = (tuple(map(sum, zip(*pair, strict=True))) for pair in pairs)
    return make(Pad(low, high, gaps, p.value), node.inputs[0].inputs[0])


def compose_flips(p: Flip, below: object, node: Node, make: Rewriter) -> Node | None:
    """flip(flip x) -> x; axes of one element, or along which x is repeated, need no flip."""
    (x,), axes = node.inputs, set(p.axes)
    still = stretched_axes(x) if isinstance(below, Broadcast) else ()
    needed = {axis for axis in axes if x.shape[axis] > 1 and axis not in still}
    if isinstance(below, Flip):
        needed, x = needed ^ set(below.axes), x.inputs[0]
    elif needed == axes:
        return None
    return make(Flip(tuple(sorted(needed))), x) if needed else x


def broadcast_after_elementwise(
    p: Elementwise, below: Broadcast, node: Node, make: Rewriter
) -> Node | None:
    """f(broadcast v, broadcast w) -> broadcast f(v, w): f runs on fewer elements."""
    if not all(isinstance(x.primitive, Broadcast) for x in node.inputs):
        return None
    sources = [x.inputs[0] for x in node.inputs]
    common = np.broadcast_shapes(*[x.shape for x in sources])
    if common == node.shape:
        return None
    return make.broadcast(make(p, *[make.broadcast(x, common) for x in sources]), node.shape)


def move_after_elementwise(
    p: Elementwise, below: object, node: Node, make: Rewriter
) -> Node | None:
    """f(reshape a, reshape b) -> reshape f(a, b), for equal reshapes or permutes.

    Literals follow any of them, and what is repeated follows a permute.
    """
    moved = [x for x in node.inputs if isinstance(x.primitive, Reshape | Permute)]
    if not moved:
        return None
    first, source = moved[0].primitive, moved[0].inputs[0]
    if any(x.primitive != first or x.inputs[0].shape != source.shape for x in moved):
        return None
    inputs = []
    for x in node.inputs:
        if x in moved:
            inputs.append(x.inputs[0])
        elif isinstance(x.primitive, Broadcast) and x.inputs[0].shape == ():
            inputs.append(make.broadcast(x.inputs[0], source.shape))
        elif isinstance(x.primitive, Broadcast) and isinstance(first, Permute):
            inputs.append(make.permute(x, np.argsort(first.axes).tolist()))
        else:
            return None
    return make(first, make(p, *inputs))


def permute_of_broadcast(p: Permute, below: Broadcast, node: Node, make: Rewriter) -> Node | None:
    """permute(broadcast v) -> broadcast(permute v)."""
    (v,) = node.inputs[0].inputs
    ranked = make.reshape(v, (1,) * (len(node.shape) - len(v.shape)) + v.shape)
    return make.broadcast(make.permute(ranked, p.axes), node.shape)


def slice_of_broadcast(p: Slice, below: Broadcast, node: Node, make: Rewriter) -> Node | None:
    """broadcast(v)[a:b] -> broadcast(v[a:b]), cut only along the axes that v has."""
    (x,) = node.inputs
    (v,), repeated = x.inputs, stretched_axes(x)
    ranges = enumerate(zip(p.starts, p.stops, p.steps, strict=True))
    cuts = [(0, 1, 1) if axis in repeated else cut for axis, cut in ranges]
    if v.shape:
        v = make(Slice(*zip(*cuts[-len(v.shape) :], strict=True)), v)
    return make.broadcast(v, node.shape)


def slice_of_reshape(p: Slice, below: Reshape, node: Node, make: Rewriter) -> Node | None:
    """reshape(x)[a:b] -> reshape(x[c:d]) where both are the same whole rows."""
    base, start = anchor(node)
    return _rows(base, start, node, make) if base is not node else None


def concat_of_slices(p: Concat, below: Slice | Reshape, node: Node, make: Rewriter) -> Node | None:
    """concat(x[0:1], x[1:2], ...) -> x[0:n] where the parts follow one another in x."""
    places = [anchor(x) for x in node.inputs]
    (base, start), end = places[0], places[0][1]
    for x, place in zip(node.inputs, places, strict=True):
        if place != (base, end):
            return None
        end += x.size
    return _rows(base, start, node, make) if math.prod(node.shape[: p.axis]) == 1 else None


def _rows(base: Node, start: int, node: Node, make: Rewriter) -> Node | None:
    """The elements of `base` from `start` on in the shape of `node`, if they are whole rows."""
    rest = base.shape[1:]
    (first, left), (rows, more) = (divmod(n, math.prod(rest)) for n in (start, node.size))
    if left or more or not base.shape:
        return None
    cut = Slice((first, *[0] * len(rest)), (first + rows, *rest), (1,) * len(base.shape))
    return make.reshape(make(cut, base), node.shape)


def concat_of_reshapes(p: Concat, below: Reshape, node: Node, make: Rewriter) -> Node | None:
    """concat(reshape a, reshape b) -> reshape(concat(a, b)), where the rows stay what they are."""
    parts = [x.inputs[0] for x in node.inputs if isinstance(x.primitive, Reshape)]
    rows = {x.shape[1:] for x in parts}
    if p.axis or len(parts) < len(node.inputs) or len(rows) > 1 or () in {x.shape for x in parts}:
        return None
    return make.reshape(make(p, *parts), node.shape)


def view_of_permute(
    p: Slice | Flip | Pad | Windows, below: Permute, node: Node, make: Rewriter
) -> Node | None:
    """slice(permute x) -> permute(slice x), likewise flip, pad and windows.

    The permutes of channels that come second meet those of the next layer, and go. But rows of a
    permuted array stay what they are: one copy makes all of them, as the heads of attention.
    """
    if isinstance(p, Slice) and node.shape[1:] == node.inputs[0].shape[1:]:
        return None
    axes = below.axes

    def ordered(amounts: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(amounts[axes.index(axis)] for axis in range(len(axes)))

    if isinstance(p, Slice):
        p = Slice(ordered(p.starts), ordered(p.stops), ordered(p.steps))
    elif isinstance(p, Pad):
        p = Pad(ordered(p.low), ordered(p.high), ordered(p.interior), p.value)
    elif isinstance(p, Flip):
        p = Flip(tuple(sorted(axes[axis] for axis in p.axes)))
    else:
        turned = [axes[axis] for axis in p.axes]
        order = sorted(range(len(turned)), key=turned.__getitem__)
        columns = (turned, p.sizes, p.strides, p.dilations)
        along, sizes, strides, dilations = (tuple(c[i] for i in order) for c in columns)
        place = max(along, default=-1) + 1
        within = tuple(place + order.index(i) for i in range(len(order)))
        axes = tuple(axis if axis < place else axis + len(order) for axis in axes)
        axes = (*axes[: p.place], *within, *axes[p.place :])
        p = Windows(along, sizes, strides, dilations, place)
    return make.permute(make(p, node.inputs[0].inputs[0]), axes)


def reshape_of_permute(p: Reshape, below: Permute, node: Node, make: Rewriter) -> Node | None:
    """reshape(permute x) that only adds or drops axes of one element -> permute(reshape x)."""
    (source,) = node.inputs[0].inputs
    real = [axis for axis in below.axes if source.shape[axis] != 1]
    if [source.shape[axis] for axis in real] != [n for n in node.shape if n != 1]:
        return None
    kept, units = sorted(real), (1,) * (len(node.shape) - len(real))
    y = make.reshape(source, (*(source.shape[axis] for axis in kept), *units))
    moved, rest = iter(real), iter(range(len(kept), len(node.shape)))
    return make.permute(y, [next(rest) if n == 1 else kept.index(next(moved)) for n in node.shape])
