"""`needle eval`, `predict`, `info`, `cache`."""

import csv
import io
import os

import numpy as np
import pytest

import needle as ndl
from needle import ops
from needle.cli.main import main
from needle.cli.report import confusion_table, draw_curves
from needle.cli.run_folder import load_model
from needle.training import History
from tests.cli.runs import SMALL, make_data, train


@pytest.fixture
def run(here, data, capsys):
    train("--data", data)
    capsys.readouterr()
    return here / "runs" / "data-001"


def said(capsys, *arguments, code=0):
    assert main(list(map(str, arguments))) == code
    captured = capsys.readouterr()
    return captured.out if code == 0 else captured.err


def test_eval_gives_what_train_said(here, data, capsys):
    train("--data", data, "--epochs", 9)
    accuracy = capsys.readouterr().out.split("test accuracy ")[1].split()[0]
    loss, again, matrix = (said(capsys, "eval", "runs/data-001").splitlines()[i] for i in (1, 2, 3))
    assert again == f"accuracy {accuracy}"
    model = load_model(here / "runs" / "data-001").model
    X, y = np.load(data / "x_test.npy"), np.load(data / "y_test.npy")
    logits = ndl.predict(model, X)
    assert loss == f"loss {float(ndl.nn.SoftmaxLoss()(logits, y)):.4f}"
    assert matrix.startswith("rows: true label")


def test_eval_prints_the_confusion_matrix(run, data, capsys):
    rows = [line.split() for line in said(capsys, "eval", run).splitlines()[4:]]
    assert rows[0] == ["0", "1", "2"]
    counts = np.array([list(map(int, row[1:])) for row in rows[1:]])
    labels = np.load(data / "y_test.npy")
    assert counts.sum(axis=1).tolist() == np.bincount(labels).tolist()
    guessed = ndl.predict(load_model(run).model, np.load(data / "x_test.npy")).argmax(axis=1)
    assert counts.sum(axis=0).tolist() == np.bincount(guessed, minlength=3).tolist()


def test_eval_takes_the_newest_run(here, data, capsys):
    for name in ("a", "b", "c"):
        train("--data", data, "--epochs", 1, "--out", here / "runs" / name)
    os.utime(here / "runs" / "b" / "model.safetensors", (2e9, 2e9))
    capsys.readouterr()
    assert said(capsys, "eval").startswith("run runs/b: 24 test samples of ")


def test_eval_without_runs_says_how_to_start_one(here, capsys):
    assert "no finished run in" in said(capsys, "eval", code=1)
    assert "Directory 'missing' does not exist" in said(capsys, "eval", "missing", code=2)
    assert f"{here}: no model.safetensors\n" in said(capsys, "eval", here, code=1)


def test_an_unfinished_run_says_how_to_finish_it(run, capsys):
    (run / "model.safetensors").unlink()
    assert f"finish it with: needle train --resume {run}" in said(capsys, "eval", run, code=1)


def test_a_model_of_another_origin_is_refused(run, capsys):
    ndl.save(run / "model.safetensors", load_model(run).model, note="mine")
    assert "not written by needle train" in said(capsys, "eval", run, code=1)
    (run / "model.safetensors").write_bytes(b"broken")
    assert "not a whole safetensors file" in said(capsys, "eval", run, code=1)


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_predict_prints_labels_and_probabilities(run, data, capsys):
    X = np.load(data / "x_test.npy")
    found = rows(said(capsys, "predict", run, data / "x_test.npy"))
    logits = ndl.Tensor(ndl.predict(load_model(run).model, X))
    expected = ops.softmax(logits).numpy()
    assert [int(row["index"]) for row in found] == list(range(24))
    assert [int(row["label"]) for row in found] == expected.argmax(axis=1).tolist()
    np.testing.assert_allclose(
        [float(row["probability"]) for row in found], expected.max(axis=1), atol=1e-6
    )


@pytest.mark.parametrize("header", ["", "a,b,c,d,e,f\n"])
def test_csv_and_npy_files_give_the_same(run, data, capsys, header):
    X = np.load(data / "x_test.npy").reshape(24, 6)
    lines = "".join(",".join(map(repr, row.tolist())) + "\n" for row in X)
    (run / "x.csv").write_text(header + lines, encoding="utf-8")
    assert said(capsys, "predict", run, run / "x.csv") == said(
        capsys, "predict", run, data / "x_test.npy"
    )


def test_raw_pixels_are_scaled_as_in_training(here, capsys):
    data = make_data(here / "pixels", dtype="uint8")
    train("--data", data, "--out", "run")
    raw = np.load(data / "x_test.npy")
    np.save("scaled.npy", np.divide(raw, np.float32(255), dtype="float32"))
    capsys.readouterr()
    by_bytes = said(capsys, "predict", "run", data / "x_test.npy")
    assert by_bytes == said(capsys, "predict", "run", "scaled.npy")
    np.save("unscaled.npy", raw.astype("float32"))
    assert by_bytes != said(capsys, "predict", "run", "unscaled.npy")


