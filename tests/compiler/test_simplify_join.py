"""Products, sums and pads over the steps of a loop are joined; values stay."""

import numpy as np
import pytest

from needle.compiler.graph.interpret import interpret
from needle.compiler.graph.primitives import MatMul
from needle.compiler.simplify.simplify import simplify
from tests.compiler import building as g
from tests.compiler.graphs import rnn, sample


def inputs(steps=5, n=3, width=4):
    return (
        g.input_node(0, "x", (steps, n, width), "float64"),
        g.input_node(1, "w", (width, 2), "float64"),
        g.input_node(2, "b", (n, width), "float64"),
    )


def step(x, t, axis=0):
    starts, stops = [0, 0, 0], list(x.shape)
    starts[axis], stops[axis] = t, t + 1
    rest = tuple(n for i, n in enumerate(x.shape) if i != axis)
    return g.reshape(g.slice_(x, starts, stops), rest)


def simplified(nodes, *outputs):
    graph = g.Graph(nodes, outputs)
    result = simplify(graph, verify=True)
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(node.shape) for node in nodes]
    for a, b in zip(interpret(result, arrays), interpret(graph, arrays), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    return result


def names(graph):
    return [n.primitive.name for n in graph.nodes()]


@pytest.mark.parametrize(("axis", "steps"), [(0, 5), (1, 3)])
def test_products_of_slices_become_one(axis, steps):
    x, w, b = inputs()
    products = [g.matmul(step(x, t, axis), w) for t in range(steps)]
    result = simplified((x, w, b), *products)
    (product,) = [n for n in result.nodes() if isinstance(n.primitive, MatMul)]
    assert product.shape == (15, 2)


def test_products_with_one_matrix_become_one():
    x, w, b = inputs()
    rows = [g.unary("tanh", step(x, t)) for t in range(4)]
    result = simplified((x, w, b), *(g.matmul(row, w) for row in rows))
    assert names(result).count("matmul") == 1
    tall = [g.input_node(t, "tall", (300, 4), "float64") for t in range(3)]
    w = g.input_node(3, "w", (4, 2), "float64")
    result = simplified((*tall, w), *(g.matmul(a, w) for a in tall))
    assert names(result).count("matmul") == 3  # each has rows enough


def test_products_follow_the_order_in_which_they_are_put_together():
    """No copy: the left sides are rows of x, the results rows of what is concatenated."""
    x, w, b = inputs()
    products = [g.matmul(step(x, t), w) for t in (4, 0, 3, 1, 2)]
    ordered = [products[k] for k in (1, 3, 4, 2, 0)]
    result = simplified((x, w, b), g.unary("tanh", g.concat(ordered, 0)))
    assert names(result)[3:] == ["reshape", "matmul", "tanh"]
    rows = [g.unary(fn, b) for fn in ("tanh", "exp", "sin")]
    products = [g.matmul(row, w) for row in rows]
    result = simplified((x, w, b), g.concat([products[k] for k in (2, 0, 1)], 0))
    assert names(result)[3:] == ["sin", "tanh", "exp", "concat", "matmul"]


def test_products_of_slices_that_wait_for_each_other():
    """x[t] @ W of a second layer: its x is made of results of the first."""
    result = simplify(rnn(layers=1))
    assert names(result).count("matmul") == 6 + 1 + 5 + 2  # h U, x W, backward through h, dW and dU


def test_products_that_would_wait_for_each_other_once_joined():
    """A_0 W needs A_1 V, and A_2 V needs A_1 W: one of the two sets can be joined, not both."""
    v, w, a = (g.input_node(k, "x", (4, 4), "float64") for k in range(3))
    rows = [g.unary(fn, a) for fn in ("tanh", "exp", "sin")]
    by_v = [g.matmul(row, v) for row in rows[:2]]
    by_w = [g.matmul(g.add(rows[0], by_v[1]), w), *(g.matmul(row, w) for row in rows[1:])]
    by_v.append(g.matmul(g.add(rows[2], by_w[1]), v))
    result = simplified((v, w, a), *by_v, *by_w)
    assert names(result).count("matmul") == 4


def test_two_layers():
    graph = rnn()
    arrays = sample(graph)
    result = simplify(graph, verify=True)
    # a layer: h U, x W, backward through h, dW and dU; once the gradient of the second layer's x
    assert names(graph).count("matmul") == 64
    assert names(result).count("matmul") == 2 * (6 + 1 + 5 + 2) + 1
    assert "pad" not in names(result)
    for a, b in zip(interpret(result, arrays), interpret(graph, arrays, wide=True), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_sums_of_products():
    x, w, b = inputs()
    total = b
    for t in range(5):
        square = g.matmul(step(x, t), g.unary("tanh", step(x, t)), transpose_a=True)
        total = g.add(g.slice_(square, (0, 0), (3, 4)), total) if t == 0 else total
        total = g.add(total, g.slice_(square, (0, 0), (3, 4))) if t else total
    assert names(simplified((x, w, b), total)).count("matmul") == 5  # slices stand between
    total = None
    for t in range(5):
        square = g.matmul(step(x, t), g.unary("tanh", step(x, t)), transpose_a=True)
        total = square if total is None else g.add(square, total)
    result = simplified((x, w, b), total)
    assert names(result).count("matmul") == 1
    assert names(result).count("add") == 0


def test_products_that_others_read_stay():
    x, w, b = inputs(steps=3)
    squares = [g.matmul(step(x, t), step(x, t), transpose_a=True) for t in range(3)]
    total = g.add(g.add(squares[0], squares[1]), squares[2])
    assert names(simplified((x, w, b), total, *squares)).count("matmul") == 3


def test_sums_of_sums():
    x, w, b = inputs()
    total = w
    for t in range(5):
        column = g.reduce("sum", g.unary("tanh", step(x, t)), (0,))
        total = g.add(total, g.broadcast(g.reshape(column, (4, 1)), (4, 2)))
    assert names(simplified((x, w, b), total)).count("sum") == 5  # broadcasts stand between
    sums = [g.reduce("sum", g.unary("tanh", step(x, t)), (0,)) for t in range(5)]
    total = g.add(g.add(g.add(sums[4], sums[3]), g.add(sums[2], sums[1])), sums[0])
    assert names(simplified((x, w, b), total)).count("sum") == 1


def test_sums_of_pads():
    x, w, b = inputs()
    parts = [g.slice_(g.unary("tanh", b), (0, k), (3, k + 1)) for k in (0, 1, 3)]
    pads = [g.pad(y, (0, k), (0, 3 - k)) for y, k in zip(parts, (0, 1, 3), strict=True)]
    result = simplified((x, w, b), g.add(g.add(pads[2], pads[0]), g.add(b, pads[1])))
    assert "pad" not in names(result)
    (joined,) = [n for n in result.nodes() if n.primitive.name == "concat"]
    assert [x.shape for x in joined.inputs] == [(3, 1)] * 4  # one of them zeros, none empty
    overlapping = g.add(pads[1], g.pad(parts[0], (0, 1), (0, 2)))
    assert names(simplified((x, w, b), overlapping)).count("pad") == 2
    other_value = g.add(pads[1], g.pad(parts[0], (0, 0), (0, 3), value=1.0))
    assert names(simplified((x, w, b), other_value)).count("pad") == 2
