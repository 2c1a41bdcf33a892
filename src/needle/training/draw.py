"""The graph of a Tensor or a model as a picture: Mermaid text, and SVG where Graphviz is there."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from needle.autograd import Op, Tensor, TensorTuple, find_topo_sort
from needle.errors import ArgumentError, DeviceError
from needle.init import ones_like
from needle.nn import Module

COLORS = {
    "input": "#d9f0d3",
    "parameter": "#fde0b6",
    "op": "#d6e6f5",
    "gradient": "#f6d5e5",
    "constant": "#eeeeee",
}


@dataclass(frozen=True)
class Node:
    """One box: its lines of text, what it is (a key of COLORS), the boxes it comes from."""

    lines: tuple[str, ...]
    kind: str
    inputs: tuple[int, ...]


@dataclass(frozen=True)
class Drawing:
    """A graph to look at: `print` gives Mermaid text, a notebook shows the picture."""

    nodes: tuple[Node, ...]

    @property
    def mermaid(self) -> str:
        """The graph in the language of Mermaid, which GitHub and many editors draw."""
        lines = ["flowchart TD"]
        for i, node in enumerate(self.nodes):
            text = "<br>".join(node.lines).replace('"', "#quot;")
            left, right = ("([", "])") if node.kind in ("input", "parameter") else ("[", "]")
            lines.append(f'  n{i}{left}"{text}"{right}:::{node.kind}')
        lines += [f"  n{k} --> n{i}" for i, node in enumerate(self.nodes) for k in node.inputs]
        for kind in dict.fromkeys(node.kind for node in self.nodes):
            lines.append(f"  classDef {kind} fill:{COLORS[kind]},stroke:#888,color:#111")
        return "\n".join(lines)

    @property
    def dot(self) -> str:
        """The graph in the language of Graphviz."""
        lines = [
            'digraph { bgcolor="transparent"; edge [color="#888888"];',
            'node [shape=box, style="rounded,filled", color="#888888", fontname="sans-serif"];',
        ]
        for i, node in enumerate(self.nodes):
            text = "\\n".join(line.replace("\\", "\\\\") for line in node.lines)
            text = text.replace('"', '\\"')
            lines.append(f'n{i} [label="{text}", fillcolor="{COLORS[node.kind]}"];')
            lines += [f"n{k} -> n{i};" for k in node.inputs]
        return "\n".join([*lines, "}"])

    @property
    def svg(self) -> str:
        """The picture, drawn by Graphviz. Raises: DeviceError where it is not installed."""
        program = shutil.which("dot")
        if program is None:
            raise DeviceError(
                "draw: Graphviz is not installed (https://graphviz.org); use .mermaid"
            )
        done = subprocess.run(
            [program, "-Tsvg"], input=self.dot, capture_output=True, text=True, check=True,
            encoding="utf-8",
        )  # fmt: skip
        return done.stdout[done.stdout.index("<svg") :]

    def __str__(self) -> str:
        return self.mermaid

    __repr__ = __str__

    def _repr_html_(self) -> str | None:
        return self.svg if shutil.which("dot") else None


def draw(root: Any, x: Any = None, *, gradient: bool = False) -> Drawing:
    """Return the graph of a Tensor, or of a model at the input `x`, as a drawing.

    Each op with its arguments and the shape of its result, parameters by their names; with
    `gradient`, also the graph of the gradients of all parameters (of a leaf: of all leaves). For
    a Tensor, `x` may be the model whose names its parameters get. Model, gradients and random state
    are as before. Inputs that no gradient flows to are one box: nothing is kept of their history.

    Errors: ArgumentError for a model without x, and for a Tensor that is a constant.

    >>> print(ndl.draw(nn.Linear(3, 2), np.ones((4, 3), "float32")))
    flowchart TD
      n0(["x<br>(4, 3)"]):::input
      n1(["weight<br>(3, 2)"]):::parameter
      n2["matmul<br>(4, 2)"]:::op
      n3(["bias<br>(1, 2)"]):::parameter
      n4["add<br>(4, 2)"]:::op
      n0 --> n2
      n1 --> n2
      n2 --> n4
      n3 --> n4
      classDef input fill:#d9f0d3,stroke:#888,color:#111
      classDef parameter fill:#fde0b6,stroke:#888,color:#111
      classDef op fill:#d6e6f5,stroke:#888,color:#111
    """
    if not isinstance(root, Module):
        names = {} if x is None else dict(x.named_parameters())
        return _drawing(root, {id(p): name for name, p in names.items()}, gradient)
    if x is None:
        raise ArgumentError("draw: expected an input beside the model; write draw(model, x)")
    state, random = root.state_dict(), np.random.get_state()
    given = Tensor(x)  # differentiable where it can be: the graph of a constant is not kept
    given.requires_grad = given.dtype.kind == "f"
    try:
        result = root(given)
        output = result[0] if isinstance(result, tuple) else result
        names = {id(given): "x"} | {id(p): name for name, p in root.named_parameters()}
        return _drawing(output, names, gradient)
    finally:
        root.load_state_dict(state)
        np.random.set_state(random)


def _drawing(output: Any, names: dict[int, str], gradient: bool) -> Drawing:
    if not isinstance(output, Tensor) or not output.requires_grad:
        raise ArgumentError(f"draw: expected a Tensor with a history, got {output!r:.60}")
    forward = order = find_topo_sort([output])
    if gradient:
        leaves: list[Any] = [x for x in forward if x.op is None and x.requires_grad]
        before = [leaf.grad for leaf in leaves]
        seed = ones_like(output, requires_grad=True)  # of constant ones no history would be kept
        output.backward(seed)
        order = find_topo_sort([output, *(leaf.grad for leaf in leaves)])
        found = {id(x.grad): f"gradient of {names.get(id(x), 'leaf')}" for x in leaves}
        names = names | {id(seed): "out_grad"} | found
        for leaf, kept in zip(leaves, before, strict=True):
            leaf.grad = kept
    places = {id(value): i for i, value in enumerate(order)}
    known = {id(value) for value in forward}
    return Drawing(tuple(_node(value, names, places, id(value) in known) for value in order))


def _node(value: Any, names: dict[int, str], places: dict[int, int], is_forward: bool) -> Node:
    name, kind = names.get(id(value)), "op" if is_forward else "gradient"
    if value.op is None and is_forward:
        kind = "input" if name == "x" else "parameter" if value.requires_grad else "constant"
    return Node(tuple(_lines(value, name)), kind, tuple(places[id(x)] for x in value.inputs))


def _lines(value: Any, name: str | None) -> Iterator[str]:
    """Yield op and arguments, name, shape."""
    if value.op is not None:
        own = {k: v for k, v in vars(value.op).items() if not hasattr(Op, k)}
        arguments = (f"{k}={v!r:.30}" for k, v in own.items() if not (v is None or v is False))
        yield " ".join([value.op.name, ", ".join(arguments)]).rstrip()
    if name is not None:
        yield name
    elif value.op is None:
        yield "leaf" if value.requires_grad else "constant"
    parts = value.tuple() if isinstance(value, TensorTuple) else (value,)
    yield ", ".join(str(part.item() if part.ndim == 0 else part.shape) for part in parts)
