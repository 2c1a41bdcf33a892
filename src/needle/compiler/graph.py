"""The graph: immutable nodes, each one primitive applied to nodes.

A node is compared by identity; `make` builds one and lets its primitive check the inputs. The
helpers below it (`add`, `broadcast`, `reduce`, ...) are the short way to write graphs by hand.
Graph walks are iterative: a chain of 100,000 nodes hits no recursion limit.

>>> from needle.compiler import graph as g
>>> x = g.input_node(0, "x", (2, 3), "float32")
>>> print(g.Graph((x,), (g.reduce("sum", g.mul(x, x), (1,)),)))
%0: float32[2, 3] = input 0 "x"
%1: float32[2, 3] = mul %0 %0
%2: float32[2] = sum[axes=(1,)] %1
return %2
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from needle.compiler.primitives import (
    ArgReduce,
    Binary,
    Broadcast,
    Cast,
    Compare,
    Concat,
    Constant,
    Cumulative,
    Flip,
    Gather,
    Input,
    Iota,
    MatMul,
    Pad,
    Permute,
    Primitive,
    Random,
    Reduce,
    Reshape,
    ScatterAdd,
    Slice,
    Unary,
    Where,
)
from needle.errors import GraphError

Shape = tuple[int, ...]


class Source(NamedTuple):
    """Where a node comes from: the user's line and the op that made it."""

    file: str
    line: int
    op: str

    def __str__(self) -> str:
        return f"{self.op} {self.file}:{self.line}"


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
        result = 1
        for n in self.shape:
            result *= n
        return result

    def __repr__(self) -> str:
        return f"<{self.primitive} {type_text(self)}>"


def type_text(node: Node) -> str:
    """Return for example `float32[2, 3]`."""
    return f"{node.dtype}{list(node.shape)}"


def make(primitive: Primitive, *inputs: Node, source: Source | None = None) -> Node:
    """Return a node; raise `GraphError` where the inputs do not fit the primitive."""
    shape, dtype = primitive.infer(*inputs)
    return Node(primitive, inputs, shape, dtype, source)


def topological(outputs: Iterable[Node], stop: Iterable[Node] = ()) -> list[Node]:
    """Return all nodes that `outputs` need, each once, inputs before users, left to right.

    Nodes in `stop` are taken as known: neither they nor what only they need is returned.
    """
    order: list[Node] = []
    done = set(stop)
    stack = [(node, False) for node in reversed(list(outputs))]
    while stack:
        node, ready = stack.pop()
        if ready:
            order.append(node)
        elif node not in done:
            done.add(node)
            stack.append((node, True))
            stack.extend((x, False) for x in reversed(node.inputs) if x not in done)
    return order


@dataclass(frozen=True, eq=False)
class Graph:
    """A pure function from `inputs` (`Input` nodes in the order of their index) to `outputs`."""

    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]

    def nodes(self) -> list[Node]:
        """Return inputs (used or not), then every other node after the nodes it needs."""
        return [*self.inputs, *topological(self.outputs, stop=self.inputs)]

    def verify(self) -> None:
        """Check each node against its primitive's rule; raise `GraphError` at the first bad one."""
        for index, node in enumerate(self.inputs):
            if not isinstance(node.primitive, Input) or node.primitive.index != index:
                raise GraphError(f"graph: expected input {index}, got {node}")
        known = set(self.inputs)
        for node in self.nodes():
            if isinstance(node.primitive, Input) and node not in known:
                raise GraphError(f"graph: {node} is used but is not among the graph's inputs")
            if node.primitive.infer(*node.inputs) != (node.shape, node.dtype):
                inputs = ", ".join(map(type_text, node.inputs))
                raise GraphError(f"graph: {node} does not follow from inputs {inputs}")

    def users(self) -> dict[Node, list[Node]]:
        """Return for each node the nodes that read it, once per use."""
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
                if isinstance(primitive, Input)
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
        same = all(a is b for a, b in zip(inputs, node.inputs, strict=True))
        new[node] = rewrite(
            node if same else Node(node.primitive, inputs, node.shape, node.dtype, node.source)
        )
    return Graph(graph.inputs, tuple(new[x] for x in graph.outputs))


def input_node(index: int, label: str, shape: Shape, dtype: Any) -> Node:
    """Return the node of the graph's `index`-th input."""
    return make(Input(index, label, tuple(shape), np.dtype(dtype)))


def constant(value: bool | int | float, dtype: Any, source: Source | None = None) -> Node:
    """Return a 0-d constant."""
    return make(Constant(value, np.dtype(dtype)), source=source)


def full(value: bool | int | float, shape: Shape, dtype: Any, source: Source | None = None) -> Node:
    """Return a constant broadcast to `shape`."""
    return broadcast(constant(value, dtype, source), shape, source)


def iota(shape: Shape, axis: int, dtype: Any, source: Source | None = None) -> Node:
    """Return an array whose elements are their index along `axis`."""
    return make(Iota(tuple(shape), axis, np.dtype(dtype)), source=source)


