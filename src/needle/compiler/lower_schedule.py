"""From a group of nodes to a flat list of instructions over one iteration space.

Each output is pulled at its index: views only change the index, elementwise nodes become one
instruction, buffers become loads at an affine address, and a node pulled twice at one index is
computed once. The list is hashable and holds no node, so two groups that compute the same on other
buffers have equal lists and share a kernel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, Protocol

from needle.compiler.graph import Node, Shape
from needle.compiler.lower_index import (
    VIEWS,
    Affine,
    Guard,
    Index,
    linear,
    split,
    strides_of,
    through_view,
    anchor,
    storage,
    zero,
)
from needle.compiler.lower_instruction import Instruction, Nest, Store
from needle.compiler.primitives_base import INT64
from needle.compiler.primitives import (
    ArgReduce,
    Binary,
    Cast,
    Compare,
    Concat,
    Constant,
    Gather,
    Iota,
    Random,
    Reduce,
    Unary,
    Where,
)


STREAMS = Node(Iota((1 << 20,), 0, INT64), (), (1 << 20,), INT64)
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


class Buffers(Protocol):
    """What a kernel may find in memory."""

    def loaded(self, node: Node) -> bool:
        """Whether to read a node's elements rather than to compute them."""

    def stored(self, node: Node) -> bool:
        """Whether a node's buffer can be addressed as a whole."""


