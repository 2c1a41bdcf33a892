"""Weights that many small products share are laid out in panels once, and not by each product.

The state of a recurrent net passes through one matrix at every step. A product of few rows takes
about as long to pack a panel of that matrix as to multiply by it (`matmul_pack`).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from needle.compiler.graph import Build, Graph, Node
from needle.compiler.lower_matmul import plan_of
from needle.compiler.matmul import MatMulPlan
from needle.compiler.primitives import MatMul, Pad
from needle.compiler.primitives_base import Signature, Typed
from needle.compiler.simplify_join import substitute
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
    for node in graph.nodes():
        p = node.primitive
        plain = isinstance(p, MatMul) and not isinstance(p, PanelMatMul) and not p.transpose_a
        if plain and len(node.shape) == 2 and node.shape[0] <= MOST_ROWS:
            groups[p, node.inputs[1], node.shape].append(node)
    replaced: dict[Node, Node] = {}
    for members in groups.values():
        plan = plan_of(members[0], target)
        if len(members) >= FEWEST and plan.pack and plan.split == "columns":
            panels = _panels(members[0].inputs[1], plan)
            for node in members:
                product = PanelMatMul(columns=plan.n)
                replaced[node] = Build(node.source)(product, node.inputs[0], panels)
    return substitute(graph, replaced) if replaced else graph


def _panels(b: Node, plan: MatMulPlan) -> Node:
    """(K, N), or (N, K) for a transposed right side, as (panels, K, width), zeros at the end."""
    build, width, along = Build(b.source), plan.panel_columns, 0 if plan.transpose_b else 1
    if plan.panels * width > plan.n:
        high = [0, 0]
        high[along] = plan.panels * width - plan.n
        b = build(Pad((0, 0), tuple(high), (0, 0), 0), b)
    if plan.transpose_b:
        return build.permute(build.reshape(b, (plan.panels, width, plan.k)), (0, 2, 1))
    return build.permute(build.reshape(b, (plan.k, plan.panels, width)), (1, 0, 2))
