"""Index maps: where in an array a kernel's loops are.

A kernel iterates over a *space*, a tuple of axis sizes. Each axis of an array is addressed by an
`Affine` function of the space's axes, so that views (broadcast, reshape, permute, slice, flip, pad)
cost nothing: they only change the function. What is not affine, such as an index read from memory
or a reshape that no split of the space can follow, enters as a *dynamic* term, the number of an
instruction that computes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from needle.compiler.graph.graph import Node
from needle.compiler.graph.primitives import Broadcast, Flip, Pad, Permute, Reshape, Slice, Windows

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Copy(Broadcast):
    """The same array once more, with memory of its own."""


VIEWS = (Broadcast, Flip, Pad, Permute, Reshape, Slice, Windows)


class Affine(NamedTuple):
    """`const + sum(coefs[a] * i_a) + sum(c * value of instruction d for d, c in dynamic)`."""

    const: int
    coefs: tuple[int, ...]
    dynamic: tuple[tuple[int, int], ...] = ()

    def shifted(self, offset: int) -> Affine:
        """This plus a number."""
        return self._replace(const=self.const + offset) if offset else self

    def scaled(self, factor: int) -> Affine:
        """This times a number."""
        if factor == 1:
            return self
        dynamic = tuple((d, c * factor) for d, c in self.dynamic)
        return Affine(self.const * factor, tuple(c * factor for c in self.coefs), dynamic)

    def plus(self, other: Affine) -> Affine:
        """The sum of both."""
        coefs = tuple(a + b for a, b in zip(self.coefs, other.coefs, strict=True))
        return Affine(self.const + other.const, coefs, self.dynamic + other.dynamic)


class Guard(NamedTuple):
    """Holds where `0 <= affine < stop`."""

    affine: Affine
    stop: int


Index = tuple[Affine, ...]
Divide = Callable[[Affine, int], int]
"""Makes an instruction that divides an affine function by a number; returns the instruction."""


def zero(rank: int) -> Affine:
    """The function that is 0 on a space of `rank` axes."""
    return Affine(0, (0,) * rank)


def strides_of(shape: Sequence[int]) -> Shape:
    """Row-major strides, in elements.

    >>> strides_of((2, 3, 4))
    (12, 4, 1)
    """
    strides = []
    step = 1
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return tuple(reversed(strides))


def linear(index: Index, shape: Shape, rank: int) -> Affine:
    """The row-major position of an index in an array."""
    result = zero(rank)
    for affine, stride, n in zip(index, strides_of(shape), shape, strict=True):
        if n != 1:
            result = result.plus(affine.scaled(stride))
    return result


def range_of(affine: Affine, space: Shape) -> tuple[int, int]:
    """The least and the greatest value of a function, dynamic terms left out."""
    ends = [c * (n - 1) for c, n in zip(affine.coefs, space, strict=True)]
    return affine.const + sum(min(e, 0) for e in ends), affine.const + sum(max(e, 0) for e in ends)


def split(affine: Affine, sizes: Shape, space: Shape, divide: Divide) -> Index:
    """The index in an array of shape `sizes` whose row-major position is `affine`.

    Terms are dealt out to axes where that is exact; otherwise the position is divided at run time.
    """
    if len(sizes) == 1:
        return (affine,)
    exact = None if affine.dynamic else _deal(affine, sizes, space)
    if exact is not None:
        return exact
    index = []
    rest = affine
    for stride, n in zip(strides_of(sizes), sizes, strict=True):
        if n == 1 or stride == 1:
            index.append(rest if n != 1 else zero(len(space)))
            continue
        part = Affine(0, (0,) * len(space), ((divide(rest, stride), 1),))
        index.append(part)
        rest = rest.plus(part.scaled(-stride))
    return tuple(index)


def _deal(affine: Affine, sizes: Shape, space: Shape) -> Index | None:
    strides = strides_of(sizes)
    axes = [j for j, n in enumerate(sizes) if n != 1]
    coefs = [[0] * len(space) for _ in sizes]
    consts = [0] * len(sizes)
    for axis, c in enumerate(affine.coefs):
        if c == 0 or space[axis] == 1:
            continue
        home = next((j for j in axes if c >= strides[j]), None)
        if home is None or c % strides[home]:
            return None
        coefs[home][axis] = c // strides[home]
    rest = affine.const
    for j in axes:
        consts[j], rest = divmod(rest, strides[j])
    index = tuple(Affine(a, tuple(b)) for a, b in zip(consts, coefs, strict=True))
    fits = all(
        low >= 0 and high < n
        for (low, high), n in zip((range_of(a, space) for a in index), sizes, strict=True)
    )
    return index if fits and not rest else None


def reshaped(index: Index, shape: Shape, to: Shape, space: Shape, divide: Divide) -> Index:
    """An index into `shape` as the index of the same element in an array of shape `to`."""
    result: list[Affine] = []
    index, shape, to = (zero(len(space)), *index), (1, *shape), (1, *to)  # neither may be ()
    for left, right in matching_groups(shape, to):
        sizes = tuple(shape[axis] for axis in left)
        position = linear(tuple(index[axis] for axis in left), sizes, len(space))
        result += split(position, tuple(to[axis] for axis in right), space, divide)
    return tuple(result[1:])


def through_view(
    node: Node, index: Index, space: Shape, divide: Divide
) -> tuple[Index, tuple[Guard, ...]]:
    """The index into a view's input that an index into the view means, and where it is valid."""
    view, (x,), rank = node.primitive, node.inputs, len(space)
    if isinstance(view, Broadcast):
        tail = index[len(node.shape) - len(x.shape) :]
        return tuple(zero(rank) if n == 1 else a for a, n in zip(tail, x.shape, strict=True)), ()
    if isinstance(view, Permute):
        return tuple(index[view.axes.index(axis)] for axis in range(len(index))), ()
    if isinstance(view, Slice):
        ranges = zip(index, view.starts, view.steps, strict=True)
        return tuple(a.scaled(step).shifted(start) for a, start, step in ranges), ()
    if isinstance(view, Flip):
        return tuple(
            a.scaled(-1).shifted(n - 1) if axis in view.axes else a
            for axis, (a, n) in enumerate(zip(index, x.shape, strict=True))
        ), ()
    if isinstance(view, Reshape):
        return reshaped(index, node.shape, x.shape, space, divide), ()
    if isinstance(view, Windows):
        last = view.place + len(view.sizes)
        inside = [*index[: view.place], *index[last:]]
        steps = zip(view.axes, view.strides, view.dilations, index[view.place : last], strict=True)
        for axis, stride, dilation, step in steps:
            inside[axis] = inside[axis].scaled(stride).plus(step.scaled(dilation))
        return tuple(inside), ()
    assert isinstance(view, Pad)
    return _through_pad(view, index, x.shape, divide)


