"""Run a graph in NumPy, node by node: the oracle for every pass and for compiled code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from needle.compiler.graph.graph import Graph, Node, topological
from needle.compiler.graph.primitives import Cast, Constant, Iota
from needle.compiler.graph.primitives_base import FLOAT32, FLOAT64, type_text
from needle.errors import GraphError


def interpret(
    graph: Graph, arrays: Sequence[np.ndarray], *, wide: bool = False
) -> list[np.ndarray]:
    """Return the graph's outputs for `arrays`; with `wide`, all float32 is computed in float64.

    Raises `GraphError` where an array does not fit its input, `IndexError` for a bad index.

    >>> from needle.compiler.graph.graph import Build, input_node
    >>> x = input_node(0, "x", (3,), "float32")
    >>> interpret(Graph((x,), (Build().binary("add", x, x),)), [np.float32([1, 2, 3])])
    [array([2., 4., 6.], dtype=float32)]
    """
    if len(arrays) != len(graph.inputs):
        raise GraphError(f"interpret: expected {len(graph.inputs)} arrays, got {len(arrays)}")
    given = dict(zip(graph.inputs, map(np.asarray, arrays), strict=True))
    values = evaluate(graph.outputs, given, wide=wide)
    return [values[node] for node in graph.outputs]


def evaluate(
    nodes: Iterable[Node],
    given: Mapping[Node, np.ndarray],
    *,
    wide: bool = False,
    keep_all: bool = False,
) -> dict[Node, np.ndarray]:
    """Return the values of `nodes`, computed from those of the `given` nodes.

    With `keep_all` the values of all nodes on the way are returned too, else each array is
    dropped after its last use.
    """
    wanted = list(nodes)
    order = topological(wanted, stop=given)
    kept = {*wanted, *order, *given} if keep_all else set(wanted)
    last_user = {x: node for node in order for x in node.inputs}
    values = {node: _checked(node, array, wide) for node, array in given.items()}
    with np.errstate(all="ignore"):
        for node in order:
            inputs = [values[x] for x in node.inputs]
            values[node] = _checked(node, _compute(node, inputs, wide), wide)
            for x in set(node.inputs):
                if last_user[x] is node and x not in kept:
                    del values[x]
    return {node: values[node] for node in values if node in kept}


def _compute(node: Node, inputs: list[np.ndarray], wide: bool) -> np.ndarray:
    primitive = node.primitive
    if wide and node.dtype == FLOAT32 and isinstance(primitive, Constant | Iota | Cast):
        primitive = replace(primitive, dtype=FLOAT64)
    return primitive.evaluate(*inputs)


def _checked(node: Node, array: np.ndarray, wide: bool) -> np.ndarray:
    if wide and array.dtype == FLOAT32:
        array = array.astype(FLOAT64)
    dtype = FLOAT64 if wide and node.dtype == FLOAT32 else node.dtype
    if array.shape != node.shape or array.dtype != dtype:
        text = f"interpret: expected {type_text(node)} for {node}, got {type_text(array)}"
        raise GraphError(text)
    return array
