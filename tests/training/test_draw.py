"""Drawings of graphs: what is in them, and that nothing changes by looking."""

import shutil

import numpy as np
import pytest

import needle as ndl
from needle import nn
from needle.errors import ArgumentError, DeviceError

X = np.ones((5, 3), "float32")


def model():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))


def texts(drawing, kind):
    return [" | ".join(node.lines) for node in drawing.nodes if node.kind == kind]


def test_a_model_is_drawn_with_names_ops_and_shapes():
    drawing = ndl.draw(model(), X)
    assert texts(drawing, "input") == ["x | (5, 3)"]
    assert texts(drawing, "parameter") == [
        "0.weight | (3, 4)", "0.bias | (1, 4)", "1.weight | (4,)", "1.bias | (4,)",
        "3.weight | (4, 2)", "3.bias | (1, 2)",
    ]  # fmt: skip
    ops = texts(drawing, "op")
    assert ops[:2] == ["matmul | (5, 4)", "add | (5, 4)"]
    assert "divide_scalar scalar=0.5 | (5, 4)" in ops and not texts(drawing, "gradient")


def test_each_box_comes_from_its_inputs():
    w = ndl.Tensor([1.0, 2.0])
    nodes = ndl.draw((w * w).sum()).nodes
    assert [node.inputs for node in nodes] == [(), (0, 0), (1,)]
    assert nodes[2].lines == ("summation", "5.0")


def test_gradients_are_drawn_with_the_parameters_they_belong_to():
    m = model()
    drawing = ndl.draw(m, X, gradient=True)
    named = [line for node in drawing.nodes for line in node.lines if "gradient of" in line]
    assert set(named) == {f"gradient of {name}" for name, _ in m.named_parameters()} | {
        "gradient of x"
    }
    assert any(line.startswith("normalize_gradient") for line in texts(drawing, "gradient"))
    assert texts(drawing, "gradient")[0] == "out_grad | (5, 2)"
    assert not any(line.startswith("leaf") for line in texts(drawing, "gradient"))
    assert len(texts(drawing, "op")) == len(texts(ndl.draw(m, X), "op"))


def test_a_tensor_takes_its_names_from_the_model():
    m = model()
    loss = nn.SoftmaxLoss()(m(X), np.zeros(5, int))
    assert "0.weight | (3, 4)" in texts(ndl.draw(loss, m), "parameter")
    assert "leaf | (3, 4)" in texts(ndl.draw(loss), "parameter")


def test_model_gradients_and_random_state_are_as_before():
    m = model()
    m(X).sum().backward()
    kept, state = m[0].weight.grad, m.state_dict()
    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    ndl.draw(m, X, gradient=True)
    assert (np.random.get_state()[1] == before).all()
    assert m[0].weight.grad is kept and m[3].bias.grad is not None
    for name, array in m.state_dict().items():
        np.testing.assert_array_equal(array, state[name])


def test_a_recurrent_model_with_several_results_and_ids_as_input():
    drawing = ndl.draw(nn.LSTM(3, 4), np.ones((2, 1, 3), "float32"))
    assert "split axis=0 | (1, 3), (1, 3)" in texts(drawing, "op")
    assert texts(ndl.draw(nn.Embedding(5, 3), np.array([[1, 2]])), "parameter") == [
        "weight | (5, 3)"
    ]


def test_quotes_do_not_end_a_label():
    drawing = ndl.draw(ndl.ops.cast(ndl.Tensor([1.0]), "float32") * 2)
    assert drawing.mermaid.count('"') == 2 * len(drawing.nodes)
    assert '"float32"' not in drawing.dot and "float32" in drawing.dot


def test_what_has_no_graph_is_an_error():
    with pytest.raises(ArgumentError, match=r"draw\(model, x\)"):
        ndl.draw(model())
    with pytest.raises(ArgumentError, match="expected a Tensor with a history"):
        ndl.draw(ndl.init.ones(2))


def test_without_graphviz_there_is_text_and_a_word_about_it(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    drawing = ndl.draw(nn.Linear(3, 2), X)
    assert drawing._repr_html_() is None and repr(drawing).startswith("flowchart TD\n")
    with pytest.raises(DeviceError, match="Graphviz is not installed"):
        _ = drawing.svg


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs Graphviz")
def test_with_graphviz_there_is_a_picture():
    svg = ndl.draw(nn.Linear(3, 2), X)._repr_html_()
    assert svg.startswith("<svg") and svg.rstrip().endswith("</svg>")
    assert svg.count('class="node"') == 5 and svg.count('class="edge"') == 4
