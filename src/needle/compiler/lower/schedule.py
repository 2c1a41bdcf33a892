"""From a group of nodes to a flat list of instructions over one iteration space.

Each output is pulled at its index: views only change the index, elementwise nodes become one
instruction, buffers become loads at an affine address, and a node pulled twice at one index is
computed once. The list is hashable and holds no node, so two groups that compute the same on other
buffers have equal lists and share a kernel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from needle.compiler.fuse.group import Group, Memory
from needle.compiler.fuse.rules import Pattern
from needle.compiler.graph import primitives as p
from needle.compiler.graph.graph import Node
from needle.compiler.graph.primitives_base import INT64, NAMES
from needle.compiler.index import (
    VIEWS,
    Affine,
    Guard,
    Index,
    anchor,
    linear,
    range_of,
    split,
    storage,
    strides_of,
    through_view,
    zero,
)  # fmt: skip
from needle.compiler.lower.instruction import Instruction, Nest, Store, anchored, collapsed
from needle.compiler.target import Target

STREAMS = Node(p.Iota((1 << 20,), 0, INT64), (), (1 << 20,), INT64)
"""The numbers of all random streams, read from memory: kernels that draw from others are equal."""


class UnfusableError(Exception):
    """A node cannot be computed inside a group: it is not aligned with the group's loops."""

    def __init__(self, node: Node) -> None:
        super().__init__(f"{node} is not aligned with its group")
        self.node = node


class _Point(NamedTuple):
    node: Node
    at: Index
    guards: tuple[Guard, ...]


_Steps = Generator[Sequence[_Point], list[int], int]
"""Asks for the instructions of some points, gets them, and ends with its own."""

Slots = tuple[tuple[Node, int], ...]
"""The pointers that work gets: each into a node's buffer, to some element."""


@dataclass(frozen=True)
class Scope:
    """What a group is lowered with: memory, the numbers of its bad indices' errors, the CPU."""

    group: Group
    memory: Memory
    site: Callable[[Node], int]
    target: Target

    @cached_property
    def _members(self) -> frozenset[Node]:
        return frozenset(self.group.members)

    def loaded(self, node: Node) -> bool:
        """Whether to read a node's elements rather than to compute them."""
        return self.memory.loaded(node) and node not in self._members

    def stored(self, node: Node) -> bool:
        """Whether a node's buffer can be addressed as a whole."""
        return node in self.memory.kept and node not in self._members


