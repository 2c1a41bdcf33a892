"""Make the outputs on docs/compiler.md: what each stage of the compiler makes of LayerNorm.

Run `python tools/make_compiler_page.py` to write them between the page's `<!-- made: NAME -->`
and `<!-- end -->`, and the loops on the pages of docs/layers (`layer_loops.py`). With `--check`
nothing is written, and the differences are printed. The example is the page's own first block of
Python. Code is generated for one named CPU, so the pages are the same on every machine; only LLVM's
own version can change the assembly.
"""

# ruff: noqa: E402  (the helpers of tests/ need the path first)
from __future__ import annotations

import difflib
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import needle as ndl
from needle import nn, settings
from needle.compiler.fuse.fuse import Fused, fuse
from needle.compiler.graph.graph import Graph
from needle.compiler.graph.primitives import MatMul
from needle.compiler.graph.primitives_base import type_text
from needle.compiler.jit import native as jit_native
from needle.compiler.lower.lower import Kernels, Lowered
from needle.compiler.plan import order as plan_order
from needle.compiler.plan.plan import compile_graph, distinct_outputs
from needle.compiler.program import Buffer, Program
from needle.compiler.run.native import assembly, llvm
from needle.compiler.simplify.simplify import RULES, simplify
from needle.compiler.target import named
from needle.ops.normalize import Normalize, NormalizeGradient, Standardising
from tests.compiler.compiled import compiled_program
from tests.compiler.graphs import GRAPHS
from tests.compiler.native_helper import inner_loops
from tools import layer_loops
from tools.kernel_loops import describe

PAGE = ROOT / "docs" / "compiler.md"
TARGET = named("skylake-avx512")
NAMES = {"argument 0": "x", "argument 1": "dy", "state 0": "weight", "state 1": "bias"}
LOOP = 1
"""Which of the loops with vector sums is shown as LLVM IR and as assembly: the second sweep."""

COUNTED: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("LayerNorm 256 x 512, forward", "layer_norm", {"n": 256, "d": 512, "backward": False}),
    ("LayerNorm 256 x 512, forward and backward", "layer_norm", {"n": 256, "d": 512}),
    ("BatchNorm 256 x 512, forward", "batch_norm", {"n": 256, "d": 512, "backward": False}),
    ("BatchNorm 256 x 512, forward and backward", "batch_norm", {"n": 256, "d": 512}),
    ("BatchNorm 8192 x 64, forward and backward", "batch_norm", {"n": 8192, "d": 64}),
    ("softmax cross-entropy 100 x 10, loss and gradient", "softmax_loss", {"n": 100, "k": 10}),
    ("Adam over four parameters", "adam", {}),
    ("policy network 8-64-64-2, training step with Adam", "policy_step", {}),
    ("MLPResNet, 100 images, training step with Adam", "mlp_resnet_step", {}),
)


class Example:
    """The page's example, stage by stage."""

    def __init__(self, source: str) -> None:
        names: dict[str, Any] = {"ndl": ndl, "nn": nn}
        with ndl.disable_jit():
            exec(compile(source, "layer_norm.py", "exec"), names)
        step = names["step"]
        step.compile = jit_native.interpret
        with settings.override(jit=True):
            step.warmup(names["x"], names["dy"])
        self.traced: Graph = step.graph
        self.outputs = {0: "y"}
        for owner, position in step.latest.trace.grads:
            self.outputs[position] = f"d{NAMES[f'{owner.kind} {owner.index}']}"
        self.fired: dict[str, int] = {}
        self.graph = simplify(self.traced, fired=self.fired)

    @cached_property
    def fused(self) -> Fused:
        """The groups."""
        return fuse(distinct_outputs(self.graph))

    @cached_property
    def lowered(self) -> list[Lowered]:
        """The kernels, before they are code."""
        kernels = Kernels(TARGET)
        parts = [kernels.lower(group, self.fused.memory) for group in self.fused.groups]
        return plan_order.tailed(parts)

    @cached_property
    def program(self) -> Program:
        """The whole program."""
        return compile_graph(self.graph, TARGET)

    def name(self, buffer: Buffer) -> str:
        """What a reader calls a buffer."""
        if buffer.kind == "input":
            label = self.program.inputs[buffer.index].name
            return NAMES[label]
        if buffer.kind == "result":
            return self.outputs.get(buffer.index, f"result{buffer.index}")
        return "counter" if buffer.kind == "constant" else f"part{buffer.offset}"


def _fenced(lines: list[str] | str, language: str = "text") -> list[str]:
    body = lines.splitlines() if isinstance(lines, str) else lines
    return [f"```{language}", *body, "```"]


def _formula(example: Example) -> list[str]:
    lines: list[str] = []
    for method in (
        Standardising.centred_and_deviation,
        Normalize.compute,
        NormalizeGradient.compute,
    ):
        source = re.sub(r'\n +""".*?"""', "", textwrap.dedent(inspect.getsource(method)))
        lines += [f"# {method.__qualname__}", *source.splitlines()]
    return _fenced(lines, "py")


def _trace(example: Example) -> list[str]:
    lines = str(example.traced).splitlines()
    sums = [i for i, line in enumerate(lines) if " = sum" in line]
    end = sums[1] + 1
    return _fenced([*lines[:end], f"... {len(lines) - end - 1} lines more", lines[-1]])


