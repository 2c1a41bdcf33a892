"""Passes over whole graphs that make few large products of many small ones: loops over time.

    A_0 @ W, A_1 @ W, ...           -> slices of one product concat(A) @ W
    A_0^T B_0 + A_1^T B_1 + ...     -> concat(A)^T concat(B), and likewise for sums and pads

Each needs to know all users of a node, so they are passes of their own and not rules.
"""

from __future__ import annotations

import functools
import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

from needle.compiler.graph.graph import Graph, Node, topological
from needle.compiler.graph.primitives import Concat, MatMul, Pad, Primitive, Reduce, Reshape, Slice
from needle.compiler.simplify.rewriter import Rewriter, is_fn, under

FEWEST_TERMS = 3
"""Products that are worth joining: two cost little more than one, and joining copies."""

MOST_ROWS = 256
"""Rows of products that are worth joining: with more, each makes good use of what it reads."""


def join_products(graph: Graph, make: Rewriter) -> dict[Node, Node]:
    """A_t @ W for every t -> rows of concat(A) @ W, where no product waits for another.

    W is then read once, not once for each t.
    """
    nodes = graph.nodes()
    concats = [node for node in nodes if node.primitive == Concat(0)]
    groups = _by_right_side(nodes)
    bits = {node: 1 << k for k, node in enumerate(itertools.chain(*groups))}
    before = _members_before(nodes, bits)
    joined: dict[Node, Node] = {}
    for members in groups:
        mine = sum(bits[node] for node in members)
        waves: dict[int, list[Node]] = defaultdict(list)
        for node in members:
            waves[(before[node] & mine).bit_count()].append(node)
        for wave in waves.values():
            if len(wave) >= FEWEST_TERMS:
                joined |= _joined(_in_order(wave, concats), make)
                _wait_together(wave, bits, before)
    return joined


def _by_right_side(nodes: list[Node]) -> list[list[Node]]:
    """Return the products worth joining that share their right side, as it is or transposed."""
    groups: dict[tuple[Node, bool], list[Node]] = defaultdict(list)
    for node in nodes:
        p = node.primitive
        matrix = isinstance(p, MatMul) and len(node.shape) == 2 and not p.transpose_a
        if matrix and node.shape[0] <= MOST_ROWS:
            groups[node.inputs[1], p == MatMul(False, True)].append(node)
    return [members for members in groups.values() if len(members) >= FEWEST_TERMS]


def _members_before(nodes: list[Node], bits: dict[Node, int]) -> dict[Node, int]:
    """Return for each node the bits of those that it needs."""
    before: dict[Node, int] = {}
    for node in nodes:
        found = 0
        for x in node.inputs:
            found |= before[x] | bits.get(x, 0)
        before[node] = found
    return before


def _wait_together(wave: list[Node], bits: dict[Node, int], before: dict[Node, int]) -> None:
    """What needs one of a wave now needs all of it, and what those need."""
    own = needed = 0
    for node in wave:
        own |= bits[node]
        needed |= before[node]
    for node in bits:
        if (before[node] | bits[node]) & own:
            before[node] |= needed | (own if before[node] & own else 0)


def _in_order(wave: list[Node], concats: list[Node]) -> list[Node]:
    """Order products as their left sides, or else they themselves, are put together elsewhere."""
    for part_of in (lambda x: x.inputs[0], lambda x: x):
        table = {under(part_of(node), Reshape): node for node in wave}
        for node in concats:
            parts = [under(x, Reshape) for x in node.inputs]
            if len(parts) == len(wave) and set(parts) == table.keys():
                return [table[x] for x in parts]
    return sorted(wave, key=lambda x: _start(x.inputs[0]))


def _joined(products: list[Node], make: Rewriter) -> dict[Node, Node]:
    (_, b), p = products[0].inputs, products[0].primitive
    whole = make(p, make(Concat(0), *(node.inputs[0] for node in products)), b)
    rows, columns, result = 0, whole.shape[1], {}
    for node in products:
        cut = Slice((rows, 0), (rows + node.shape[0], columns), (1, 1))
        result[node] = make(cut, whole)
        rows += node.shape[0]
    return result


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


def sum_over_rows(terms: list[Node], inner: Callable[[Node], bool], make: Rewriter) -> list[Node]:
    """Sums over the rows of matrices -> one over the rows of all: gradients in a loop.

    Those of the weights are A_0^T B_0 + A_1^T B_1 + ... -> concat(A)^T concat(B), those of the
    biases sum(A_0, 0) + sum(A_1, 0) + ... -> sum(concat(A), 0).
    """
    for p in (MatMul(True, False), Reduce("sum", (0,))):
        rows = {x: _rows(p, x, make) for x in reversed(terms) if inner(x)}
        # backward comes from the last step
        joined = sorted((x for x in rows if rows[x]), key=lambda x: _start(x.inputs[0]))
        if len(joined) >= FEWEST_TERMS:
            columns = zip(*(rows[x] for x in joined), strict=True)
            whole = make(p, *(make(Concat(0), *column) for column in columns))
            terms = [whole, *_without(terms, joined)]
    return terms


def _rows(p: Primitive, x: Node, make: Rewriter) -> Sequence[Node]:
    """Return the matrices over whose rows `x` sums, if as `p` does; none otherwise."""
    q = x.primitive
    if q == p and isinstance(q, MatMul):
        return x.inputs if len(x.shape) == 2 else ()
    leading = isinstance(q, Reduce) and q.axes == tuple(range(len(q.axes)))
    if q.name != p.name or not leading or not x.shape:
        return ()
    return (make.reshape(x.inputs[0], (x.inputs[0].size // max(x.size, 1), *x.shape)),)


def _start(node: Node) -> tuple[int, ...]:
    """Order slices of one array as they lie in it: their concatenation is then that array."""
    part = under(node, Reshape)
    return part.primitive.starts if isinstance(part.primitive, Slice) else ()


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
        if start > end:
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


JOINS = (sum_over_rows, sum_of_pads)


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
