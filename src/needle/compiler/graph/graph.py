"""The graph: immutable nodes, each one primitive applied to nodes.

A node is compared by identity; `make` builds one and lets its primitive check the inputs, `Build`
writes common ones in short. Graph walks are iterative: a chain of 100,000 nodes hits no recursion
limit.

>>> x, build = input_node(0, "x", (2, 3), "float32"), Build()
>>> print(Graph((x,), (build.reduce("sum", build.binary("mul", x, x), (1,)),)))
%0: float32[2, 3] = input 0 "x"
%1: float32[2, 3] = mul %0 %0
%2: float32[2] = sum[axes=(1,)] %1
return %2
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from needle.compiler.graph import primitives as p
from needle.compiler.graph.primitives_base import Primitive, type_text
from needle.errors import GraphError

Shape = tuple[int, ...]


class Source(NamedTuple):
    """Where a node comes from: the user's line and the op that made it."""

    file: str
    line: int
    op: str

    @property
    def place(self) -> str:
        """File and line."""
        return f"{self.file}:{self.line}"

    def __str__(self) -> str:
        return f"{self.op} {self.place}"


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Node:
    """One primitive applied to `inputs`; compared by identity."""

    primitive: Primitive
    inputs: tuple[Node, ...]
    shape: Shape
    dtype: np.dtype
    source: Source | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def __repr__(self) -> str:
        return f"<{self.primitive} {type_text(self)}>"


def make(primitive: Primitive, *inputs: Node, source: Source | None = None) -> Node:
    """Return a node; raise `GraphError` where the inputs do not fit the primitive."""
    shape, dtype = primitive.infer(*inputs)
    return Node(primitive, inputs, shape, dtype, source)


def topological(
    outputs: Iterable[Node],
    stop: Iterable[Node] = (),
    needs: Callable[[Node], Sequence[Node]] = lambda node: node.inputs,
) -> list[Node]:
    """Return all nodes that `outputs` need, each once, inputs before users, left to right.

    Nodes in `stop` are taken as known: neither they nor what only they need is returned.
    """
    order: list[Node] = []
    done = set(stop)
    stack: list[Any] = list(outputs)[::-1]  # None: what is under it comes next in `order`
    while stack:
        node = stack.pop()
        if node is None:
            order.append(stack.pop())
        elif node not in done:
            done.add(node)
            stack += (node, None)
            stack += [x for x in reversed(needs(node)) if x not in done]
    return order


@dataclass(frozen=True, eq=False)
class Graph:
    """A pure function from `inputs` (`Input` nodes in the order of their index) to `outputs`."""

    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]

    def nodes(self) -> list[Node]:
        """Return inputs (used or not), then every other node after the nodes it needs."""
        return list(self._order)

    @functools.cached_property
    def _order(self) -> list[Node]:
        return [*self.inputs, *topological(self.outputs, stop=self.inputs)]

    def verify(self) -> None:
        """Check each node against its primitive's rule; raise `GraphError` at the first bad one."""
        for index, node in enumerate(self.inputs):
            if not isinstance(node.primitive, p.Input) or node.primitive.index != index:
                raise GraphError(f"graph: expected input {index}, got {node}")
        known = set(self.inputs)
        for node in self.nodes():
            if isinstance(node.primitive, p.Input) and node not in known:
                raise GraphError(f"graph: {node} is used but is not among the graph's inputs")
            if node.primitive.infer(*node.inputs) != (node.shape, node.dtype):
                inputs = ", ".join(map(type_text, node.inputs))
                raise GraphError(f"graph: {node} does not follow from inputs {inputs}")

    def users(self) -> dict[Node, list[Node]]:
        """Return for each node the nodes that read it, once per use."""
        return self._users

    @functools.cached_property
    def _users(self) -> dict[Node, list[Node]]:
        nodes = self.nodes()
        result: dict[Node, list[Node]] = {node: [] for node in nodes}
        for node in nodes:
            for x in node.inputs:
                result[x].append(node)
        return result

    def __str__(self) -> str:
        names: dict[Node, str] = {}
        lines = []
        for node in self.nodes():
            names[node] = f"%{len(names)}"
            primitive = node.primitive
            text = (
                f'input {primitive.index} "{primitive.label}"'
                if isinstance(primitive, p.Input)
                else str(primitive)
            )
            line = " ".join(
                [f"{names[node]}: {type_text(node)} =", text, *(names[x] for x in node.inputs)]
            )
            lines.append(f"{line}    # {node.source}" if node.source else line)
        return "\n".join([*lines, " ".join(["return", *(names[x] for x in self.outputs)])])