class Scheduler:
    """Builds the `Nest` of one group; `parameters` are the nodes whose buffers it uses."""

    def __init__(self, axes: Pattern, scope: Scope, product: Node | None = None) -> None:
        self.space, self.inner = tuple(n for n, _ in axes), tuple(flag for _, flag in axes)
        self.scope, self.product = scope, product
        self.parameters: list[Node] = []
        self.instructions: list[Instruction] = []
        self.stores: list[Store] = []
        self._numbers: dict[Instruction, int] = {}
        self._values: dict[_Point, int] = {}
        self._parameter_numbers: dict[Node, int] = {}
        self.inner_position = self.position(True)
        self.outer_position = self.position(False)

    def position(self, inner: bool | None) -> Affine:
        """The row-major position in the space, or among its inner or outer axes."""
        chosen = [a for a, flag in enumerate(self.inner) if inner is None or flag == inner]
        coefs = [0] * len(self.space)
        for axis, stride in zip(chosen, strides_of([self.space[a] for a in chosen]), strict=True):
            coefs[axis] = stride if self.space[axis] != 1 else 0
        return Affine(0, tuple(coefs))

    def store(self, node: Node, outer: bool, parameter: Node | None = None) -> None:
        """Compute a node everywhere (`outer`: once per outer position) and write it to a buffer."""
        position = self.outer_position if outer else self.position(None)
        index = split(position, node.shape, self.space, self.divide)
        value = self.value(node, index)
        target = self.parameter(node if parameter is None else parameter)
        self.stores.append(Store(value, target, position))

    def store_piece(self, node: Node, index: int) -> None:
        """Write one input of a concatenation to its part of the result."""
        axis = node.primitive.axis  # type: ignore[attr-defined]
        x = node.inputs[index]
        at = split(self.position(None), x.shape, self.space, self.divide)
        start = sum(piece.shape[axis] for piece in node.inputs[:index])
        target = (*at[:axis], at[axis].shifted(start), *at[axis + 1 :])
        affine = linear(target, node.shape, len(self.space))
        self.stores.append(Store(self.value(x, at), self.parameter(node), affine))

    def partial(self, node: Node) -> None:
        """Reduce a node's operand over the outer positions of each block."""
        primitive: Any = node.primitive
        (x,) = node.inputs
        outer = x.shape[1] == 1
        position = self.outer_position if outer else self.position(None)
        value = self.value(x, split(position, x.shape, self.space, self.divide))
        at = zero(len(self.space)) if outer else self.inner_position
        size = node.shape[1]
        store = Store(value, self.parameter(node), at, primitive.fn, size, primitive.chunk)
        self.stores.append(store)

    def finish(self, *, collapse: bool = True) -> tuple[Nest, Slots]:
        """The nest of all stores so far, perhaps with axes merged, and what its pointers are."""
        dtypes = tuple(NAMES[n.dtype] for n in self.parameters)
        nest = Nest(self.space, self.inner, tuple(self.instructions), tuple(self.stores), dtypes)
        nest, starts = anchored(collapsed(nest) if collapse else nest)
        return nest, tuple(zip(self.parameters, starts, strict=True))

    def parameter(self, node: Node) -> int:
        """The number of the parameter that points to a node's buffer."""
        if node not in self._parameter_numbers:
            self._parameter_numbers[node] = len(self.parameters)
            self.parameters.append(node)
        return self._parameter_numbers[node]

    def value(self, node: Node, index: Index) -> int:
        """The instruction that computes a node at an index."""
        first = _Point(node, index, ())
        needs: Sequence[_Point] | None = None
        stack = [] if first in self._values else [(first, self._steps(first), needs)]
        while stack:
            point, steps, needs = stack[-1]
            unknown = next((n for n in needs or () if n not in self._values), None)
            if unknown is not None:
                stack.append((unknown, self._steps(unknown), None))
                continue
            try:
                answer = [self._values[n] for n in needs or ()]
                needs = next(steps) if needs is None else steps.send(answer)
                stack[-1] = point, steps, needs
            except StopIteration as done:
                self._values[point] = done.value
                stack.pop()
        return self._values[first]

    # -- how a node is computed at a point --------------------------------------------------------

    def _steps(self, point: _Point) -> _Steps:
        node, index, guards = point
        primitive: Any = node.primitive
        dtype, emit = NAMES[node.dtype], self._emit
        if self.scope.loaded(storage(node)):
            return self._load(storage(node), linear(index, node.shape, len(self.space)), guards)
        if node is self.product:
            if guards or not self._aligned(node, index, self.position(None)):
                raise UnfusableError(node)
            return emit("product", dtype, affine=self.position(None))
        if isinstance(primitive, VIEWS):
            return (yield from self._viewed(point))
        operands = [_Point(x, index, guards) for x in node.inputs]
        match primitive:
            case p.Unary() | p.Binary() | p.Compare():
                return emit("apply", dtype, primitive.fn, (yield operands))
            case p.Cast() | p.Where():
                return emit(primitive.name, dtype, None, (yield operands))
            case p.Constant():
                return emit("const", dtype, primitive)
            case p.Iota():
                return emit("iota", dtype, affine=index[primitive.axis])
            case p.Random():
                (key,) = yield [_Point(node.inputs[0], (), ())]
                stream = self._load(STREAMS, zero(len(self.space)).shifted(primitive.index), ())
                at = linear(index, node.shape, len(self.space))
                return emit("random", dtype, primitive.kind, (key, stream), at)
            case p.Reduce() | p.ArgReduce():
                return (yield from self._reduced(point))
            case p.Gather():
                return (yield from self._gathered(point))
            case p.Concat():
                return (yield from self._picked(point))
        raise UnfusableError(node)

    def _viewed(self, point: _Point) -> _Steps:
        node, index, guards = point
        inside, valid = through_view(node, index, self.space, self.divide)
        valid = tuple(g for g in valid if not self._always(g))
        (value,) = yield [_Point(node.inputs[0], inside, self._joined(guards, valid))]
        if not valid:
            return value
        filler = p.Constant(node.primitive.value, node.dtype)  # type: ignore[attr-defined]
        other = self._emit("const", NAMES[node.dtype], filler)
        return self._emit("pick", NAMES[node.dtype], None, (value, other), guards=valid)

    def _reduced(self, point: _Point) -> _Steps:
        node, index, guards = point
        (x,), dtype = node.inputs, NAMES[node.dtype]
        primitive: Any = node.primitive
        arg = isinstance(primitive, p.ArgReduce)
        axes = (primitive.axis,) if arg else primitive.axes
        sizes = tuple(x.shape[a] for a in axes)
        inner = math.prod(n for n, flag in zip(self.space, self.inner, strict=True) if flag)
        aligned = self._aligned(node, index, self.outer_position)
        if not aligned or math.prod(sizes) != inner or guards:
            raise UnfusableError(node)
        swept = iter(split(self.inner_position, sizes, self.space, self.divide))
        kept = iter(index)
        whole = tuple(next(swept) if a in axes else next(kept) for a in range(len(x.shape)))
        (value,) = yield [_Point(x, whole, ())]
        if any(self.inner_position.coefs):
            op, at = ("arg", self.inner_position) if arg else ("reduce", None)
            return self._emit(op, dtype, primitive.fn, (value,), at)
        # one term: the sum is the term, its index 0
        return self._emit("const", dtype, p.Constant(0, node.dtype)) if arg else value

    def _gathered(self, point: _Point) -> _Steps:
        node, index, guards = point
        (x, labels), axis = node.inputs, node.primitive.axis  # type: ignore[attr-defined]
        owner, offset = anchor(x)
        if not self.scope.stored(owner):
            raise UnfusableError(x)
        after = axis + len(labels.shape)
        where = yield [_Point(labels, index[axis:after], guards)]
        attribute = self.scope.site(node), x.shape[axis]
        row = self._emit("index", "int64", attribute, where, guards=guards)
        picked = Affine(0, (0,) * len(self.space), ((row, 1),))
        at = linear((*index[:axis], picked, *index[after:]), x.shape, len(self.space))
        return self._load(owner, at.shifted(offset), guards)

    def _picked(self, point: _Point) -> _Steps:
        """The pieces of a concatenation, each read where it lies."""
        node, index, guards = point
        axis = node.primitive.axis  # type: ignore[attr-defined]
        needs, inside, start = [], [], 0
        for x in node.inputs:
            if x.shape[axis]:
                guard = Guard(index[axis].shifted(-start), x.shape[axis])
                at = (*index[:axis], guard.affine, *index[axis + 1 :])
                needs.append(_Point(x, at, self._joined(guards, (guard,))))
                inside.append(guard)
            start += x.shape[axis]
        *values, result = yield needs
        for guard, value in zip(inside[:-1], values, strict=True):
            pair = value, result
            result = self._emit("pick", NAMES[node.dtype], None, pair, guards=(guard,))
        return result

    def _aligned(self, node: Node, index: Index, position: Affine) -> bool:
        """Whether an index runs through a node's elements in order."""
        if linear(index, node.shape, len(self.space)) == position:
            return True
        return index == split(position, node.shape, self.space, self.divide)

    # -- small pieces -----------------------------------------------------------------------------

    def _emit(
        self,
        op: str,
        dtype: str,
        attribute: Hashable = None,
        args: Sequence[int] = (),
        affine: Affine | None = None,
        guards: tuple[Guard, ...] = (),
    ) -> int:
        at = zero(len(self.space)) if affine is None else affine
        instruction = Instruction(op, attribute, tuple(args), at, guards, dtype)
        number = self._numbers.setdefault(instruction, len(self.instructions))
        if number == len(self.instructions):
            self.instructions.append(instruction)
        return number

    def _load(self, node: Node, affine: Affine, guards: tuple[Guard, ...]) -> int:
        guards = guards if node.size else ()
        number = self.parameter(node)
        return self._emit("load", NAMES[node.dtype], number, affine=affine, guards=guards)

    def divide(self, affine: Affine, divisor: int) -> int:
        """The instruction that divides an index function by a number."""
        return self._emit("divide", "int64", divisor, affine=affine)

    def _joined(self, guards: tuple[Guard, ...], more: tuple[Guard, ...]) -> tuple[Guard, ...]:
        fresh = [g for g in more if g not in guards and not self._always(g)]
        return (*guards, *fresh)

    def _always(self, guard: Guard) -> bool:
        low, high = range_of(guard.affine, self.space)
        return not guard.affine.dynamic and low >= 0 and high < guard.stop
