"""Compare a way of running graphs with the interpreter, and shrink the programs that differ.

`check` compares what `run(graph, arrays)` returns with the interpreter in float64, within the error
that rounding noise of the graph's own dtypes causes: each operand of each inexact node is disturbed
by a few units in the last place, and the outputs' spread is measured. Values that no rewriting
changes (`is_exact`) are not disturbed and must agree to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from needle.compiler.graph import primitives as p
from needle.compiler.graph.graph import Graph, Node
from needle.compiler.graph.interpret import evaluate, interpret
from tests.compiler import building as g

Run = Callable[[Graph, Sequence[np.ndarray]], Sequence[np.ndarray]]
Program = tuple[Graph, list[np.ndarray]]

STEEP = ("floor", "ceil", "trunc", "rint", "sign", "isnan", "isinf", "isfinite")
EXACT_MOVES = (
    p.Broadcast,
    p.Reshape,
    p.Permute,
    p.Slice,
    p.Flip,
    p.Pad,
    p.Concat,
    p.Where,
    p.Gather,
)
SUMS = (p.Reduce, p.Cumulative, p.MatMul, p.ScatterAdd)
EXACT_SOURCES = (p.Input, p.Constant, p.Iota)


def is_exact(node: Node, known: dict[Node, bool]) -> bool:
    """Whether the node's value has the same bits however the graph is rewritten or compiled."""
    primitive = node.primitive
    if node.dtype.kind != "f" or isinstance(primitive, EXACT_SOURCES):
        return True
    if isinstance(primitive, p.Random):
        return primitive.kind == "uniform"
    if isinstance(primitive, p.Unary | p.Binary | p.Reduce):
        plain = primitive.fn in ("neg", "abs", "max", "min", *STEEP)
    elif isinstance(primitive, p.Cast):
        plain = node.inputs[0].dtype.kind != "f" or node.dtype.itemsize == 8
    else:
        plain = isinstance(primitive, EXACT_MOVES)
    return plain and all(known[x] for x in node.inputs)


@np.errstate(all="ignore")
def disturbed(node: Node, values: dict[Node, np.ndarray], rng) -> np.ndarray:
    """Evaluate an inexact node in float64 on operands that are off by up to 4 of its ulps."""
    operands = []
    for i, x in enumerate(node.inputs):
        value = values[x]
        is_exponent = i == 1 and node.primitive.name == "pow"  # (-2) ** 2.0000001 is NaN
        if x.dtype.kind == "f" and not is_exponent:
            eps = 4 * float(np.finfo(min(x.dtype, node.dtype, key=lambda d: d.itemsize)).eps)
            value = value * (1 + eps * rng.uniform(-1, 1, value.shape))
        operands.append(value)
    given = dict(zip(node.inputs, operands, strict=True))
    result = evaluate([node], given, wide=True)[node]
    noise = float(np.finfo(node.dtype).eps) * rng.uniform(-1, 1, result.shape)
    if isinstance(
        node.primitive, SUMS
    ):  # a running sum of n terms errs by about sqrt(n) ulps of it
        sizes = {x: abs(value) if x.dtype.kind == "f" else value for x, value in given.items()}
        terms = sum(x.size for x in node.inputs) / max(node.size, 1)
        size = 2 * math.sqrt(terms) * evaluate([node], sizes, wide=True)[node]
        return result + noise * np.where(np.isfinite(size), size, 0)
    return result * (1 + noise)


def spreads(graph: Graph, arrays: Sequence[np.ndarray], rounds: int = 3) -> list[float]:
    """Return for each output the largest deviation that rounding noise causes."""
    clean = interpret(graph, arrays, wide=True)
    largest = [0.0] * len(clean)
    for round_ in range(rounds):
        rng, exact, values = np.random.default_rng(round_), {}, {}
        for node, array in zip(graph.inputs, arrays, strict=True):
            exact[node] = True
            values[node] = array.astype(np.float64) if node.dtype.kind == "f" else array
        for node in graph.nodes()[len(graph.inputs) :]:
            exact[node] = is_exact(node, exact)
            if exact[node]:
                given = {x: values[x] for x in node.inputs}
                values[node] = evaluate([node], given, wide=True)[node]
            else:
                values[node] = disturbed(node, values, rng)
        with np.errstate(all="ignore"):
            for i, node in enumerate(graph.outputs):
                if not exact[node] and clean[i].size:
                    gap = np.abs(values[node] - clean[i])
                    largest[i] = max(largest[i], float(np.max(gap, initial=0, where=gap < np.inf)))
    return largest


def check(graph: Graph, arrays: Sequence[np.ndarray], run: Run) -> str | None:
    """Return what is wrong with `run`'s results, None if nothing is."""
    try:
        results = run(graph, [a.copy() for a in arrays])
    except Exception as error:  # every failure of the code under test is a finding
        return f"{type(error).__name__}: {error}"
    expected = interpret(graph, arrays, wide=True)
    limits = spreads(graph, arrays)
    for i, (node, a, b, limit) in enumerate(
        zip(graph.outputs, results, expected, limits, strict=True)
    ):
        if a.shape != node.shape or a.dtype != node.dtype:
            return f"output {i}: expected {g.type_text(node)}, got {a.dtype}{list(a.shape)}"
        if node.dtype.kind != "f":
            wrong = a != b
        else:
            slack = 16 * limit + 4 * float(np.finfo(node.dtype).tiny)
            with np.errstate(all="ignore"):
                narrow = b.astype(node.dtype)
                same = (a == narrow) | (np.isnan(a) & np.isnan(narrow))
                wrong = ~same & ~(np.abs(a - b) <= slack)
        if np.any(wrong):
            where = tuple(int(n[0]) for n in np.nonzero(np.atleast_1d(wrong)))
            pair = np.atleast_1d(a)[where], np.atleast_1d(b)[where]
            return f"output {i} at {where}: got {pair[0]!r}, expected {pair[1]!r} +- {limit:.1e}"
    return None


def shrink(graph: Graph, arrays: list[np.ndarray], run: Run) -> Program:
    """Return a smaller program that fails too: fewer outputs, inner nodes turned into inputs."""
    candidates = [n for n in graph.nodes() if n.inputs]
    for node in candidates:  # the first node that fails by itself
        alone = _subprogram(graph, arrays, (node,), set())
        if check(*alone, run):
            graph, arrays = alone
            break
    progress = True
    while progress:
        progress = False
        for node in reversed([n for n in graph.nodes() if n.inputs and n not in graph.outputs]):
            smaller = _subprogram(graph, arrays, graph.outputs, {node})
            if check(*smaller, run):
                (graph, arrays), progress = smaller, True
                break
    return graph, arrays


def _subprogram(graph: Graph, arrays, outputs: Sequence[Node], cut: set[Node]) -> Program:
    """Return the part of a program that makes `outputs`, with the values of `cut` as inputs."""
    given = dict(zip(graph.inputs, arrays, strict=True))
    values = given | evaluate(cut, given)
    new: dict[Node, Node] = {}
    inputs: list[Node] = []
    order = g.topological(outputs, stop=cut)
    for node in [*cut, *order]:
        if node in values:
            new[node] = g.input_node(len(inputs), f"x{len(inputs)}", node.shape, node.dtype)
            inputs.append(node)
        else:
            new[node] = g.make(node.primitive, *(new[x] for x in node.inputs))
    result = Graph(tuple(new[n] for n in inputs), tuple(new[n] for n in outputs))
    return result, [values[n] for n in inputs]
