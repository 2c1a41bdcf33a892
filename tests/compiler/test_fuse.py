import numpy as np
import pytest

from needle import settings
from needle.compiler.fuse.fuse import fuse
from needle.compiler.fuse.rules import Partial, pattern_of, refined
from needle.compiler.graph.graph import Graph
from needle.compiler.graph.interpret import interpret
from needle.compiler.graph.primitives import MatMul
from needle.compiler.plan import plan
from needle.compiler.plan.plan import distinct_outputs
from needle.compiler.run.run import load
from needle.compiler.simplify.simplify import simplify
from tests.compiler import building as g
from tests.compiler.compiled import compiled_program, run_plain
from tests.compiler.graphs import GRAPHS
from tests.compiler.random_programs import generate

SIZES = {"n": 256, "d": 512}


def groups_of(graph: Graph):
    return fuse(distinct_outputs(graph)).groups


def kernels(name, **sizes) -> int:
    return len(compiled_program(GRAPHS[name](**sizes)).steps)


def matmuls(graph: Graph) -> int:
    return sum(isinstance(node.primitive, MatMul) for node in simplify(graph).nodes())


def test_layer_norm_is_one_kernel_forward_and_one_with_its_gradients():
    assert kernels("layer_norm", backward=False, **SIZES) == 1
    assert kernels("layer_norm", **SIZES) == 1


def test_batch_norm_is_one_kernel_and_one_for_the_running_estimates():
    assert kernels("batch_norm", backward=False, **SIZES) <= 2
    assert kernels("batch_norm", **SIZES) <= 2


def test_batch_norm_of_a_tall_matrix_reads_it_once_for_all_statistics():
    # sums over blocks of rows, then the results; mean, variance and gradients come from one sweep
    program = compiled_program(GRAPHS["batch_norm"](n=8192, d=32))
    assert len(program.steps) == 3  # the last for the running estimates
    matrix = 8192 * 32 * 4
    sizes = [kernel.bytes_moved for kernel in program.kernels[:2]]
    assert sizes == pytest.approx([2 * matrix, 4 * matrix], rel=0.1)  # x, dy; x, dy, y, dx


def test_statistics_of_images_whose_channels_lie_last_copy_nothing():
    x = g.input_node(0, "x", (8, 32, 32, 16), "float32")
    w = g.input_node(1, "w", (16,), "float32")
    images = g.permute(x, (0, 3, 1, 2))
    mean = g.mul(g.reduce("sum", images, (0, 2, 3)), g.full(1 / 8192, (16,), "float32"))

    def spread(v):
        return g.broadcast(g.reshape(v, (16, 1, 1)), images.shape)

    centred = g.sub(images, spread(mean))
    variance = g.reduce("sum", g.mul(centred, centred), (0, 2, 3))
    result = g.mul(centred, spread(g.mul(w, variance)))
    graph = Graph((x, w), (g.permute(result, (0, 2, 3, 1)),))
    program = compiled_program(graph)
    assert len(program.steps) == 2
    assert all("gather" not in kernel.text for kernel in program.kernels)


