"""Right sides that many small products share are packed once; the products stay what they were."""

import numpy as np
import pytest

from needle.compiler.graph.graph import Graph
from needle.compiler.graph.interpret import interpret
from needle.compiler.lower.panels import PanelMatMul, with_panels
from needle.compiler.target import named
from needle.errors import GraphError
from tests.compiler import building as g
from tests.compiler.compiled import run_plain

TARGET = named("skylake-avx512")


def chain(steps, n, k, transposed=False, rows=32):
    """h W, tanh(h W) W, ..., each cut or filled up to k columns."""
    h = g.input_node(0, "h", (rows, k), "float32")
    w = g.input_node(1, "w", (n, k) if transposed else (k, n), "float32")
    x = h
    for _ in range(steps):
        y = g.unary("tanh", g.matmul(x, w, transpose_b=transposed))
        x = g.slice_(y, (0, 0), (rows, k)) if n >= k else g.pad(y, (0, 0), (0, k - n))
    return Graph((h, w), (x,))


def panels(graph):
    return [n for n in graph.nodes() if isinstance(n.primitive, PanelMatMul)]


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("n", [512, 500, 301])
def test_products_with_panels(n, transposed):
    """Also where columns must be filled up."""
    graph = chain(3, n, 128, transposed)
    changed = with_panels(graph, TARGET)
    changed.verify()
    assert len(panels(changed)) == (3 if transposed or n == 512 else 0)
    assert len({node.inputs[1] for node in panels(changed)}) <= 1
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(x.shape).astype("float32") / 8 for x in graph.inputs]
    (exact,) = interpret(graph, [a.astype("float64") for a in arrays], wide=True)
    for given, run in ((changed, interpret), (graph, run_plain)):
        (result,) = run(given, arrays)
        np.testing.assert_allclose(result, exact, rtol=1e-5, atol=1e-6)


def test_few_or_tall_products_pack_for_themselves():
    assert not panels(with_panels(chain(2, 512, 128), TARGET))
    assert not panels(with_panels(chain(3, 512, 128, rows=300), TARGET))


def test_panels_that_do_not_fit():
    a, b = g.input_node(0, "a", (4, 8), "float32"), g.input_node(1, "b", (2, 8, 16), "float32")
    assert g.make(PanelMatMul(columns=31), a, b).shape == (4, 31)
    for columns, left in ((33, a), (31, g.input_node(0, "a", (4, 7), "float32"))):
        with pytest.raises(GraphError, match="panels of"):
            g.make(PanelMatMul(columns=columns), left, b)
