"""The compiler's files import one way, inside functions too: each only what stands below it."""

import ast
import graphlib
from pathlib import Path

import pytest

import needle.compiler

FOLDER = Path(needle.compiler.__file__).parent


def imported(text, names):
    found = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.ImportFrom)]
    used = [n.module.rpartition(".")[2] for n in found]
    used += [alias.name for n in found if n.module == "needle.compiler" for alias in n.names]
    return names & set(used)


def test_no_circle_of_imports():
    texts = {path.stem: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.py")}
    order = graphlib.TopologicalSorter({n: imported(x, texts.keys()) for n, x in texts.items()})
    files = list(order.static_order())
    assert files.index("graph") < files.index("simplify") < files.index("jit")
    assert files.index("trace_record") < files.index("trace") < files.index("trace_functions")


def test_a_circle_is_found():
    texts = {
        "a": "def f():\n    from needle.compiler import b",
        "b": "from needle.compiler.a import x",
    }
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter(
            {n: imported(x, texts.keys()) for n, x in texts.items()}
        ).prepare()
