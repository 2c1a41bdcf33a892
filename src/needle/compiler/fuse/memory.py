"""What is kept in memory between kernels, and what is computed again where it is used.

An elementwise value is computed again where that reads no more bytes than the value itself has:
arrays that the reader reads anyway cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from needle.compiler.fuse.group import Group, Groups
from needle.compiler.fuse.rules import HEAVY, is_map, stored_operands
from needle.compiler.graph.graph import Graph, Node
from needle.compiler.graph.primitives import Random
from needle.compiler.index import storage

SLACK = 1.25
"""How many more bytes may be read, since a value that is not kept need not be written either."""

SLOW = HEAVY | {"div", "reciprocal", "rsqrt", "sqrt"}
"""Functions that take longer than a load, where a column's value is computed again in each row."""

MOST_RECOMPUTED = 12
"""Nodes computed again in place of one load."""


class Recipe(NamedTuple):
    """How to compute a value again: from which arrays, and the nodes on the way."""

    leaves: frozenset[Node]
    nodes: frozenset[Node]

    def calls(self, functions: frozenset[str]) -> bool:
        """Whether one of the nodes is one of these functions."""
        return any(node.primitive.name in functions for node in self.nodes)


class _Keeper:
    """Decides node by node, in order: what is kept is a leaf of all later recipes."""

    def __init__(self, groups: Groups, graph: Graph) -> None:
        self.home, self.edges = groups.home, groups.edges
        self.kept = {storage(n) for n in graph.outputs} | set(graph.inputs)
        self.recipes: dict[Node, Recipe] = {}
        self.readers: dict[Node, list[Group]] = {}
        self.reads: dict[Group, set[Node]] = {g: set() for g in groups.alive()}
        for node, group in self.home.items():
            stored = stored_operands(node)
            for source, _, _ in self.edges[node]:
                if self.home.get(source) is not group:
                    self.readers.setdefault(source, []).append(group)
                    if source not in self.home or not is_map(source):
                        self.reads[group].add(source)
                    if source in stored:
                        self.kept.add(source)

    def decide(self, node: Node, recompute: bool) -> None:
        """Keep a node that others read, unless each of them gains by computing it."""
        recipe, readers = self._recipe(node), self.readers.get(node, ())
        pays = recompute and recipe and all(self._pays(node, recipe, g) for g in readers)
        if recipe is not None and (pays or not readers):
            self.recipes[node] = recipe
            if readers:
                self.kept |= recipe.leaves & self.home.keys()
        elif readers:
            self.kept.add(node)
        for group in readers:
            self.reads[group] |= recipe.leaves if recipe is not None and pays else {node}

    def _recipe(self, node: Node) -> Recipe | None:
        drawn = isinstance(node.primitive, Random)
        if drawn or not is_map(node) or stored_operands(node) or node in self.kept:
            return None
        leaves: set[Node] = set()
        nodes = {node}
        for source, _, _ in self.edges[node]:
            recipe = self.recipes.get(source)
            if recipe is None or self._dear(source, recipe):
                leaves.add(source)
            else:
                leaves |= recipe.leaves
                nodes |= recipe.nodes
        if len(nodes) > MOST_RECOMPUTED or len(leaves) > MOST_RECOMPUTED:
            return None
        return Recipe(frozenset(leaves), frozenset(nodes))

    def _dear(self, node: Node, recipe: Recipe) -> bool:
        """Whether keeping a value takes less memory than keeping what it is made of."""
        return not recipe.leaves <= self.kept and _bytes(recipe.leaves) > SLACK * _bytes([node])

    def _pays(self, node: Node, recipe: Recipe, reader: Group) -> bool:
        """Whether a reader should compute a value rather than load it."""
        read = self.reads[reader]
        extra = _bytes(recipe.leaves - read)
        small = node.size * 16 <= reader.size and reader.kind != "concat"  # reads each piece once
        slow = recipe.calls(SLOW)
        if small and (slow or extra <= reader.size * 2):
            return node.size == 1 or not slow
        return not recipe.calls(HEAVY) and extra <= SLACK * _bytes([node])


def _bytes(nodes: Iterable[Node]) -> int:
    return sum(n.size * n.dtype.itemsize for n in nodes)


def kept_nodes(groups: Groups, graph: Graph, *, recompute: bool) -> set[Node]:
    """All nodes that have a buffer: inputs, outputs, and what a group must read of another."""
    keeper = _Keeper(groups, graph)
    for node in graph.nodes():
        if node in keeper.home:
            keeper.decide(node, recompute)
    return keeper.kept
