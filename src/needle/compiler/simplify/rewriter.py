"""The engine of the simplifier: builds nodes, each once, in the form the rules leave them in.

Every node goes through `Rewriter.__call__`: equal primitives on equal inputs give one node (common
subexpressions), and each new node is offered to the rules in order. A rule gets the node's
primitive, that of its first input, the node and the rewriter; it returns an equal node, built by
calling the rewriter again, or None. Which nodes it looks at stands in its signature: the classes
that its first two parameters, `p` and `below`, are annotated with. Inputs are in normal form
already, so a rule looks a few levels down, one sweep from inputs to outputs is enough, and what was
built once is only looked up in a later one.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from needle.compiler.graph.graph import Build, Graph, Node
from needle.compiler.graph.primitives import (
    ArgReduce,
    Binary,
    Broadcast,
    Compare,
    Constant,
    Cumulative,
    MatMul,
    Primitive,
    Reduce,
    Unary,
)  # fmt: skip
from needle.compiler.graph.primitives_base import type_text, wrapped
from needle.errors import GraphError

Shape = tuple[int, ...]
Rule = Callable[[Any, Any, Node, "Rewriter"], Node | None]

COMMUTATIVE = frozenset(
    [*map(Binary, ("add", "mul", "max", "min", "and", "or", "xor")), Compare("eq"), Compare("ne")]
)
COMBINES = (Reduce, ArgReduce, Cumulative, MatMul)


class Rewriter(Build):
    """Builds nodes in normal form; `fired` counts how often each rule applied."""

    def __init__(self, rules: Sequence[Rule], fired: dict[str, int] | None = None) -> None:
        super().__init__()
        self.rules = rules
        self.fired = {} if fired is None else fired
        self._rules: dict[tuple[type, type], list[Rule]] = {}
        self._table: dict[tuple[object, ...], Node] = {}
        self._depths: dict[Node, int] = {}

    def sweep(self, graph: Graph, *, verify: bool = False) -> Graph:
        """Return the graph with every node in normal form; dead nodes are left behind."""
        new: dict[Node, Node] = {node: node for node in graph.inputs}
        for node in graph.nodes()[len(graph.inputs) :]:
            self.source = node.source
            new[node] = self._build(node.primitive, tuple([new[x] for x in node.inputs]), node)
        result = Graph(graph.inputs, tuple(new[node] for node in graph.outputs))
        if verify:
            result.verify()
        return result

    def __call__(self, primitive: Primitive, *inputs: Node) -> Node:
        """Return the normal form of `primitive` applied to nodes in normal form."""
        return self._build(primitive, inputs, None)

    def _build(self, primitive: Primitive, inputs: tuple[Node, ...], origin: Node | None) -> Node:
        ordered = sorted(inputs, key=id) if primitive in COMMUTATIVE else inputs
        key = (primitive, *ordered)
        found = self._table.get(key)
        if found is not None:
            return found
        if origin is not None and inputs == origin.inputs:
            node = origin
        else:
            node = super().__call__(primitive, *inputs)
        below = max([self._depths.get(x, 0) for x in inputs], default=0)
        self._depths[node] = below + isinstance(primitive, COMBINES)
        result = self._table[key] = self._apply_rules(node)
        return result

    def _apply_rules(self, node: Node) -> Node:
        p, below = node.primitive, node.inputs[0].primitive if node.inputs else None
        kinds = type(p), type(below)
        if kinds not in self._rules:
            self._rules[kinds] = [rule for rule in self.rules if _looks_at(rule, kinds)]
        for rule in self._rules[kinds]:
            new = rule(p, below, node, self)
            if new is not None:
                if (new.shape, new.dtype) != (node.shape, node.dtype):
                    text = f"{type_text(new)} for {type_text(node)}"
                    raise GraphError(f"simplify: {rule.__name__} gave {text} ({node})")
                self.fired[rule.__name__] = self.fired.get(rule.__name__, 0) + 1
                return new
        return node

    def depth(self, node: Node) -> int:
        """Return how many reductions follow one another on the longest way to `node`."""
        return self._depths.get(node, 0)

    def constant(self, value: Any, dtype: np.dtype) -> Node:
        """Return a 0-d constant; integers wrap around as NumPy's arithmetic does."""
        return super().constant(value if dtype.kind == "f" else wrapped(value, dtype), dtype)


@functools.cache
def _annotations(rule: Rule) -> tuple[Any, Any]:
    hints = typing.get_type_hints(rule)
    return hints["p"], hints["below"]


def _looks_at(rule: Rule, kinds: tuple[type, type]) -> bool:
    return all(map(issubclass, kinds, _annotations(rule)))


def scalar(node: Node) -> bool | int | float | None:
    """Return the number that every element of `node` is, None if it is not a constant."""
    primitive = under(node, Broadcast).primitive
    return primitive.value if isinstance(primitive, Constant) else None


def is_fn(node: Node, *names: str) -> bool:
    """Whether `node` is a unary or binary function of one of the names."""
    return isinstance(node.primitive, Unary | Binary) and node.primitive.fn in names


def under(node: Node, *views: type[Primitive]) -> Node:
    """Return what `node` shows, seen through views of the given kinds."""
    while isinstance(node.primitive, views):
        node = node.inputs[0]
    return node


def stretched_axes(node: Node) -> tuple[int, ...]:
    """Return the axes along which a Broadcast repeats its input."""
    source = node.inputs[0].shape
    lead = len(node.shape) - len(source)
    pairs = zip(source, node.shape[lead:], strict=True)
    return (*range(lead), *(lead + i for i, (a, b) in enumerate(pairs) if a != b))