def _through_pad(
    view: Pad, index: Index, shape: Shape, divide: Divide
) -> tuple[Index, tuple[Guard, ...]]:
    inside: list[Affine] = []
    guards: list[Guard] = []
    for a, low, high, gap, n in zip(index, view.low, view.high, view.interior, shape, strict=True):
        a = a.shifted(-low)
        if low or high or gap:
            guards.append(Guard(a, max((n - 1) * (gap + 1) + 1, 0)))
        if gap:
            whole = Affine(0, (0,) * len(a.coefs), ((divide(a, gap + 1), 1),))
            guards.append(Guard(a.plus(whole.scaled(-gap - 1)), 1))
            a = whole
        inside.append(a)
    return tuple(inside), tuple(guards)


def storage(node: Node) -> Node:
    """The node whose buffer holds a node's elements: reshapes share their input's."""
    while isinstance(node.primitive, Reshape):
        (node,) = node.inputs
    return node


def anchor(node: Node) -> tuple[Node, int]:
    """The node whose buffer holds a node's elements in one piece, and the element it begins at."""
    offset = 0
    while True:
        view = node.primitive
        if isinstance(view, Slice) and _in_one_piece(view, node):
            strides = strides_of(node.inputs[0].shape)
            offset += sum(a * s for a, s in zip(view.starts, strides, strict=True))
        elif not isinstance(view, Reshape):
            return node, offset
        (node,) = node.inputs


def _in_one_piece(view: Slice, node: Node) -> bool:
    """Whether the elements of a slice lie one after the other."""
    before = node.inputs[0].shape
    cut = [axis for axis, n in enumerate(before) if node.shape[axis] != n]
    if not cut or any(s != 1 and n > 1 for s, n in zip(view.steps, node.shape, strict=True)):
        return not cut
    return all(n == 1 for n in node.shape[: cut[-1]])


def matching_groups(a: Shape, b: Shape) -> list[tuple[list[int], list[int]]]:
    """Pair up axes of two shapes of equal, non-zero size: least groups of equal products.

    (6, 1, 5) and (2, 3, 5) -> [([0], [0, 1]), ([1, 2], [2])]; unit axes join any group.
    """
    groups, i, j = [], 0, 0
    while i < len(a) and j < len(b):
        left, right = [i], [j]
        i, j = i + 1, j + 1
        while (p := math.prod(a[k] for k in left)) != (q := math.prod(b[k] for k in right)):
            if p < q:
                left.append(i)
                i += 1
            else:
                right.append(j)
                j += 1
        groups.append((left, right))
    if groups:
        groups[-1][0].extend(range(i, len(a)))
        groups[-1][1].extend(range(j, len(b)))
    return groups
