"""Simplify a graph: algebra, views, sums and products, common subexpressions, dead nodes.

`RULES` is the whole list, by the class of primitives a rule looks at, in the order they are tried:
those for all primitives, those for all elementwise ones, then the primitive's own. One sweep builds
every node anew in normal form (`simplify_rewriter`): another would change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from needle.compiler import primitives as p
from needle.compiler import simplify_algebra as algebra
from needle.compiler import simplify_join as join
from needle.compiler import simplify_matmul as matmul
from needle.compiler import simplify_movement as movement
from needle.compiler import simplify_sums as sums
from needle.compiler import simplify_window as window
from needle.compiler.graph import Graph, Node
from needle.compiler.simplify_rewriter import Rewriter, Rule

RULES: Mapping[type[p.Primitive], Sequence[Rule]] = {
    p.Primitive: (movement.empty_is_constant,),
    p.Elementwise: (
        algebra.fold_constants,
        movement.broadcast_after_elementwise,
        movement.move_after_elementwise,
    ),
    p.Unary: (algebra.reciprocal_of_root, algebra.softmax_from_logsumexp),
    p.Binary: (
        algebra.drop_neutral,
        algebra.power_by_constant,
        algebra.divide_by_broadcast,
        algebra.add_of_negation,
        algebra.negation_out_of_product,
        algebra.negation_out_of_constant,
    ),
    p.Compare: (
        algebra.compare_of_widened,
        algebra.compare_of_uniform,
        matmul.one_hot_in_32_bits,
    ),
    p.Where: (algebra.where_decided,),
    p.Cast: (algebra.cast_of_cast,),
    p.Broadcast: (movement.compose_broadcasts,),
    p.Reshape: (
        movement.compose_reshapes,
        movement.reshape_of_broadcast,
        window.reshape_of_permute,
    ),
    p.Permute: (
        movement.compose_permutes,
        movement.permute_of_broadcast,
        matmul.transpose_of_matmul,
    ),
    p.Slice: (
        movement.compose_slices,
        movement.slice_of_broadcast,
        movement.slice_of_reshape,
        movement.slice_of_concat,
        window.view_of_permute,
    ),
    p.Concat: (
        movement.flatten_concat,
        movement.concat_of_slices,
        movement.concat_of_reshapes,
    ),
    p.Flip: (movement.compose_flips, window.view_of_permute),
    p.Pad: (movement.pad_nothing, window.compose_pads, window.view_of_permute),
    p.Windows: (window.view_of_permute,),
    p.Reduce: (
        sums.reduce_nothing,
        sums.reduce_of_reduce,
        sums.reduce_of_permute,
        sums.reduce_of_reshape,
        sums.reduce_of_broadcast,
        sums.sum_of_negation,
        matmul.sum_of_matmuls,
        sums.sum_is_linear,
    ),
    p.MatMul: (
        matmul.transpose_into_matmul,
        matmul.matmul_by_repeated_matrix,
        matmul.one_hot_matmul,
    ),
}

PASSES: Sequence[Callable[[Graph, Rewriter], dict[Node, Node]]] = (
    join.join_sums,
    join.join_products,
)
"""What needs all users of a node: each returns nodes and their replacements. Then rules again."""


def simplify(graph: Graph, *, verify: bool = False, fired: dict[str, int] | None = None) -> Graph:
    """Return an equal graph in normal form; with `verify`, check it after each sweep.

    `fired` gets how often each rule applied.

    >>> from needle.compiler.graph import Build, input_node
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
