"""The formula of a layer beside the loops that the compiler makes of it, for docs/layers.

Part of `python tools/make_compiler_page.py`: it goes between a page's `<!-- made: loop -->` and
`<!-- end -->`; so does one drawn graph.
"""

from __future__ import annotations

import re
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

import needle as ndl
from needle import nn, settings
from needle.compiler.fuse.fuse import fuse
from needle.compiler.graph.graph import Graph
from needle.compiler.graph.primitives import Broadcast, Constant, Input
from needle.compiler.jit import native as jit_native
from needle.compiler.lower.lower import Kernels
from needle.compiler.plan import order as plan_order
from needle.compiler.plan.plan import compile_graph, distinct_outputs
from needle.compiler.program import Buffer, Program
from needle.compiler.simplify.simplify import simplify
from needle.compiler.target import named
from tools.kernel_loops import describe

PAGES = Path(__file__).resolve().parent.parent / "docs" / "layers"
TARGET = named("skylake-avx512")
FORMULAS = {
    "layer_norm": (
        "mean = sum(x) / D",
        "var = sum((x - mean)^2) / D",
        "y = w (x - mean)",
        "    / sqrt(var + eps) + b",
    ),
    "batch_norm": (
        "mean = sum(x) / N",
        "var = sum((x - mean)^2) / N",
        "y = w (x - mean)",
        "    / sqrt(var + eps) + b",
        "running = (1 - m) running",
        "          + m batch",
    ),
    "dropout": ("mask = uniform <= 1 - p", "y = x / (1 - p) * mask"),
    "residual": ("y = relu(x W + b) + x",),
}
NAMES = {
    "batch_norm": ("y", "running_mean", "running_var"),
    "layer_norm": ("y",),
    "dropout": ("y",),
    "residual": ("y",),
}
"""What the results are called, in order."""


def layer(name: str) -> nn.Module:
    """Return the layer whose loops the page shows, for 256 rows of 64."""
    np.random.seed(0)
    if name == "residual":
        return nn.Residual(nn.Sequential(nn.Linear(64, 64), nn.ReLU()))
    kinds = {"layer_norm": (nn.LayerNorm1d, 64), "batch_norm": (nn.BatchNorm1d, 64)}
    kind, argument = kinds.get(name, (nn.Dropout, 0.5))
    return kind(argument)


def made(name: str, page: str) -> str:
    """Return the page with its made parts made again."""
    module = layer(name)
    step = ndl.jit(module)
    step.compile = jit_native.interpret
    with settings.override(jit=True):
        step.warmup(np.ones((256, 64), "float32"))
    graph = simplify(step.graph)
    fused, kernels = fuse(distinct_outputs(graph)), Kernels(TARGET)
    parts = plan_order.tailed([kernels.lower(group, fused.memory) for group in fused.groups])
    program = compile_graph(graph, TARGET)
    states = [path.rpartition(".")[2] for path in module.state_dict()]
    loops: list[str] = []
    for one, part in zip(parts, program.steps, strict=True):
        names = [called(program, buffer, states, NAMES[name]) for buffer in part.buffers]
        has_loops = name != "residual"  # a product's are those of its tiles
        loops += describe(one.work, names).splitlines() if has_loops else product(graph, names)
    width = max(map(len, FORMULAS[name])) + 4
    rows = zip_longest(FORMULAS[name], loops, fillvalue="")
    lines = [(left.ljust(width) + right).rstrip() for left, right in rows]
    page = replaced(page, "loop", ["```text", *lines, "```"])
    if name == "residual":
        small = nn.Residual(nn.Sequential(nn.Linear(4, 4), nn.ReLU()))
        drawing = ndl.draw(small, np.ones((3, 4), "float32"), gradient=True)
        page = replaced(page, "graph", ["```mermaid", drawing.mermaid, "```"])
    return page


def replaced(page: str, part: str, lines: list[str]) -> str:
    """Return the page with one of its made parts replaced."""
    pattern = rf"(<!-- made: {part} -->\n).*?(<!-- end -->)"
    text = "\n".join([*lines, ""])
    new, count = re.subn(pattern, lambda m: m[1] + text + m[2], page, flags=re.DOTALL)
    assert count == 1, part
    return new


def called(program: Program, buffer: Buffer, states: list[str], results: tuple[str, ...]) -> str:
    """Return what a reader calls a buffer."""
    if buffer.kind == "input":
        kind, number = program.inputs[buffer.index].name.split()
        return {"argument": "x", "number": "key"}.get(kind) or states[int(number)]
    if buffer.kind == "result":
        return results[buffer.index]
    return "draw" if buffer.kind == "constant" else f"sums{buffer.offset // 4}"


def product(graph: Graph, names: list[str]) -> list[str]:
    """Return what one kernel of a product does with each tile, from its graph."""
    texts: dict[Any, str] = {}
    lines: list[str] = []
    for number, node in enumerate(graph.nodes()):
        arguments = [texts[x] for x in node.inputs]
        primitive = node.primitive
        if isinstance(primitive, Input):
            texts[node] = names[primitive.index]
        elif isinstance(primitive, Constant):
            texts[node] = f"{primitive.value:g}"
        elif isinstance(primitive, Broadcast):
            texts[node] = arguments[0]
        else:
            texts[node] = "y" if node in graph.outputs else f"v{number}"
            lines.append(f"  {texts[node]} = {primitive.name}({', '.join(arguments)})")
    return ["for each tile of y:", *lines]


def pages() -> dict[Path, str]:
    """Return each page with a loop, made again."""
    paths = [PAGES / f"{name}.md" for name in FORMULAS]
    return {path: made(path.stem, path.read_text(encoding="utf-8")) for path in paths}
