"""Rules for images: the order of their axes does not matter to what moves them, nor to windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from needle.compiler.graph import Node
from needle.compiler.primitives import Constant, Flip, Pad, Permute, Reshape, Slice, Windows
from needle.compiler.simplify_rewriter import Rewriter


def view_of_permute(p: Any, node: Node, make: Rewriter) -> Node | None:
    """slice(permute x) -> permute(slice x), likewise flip, pad and windows.

    The permutes of channels that come second meet those of the next layer, and go.
    """
    (x,) = node.inputs
    if not isinstance(x.primitive, Permute):
        return None
    axes = x.primitive.axes

    def ordered(amounts: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(amounts[axes.index(axis)] for axis in range(len(axes)))

    if isinstance(p, Slice):
        p = Slice(ordered(p.starts), ordered(p.stops), ordered(p.steps))
    elif isinstance(p, Pad):
        p = Pad(ordered(p.low), ordered(p.high), ordered(p.interior), p.value)
    elif isinstance(p, Flip):
        p = Flip(tuple(sorted(axes[axis] for axis in p.axes)))
    elif isinstance(p, Windows):
        order = sorted(range(len(p.axes)), key=lambda i: axes[p.axes[i]])
        columns = ([axes[axis] for axis in p.axes], p.sizes, p.strides, p.dilations)
        along, sizes, strides, dilations = (tuple(c[i] for i in order) for c in columns)
        place = max(along, default=-1) + 1
        within = tuple(place + order.index(i) for i in range(len(order)))
        axes = tuple(axis if axis < place else axis + len(order) for axis in axes)
        axes = (*axes[: p.place], *within, *axes[p.place :])
        p = Windows(along, sizes, strides, dilations, place)
    return make.permute(make(p, x.inputs[0]), axes)


def compose_pads(p: Pad, node: Node, make: Rewriter) -> Node | None:
    """pad(pad x) with one value -> pad x, unless both put something between along an axis."""
    (x,) = node.inputs
    inner = x.primitive
    if not isinstance(inner, Pad):
        return None
    amounts = zip(p.low, p.high, p.interior, inner.low, inner.high, inner.interior, strict=True)
    fits = all(gap == 0 or not any(below) for _, _, gap, *below in amounts)
    if not fits or Constant(p.value, x.dtype) != Constant(inner.value, x.dtype):
        return None
    pairs = ((p.low, inner.low), (p.high, inner.high), (p.interior, inner.interior))
    low, high, gaps = (tuple(map(sum, zip(*pair, strict=True))) for pair in pairs)
    return make(Pad(low, high, gaps, p.value), x.inputs[0])


def reshape_of_permute(p: Reshape, node: Node, make: Rewriter) -> Node | None:
    """reshape(permute x) that only adds or drops axes of one element -> permute(reshape x)."""
    (x,) = node.inputs
    if not isinstance(x.primitive, Permute):
        return None
    source = x.inputs[0].shape
    real = [axis for axis in x.primitive.axes if source[axis] != 1]
    if [source[axis] for axis in real] != [n for n in node.shape if n != 1]:
        return None
    kept, units = sorted(real), len(node.shape) - len(real)
    y = make.reshape(x.inputs[0], (*(source[axis] for axis in kept), *(1 for _ in range(units))))
    moved, rest = iter(real), iter(range(len(kept), len(node.shape)))
    return make.permute(y, [next(rest) if n == 1 else kept.index(next(moved)) for n in node.shape])