def test_raw_digits_are_divided_by_sixteen(here, capsys):
    assert main(["train", "--out", "run", *SMALL, "--epochs", "1"]) == 0
    images = ndl.data.digits()[1].images[:5]
    np.save("raw.npy", images)
    np.save("scaled.npy", images / 16)
    capsys.readouterr()
    assert said(capsys, "predict", "run", "raw.npy") == said(capsys, "predict", "run", "scaled.npy")


def test_predict_needs_no_data_set(run, data, capsys):
    X = np.load(data / "x_test.npy")
    for path in data.iterdir():
        path.unlink()
    np.save(run / "x.npy", X[:2])
    assert len(rows(said(capsys, "predict", run, run / "x.npy"))) == 2


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("x.npy", np.ones((3, 5)), r"6 numbers a row, got shape (3, 5)"),
        ("x.npy", np.ones(6), "one sample of 6 numbers a row, got shape (6,)"),
        ("x.npy", np.ones((0, 6)), "got shape (0, 6)"),
        ("x.npy", b"", "not a whole .npy file"),
        ("x.csv", b"1,2,3\n", "6 numbers, with commas between, a row, got shape (1, 3)"),
        ("x.csv", b"", "got shape (0, 1)"),
        ("x.csv", b"1,2,3,4,5,6\n1,2\n", "columns changed from 6 to 2 at row 2\n"),
        ("x.csv", b"1,2,3,4,5,6\n1,2,3,4,5,a\n", "x.csv: "),
        ("x.csv", b"\xff\xfe1", "x.csv: "),
        ("x.txt", b"1", "expected a .npy or a .csv file"),
    ],
)
def test_files_that_hold_no_samples_are_named(run, capsys, name, content, text):
    if isinstance(content, bytes):
        (run / name).write_bytes(content)
    else:
        np.save(run / name, content)
    errors = said(capsys, "predict", run, run / name, code=1)
    assert text in errors
    assert errors.count("\n") == 1


def test_missing_arguments_and_files(run, capsys):
    assert "Missing argument 'FILE'" in said(capsys, "predict", run, code=2)
    assert "'missing.npy' does not exist" in said(capsys, "predict", run, "missing.npy", code=2)
    assert "model.safetensors' is a file" in said(capsys, "eval", run / "model.safetensors", code=2)
    assert f"'{run}' is a directory" in said(capsys, "predict", run, run, code=2)


def test_info_tells_what_there_is(monkeypatch, capsys):
    monkeypatch.setenv("NEEDLE_DATA", "/somewhere/else")
    lines = dict(line.split("  ", 1) for line in said(capsys, "info").splitlines())
    found = {name.strip(): text.strip() for name, text in lines.items()}
    assert found["needle"] == ndl.__version__
    assert found["numpy"] == np.__version__
    assert int(found["usable cores"]) >= 1
    assert int(found["threads"]) >= 1
    assert found["NEEDLE_DATA"] == "/somewhere/else"
    assert {"python", "cpu", "cpu features", "compiled programs", "downloaded data"} <= set(found)


def test_cache_is_shown_and_cleared(here, monkeypatch, capsys):
    from needle import settings

    with settings.override(cache=str(here / "programs")):
        assert said(capsys, "cache", "info") == f"{here / 'programs'}: 0 programs, 0.0 MB\n"
        (here / "programs" / "a.program").write_bytes(bytes(2_000_000))
        assert ": 1 programs, 2.0 MB" in said(capsys, "cache", "info")
        assert said(capsys, "cache", "clear") == "1 programs removed\n"
        assert ": 0 programs" in said(capsys, "info")
    with settings.override(cache="0"):
        assert said(capsys, "cache", "info") == "not kept\n"


def test_confusion_table_is_aligned():
    lines = confusion_table(np.array([[100, 0], [1, 2]])).splitlines()[1:]
    assert [line.split() for line in lines] == [["0", "1"], ["0", "100", "0"], ["1", "1", "2"]]
    assert len({len(line) for line in lines}) == 1


def test_curves_are_a_picture(here, monkeypatch):
    monkeypatch.undo()  # matplotlib is allowed
    pytest.importorskip("matplotlib")
    rows = [{"epoch": e, "loss": 1 / e, "accuracy": 0.5, "val_loss": 1.0} for e in (1, 2, 3)]
    assert draw_curves(History(rows, best_epoch=2), here / "curves.png")
    assert (here / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert draw_curves(History(), here / "empty.png")
