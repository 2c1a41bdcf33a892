"""The notebooks run, show what they have stored, and stay small; as text first."""

import json
import socket

import pytest

from tools.run_notebooks import FOLDER, differences, run, run_cell

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def code(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_the_three_are_there():
    assert [path.stem for path in NOTEBOOKS] == ["compile_and_explain", "first_steps", "layer_norm"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_offline_and_shows_what_is_stored(path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a notebook opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert differences(stored, run(stored, path.stem)) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_small_and_complete(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert path.stat().st_size < 100_000
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    cells = code(notebook)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    shown = [output for cell in cells for output in cell["outputs"]]
    assert all("text" in output or "text/plain" in output["data"] for output in shown)
    assert any("text/html" in output.get("data", {}) for output in shown)
    assert "widget" not in path.read_text(encoding="utf-8").replace("no widgets", "")


def test_another_text_is_a_difference_unless_it_varies():
    def notebook(text, tags=(), name="stdout"):
        outputs = [{"output_type": "stream", "name": name, "text": [text]}]
        cell = {"cell_type": "code", "metadata": {"tags": tags}, "outputs": outputs}
        return {"cells": [cell | {"execution_count": 1}]}

    assert differences(notebook("1"), notebook("1")) == []
    assert differences(notebook("1"), notebook("2")) == ["cell 1: stored '1', now '2'"]
    assert differences(notebook("1", ["varies"]), notebook("2")) == []
    assert differences(notebook("1", name="stderr"), notebook("2", name="stderr")) == []


def test_a_cell_prints_and_shows_its_last_expression():
    names = {}
    assert run_cell("x = 1\nprint(x)", names, "<one>", 1) == [
        {"output_type": "stream", "name": "stdout", "text": ["1\n"]}
    ]
    (result,) = run_cell("x + 1", names, "<two>", 2)
    assert result["data"] == {"text/plain": ["2"]} and result["execution_count"] == 2
    assert run_cell("None", names, "<three>", 3) == []
    with pytest.raises(ZeroDivisionError):
        run_cell("x / 0", names, "<four>", 4)