@pytest.mark.parametrize(("rows", "columns"), [(8192, 16), (4096, 100), (1024, 300), (6000, 3)])
def test_statistics_of_tall_matrices_are_exact_and_the_same_on_any_number_of_threads(rows, columns):
    graph = GRAPHS["batch_norm"](n=rows, d=columns)
    rng = np.random.default_rng(rows)
    shapes = [node.shape for node in graph.inputs]
    arrays = [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]
    # far from 0, and each block around a value of its own
    arrays[0] += np.float32(100) + np.repeat(rng.standard_normal(rows // 8), 8)[:, None] * 10
    wide = interpret(graph, arrays, wide=True)
    bound, results = load(compiled_program(graph)), []
    for threads in (1, 2, 3):
        with settings.override(num_threads=threads, exact_threads=True):
            results.append([a.copy() for a in bound.call([a.copy() for a in arrays])])
    for outputs in results:
        for got, first, exact in zip(outputs, results[0], wide, strict=True):
            np.testing.assert_array_equal(got, first)
            assert np.abs(got - exact).max() <= 1e-5 * np.abs(exact).max()


@pytest.mark.parametrize("name", ["softmax_loss", "log_softmax_loss"])
def test_loss_and_gradient_of_softmax_cross_entropy_are_one_kernel(name):
    assert kernels(name, n=100, k=10) == 1


def test_adam_over_all_parameters_is_one_kernel():
    assert kernels("adam") == 1


def test_a_training_step_has_few_kernels_beside_its_matrix_products():
    graph = GRAPHS["mlp_resnet_step"]()
    assert matmuls(graph) == 23
    assert len(compiled_program(graph).steps) - 23 <= 16


def sweeps(name, **sizes) -> list[int]:
    """How many times the reductions of each group make it walk over its data."""
    counts = []
    for group in groups_of(simplify(GRAPHS[name](**sizes))):
        depth: dict = {}
        for node in group.members:
            below = max((_depth(x, depth) for x in node.inputs), default=0)
            depth[node] = below + (node.primitive.name in ("sum", "max"))
        counts.append(max(depth.values()))
    return counts


def _depth(node, known) -> int:
    while node not in known and len(node.inputs) == 1:
        (node,) = node.inputs
    return known.get(node, 0)


def test_layer_norm_walks_three_times_over_a_row():
    # mean, variance, then the result: two reductions one after the other and a last sweep
    assert max(sweeps("layer_norm", backward=False, **SIZES)) == 2


def test_what_a_product_is_followed_by_is_its_epilogue():
    x, w, b = (g.input_node(i, "x", s, "float32") for i, s in enumerate([(8, 5), (5, 7), (7,)]))
    product = g.matmul(x, w)
    result = g.unary("tanh", g.add(product, g.broadcast(b, product.shape)))
    (group,) = groups_of(Graph((x, w, b), (result,)))
    assert group.kind == "matmul"
    assert group.outputs == [result]


def test_a_group_that_is_all_that_becomes_of_a_product_is_its_epilogue():
    x, w = g.input_node(0, "x", (8, 5), "float32"), g.input_node(1, "w", (5, 7), "float32")
    product = g.matmul(x, w)
    gate, value = g.unary("sigmoid", product), g.unary("tanh", product)
    result = g.mul(gate, value)
    (group,) = groups_of(Graph((x, w), (result, value)))
    assert group.kind == "matmul"
    assert len(groups_of(Graph((x, w), (result, g.reduce("sum", product, (0,)))))) == 2


def test_work_on_one_value_per_row_joins_the_kernel_that_makes_the_rows():
    x, w = g.input_node(0, "x", (64, 40), "float32"), g.input_node(1, "w", (64,), "float32")
    first = g.reduce("sum", x, (1,))
    early = g.unary("exp", w)
    result = g.mul(first, g.unary("tanh", early))
    graph = Graph((x, w), (early, first, result))
    (group,) = groups_of(graph)
    assert {early, result} <= group.outer


def test_cheap_values_are_computed_again_rather_than_stored():
    x = g.input_node(0, "x", (64, 40), "float32")
    y = g.unary("neg", x)
    a = g.matmul(y, y, transpose_a=True)  # the product needs y in memory
    b = g.reduce("max", g.unary("abs", y), (0,))
    groups = groups_of(Graph((x,), (a, b)))
    stored = {node for group in groups for node in group.outputs}
    assert y in stored
    reads = [n for group in groups for n in group.outputs if n.primitive.name == "abs"]
    assert not reads


def test_no_cycle_between_kernels():
    # sum(x) is needed by a matmul whose result meets x again: x's readers cannot all be one kernel
    x = g.input_node(0, "x", (6, 6), "float32")
    y = g.unary("exp", x)
    total = g.broadcast(g.reduce("sum", y, (0,)), (6, 6))
    product = g.matmul(total, y)
    result = g.mul(product, g.unary("neg", y))
    groups = groups_of(Graph((x,), (result, g.reduce("max", result, (1,)))))
    position = {node: k for k, group in enumerate(groups) for node in group.members}
    for k, group in enumerate(groups):
        for node in group.members:
            assert all(position.get(source, -1) <= k for source in node.inputs)


def test_sums_down_the_columns_of_a_row_wise_kernel_leave_partial_results():
    x = g.input_node(0, "x", (300, 40), "float32")
    y = g.unary(
        "exp", g.sub(x, g.broadcast(g.reshape(g.reduce("max", x, (1,)), (300, 1)), x.shape))
    )
    graph = Graph((x,), (y, g.reduce("sum", y, (0,)), g.reduce("sum", y, (0, 1))))
    fused = fuse(distinct_outputs(graph))
    partial = [n for n in fused.graph.nodes() if isinstance(n.primitive, Partial)]
    assert len(partial) == 2
    array = np.random.default_rng(0).standard_normal((300, 40)).astype("float32")
    e = np.exp(array.astype("float64") - array.max(1, keepdims=True))
    for got, want in zip(run_plain(graph, [array]), (e, e.sum(0), e.sum()), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5)


def test_no_group_of_a_random_program_has_to_be_taken_apart(monkeypatch):
    def separate(group):
        raise AssertionError(f"{group} is not aligned")

    monkeypatch.setattr(plan, "separate", separate)
    for seed in range(180, 220):
        plan.compile_graph(simplify(generate(seed)[0]))


def test_patterns_name_loops_whatever_the_shapes():
    assert pattern_of((4, 5, 6), frozenset({1, 2})) == pattern_of((4, 30), frozenset({1}))
    assert pattern_of((2, 3, 1, 4), frozenset({1, 2})) == ((2, False), (3, True), (4, False))


def test_spaces_are_cut_where_shapes_need_it_and_can():
    assert refined(((12, False),), {(3, 4), (2, 6)}) in (
        ((2, False), (6, False)),
        ((3, False), (4, False)),
    )
    assert refined(((4, False), (6, True)), {(4, 2, 3)}) == ((4, False), (2, True), (3, True))


@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_every_group_comes_after_what_it_reads(name):
    fused = fuse(distinct_outputs(simplify(GRAPHS[name]())))
    made: set = set()
    home = {n: group for group in fused.groups for n in group.outputs}
    for group in fused.groups:
        for node in group.members:
            stack = list(node.inputs)
            while stack:
                x = stack.pop()
                if x in home and home[x] is not group:
                    assert x in made, f"{group} reads {x} before it is made"
                elif x not in group.members:
                    stack.extend(x.inputs)
        made.update(group.outputs)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((1024, 300), (0, 1)), ((40_000, 3), (0,)), ((2, 70_000), (1,)), ((65_537,), (0,))],
)
def test_long_reductions_to_few_elements_are_shared_out(shape, axes):
    x = g.input_node(0, "x", shape, "float32")
    graph = Graph((x,), (g.reduce("sum", g.mul(x, x), axes), g.reduce("max", x, axes)))
    (step,) = compiled_program(graph).steps
    assert step.blocks > 1 or shape == (65_537,), "a prime number of elements is not split"
    array = np.random.default_rng(0).standard_normal(shape).astype("float32")
    total, top = run_plain(graph, [array])
    np.testing.assert_allclose(total, (array.astype("float64") ** 2).sum(axes), rtol=3e-6)
    np.testing.assert_array_equal(top, array.max(axes))


def test_cross_entropy_of_many_classes_is_one_kernel_too():
    assert kernels("log_softmax_loss", n=64, k=3000) == 1