def random(key: Node, kind: str, index: int, shape: Shape, source: Source | None = None) -> Node:
    """Return the `index`-th array of random numbers of a call."""
    return make(Random(kind, index, tuple(shape)), key, source=source)


def unary(fn: str, x: Node, source: Source | None = None) -> Node:
    """Return `fn` of each element."""
    return make(Unary(fn), x, source=source)


def binary(fn: str, a: Node, b: Node, source: Source | None = None) -> Node:
    """Return `fn` of two nodes of equal shape and dtype."""
    return make(Binary(fn), a, b, source=source)


def add(a: Node, b: Node, source: Source | None = None) -> Node:
    """Return a + b."""
    return make(Binary("add"), a, b, source=source)


def sub(a: Node, b: Node, source: Source | None = None) -> Node:
    """Return a - b."""
    return make(Binary("sub"), a, b, source=source)


def mul(a: Node, b: Node, source: Source | None = None) -> Node:
    """Return a * b."""
    return make(Binary("mul"), a, b, source=source)


def div(a: Node, b: Node, source: Source | None = None) -> Node:
    """Return a / b."""
    return make(Binary("div"), a, b, source=source)


def compare(fn: str, a: Node, b: Node, source: Source | None = None) -> Node:
    """Return the bool array of `a fn b`."""
    return make(Compare(fn), a, b, source=source)


def where(condition: Node, a: Node, b: Node, source: Source | None = None) -> Node:
    """Return a where `condition` holds, else b."""
    return make(Where(), condition, a, b, source=source)


def cast(x: Node, dtype: Any, source: Source | None = None) -> Node:
    """Return x converted to `dtype`; x itself if it has it."""
    return x if x.dtype == np.dtype(dtype) else make(Cast(np.dtype(dtype)), x, source=source)


def broadcast(x: Node, shape: Shape, source: Source | None = None) -> Node:
    """Return x broadcast to `shape`; x itself if it has it."""
    return x if x.shape == tuple(shape) else make(Broadcast(tuple(shape)), x, source=source)


def reshape(x: Node, shape: Shape, source: Source | None = None) -> Node:
    """Return x under another shape (no -1); x itself if it has it."""
    return x if x.shape == tuple(shape) else make(Reshape(tuple(shape)), x, source=source)


def permute(x: Node, axes: Sequence[int], source: Source | None = None) -> Node:
    """Return x with its axes in the given order; x itself if that is theirs."""
    identity = tuple(axes) == tuple(range(len(x.shape)))
    return x if identity else make(Permute(tuple(axes)), x, source=source)


def slice_(
    x: Node,
    starts: Sequence[int],
    stops: Sequence[int],
    steps: Sequence[int] | None = None,
    source: Source | None = None,
) -> Node:
    """Return `x[starts[i] : stops[i] : steps[i]]` in each axis; steps of 1 unless given."""
    every = tuple(steps) if steps is not None else (1,) * len(x.shape)
    return make(Slice(tuple(starts), tuple(stops), every), x, source=source)


def flip(x: Node, axes: Sequence[int], source: Source | None = None) -> Node:
    """Return x reversed along `axes`."""
    return make(Flip(tuple(sorted(axes))), x, source=source)


def pad(
    x: Node,
    low: Sequence[int],
    high: Sequence[int],
    interior: Sequence[int] | None = None,
    value: bool | int | float = 0,
    source: Source | None = None,
) -> Node:
    """Return x with `value` before, after and between its elements."""
    gaps = tuple(interior) if interior is not None else (0,) * len(x.shape)
    return make(Pad(tuple(low), tuple(high), gaps, value), x, source=source)


def concat(nodes: Sequence[Node], axis: int, source: Source | None = None) -> Node:
    """Return the nodes one after the other along `axis`."""
    return make(Concat(axis), *nodes, source=source)


def reduce(fn: str, x: Node, axes: Sequence[int], source: Source | None = None) -> Node:
    """Return `fn` (sum, prod, max, min) over `axes`, which are dropped."""
    return make(Reduce(fn, tuple(sorted(axes))), x, source=source)


def arg_reduce(fn: str, x: Node, axis: int, source: Source | None = None) -> Node:
    """Return the index of the extreme element along `axis`."""
    return make(ArgReduce(fn, axis), x, source=source)


def cumulative(fn: str, x: Node, axis: int, source: Source | None = None) -> Node:
    """Return the running `fn` along `axis`."""
    return make(Cumulative(fn, axis), x, source=source)


def matmul(
    a: Node,
    b: Node,
    transpose_a: bool = False,
    transpose_b: bool = False,
    source: Source | None = None,
) -> Node:
    """Return the product of the matrices in the last two axes."""
    return make(MatMul(transpose_a, transpose_b), a, b, source=source)


def gather(x: Node, index: Node, axis: int, source: Source | None = None) -> Node:
    """Return `np.take(x, index, axis)`."""
    return make(Gather(axis), x, index, source=source)


def scatter_add(
    updates: Node, index: Node, axis: int, size: int, source: Source | None = None
) -> Node:
    """Return zeros with each update added at its index along `axis`."""
    return make(ScatterAdd(axis, size), updates, index, source=source)
