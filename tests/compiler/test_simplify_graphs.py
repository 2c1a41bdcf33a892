"""Whole graphs through the simplifier: how far the textbook formulas come down, random programs."""

import numpy as np
import pytest

from needle.compiler.graph.interpret import interpret
from needle.compiler.graph.primitives import MatMul, Reduce
from needle.compiler.simplify.simplify import simplify
from tests.compiler import building as g
from tests.compiler.check_programs import check, shrink
from tests.compiler.graphs import GRAPHS, layer_norm, sample
from tests.compiler.random_programs import generate, report, run_simplified


def levels(graph):
    """Return each sum or maximum as (fn, axes, how many reductions it stands on, itself too)."""
    depth = {}
    for n in graph.nodes():
        below = max((depth[x] for x in n.inputs), default=0)
        depth[n] = below + isinstance(n.primitive, Reduce | MatMul)
    return sorted(
        (n.primitive.fn, n.primitive.axes, depth[n])
        for n in graph.nodes()
        if isinstance(n.primitive, Reduce)
    )


@pytest.mark.parametrize("name", GRAPHS)
def test_values_are_kept(name):
    graph = GRAPHS[name]()
    arrays = sample(graph)
    expected = interpret(graph, arrays, wide=True)
    for a, b in zip(interpret(simplify(graph, verify=True), arrays), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5 * np.abs(b).max())


def test_layer_norm_comes_down_to_its_sweeps():
    """Forward: x, then (x - mean)^2. Backward: two sums over the row in one sweep, two columns."""
    assert levels(simplify(layer_norm(backward=False))) == [("sum", (1,), 1), ("sum", (1,), 2)]
    assert levels(simplify(layer_norm())) == [
        ("sum", (0,), 1),  # dbias
        ("sum", (0,), 3),  # dweight
        ("sum", (1,), 1),  # x
        ("sum", (1,), 1),  # dy weight
        ("sum", (1,), 2),  # (x - mean)^2
        ("sum", (1,), 2),  # dy weight (x - mean)
    ]
    before = [depth for _, axes, depth in levels(layer_norm()) if axes == (1,)]
    assert max(before) == 4


def test_batch_norm_comes_down_to_its_sweeps():
    """The backward needs dbias and one more sum, which dweight and dx share."""
    assert levels(simplify(GRAPHS["batch_norm"]())) == [
        ("sum", (0,), 1),
        ("sum", (0,), 1),
        ("sum", (0,), 2),
        ("sum", (0,), 2),
    ]


@pytest.mark.parametrize("name", ["softmax_loss", "log_softmax_loss"])
def test_cross_entropy_needs_one_exponential_an_element(name):
    graph = simplify(GRAPHS[name](32, 10))
    large = [n for n in graph.nodes() if n.primitive.name == "exp" and n.shape == (32, 10)]
    assert len(large) == 1
    assert max(depth for _, axes, depth in levels(graph) if axes == (1,)) == 2


def test_the_resnet_step_has_23_products_without_transposes():
    graph = simplify(GRAPHS["mlp_resnet_step"]())
    names = [n.primitive.name for n in graph.nodes()]
    assert sum(isinstance(n.primitive, MatMul) for n in graph.nodes()) == 23
    assert "permute" not in names
    assert "pow" not in {n.primitive.name for n in graph.nodes() if n.shape}


@pytest.mark.parametrize("first", range(0, 200, 20))
def test_random_programs_keep_their_values(first):
    failures = [report(seed, 20, run_simplified) for seed in range(first, first + 20)]
    assert [text for text in failures if text] == []


def test_a_wrong_compiler_is_found_and_its_program_shrunk():
    def wrong(graph, arrays):
        """Like the interpreter, but sums over the last axis lose their last term."""

        def rewrite(node):
            is_sum = isinstance(node.primitive, Reduce) and node.primitive.fn == "sum"
            rank = len(node.inputs[0].shape) if is_sum else 0
            if not is_sum or node.primitive.axes != (rank - 1,) or 0 in node.inputs[0].shape:
                return node
            stops = list(node.inputs[0].shape)
            stops[-1] -= 1
            return g.reduce("sum", g.slice_(node.inputs[0], (0,) * rank, stops), (rank - 1,))

        return interpret(g.rebuild(graph, rewrite), arrays)

    for seed in range(100):
        program = generate(seed)
        if check(*program, wrong):
            graph, arrays = shrink(*program, wrong)
            assert check(graph, arrays, wrong).startswith("output 0")
            assert [n.primitive.name for n in graph.nodes()][-1] == "sum"
            assert len(graph.nodes()) == 2
            return
    pytest.fail("no program noticed")


def test_programs_are_functions_of_their_seed():
    (a, arrays_a), (b, arrays_b) = generate(3), generate(3)
    assert str(a) == str(b)
    for x, y in zip(arrays_a, arrays_b, strict=True):
        np.testing.assert_array_equal(x, y)
    assert str(generate(4)[0]) != str(a)


def test_programs_reach_every_primitive():
    seen = {type(n.primitive).__name__ for seed in range(60) for n in generate(seed)[0].nodes()}
    assert seen == {
        "Input", "Constant", "Iota", "Random", "Unary", "Binary", "Compare", "Where", "Cast",
        "Broadcast", "Reshape", "Permute", "Slice", "Flip", "Pad", "Concat", "Reduce", "ArgReduce",
        "Cumulative", "MatMul", "Gather", "ScatterAdd", "Windows",
    }  # fmt: skip