def _rules(example: Example) -> list[str]:
    rules = {rule.__name__: rule for rule in RULES}
    rows = [
        f"| `{name}` | {count} | {_sentence(rules[name])} |"
        for name, count in sorted(example.fired.items(), key=lambda item: (-item[1], item[0]))
    ]
    sizes = f"{len(example.traced.nodes())} nodes become {len(example.graph.nodes())}."
    return ["| rule | times | what it does |", "|---|---|---|", *rows, "", sizes]


def _sentence(rule: Callable[..., Any]) -> str:
    return (inspect.getdoc(rule) or "").partition("\n\n")[0].replace("\n", " ").replace("|", "\\|")


def _simplified(example: Example) -> list[str]:
    lines = str(example.graph).splitlines()
    start = next(i for i, line in enumerate(lines) if "# normalize_gradient" in line) - 1
    kept = [re.sub(" +# .*", "", line) for line in lines[start:]]
    return _fenced([f"... {start} lines for the forward pass", *kept])


def _groups(example: Example) -> list[str]:
    lines: list[str] = []
    for number, group in enumerate(example.fused.groups):
        lines += textwrap.wrap(f"{number}: {group!r}", 98, subsequent_indent="   ")
        lines.append("   writes " + ", ".join(type_text(node) for node in group.outputs))
    return _fenced(lines)


def _loops(example: Example) -> list[str]:
    lines: list[str] = []
    for one, step in zip(example.lowered, example.program.steps, strict=True):
        lines += describe(one.work, [example.name(b) for b in step.buffers]).splitlines()
    return _fenced(lines)


def _memory(example: Example) -> list[str]:
    program = example.program
    lines = []
    for step in program.steps:
        waits = "behind a barrier" if step.barrier_before else "no barrier"
        lines.append(f"step {step.kernel}: {step.blocks} blocks, {waits}")
        buffers = [f"p{i} = {_place(b)} ({example.name(b)})" for i, b in enumerate(step.buffers)]
        lines += textwrap.wrap(", ".join(buffers), 96, initial_indent="  ", subsequent_indent="  ")
    return _fenced([*lines, f"arena: {program.arena:,} bytes"])


def _place(buffer: Buffer) -> str:
    offset = f" + {buffer.offset}" if buffer.kind == "arena" else ""
    return f"{buffer.kind} {buffer.index}{offset}"


def _ir_loops(text: str) -> Iterator[list[str]]:
    """The innermost loops of LLVM IR that carry vectors: blocks that jump to themselves."""
    for block in re.split(r"\n(?=\w+:\n)", text):
        label, _, body = block.partition(":\n")
        if f"label %{label}," in body and re.search(r"phi <\d+ x float>", body):
            yield block.partition("\n}")[0].splitlines()


def _llvm(example: Example) -> list[str]:
    return _fenced(list(_ir_loops(example.program.llvm_ir))[LOOP])


def _assembly(example: Example) -> list[str]:
    loops = inner_loops(assembly(example.program.llvm_ir, TARGET))
    summing = [loop for loop in loops if any("add" in line and "zmm" in line for line in loop)]
    return _fenced([_version(), *(line.replace("\t", "  ") for line in summing[LOOP])])


def _counts(example: Example) -> list[str]:
    rows = ["| program | nodes | simplified | products | other kernels | barriers |"]
    rows.append("|---|---|---|---|---|---|")
    for title, name, sizes in COUNTED:
        graph = GRAPHS[name](**sizes)
        small, program = simplify(graph), compiled_program(graph, target=TARGET)
        products = sum(isinstance(node.primitive, MatMul) for node in small.nodes())
        waits = sum(step.barrier_before for step in program.steps)
        counts = [len(graph.nodes()), len(small.nodes()), products]
        counts += [len(program.steps) - products, waits]
        rows.append(" | ".join([f"| {title}", *map(str, counts)]) + " |")
    return rows


def _version() -> str:
    return f"# {TARGET.name}, LLVM {llvm().llvm_version_info[0]}"


PARTS: dict[str, Callable[[Example], list[str]]] = {
    "formula": _formula,
    "trace": _trace,
    "rules": _rules,
    "simplified": _simplified,
    "groups": _groups,
    "memory": _memory,
    "loops": _loops,
    "llvm": _llvm,
    "assembly": _assembly,
    "counts": _counts,
}


def made(page: str, any_llvm: bool = False) -> str:
    """Return the page with every made part made again.

    With `any_llvm` the assembly stays as it is where this LLVM is not the one that made it.
    """
    block = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert block is not None
    example = Example(block[1])
    kept = {"assembly"} if any_llvm and _version() not in page else set()
    for name in PARTS.keys() - kept:
        pattern = rf"(<!-- made: {name} -->\n).*?(<!-- end -->)"
        text = "\n".join([*PARTS[name](example), ""])
        page, count = re.subn(
            pattern, lambda found, text=text: found[1] + text + found[2], page, flags=re.DOTALL
        )
        assert count == 1, name
    return page


def main() -> int:
    """Write the pages, or with `--check` compare them; return the exit code."""
    check, changed = "--check" in sys.argv, False
    compiler_page = made(PAGE.read_text(encoding="utf-8"), any_llvm=check)
    for path, new in {PAGE: compiler_page, **layer_loops.pages()}.items():
        page = path.read_text(encoding="utf-8")
        if not check:
            path.write_text(new, encoding="utf-8")
        elif page != new:
            old, name, changed = page.splitlines(), str(path), True
            print("\n".join(difflib.unified_diff(old, new.splitlines(), name, "made", "", "", 1)))
    return int(changed)


if __name__ == "__main__":
    sys.exit(main())
