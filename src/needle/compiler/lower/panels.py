"""Weights that many products share are laid out in panels once, and not by each product.

The state of a recurrent net passes through one matrix at every step. A product of few rows takes
about as long to pack a panel of that matrix as to multiply by it (`matmul.pack`). A convolution
reads its weights once for every few images.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from needle.compiler.graph.graph import Build, Graph, Node
from needle.compiler.graph.primitives import MatMul, Pad
from needle.compiler.graph.primitives_base import Signature, Typed
from needle.compiler.lower.matmul import plan_of
from needle.compiler.matmul.window import window_plan
from needle.compiler.simplify.join import substitute
from needle.compiler.target import Target

FEWEST, MOST_ROWS = 3, 256
"""Products for which a copy pays, and their rows: of more, packing is a small part."""


@dataclass(frozen=True)
class PanelMatMul(MatMul):
    """(M, K) x (panels, K, width) -> (M, columns): each panel is some columns of (K, N)."""

    columns: int = 0

    def rule(self, a: Typed, b: Typed) -> Signature:
        """Return the result's shape and dtype."""
        panels, k, width = b.shape
        if a.shape[1:] != (k,) or panels * width < self.columns:
            self.fail(f"panels of {k} rows and {self.columns} columns in all", (a.shape, b.shape))
        return (a.shape[0], self.columns), a.dtype

    def evaluate(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the result for arrays."""
        right = b.transpose(1, 0, 2).reshape(b.shape[1], -1)
        return np.matmul(a, right[:, : self.columns])


def with_panels(graph: Graph, target: Target) -> Graph:
    """The graph with shared right sides in panels, where each product would make them."""
    groups: dict[tuple[object, ...], list[Node]] = defaultdict(list)
    replaced: dict[Node, Node] = {}
    for node in graph.nodes():
        p, windows = node.primitive, window_plan(node, target)
        if windows is not None:
            if windows.pack and not isinstance(p, PanelMatMul):
                replaced[node] = _in_panels(node, windows.panel)
            continue
        plain = isinstance(p, MatMul) and not isinstance(p, PanelMatMul) and not p.transpose_a
        if plain and len(node.shape) == 2 and node.shape[0] <= MOST_ROWS:
            groups[p, node.inputs[1], node.shape].append(node)
    for members in groups.values():
        plan = plan_of(members[0], target)
        if len(members) >= FEWEST and plan.pack and plan.split == "columns":
            first = _in_panels(members[0], plan.panel_columns)
            for node in members:
                product = Build(node.source)(first.primitive, node.inputs[0], first.inputs[1])
                replaced[node] = product
    return substitute(graph, replaced) if replaced else graph


def _in_panels(node: Node, width: int) -> Node:
    """A product with its right side as (panels, K, width), zeros at the end."""
    a, b = node.inputs
    build, columns = Build(b.source), node.shape[-1]
    along = 0 if node.primitive.transpose_b else 1  # type: ignore[attr-defined]
    panels, k = -(-columns // width), b.shape[1 - along]
    if panels * width > columns:
        high = [0, 0]
        high[along] = panels * width - columns
        b = build(Pad((0, 0), tuple(high), (0, 0), 0), b)
    if along == 0:
        b = build.permute(build.reshape(b, (panels, width, k)), (0, 2, 1))
    else:
        b = build.permute(build.reshape(b, (k, panels, width)), (1, 0, 2))
    return Build(node.source)(PanelMatMul(columns=columns), a, b)
