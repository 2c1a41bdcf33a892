"""Reverse mode over graphs by the ops' own gradient rules: backward graphs look as traced."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from needle.compiler.graph.graph import Node
from needle.compiler.graph.primitives import (
    Binary,
    Broadcast,
    Cast,
    Concat,
    MatMul,
    Permute,
    Reduce,
    Reshape,
    Slice,
    Unary,
)
from tests.compiler import building as g


def full_like(x: Node, value: float) -> Node:
    return g.full(value, x.shape, x.dtype)


def scale(x: Node, value: float) -> Node:
    return g.mul(x, full_like(x, value))


def power(x: Node, exponent: float) -> Node:
    return g.binary("pow", x, full_like(x, exponent))


def neg(x: Node) -> Node:
    return g.unary("neg", x)


def spread(x: Node, shape: Sequence[int], axes: Sequence[int]) -> Node:
    """Put back the dropped `axes` and broadcast: the gradient of a sum."""
    kept = tuple(1 if i in axes else n for i, n in enumerate(shape))
    return g.broadcast(g.reshape(x, kept), tuple(shape))


def unbroadcast(grad: Node, shape: tuple[int, ...]) -> Node:
    """Sum over the axes that broadcasting added or stretched."""
    lead = len(grad.shape) - len(shape)
    pairs = enumerate(zip(shape, grad.shape[lead:], strict=True), lead)
    axes = (*range(lead), *(i for i, (a, b) in pairs if a != b))
    return g.reshape(g.reduce("sum", grad, axes) if axes else grad, shape)


def matrix_t(x: Node) -> Node:
    rank = len(x.shape)
    return g.permute(x, (*range(rank - 2), rank - 1, rank - 2))


def _binary_gradient(node: Node, grad: Node) -> list[Node | None]:
    a, b = node.inputs
    fn = node.primitive.fn
    if fn == "add":
        return [grad, grad]
    if fn == "mul":
        return [g.mul(grad, b), g.mul(grad, a)]
    if fn == "div":
        return [g.div(grad, b), g.div(g.mul(grad, neg(a)), power(b, 2.0))]
    if fn == "pow":  # the exponent is always a constant here
        exponent = b.inputs[0].primitive.value
        return [g.mul(scale(grad, exponent), power(a, exponent - 1)), None]
    if fn == "max":  # relu
        return [g.mul(grad, g.cast(g.compare("gt", a, b), a.dtype)), None]
    raise NotImplementedError(fn)


def _unary_gradient(node: Node, grad: Node) -> Node:
    (x,) = node.inputs
    rules: dict[str, Callable[[], Node]] = {
        "neg": lambda: neg(grad),
        "exp": lambda: g.mul(grad, node),
        "log": lambda: g.div(grad, x),
        "tanh": lambda: g.mul(grad, g.add(full_like(x, 1.0), neg(power(node, 2.0)))),
        "sqrt": lambda: g.div(scale(grad, 0.5), node),
    }
    return rules[node.primitive.fn]()


def vjp(node: Node, grad: Node) -> list[Node | None]:
    """Return the gradient for each input of `node`, as the ops' `gradient` methods write it."""
    match node.primitive:
        case Binary():
            return _binary_gradient(node, grad)
        case Unary():
            return [_unary_gradient(node, grad)]
        case Broadcast():
            return [unbroadcast(grad, node.inputs[0].shape)]
        case Reshape():
            return [g.reshape(grad, node.inputs[0].shape)]
        case Permute(axes):
            return [g.permute(grad, tuple(int(i) for i in np.argsort(axes)))]
        case Reduce(fn="sum", axes=axes):
            return [spread(grad, node.inputs[0].shape, axes)]
        case MatMul():
            a, b = node.inputs
            return [g.matmul(grad, matrix_t(b)), g.matmul(matrix_t(a), grad)]
        case Cast():
            return [None]
        case Slice(starts, stops):
            ends = zip(node.inputs[0].shape, stops, strict=True)
            return [g.pad(grad, starts, [n - stop for n, stop in ends])]
        case Concat(axis):
            return _split(grad, node.inputs, axis)
    raise NotImplementedError(node.primitive)


def _split(grad: Node, parts: Sequence[Node], axis: int) -> list[Node | None]:
    offset, pieces = 0, []
    for part in parts:
        starts = tuple(offset if i == axis else 0 for i in range(len(part.shape)))
        stops = tuple(a + n for a, n in zip(starts, part.shape, strict=True))
        pieces.append(g.slice_(grad, starts, stops))
        offset += part.shape[axis]
    return pieces


def gradients(output: Node, wrt: Sequence[Node], seed: Node | None = None) -> list[Node]:
    """Return d output / d each node of `wrt` by reverse mode; `seed` is ones unless given."""
    order = g.topological([output])
    needed = set(wrt)
    for node in order:
        if any(x in needed for x in node.inputs):
            needed.add(node)
    sums = {output: seed if seed is not None else full_like(output, 1.0)}
    for node in reversed(order):
        if node not in sums or not node.inputs:
            continue
        for x, grad in zip(node.inputs, vjp(node, sums[node]), strict=True):
            if grad is not None and x in needed:
                sums[x] = g.add(sums[x], grad) if x in sums else grad
    return [sums[x] for x in wrt]
