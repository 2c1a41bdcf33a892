"""Simplify a graph: algebra, views, sums and products, common subexpressions, dead nodes.

`RULES` is the whole list, in the order in which rules are tried; a rule's signature says which
nodes it looks at. One sweep builds every node anew in normal form (`rewriter`): another
would change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from needle.compiler.graph.graph import Graph, Node
from needle.compiler.simplify import algebra, join, matmul, movement, sums
from needle.compiler.simplify.rewriter import Rewriter, Rule

RULES: Sequence[Rule] = (
    movement.empty_is_constant, movement.order_kept,
    # any elementwise function
    algebra.fold_constants, movement.broadcast_after_elementwise, movement.move_after_elementwise,
    # arithmetic
    algebra.reciprocal_of_root, algebra.softmax_from_logsumexp, algebra.drop_neutral,
    algebra.power_by_constant, algebra.divide_by_broadcast, algebra.add_of_negation,
    algebra.compare_of_widened, algebra.compare_of_uniform, matmul.one_hot_in_32_bits,
    # views, those over the same kind first
    movement.last_shape_holds, movement.compose_permutes, movement.compose_slices,
    movement.compose_flips, movement.compose_pads,
    movement.permute_of_broadcast, matmul.transpose_of_matmul, movement.slice_of_broadcast,
    movement.slice_of_reshape, movement.view_of_permute, movement.reshape_of_permute,
    movement.concat_of_slices, movement.concat_of_reshapes,
    # sums and products
    sums.reduce_of_permute, sums.reduce_of_reshape, sums.sum_is_linear,
    matmul.transpose_into_matmul, matmul.matmul_by_repeated_matrix, matmul.one_hot_matmul,
)  # fmt: skip

PASSES: Sequence[Callable[[Graph, Rewriter], dict[Node, Node]]] = (
    join.join_sums,
    join.join_products,
)
"""What needs all users of a node: each returns nodes and their replacements. Then rules again."""


def simplify(graph: Graph, *, verify: bool = False, fired: dict[str, int] | None = None) -> Graph:
    """Return an equal graph in normal form; with `verify`, check it after each sweep.

    `fired` gets how often each rule applied.

    >>> from needle.compiler.graph.graph import Build, input_node
    >>> x, build = input_node(0, "x", (4,), "float32"), Build()
    >>> print(simplify(Graph((x,), (build.binary("pow", x, build.full(2.0, x)),))))
    %0: float32[4] = input 0 "x"
    %1: float32[4] = mul %0 %0
    return %1
    """
    rewriter = Rewriter(RULES, fired)
    graph = rewriter.sweep(graph, verify=verify)
    for find in PASSES:
        replaced = find(graph, rewriter)
        if replaced:
            graph = rewriter.sweep(join.substitute(graph, replaced), verify=verify)
    return graph