def rebuild(graph: Graph, rewrite: Callable[[Node], Node]) -> Graph:
    """Return the graph with each node, its inputs already rewritten, replaced by `rewrite(node)`.

    A node whose inputs did not change is passed on as it is, so unchanged parts are shared.
    """
    new: dict[Node, Node] = {}
    for node in graph.nodes():
        inputs = tuple(new[x] for x in node.inputs)
        new[node] = rewrite(node if inputs == node.inputs else replace(node, inputs=inputs))
    return Graph(graph.inputs, tuple(new[x] for x in graph.outputs))


def input_node(index: int, label: str, shape: Shape, dtype: Any) -> Node:
    """Return the node of the graph's `index`-th input."""
    return make(p.Input(index, label, tuple(shape), np.dtype(dtype)))


class Build:
    """The short way to write nodes; what would change nothing is left out.

    A subclass says in `__call__` what else happens to a new node.
    """

    def __init__(self, source: Source | None = None) -> None:
        self.source = source

    def __call__(self, primitive: Primitive, *inputs: Node) -> Node:
        """Return `primitive` applied to nodes."""
        return make(primitive, *inputs, source=self.source)

    def constant(self, value: Any, dtype: Any) -> Node:
        """Return a 0-d constant."""
        return self(p.Constant(value, dtype))

    def full(self, value: bool | int | float, like: Node) -> Node:
        """Return `value` in the shape and dtype of `like`."""
        return self.broadcast(self.constant(value, like.dtype), like.shape)

    def unary(self, fn: str, x: Node) -> Node:
        """Return `fn` of x."""
        return self(p.Unary(fn), x)

    def binary(self, fn: str, a: Node, b: Node) -> Node:
        """Return `fn` of two nodes of one shape and dtype."""
        return self(p.Binary(fn), a, b)

    def compare(self, fn: str, a: Node, b: Node) -> Node:
        """Compare two nodes of one shape and dtype."""
        return self(p.Compare(fn), a, b)

    def where(self, condition: Node, a: Node, b: Node) -> Node:
        """Select between two nodes of one shape and dtype."""
        return self(p.Where(), condition, a, b)

    def cast(self, x: Node, dtype: Any) -> Node:
        """Return x in another dtype."""
        return x if x.dtype == dtype else self(p.Cast(dtype), x)

    def broadcast(self, x: Node, shape: Sequence[int]) -> Node:
        """Return x broadcast to `shape`."""
        return x if x.shape == tuple(shape) else self(p.Broadcast(tuple(shape)), x)

    def reshape(self, x: Node, shape: Sequence[int]) -> Node:
        """Return x under another shape, without -1."""
        return x if x.shape == tuple(shape) else self(p.Reshape(tuple(shape)), x)

    def permute(self, x: Node, axes: Sequence[int]) -> Node:
        """Return x with its axes in another order."""
        axes = tuple(axes)
        return x if axes == tuple(range(len(axes))) else self(p.Permute(axes), x)

    def reduce(self, fn: str, x: Node, axes: Sequence[int]) -> Node:
        """Return the reduction of x over `axes`; x itself for none."""
        return self(p.Reduce(fn, tuple(sorted(axes))), x) if axes else x
