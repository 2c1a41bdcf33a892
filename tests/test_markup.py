"""HTML and SVG: what is shown, escaped, and readable by others; reprs stay text first."""

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest

import needle as ndl
from needle import markup, nn, ops
from needle.markup import Html


def parsed(html):
    """Parse as XML, which a browser's HTML need not be, but ours is."""
    text = re.sub(r"<(br|img [^>]*|input [^>]*)>", r"<\1/>", html).replace("&nbsp;", " ")
    return ElementTree.fromstring(f"<body>{text}</body>")


def test_cells_are_escaped_unless_they_are_markup():
    text = markup.table([("a", "b"), ("<b>&", Html("<i>x</i>"))], "c < d")
    assert "&lt;b&gt;&amp;" in text and "<i>x</i>" in text and ">c &lt; d</caption>" in text
    assert [len(row) for row in parsed(text).iter("tr")] == [2, 2]


def test_a_chart_spans_its_values_and_leaves_out_nan():
    text = markup.chart("loss", [1, 2, 3], {"a": [4.0, 2.0, 0.0], "b": [float("nan"), 1.0, 1.0]})
    lines = [line.get("points").split() for line in parsed(text).iter("polyline")]
    assert [len(line) for line in lines] == [3, 2]
    heights = [float(point.split(",")[1]) for point in lines[0]]
    assert heights == sorted(heights) and heights[1] == pytest.approx(
        sum(heights[::2]) / 2, abs=0.1
    )
    assert [t.text for t in parsed(text).iter("text")] == ["4", "0", "1", "3"]
    parsed(markup.chart("one", [1], {"a": [2.0]}))  # no division by the range


def test_a_histogram_counts():
    bars = list(parsed(markup.histogram(np.array([0.0, 0.0, 1.0, np.nan]), bins=2)).iter("rect"))
    assert [float(bar.get("height")) for bar in bars] == [26.0, 13.0]
    assert markup.histogram(np.array([np.nan])) == ""


@pytest.mark.parametrize("shape", [(5, 7), (4, 6, 3)])
def test_a_png_is_read_back_by_another_program(shape):
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)
    read = np.asarray(image.open(io.BytesIO(markup.png(pixels))))
    np.testing.assert_array_equal(read, pixels)


@pytest.mark.parametrize(
    ("shape", "pixels"),
    [((8, 9), (8, 9)), ((8, 9, 1), (8, 9)), ((1, 8, 9), (8, 9)), ((3, 8, 9), (8, 9, 3)),
     ((8, 9, 3), (8, 9, 3)), ((64,), None), ((0, 3), None), ((8, 9, 5), None), ((2, 2, 2), None)],
)  # fmt: skip
def test_images_are_recognised_by_shape(shape, pixels, monkeypatch):
    seen = []
    monkeypatch.setattr(markup, "png", lambda array: seen.append(array) or b"")
    html = markup.picture(np.linspace(-1.0, 1.0, int(np.prod(shape))).reshape(shape))
    assert [array.shape for array in seen] == ([pixels] if pixels else [])
    assert bool(html) == bool(pixels) and (not pixels or f'width="{7 * pixels[1]}"' in html)
    if pixels:
        assert (seen[0].min(), seen[0].max(), seen[0].dtype) == (0, 255, np.uint8)


def test_zero_is_black_and_one_is_white_unless_values_lie_outside(monkeypatch):
    monkeypatch.setattr(markup, "png", lambda array: bytes(array.ravel()))
    read = lambda html: base64.b64decode(re.search('base64,([^"]*)', html)[1])
    assert list(read(markup.picture(np.array([[0.2, 0.4]])))) == [51, 102]
    assert list(read(markup.picture(np.array([[0.0, 255.0], [51.0, np.nan]])))) == [0, 255, 51, 0]


def test_history_is_text_first_with_curves_in_a_notebook():
    history = ndl.training.History(
        [{"epoch": i, "loss": 1 / i, "val_loss": 2 / i, "accuracy": 0.5} for i in (1, 2)]
    )
    assert repr(history) == str(history) and repr(history).startswith("epoch")
    html = history._repr_html_()
    assert html.count("<svg") == 2 and html.count("<polyline") == 3 and "<table>" in html
    assert "<svg" not in ndl.training.History()._repr_html_()


def test_a_model_is_text_first_with_a_table_in_a_notebook():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    assert repr(model).startswith("Sequential: 16 parameters")
    rows = [[cell.text for cell in row] for row in parsed(model._repr_html_()).iter("tr")]
    assert rows[1:] == [
        ["model", "Sequential", "16"],
        ["0", "Linear 3 -> 4", "16"],
        ["1", "ReLU", "0"],
    ]


def test_a_tensor_is_a_table_an_image_or_text():
    x = ndl.Tensor([[1.0, 2.0], [3.0, 4.5]])
    assert repr(x).startswith("needle.Tensor([[1.")
    html = (x * 2)._repr_html_()
    assert [cell.text for cell in parsed(html).iter("td")] == ["2", "4", "6", "9"]
    assert "float64 (2, 2) by mul_scalar" in html
    assert 'src="data:image/png' in ndl.init.rand(20, 20)._repr_html_()
    assert "<pre>[[[0." in ndl.init.zeros(2, 2, 2)._repr_html_()
    assert "<pre>[]" in ndl.init.zeros(0)._repr_html_()
    assert "<pre>[[0." in ndl.init.zeros(2, 2000)._repr_html_()
    assert ops.split(x, 0)._repr_html_().count("<table>") == 2


def test_explain_is_text_first_with_bars_in_a_notebook():
    step = ndl.jit(nn.Sequential(nn.Linear(8, 8), nn.LayerNorm1d(8)))
    step(np.ones((4, 8), "float32"))
    text = step.explain()
    assert repr(text) == str(text) and isinstance(text, str)
    html = text._repr_html_()
    kernels = int(re.search(r"(\d+) kernels", text)[1])
    rows = list(parsed(html).iter("tr"))
    assert len(rows) == 1 + kernels and "us" in rows[1][0].text
    assert "of the machine's limit" in "".join(parsed(html).itertext())
