"""Run graphs through the whole compiler, and say which inputs hold state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from needle.compiler.graph.graph import Graph
from needle.compiler.plan.plan import compile_graph
from needle.compiler.program import Program
from needle.compiler.run.run import load
from needle.compiler.simplify.simplify import simplify


def run_compiled(graph: Graph, arrays: Sequence[np.ndarray], **options) -> list[np.ndarray]:
    """Simplify, compile and run a graph once; the inputs stay as they are."""
    return run_plain(simplify(graph), arrays, **options)


def run_plain(graph: Graph, arrays: Sequence[np.ndarray], **options) -> list[np.ndarray]:
    """Compile and run a graph as it is."""
    bound = load(compile_graph(graph, **options))
    return [a.copy() for a in bound.call([np.array(a, order="C") for a in arrays])]


def run_unfused(graph: Graph, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Compile every node as a kernel of its own."""
    return run_plain(graph, arrays, fusing=False)


def state_inputs(graph: Graph) -> dict[int, int]:
    """For the graphs of `graphs.py` that make a step: which output is the new value of which input.

    The last outputs are each parameter with its two moments, before them the running estimates.
    """
    labels = [node.primitive.label for node in graph.inputs]

    def numbered(letter: str) -> list[int]:
        return [i for i, label in enumerate(labels) if label[0] == letter and label[1:].isdigit()]

    first, second = numbered("m"), numbered("v")
    parameters = [
        i
        for i, label in enumerate(labels)
        if label.startswith(("weight", "bias", "norm_")) or i in numbered("p")
    ][: len(first)]
    start = len(graph.outputs) - 3 * len(first)
    running = [i for i, label in enumerate(labels) if label.startswith("running")]
    tied = {1 + k: i for k, i in enumerate(running)}
    for k, group in enumerate(zip(parameters, first, second, strict=True)):
        tied |= {start + 3 * k + j: i for j, i in enumerate(group)}
    return tied


def compiled_program(graph: Graph, **options) -> Program:
    """The program of a simplified graph."""
    return compile_graph(simplify(graph), tied=state_inputs(graph), **options)


def count(step) -> int:
    """Programs that a compiled function traced so far."""
    return len(step.history.notes.get("traced", ())) + step.history.retraces
