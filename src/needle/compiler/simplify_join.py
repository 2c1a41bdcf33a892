"""Passes over whole graphs that make few large products of many small ones: loops over time.

    x[t] @ W for every t            -> slices of one product x @ W
    A_0^T B_0 + A_1^T B_1 + ...     -> concat(A)^T concat(B), and likewise for sums and pads

Each needs to know all users of a node, so they are passes of their own and not rules.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

from needle.compiler.graph import Graph, Node, topological
from needle.compiler.primitives import Concat, MatMul, Pad, Reduce, Reshape, Slice
from needle.compiler.simplify_rewriter import Rewriter, is_fn, under

FEWEST_TERMS = 3
"""Products that are worth joining: two cost little more than one, and joining copies."""


def sliced_from(node: Node) -> Node | None:
    """Return the array of which the matrix `node` is a slice: some of its rows, each whole."""
    part = under(node, Reshape)
    if not isinstance(part.primitive, Slice) or not part.shape:
        return None
    base = part.inputs[0]
    whole = part.shape[-1] == base.shape[-1] == node.shape[-1]
    return base if whole and base.size else None


def join_products_of_slices(graph: Graph, make: Rewriter) -> dict[Node, Node]:
    """x[t] @ W for every t -> slices of x @ W, where the slices cover x."""
    groups: dict[tuple[Node, Node, bool], list[Node]] = defaultdict(list)
    for node in graph.nodes():
        if isinstance(node.primitive, MatMul) and len(node.shape) == 2:
            a, b = node.inputs
            base = None if node.primitive.transpose_a else sliced_from(a)
            if base is not None:
                groups[base, b, node.primitive.transpose_b].append(node)
    joined: dict[Node, Node] = {}
    for (base, b, transposed), members in groups.items():
        rows = math.prod(base.shape[:-1])
        if len(members) < FEWEST_TERMS or sum(node.shape[0] for node in members) < rows:
            continue
        product = make(MatMul(False, transposed), make.reshape(base, (rows, base.shape[-1])), b)
        whole = make.reshape(product, (*base.shape[:-1], product.shape[1]))
        for node in members:
            joined[node] = _same_rows(node, whole, make)
    return joined


def _same_rows(node: Node, whole: Node, make: Rewriter) -> Node:
    """Return the rows of `whole` that the product `node` makes of its slice."""
    cut = under(node.inputs[0], Reshape).primitive
    assert isinstance(cut, Slice)  # `sliced_from` made sure
    stops = (*cut.stops[:-1], whole.shape[-1])
    rows = make(Slice(cut.starts, stops, cut.steps), whole)
    return make.reshape(rows, node.shape)


def join_sums(graph: Graph, make: Rewriter) -> dict[Node, Node]:
    """Terms of one long addition that are of one kind -> one term, as `JOINS` says."""
    users = graph.users()
    outputs = set(graph.outputs)

    def inner(node: Node) -> bool:
        return len(users.get(node, ())) == 1 and node not in outputs

    joined: dict[Node, Node] = {}
    for node in graph.nodes():
        if not is_fn(node, "add") or (inner(node) and is_fn(users[node][0], "add")):
            continue
        terms = before = _leaves(node, inner)
        for join in JOINS:
            terms = join(terms, inner, make)
        if terms is not before:
            joined[node] = functools.reduce(lambda a, b: make.binary("add", a, b), terms)
    return joined


def _leaves(root: Node, inner: Callable[[Node], bool]) -> list[Node]:
    """Return the terms of a tree of additions, left to right."""
    leaves: list[Node] = []
    stack = [root]
    while stack:
        node = stack.pop()
        if is_fn(node, "add") and (node is root or inner(node)):
            stack.extend(reversed(node.inputs))
        else:
            leaves.append(node)
    return leaves


def sum_of_products(terms: list[Node], inner: Callable[[Node], bool], make: Rewriter) -> list[Node]:
    """A_0^T B_0 + A_1^T B_1 + ... -> concat(A)^T concat(B): the weights' gradient in a loop."""

    def fits(x: Node) -> bool:
        return x.primitive == MatMul(True, False) and len(x.shape) == 2 and inner(x)

    products = [x for x in reversed(terms) if fits(x)]  # backward comes from the last step
    if len(products) < FEWEST_TERMS:
        return terms
    products.sort(key=lambda x: _start(x.inputs[0]))
    left, right = zip(*(x.inputs for x in products), strict=True)
    whole = make(MatMul(True, False), make(Concat(0), *left), make(Concat(0), *right))
    return [whole, *_without(terms, products)]


