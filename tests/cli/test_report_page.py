"""`needle report`: the page holds what the run did, and nothing from elsewhere."""

import re
import sys
from html.parser import HTMLParser

import numpy as np

from needle import nn
from needle.cli.main import main
from needle.cli.report_page import confusion, most_wrong
from needle.cli.run_folder import load_model
from tests.cli.runs import make_data, metrics, train

VOID = {"meta", "br", "img"}


class Page(HTMLParser):
    """Check that tags are closed in order; collect what is referred to, and the headings."""

    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.headings = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "action")]

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


def images(folder, shape=(8, 8)):
    """Write a data set of 8 x 8 images whose label is their brightest row; return its folder."""
    folder.mkdir()
    state = np.random.RandomState(0)
    for part, count in (("train", 60), ("test", 20)):
        X, y = state.rand(count, 8, 8).astype("float32"), state.randint(0, 3, count)
        X[np.arange(count), y] += 0.2
        np.save(folder / f"x_{part}.npy", X.reshape(count, *shape))
        np.save(folder / f"y_{part}.npy", y)
    return folder


def report(folder, capsys):
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"report {folder.as_posix()}/report.html"
    return (folder / "report.html").read_text(encoding="utf-8")


def test_the_page_tells_the_run_and_needs_no_other_file(here, capsys):
    train("--data", images(here / "images"), "--out", "run", "--lr", "0.001")
    text = report(here / "run", capsys)
    page = Page(text)
    assert page.headings == [
        "Curves", "Confusion matrix", "Most wrong", "Weights and gradients", "Where the time went",
        "Options and machine",
    ]  # fmt: skip
    assert page.links and all(link.startswith("data:image/png;base64,") for link in page.links)
    assert "url(" not in text and "@import" not in text and "<script" not in text
    assert "prefers-color-scheme: dark" in text and 'name="viewport"' in text
    losses = [float(row[column]) for row in metrics(here / "run")[1:] for column in (1, 3)]
    assert f">{max(losses):.3g}</text>" in text and f">{min(losses):.3g}</text>" in text
    assert "&quot;lr&quot;: 0.001," in text and "1.0.weight" in text


def test_the_accuracy_is_that_of_eval(here, capsys):
    train("--data", images(here / "images"), "--out", "run")
    assert main(["eval", "run"]) == 0
    accuracy = re.search(r"accuracy (\d\.\d+)", capsys.readouterr().out)[1]
    assert f"test accuracy {accuracy}</h1>" in report(here / "run", capsys)


def test_a_compiled_run_shows_the_kernels_of_a_step(here, capsys):
    assert main(["train", "--quiet", "--data", str(images(here / "images")), "--epochs", "1",
                 "--hidden", "8", "--blocks", "1", "--out", "run"]) == 0  # fmt: skip
    text = report(here / "run", capsys)
    assert "limit reached" in text and "of the machine" in text and "matmul" in text


def test_samples_that_are_no_images_are_listed(here, capsys):
    train("--data", images(here / "rows", (64,)), "--out", "run", "--lr", "1e-9")
    text = report(here / "run", capsys)
    assert "test samples are wrong" in text and "<img" not in text


def test_the_newest_run_and_a_folder_without_one(here, capsys):
    train("--data", make_data(here / "data"))
    assert main(["report"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("report runs/data-001")
    assert main(["report", str(here)]) == 1
    assert "model.safetensors" in capsys.readouterr().err
    (here / "runs" / "data-001" / "metrics.csv").write_text("epoch,loss\n1,x\n", encoding="utf-8")
    assert main(["report"]) == 1
    assert "metrics.csv: expected a number in each cell" in capsys.readouterr().err


def test_most_wrong_come_first_and_only_wrong_ones():
    logits = np.array([[5.0, 0.0], [0.0, 1.0], [0.0, 9.0], [0.0, 0.1]])
    text = most_wrong(np.zeros((4, 6)), np.array([0, 0, 0, 0]), logits)
    assert re.findall(r"(\d): 0, guess 1 \((\d+)%\)", text) == [
        ("2", "100"),
        ("1", "73"),
        ("3", "52"),
    ]
    assert "3 of 4 test samples are wrong" in text
    assert "every test sample is right" in most_wrong(np.zeros((1, 6)), np.array([0]), logits[:1])


def test_confusion_shades_by_the_share_of_the_row():
    text = confusion(np.array([[8, 2], [0, 10]]))
    assert 'rgba(47,127,193,0.48)">8' in text and 'rgba(217,130,43,0.75)">2' in text


def test_the_report_needs_no_matplotlib(here, capsys):
    assert sys.modules["matplotlib"] is None
    train("--data", images(here / "images"), "--out", "run")
    report(here / "run", capsys)


def test_a_text_has_curves_weights_and_times_but_no_test_images(here, capsys):
    (here / "text.txt").write_text("abcab " * 200, encoding="utf-8")
    train("--data", "text.txt", "--context", "8", "--out", "run", "--epochs", "1")
    text = report(here / "run", capsys)
    assert "gpt on text</h1>" in text
    assert Page(text).headings == [
        "Curves", "Weights and gradients", "Where the time went", "Options and machine",
    ]  # fmt: skip


def test_gradients_are_those_of_a_batch_in_evaluation_mode(here, capsys):
    folder = images(here / "images")
    train("--data", folder, "--out", "run")
    row = re.search(r"<td>1\.0\.weight</td>(.*?)</tr>", report(here / "run", capsys))[1]
    model = load_model(here / "run").model.eval()
    X, y = (np.load(folder / f"{name}_train.npy")[:16] for name in "xy")
    nn.SoftmaxLoss()(model(X), y).backward()
    norm = np.linalg.norm(model.named_parameters()[0][1].grad.numpy())
    assert f"<td>{norm:.3g}</td>" in row
