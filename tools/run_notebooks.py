"""Run the notebooks of examples/notebooks and store what they show, or check that it still holds.

    python tools/run_notebooks.py            runs each, writes its outputs into it
    python tools/run_notebooks.py --check    runs each, compares; exit code 1 where one differs

No Jupyter is needed: a cell is run as IPython would, its last expression shown as text and, where
the object has `_repr_html_`, as HTML. What a cell shows that has the tag `varies` (times, the
kernels of this machine) is not compared.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import linecache
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "notebooks"


def run(notebook: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the notebook with the outputs of each cell, run in order in one namespace."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    cells, count = [], 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            count += 1
            outputs = run_cell("".join(cell["source"]), namespace, f"<{name} cell {count}>", count)
            cell = cell | {"outputs": outputs, "execution_count": count}
        cells.append(cell)
    return notebook | {"cells": cells}


def run_cell(source: str, namespace: dict[str, Any], file: str, count: int) -> list[dict[str, Any]]:
    """Run one cell and return its outputs; an error in it is raised."""
    tree = ast.parse(source, file)
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    streams = {"stdout": io.StringIO(), "stderr": io.StringIO()}
    value = None
    with (
        contextlib.redirect_stdout(streams["stdout"]),
        contextlib.redirect_stderr(streams["stderr"]),
    ):
        exec(compile(tree, file, "exec"), namespace)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), file, "eval"), namespace)
    outputs: list[dict[str, Any]] = [
        {"output_type": "stream", "name": name, "text": lines(stream.getvalue())}
        for name, stream in streams.items()
        if stream.getvalue()
    ]
    if value is not None:
        result = {"output_type": "execute_result", "execution_count": count, "metadata": {}}
        outputs.append(result | {"data": shown(value)})
    return outputs


def shown(value: Any) -> dict[str, list[str]]:
    """Return an object as a notebook shows it: text first, HTML where it has some."""
    data = {"text/plain": lines(repr(value))}
    html = value._repr_html_() if hasattr(value, "_repr_html_") else None
    return data if html is None else data | {"text/html": lines(html)}


def lines(text: str) -> list[str]:
    """Return a text as the lines that a notebook stores."""
    return text.splitlines(keepends=True)


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return the texts that differ, cell by cell; HTML is made from the same values."""
    found = []
    for a, b in zip(old["cells"], new["cells"], strict=True):
        if a["cell_type"] != "code" or "varies" in a["metadata"].get("tags", []):
            continue
        before, after = texts(a), texts(b)
        if before != after:
            found.append(f"cell {b['execution_count']}: stored {before!r}, now {after!r}")
    return found


def texts(cell: dict[str, Any]) -> str:
    """Return what a cell printed and the text of its result, without progress on stderr."""
    kept = [output for output in cell["outputs"] if output.get("name") != "stderr"]
    return "\n".join("".join(x.get("text") or x["data"]["text/plain"]) for x in kept)


def main() -> int:
    """Run the command; return its exit code."""
    check, problems = "--check" in sys.argv, []
    for path in sorted(FOLDER.glob("*.ipynb")):
        old = json.loads(path.read_text(encoding="utf-8"))
        new = run(old, path.stem)
        problems += [f"{path.name}: {text}" for text in differences(old, new)] if check else []
        if not check:
            text = json.dumps(new, indent=1, ensure_ascii=False) + "\n"
            path.write_text(text, encoding="utf-8")
            print(f"{path.name}: {len(text):,} bytes")
    print("\n".join(problems), end="\n" if problems else "")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
