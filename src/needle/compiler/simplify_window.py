"""Rules for images: the order of their axes does not matter to what moves them, nor to windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from needle.compiler.graph import Node
from needle.compiler.primitives import Constant, Flip, Pad, Permute, Slice, Windows
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
        p = Windows(*(tuple(c[i] for i in order) for c in columns))
        axes = (*axes, *(len(axes) + order.index(i) for i in range(len(order))))
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