def _start(node: Node) -> tuple[int, ...]:
    """Order slices of one array as they lie in it: their concatenation is then that array."""
    part = under(node, Reshape)
    return part.primitive.starts if isinstance(part.primitive, Slice) else ()


def sum_of_sums(terms: list[Node], inner: Callable[[Node], bool], make: Rewriter) -> list[Node]:
    """sum(A_0, 0) + sum(A_1, 0) + ... -> sum(concat(A), 0), the biases' gradient in a loop."""

    def rows(x: Node) -> Node | None:
        """Return what x sums over its leading axes, seen as rows."""
        p = x.primitive
        if not isinstance(p, Reduce) or p.fn != "sum" or p.axes != tuple(range(len(p.axes))):
            return None
        return make.reshape(x.inputs[0], (x.inputs[0].size // max(x.size, 1), *x.shape))

    sums = [x for x in reversed(terms) if inner(x) and x.shape and rows(x)]
    if len(sums) < FEWEST_TERMS:
        return terms
    whole = make.reduce("sum", make(Concat(0), *filter(None, map(rows, sums))), (0,))
    return [whole, *_without(terms, sums)]


def sum_of_pads(terms: list[Node], inner: Callable[[Node], bool], make: Rewriter) -> list[Node]:
    """pad(a) + pad(b) + ... -> concat(a, b, ...) where they share no place: gradients of slices.

    Zeros fill what none covers. A -0.0 stays -0.0, where adding 0.0 made it 0.0.
    """
    pads = sorted((x for x in terms if _padded_axis(x) is not None), key=_low)
    axes = {_padded_axis(x) for x in pads}
    if len(pads) < 2 or len(axes) != 1:
        return terms
    axis, end, parts = axes.pop() or 0, 0, []
    for x in [*pads, None]:
        start = _low(x)[axis] if x is not None else terms[0].shape[axis]
        if start < end:
            return terms
        gap = tuple(start - end if i == axis else n for i, n in enumerate(terms[0].shape))
        parts.append(make.broadcast(make.constant(0, terms[0].dtype), gap))
        if x is not None:
            parts.append(x.inputs[0])
            end = start + x.inputs[0].shape[axis]
    return [make(Concat(axis), *parts), *_without(terms, pads)]


def _padded_axis(x: Node) -> int | None:
    """Return the one axis that `x` is padded along with zeros, None if it is not just that."""
    p = x.primitive
    if not isinstance(p, Pad) or any(p.interior) or p.value != 0:
        return None
    axes = [i for i, (n, m) in enumerate(zip(x.shape, x.inputs[0].shape, strict=True)) if n != m]
    return axes[0] if len(axes) == 1 else None


def _low(x: Node) -> tuple[int, ...]:
    return x.primitive.low if isinstance(x.primitive, Pad) else ()


def _without(terms: list[Node], joined: list[Node]) -> list[Node]:
    gone = set(joined)
    return [x for x in terms if x not in gone]


JOINS = (sum_of_products, sum_of_sums, sum_of_pads)


def substitute(graph: Graph, replaced: dict[Node, Node]) -> Graph:
    """Return the graph with nodes replaced; the new ones may stand on others that are replaced."""

    def needs(node: Node) -> tuple[Node, ...]:
        return (replaced[node],) if node in replaced else node.inputs

    new: dict[Node, Node] = {node: node for node in graph.inputs}
    for node in topological(graph.outputs, graph.inputs, needs):
        inputs = tuple([new[x] for x in needs(node)])
        same = node if inputs == node.inputs else replace(node, inputs=inputs)
        new[node] = inputs[0] if node in replaced else same
    return Graph(graph.inputs, tuple(new[node] for node in graph.outputs))
