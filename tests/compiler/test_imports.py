"""The compiler's files import one way, inside functions too: each only what stands below it."""

import ast
import graphlib
from pathlib import Path

import pytest

import needle.compiler

FOLDER = Path(needle.compiler.__file__).parent


def modules():
    """The text of each file, by the dotted name below `needle.compiler`."""
    for path in FOLDER.rglob("*.py"):
        name = ".".join(path.relative_to(FOLDER).with_suffix("").parts)
        yield name, path.read_text(encoding="utf-8")


def imported(text, names):
    found = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.ImportFrom)]
    used = [n.module for n in found]
    used += [f"{n.module}.{alias.name}" for n in found for alias in n.names]
    return names & {name.removeprefix("needle.compiler.") for name in used}


def test_no_circle_of_imports():
    texts = dict(modules())
    order = graphlib.TopologicalSorter({n: imported(x, texts.keys()) for n, x in texts.items()})
    files = list(order.static_order())
    stages = [
        "graph.graph",
        "simplify.simplify",
        "fuse.fuse",
        "lower.lower",
        "plan.plan",
        "jit.jit",
    ]
    assert sorted(stages, key=files.index) == stages
    assert files.index("trace.record") < files.index("trace.trace") < files.index("trace.functions")


def test_a_circle_is_found():
    texts = {
        "a": "def f():\n    from needle.compiler import b",
        "b": "from needle.compiler.a import x",
    }
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter(
            {n: imported(x, texts.keys()) for n, x in texts.items()}
        ).prepare()