class Scheduler:
    """Builds the `Nest` of one group; `parameters` are the nodes whose buffers it uses."""

    def __init__(
        self,
        space: Shape,
        inner: tuple[bool, ...],
        memory: Buffers,
        site: Callable[[Node], int],
        product: Node | None = None,
    ) -> None:
        self.space, self.inner, self.product = space, inner, product
        self.memory, self.site = memory, site
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

    def finish(self) -> Nest:
        """The nest of all stores so far."""
        return Nest(
            self.space,
            self.inner,
            tuple(self.instructions),
            tuple(self.stores),
            tuple(n.dtype.name for n in self.parameters),
        )

    def parameter(self, node: Node) -> int:
        """The number of the parameter that points to a node's buffer."""
        if node not in self._parameter_numbers:
            self._parameter_numbers[node] = len(self.parameters)
            self.parameters.append(node)
        return self._parameter_numbers[node]

    def value(self, node: Node, index: Index) -> int:
        """The instruction that computes a node at an index."""
        first = _Point(node, index, ())
        stack: list[tuple[_Point, list[_Point] | None]] = [(first, None)]
        while stack:
            point, needs = stack.pop()
            if point in self._values:
                continue
            if needs is None:
                needs = self._needs(point)
                stack.append((point, needs))
                stack.extend((n, None) for n in reversed(needs) if n not in self._values)
            else:
                self._values[point] = self._build(point, [self._values[n] for n in needs])
        return self._values[first]

    # -- what a point needs, and the instruction that computes it ---------------------------------

    def _needs(self, point: _Point) -> list[_Point]:
        node, index, guards = point
        primitive = node.primitive
        if self.memory.loaded(storage(node)) or node is self.product:
            return []
        if isinstance(primitive, VIEWS):
            inside, valid = through_view(node, index, self.space, self.divide)
            return [_Point(node.inputs[0], inside, self._joined(guards, valid))]
        if isinstance(primitive, Reduce | ArgReduce):
            return [self._reduced_operand(point)]
        if isinstance(primitive, Gather):
            rank = len(node.inputs[1].shape)
            where = index[primitive.axis : primitive.axis + rank]
            return [_Point(node.inputs[1], where, guards)]
        if isinstance(primitive, Concat):
            return [p for p, _ in self._pieces(point)]
        if isinstance(primitive, Random):
            return [_Point(node.inputs[0], (), ())]
        if isinstance(primitive, Unary | Binary | Compare | Where | Cast):
            return [_Point(x, index, guards) for x in node.inputs]
        if isinstance(primitive, Constant | Iota):
            return []
        raise UnfusableError(node)

    def _build(self, point: _Point, args: list[int]) -> int:
        node, index, guards = point
        primitive, dtype = node.primitive, node.dtype.name
        if self.memory.loaded(storage(node)):
            return self._load(storage(node), linear(index, node.shape, len(self.space)), guards)
        if node is self.product:
            if guards or not self._aligned(node, index, self.position(None)):
                raise UnfusableError(node)
            return self._emit("product", None, (), self.position(None), (), dtype)
        if isinstance(primitive, VIEWS):
            return self._build_view(node, index, guards, args[0])
        if isinstance(primitive, Unary | Binary | Compare):
            return self._emit("apply", primitive.fn, args, None, (), dtype)
        if isinstance(primitive, Cast | Where):
            return self._emit(primitive.name, None, args, None, (), dtype)
        if isinstance(primitive, Constant):
            return self._emit("const", primitive, (), None, (), dtype)
        if isinstance(primitive, Iota):
            return self._emit("iota", None, (), index[primitive.axis], (), dtype)
        if isinstance(primitive, Random):
            at = linear(index, node.shape, len(self.space))
            stream = self._load(STREAMS, self._at(primitive.index), ())
            return self._emit("random", primitive.kind, (*args, stream), at, (), dtype)
        if isinstance(primitive, Reduce | ArgReduce) and not any(self.inner_position.coefs):
            zero_index = Constant(0, node.dtype)  # one term: the sum is the term, its index 0
            literal = self._emit("const", zero_index, (), None, (), dtype)
            return args[0] if isinstance(primitive, Reduce) else literal
        if isinstance(primitive, Reduce):
            return self._emit("reduce", primitive.fn, args, None, (), dtype)
        if isinstance(primitive, ArgReduce):
            return self._emit("arg", primitive.fn, args, self.inner_position, (), dtype)
        if isinstance(primitive, Gather):
            return self._build_gather(point, args[0])
        return self._build_concat(point, args)

    def _build_view(self, node: Node, index: Index, guards: tuple[Guard, ...], value: int) -> int:
        _, valid = through_view(node, index, self.space, self.divide)
        valid = tuple(g for g in valid if not self._always(g))
        if not valid:
            return value
        filler = Constant(node.primitive.value, node.dtype)  # type: ignore[attr-defined]
        other = self._emit("const", filler, (), None, (), node.dtype.name)
        return self._emit("pick", None, (value, other), None, valid, node.dtype.name)

    def _build_gather(self, point: _Point, where: int) -> int:
        node, index, guards = point
        primitive: Any = node.primitive
        x, labels = node.inputs
        axis, n = primitive.axis, x.shape[primitive.axis]
        owner, offset = anchor(x)
        if not self.memory.stored(owner):
            raise UnfusableError(x)
        checked = self._emit("index", (self.site(node), n), (where,), None, guards, "int64")
        picked = Affine(0, (0,) * len(self.space), ((checked, 1),))
        inside = (*index[:axis], picked, *index[axis + len(labels.shape) :])
        at = linear(inside, x.shape, len(self.space)).shifted(offset)
        return self._load(owner, at, guards)

    def _pieces(self, point: _Point) -> list[tuple[_Point, Guard]]:
        node, index, guards = point
        axis = node.primitive.axis  # type: ignore[attr-defined]
        pieces, start = [], 0
        for x in node.inputs:
            if x.shape[axis]:
                at = index[axis].shifted(-start)
                guard = Guard(at, x.shape[axis])
                inside = (*index[:axis], at, *index[axis + 1 :])
                pieces.append((_Point(x, inside, self._joined(guards, (guard,))), guard))
            start += x.shape[axis]
        return pieces

    def _build_concat(self, point: _Point, args: list[int]) -> int:
        result = args[-1]
        for (_, guard), value in zip(self._pieces(point)[:-1], args[:-1], strict=True):
            dtype = point.node.dtype.name
            result = self._emit("pick", None, (value, result), None, (guard,), dtype)
        return result

    def _reduced_operand(self, point: _Point) -> _Point:
        node, index, _ = point
        (x,) = node.inputs
        primitive: Any = node.primitive
        axes = (primitive.axis,) if isinstance(primitive, ArgReduce) else primitive.axes
        sizes = tuple(x.shape[a] for a in axes)
        inner = math.prod(n for n, flag in zip(self.space, self.inner, strict=True) if flag)
        aligned = self._aligned(node, index, self.outer_position)
        if not aligned or math.prod(sizes) != inner or point.guards:
            raise UnfusableError(node)
        swept = iter(split(self.inner_position, sizes, self.space, self.divide))
        kept = iter(index)
        whole = tuple(next(swept) if a in axes else next(kept) for a in range(len(x.shape)))
        return _Point(x, whole, ())

    def _aligned(self, node: Node, index: Index, position: Affine) -> bool:
        """Whether an index runs through a node's elements in order."""
        if linear(index, node.shape, len(self.space)) == position:
            return True
        return index == split(position, node.shape, self.space, self.divide)

    # -- small pieces -----------------------------------------------------------------------------

    def _emit(
        self,
        op: str,
        attribute: Hashable,
        args: Sequence[int],
        affine: Affine | None,
        guards: tuple[Guard, ...],
        dtype: str,
    ) -> int:
        instruction = Instruction(op, attribute, tuple(args), affine, guards, dtype)
        number = self._numbers.get(instruction)
        if number is None:
            number = self._numbers[instruction] = len(self.instructions)
            self.instructions.append(instruction)
        return number

    def _load(self, node: Node, affine: Affine, guards: tuple[Guard, ...]) -> int:
        guards = guards if node.size else ()
        return self._emit("load", self.parameter(node), (), affine, guards, node.dtype.name)

    def _at(self, element: int) -> Affine:
        return zero(len(self.space)).shifted(element)

    def divide(self, affine: Affine, divisor: int) -> int:
        """The instruction that divides an index function by a number."""
        return self._emit("divide", divisor, (), affine, (), "int64")

    def _joined(self, guards: tuple[Guard, ...], more: tuple[Guard, ...]) -> tuple[Guard, ...]:
        fresh = [g for g in more if g not in guards and not self._always(g)]
        return (*guards, *fresh)

    def _always(self, guard: Guard) -> bool:
        if guard.affine.dynamic:
            return False
        ends = [c * (n - 1) for c, n in zip(guard.affine.coefs, self.space, strict=True)]
        low = guard.affine.const + sum(min(e, 0) for e in ends)
        return low >= 0 and guard.affine.const + sum(max(e, 0) for e in ends) < guard.stop
