"""Rules for reductions: views and repeats below them, nests of them, and the linearity of sums."""

from __future__ import annotations

import functools
import itertools
import math
from typing import NamedTuple

from needle.compiler.graph.graph import Node
from needle.compiler.graph.primitives import Broadcast, Permute, Reduce, Reshape
from needle.compiler.index import matching_groups
from needle.compiler.simplify.rewriter import Rewriter, is_fn, stretched_axes

LARGEST_SUM = 16
"""Terms into which one sum is taken apart at most; it keeps the pass linear."""


def reduce_of_permute(p: Reduce, below: Permute, node: Node, make: Rewriter) -> Node | None:
    """reduce(permute x) -> permute(reduce x)."""
    (x,), order = node.inputs, below.axes
    axes = sorted(order[axis] for axis in p.axes)
    kept = [axis for i, axis in enumerate(order) if i not in p.axes]
    rank = {axis: i for i, axis in enumerate(sorted(kept))}
    return make.permute(make.reduce(p.fn, x.inputs[0], axes), [rank[axis] for axis in kept])


def reduce_of_reshape(p: Reduce, below: Reshape, node: Node, make: Rewriter) -> Node | None:
    """reduce(reshape x) -> reshape(reduce x) where the axes are whole groups of x's axes."""
    (x,) = node.inputs
    (y,) = x.inputs
    axes: list[int] = []
    for left, right in matching_groups(y.shape, x.shape):
        real = {axis for axis in right if x.shape[axis] != 1}
        if real & set(p.axes):
            if not real <= set(p.axes):
                return None
            axes += left
    return make.reshape(make.reduce(p.fn, y, axes), node.shape)


class Term(NamedTuple):
    """sign * product(outside) * sum(product(inside)), outside being constant along the axes."""

    sign: int
    outside: tuple[Node, ...]
    inside: tuple[Node, ...]
    depth: int


def sum_is_linear(p: Reduce, below: object, node: Node, make: Rewriter) -> Node | None:
    """sum(a + b) -> sum(a) + sum(b) and sum(v a) -> v sum(a) for v constant along the axes.

    Only where fewer reductions then follow one another: the textbook backward of LayerNorm and
    BatchNorm has one level too many without it. Rounds differently; the parts of a sum may
    overflow where the sum does not.
    """
    (x,) = node.inputs
    if p.fn != "sum" or make.depth(x) == 0 or node.dtype.kind != "f":
        return None
    terms = _terms(x, frozenset(p.axes), make, LARGEST_SUM)
    if max(t.depth for t in terms) >= 1 + make.depth(x):
        return None
    result = None
    for term in terms:
        value = _emit(term, p.axes, node, make)
        if result is None:
            result = make.unary("neg", value) if term.sign < 0 else value
        else:
            result = make.binary("add" if term.sign > 0 else "sub", result, value)
    return result


def _terms(x: Node, axes: frozenset[int], make: Rewriter, budget: int) -> list[Term]:
    """Take x apart into terms, wherever that gives a lower depth than summing x as it is."""
    whole = Term(1, (), (x,), 1 + make.depth(x))
    if budget <= 1 or make.depth(x) == 0:
        return [whole]
    if _is_constant_along(x, axes):
        return [Term(1, (x,), (), make.depth(x))]
    if is_fn(x, "neg"):
        parts = _negative(_terms(x.inputs[0], axes, make, budget))
    elif is_fn(x, "add", "sub"):
        a, b = (_terms(y, axes, make, budget // 2) for y in x.inputs)
        parts = a + (b if is_fn(x, "add") else _negative(b))
    elif is_fn(x, "mul"):
        sign, outside, inside = _factors(x, axes, budget)
        below = [1 + make.depth(y) for y in inside]
        if len(inside) == 1 and inside[0] is not x:  # sum(inside) may itself come apart
            below = [t.depth for t in _terms(inside[0], axes, make, budget // 2)]
        depth = max(below + [make.depth(v) for v in outside])
        parts = [Term(sign, outside, inside, depth)]
    else:
        return [whole]
    return parts if max(t.depth for t in parts) < whole.depth else [whole]


def _negative(terms: list[Term]) -> list[Term]:
    return [t._replace(sign=-t.sign) for t in terms]


def _factors(
    x: Node, axes: frozenset[int], budget: int
) -> tuple[int, tuple[Node, ...], tuple[Node, ...]]:
    """Return sign, constant and other factors; a part without constant factors stays whole."""
    if _is_constant_along(x, axes):
        return 1, (x,), ()
    if budget > 1 and is_fn(x, "mul", "neg"):
        signs, outsides, insides = zip(
            *(_factors(y, axes, budget // 2) for y in x.inputs), strict=True
        )
        sign = math.prod(signs) * (-1 if is_fn(x, "neg") else 1)
        outside = tuple(itertools.chain(*outsides))
        if outside or sign < 0:
            return sign, outside, tuple(itertools.chain(*insides))
    return 1, (), (x,)


def _is_constant_along(x: Node, axes: frozenset[int]) -> bool:
    if not isinstance(x.primitive, Broadcast):
        return False
    repeated = stretched_axes(x)
    return all(axis in repeated or x.shape[axis] == 1 for axis in axes)


def _emit(term: Term, axes: tuple[int, ...], node: Node, make: Rewriter) -> Node:
    """Return the term's value in the shape of `node`, the sum that it is a part of."""
    full = node.inputs[0].shape
    if term.inside:
        product = functools.reduce(lambda a, b: make.binary("mul", a, b), term.inside)
        result = make.reduce("sum", product, axes)
    else:
        result = make.full(math.prod(full[axis] for axis in axes), node)
    for x in term.outside:
        v = x.inputs[0]
        lead = len(full) - len(v.shape)
        drop = [axis - lead for axis in axes if axis >= lead]
        row = make.reshape(v, tuple(n for i, n in enumerate(v.shape) if i not in drop))
        result = make.binary("mul", result, make.broadcast(row, node.shape))
    return result
