"""A loop nest as data: an iteration space, a flat list of instructions, and what is stored where.

Everything here is hashable and holds no node, so that equal nests are one kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from needle.compiler.index import Affine, Guard, Shape


class Instruction(NamedTuple):
    """One value: what computes it, from which values, where in memory, and where it is valid.

    ======== ============================= ====================================================
    op       attribute                     meaning
    ======== ============================= ====================================================
    const    the `Constant`                a literal
    load     number of the parameter       the element at `affine`
    product                                the finished element of a matrix product
    iota                                   `affine` itself
    random   kind                          element `affine` of a stream; args: key and stream
    apply    function name                 an elementwise function of args
    cast, where                            as the primitives
    pick                                   args[0] where the guards hold, else args[1]
    index    (site, size)                  args[0] checked to lie in 0..size-1
    divide   divisor                       `affine` divided, rounded towards zero
    reduce   function name                 args[0] over the inner axes
    arg      argmax or argmin              position `affine` of the extreme of args[0]
    ======== ============================= ====================================================

    Where no `affine` is spoken of, it is 0.
    """

    op: str
    attribute: Any
    args: tuple[int, ...]
    affine: Affine
    guards: tuple[Guard, ...]
    dtype: str


class Store(NamedTuple):
    """Write the value of an instruction to element `affine` of a parameter.

    With `combine`, a reduction over the outer positions: block b, of `chunk` of them, joins the
    values it comes by into element `affine` of the b-th `size` elements.
    """

    value: int
    parameter: int
    affine: Affine
    combine: str = ""
    size: int = 0
    chunk: int = 0


@dataclass(frozen=True)
class Nest:
    """A loop nest: axes in memory order, which of them are swept inside, and what is computed."""

    space: Shape
    inner: tuple[bool, ...]
    instructions: tuple[Instruction, ...]
    stores: tuple[Store, ...]
    dtypes: tuple[str, ...]

    @property
    def loads(self) -> list[Instruction]:
        """The instructions that read memory."""
        return [i for i in self.instructions if i.op == "load"]

    @property
    def accesses(self) -> list[tuple[int, Affine]]:
        """The parameter and the address of each load and store."""
        loads = [(i.attribute, i.affine) for i in self.loads]
        return loads + [(s.parameter, s.affine) for s in self.stores]

    def readdressed(self, change: Callable[[int, Affine], tuple[int, Affine]]) -> Nest:
        """The nest with another parameter and address in each load and store."""
        instructions, stores = list(self.instructions), []
        for k, i in enumerate(instructions):
            if i.op == "load":
                parameter, affine = change(i.attribute, i.affine)
                instructions[k] = i._replace(attribute=parameter, affine=affine)
        for s in self.stores:
            parameter, affine = change(s.parameter, s.affine)
            stores.append(s._replace(parameter=parameter, affine=affine))
        return replace(self, instructions=tuple(instructions), stores=tuple(stores))

    @property
    def fallible(self) -> bool:
        """Whether it can meet a bad index."""
        return any(i.op == "index" for i in self.instructions)


def affines(i: Instruction) -> list[Affine]:
    """All index functions of an instruction."""
    return [i.affine, *(g.affine for g in i.guards)]


def dependencies(i: Instruction) -> list[int]:
    """The instructions whose values an instruction reads."""
    return [*i.args, *(d for a in affines(i) for d, _ in a.dynamic)]


def anchored(nest: Nest) -> tuple[Nest, tuple[int, ...]]:
    """The nest with the constant part of addresses moved into the pointers: elements for each.

    Kernels on the steps of a sequence differ in nothing else, so they become equal.
    """
    guarded = {i.attribute for i in nest.loads if i.guards}
    first: dict[int, int] = {}
    for parameter, affine in nest.accesses:
        if parameter not in guarded:
            first[parameter] = min(first.get(parameter, affine.const), affine.const)
    starts = tuple(first.get(k, 0) for k in range(len(nest.dtypes)))

    def moved(parameter: int, affine: Affine) -> tuple[int, Affine]:
        return parameter, affine.shifted(-starts[parameter])

    return (nest.readdressed(moved) if any(starts) else nest), starts


def joined(nest: Nest, gone: int, kept: int) -> Nest:
    """The nest with one parameter for two that are the same buffer: pointers must not alias."""
    left = [k for k in range(len(nest.dtypes)) if k != gone]
    numbers = {k: left.index(kept if k == gone else k) for k in range(len(nest.dtypes))}
    nest = nest.readdressed(lambda parameter, affine: (numbers[parameter], affine))
    return replace(nest, dtypes=tuple(nest.dtypes[k] for k in left))


def collapsed(nest: Nest) -> Nest:
    """The nest with axes of size 1 dropped and neighbours merged where every address allows it."""
    used = {a.coefs for i in nest.instructions for a in affines(i)}
    columns = list(zip(*used, *(s.affine.coefs for s in nest.stores), strict=True))
    keep: list[int] = []
    space: list[int] = []
    for axis, n in enumerate(nest.space):
        if n == 1:
            continue
        if keep and nest.inner[keep[-1]] == nest.inner[axis]:
            before, now = columns[keep[-1]], columns[axis]
            if all(a == b * n for a, b in zip(before, now, strict=True)):
                keep[-1], space[-1] = axis, space[-1] * n
                continue
        keep.append(axis)
        space.append(n)

    def moved(a: Affine) -> Affine:
        return a._replace(coefs=tuple(a.coefs[axis] for axis in keep))

    instructions = tuple(
        i._replace(affine=moved(i.affine), guards=tuple(Guard(moved(a), n) for a, n in i.guards))
        for i in nest.instructions
    )
    stores = tuple(s._replace(affine=moved(s.affine)) for s in nest.stores)
    inner = tuple(nest.inner[axis] for axis in keep)
    return replace(nest, space=tuple(space), inner=inner, instructions=instructions, stores=stores)
