"""The interpreter: outputs, intermediate values, float64, and what it refuses."""

import numpy as np
import pytest

from needle.compiler.graph.interpret import evaluate, interpret
from needle.errors import GraphError
from tests.compiler import building as g
from tests.compiler.graphs import GRAPHS, sample


def test_float64_run_differs_only_by_rounding():
    x = g.input_node(0, "x", (1000,), "float32")
    third = g.full(1 / 3, (1000,), "float32")
    total = g.reduce("sum", g.mul(x, third), (0,))
    graph = g.Graph((x,), (total, g.cast(x, "float64"), g.cast(g.cast(x, "float64"), "float32")))
    array = np.random.default_rng(0).random(1000).astype(np.float32)
    narrow, wide = interpret(graph, [array]), interpret(graph, [array], wide=True)
    assert [a.dtype for a in narrow] == ["float32", "float64", "float32"]
    assert [a.dtype for a in wide] == ["float64"] * 3
    np.testing.assert_allclose(wide[0], array.astype(np.float64).sum() / 3, rtol=1e-14)
    np.testing.assert_allclose(narrow[0], wide[0], rtol=1e-5)


def test_given_values_stand_in_for_nodes():
    x = g.input_node(0, "x", (2,), "float64")
    y = g.unary("exp", x)
    z = g.add(y, y)
    assert evaluate([z], {y: np.array([1.0, 2.0])})[z].tolist() == [2, 4]
    values = evaluate([z], {x: np.zeros(2)}, keep_all=True)
    assert {node: list(v) for node, v in values.items()} == {x: [0, 0], y: [1, 1], z: [2, 2]}
    assert list(evaluate([z], {x: np.zeros(2)})) == [z]


def test_inputs_are_checked():
    x = g.input_node(0, "x", (2,), "float64")
    graph = g.Graph((x,), (x,))
    with pytest.raises(GraphError, match="expected 1 arrays, got 0"):
        interpret(graph, [])
    with pytest.raises(GraphError, match=r"expected float64\[2\] .* got float32\[2\]"):
        interpret(graph, [np.zeros(2, np.float32)])


def _layer_norm(x, w, b, dy):
    xc = x - x.mean(1, keepdims=True)
    r = 1 / np.sqrt((xc**2).mean(1, keepdims=True) + 1e-5)
    h = xc * r
    dh = dy * w
    dx = r * (dh - dh.mean(1, keepdims=True) - h * (dh * h).mean(1, keepdims=True))
    return w * h + b, dx, (dy * h).sum(0), dy.sum(0)


def test_textbook_layer_norm_equals_its_closed_form():
    graph = GRAPHS["layer_norm"](dtype="float64")
    arrays = sample(graph)
    for got, expected in zip(interpret(graph, arrays), _layer_norm(*arrays), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["softmax_loss", "log_softmax_loss"])
def test_textbook_cross_entropy_equals_its_closed_form(name):
    graph = GRAPHS[name](dtype="float64")
    logits, labels = sample(graph)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    rows = np.arange(len(labels))
    loss, grad = interpret(graph, [logits, labels])
    np.testing.assert_allclose(loss, -np.log(p[rows, labels]).mean(), rtol=1e-12)
    p[rows, labels] -= 1
    np.testing.assert_allclose(grad, p / len(labels), atol=1e-14)


@pytest.mark.parametrize("name", GRAPHS)
def test_textbook_graphs_run(name):
    graph = GRAPHS[name]()
    arrays = sample(graph)
    narrow, wide = interpret(graph, arrays), interpret(graph, arrays, wide=True)
    for a, b in zip(narrow, wide, strict=True):
        assert np.isfinite(b).all()
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * np.abs(b).max())
