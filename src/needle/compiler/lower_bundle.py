"""Many independent pieces of work as one kernel, such as an optimizer's update of all parameters.

The pieces' blocks are counted through. Pieces that do the same on other buffers share one body, and
a table says for each piece where its blocks begin, which pointers are its own, and how long it is:
elementwise work on arrays of any size is one formula in one loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np

from needle.compiler.emit import Builder
from needle.compiler.emit_values import Value
from needle.compiler.lower_elementwise import Place
from needle.compiler.lower_nest import NestWork, NestWriter

UNIT = 1024
"""Elements of a block where the length is an argument: few, so that threads share evenly."""

INTERFACE = (("table", "ptr"), ("begin", "int64"), ("end", "int64"), ("scratch", "ptr"))


class AnyWork(Protocol):
    """What all kinds of work have in common."""

    @property
    def blocks(self) -> int:
        """Number of blocks."""

    @property
    def scratch(self) -> int:
        """Bytes of scratch a thread needs."""

    @property
    def fallible(self) -> bool:
        """Whether it can set the status word."""

    @property
    def bytes_moved(self) -> int:
        """Bytes that must be read or written once."""

    @property
    def flops(self) -> int:
        """Floating-point operations."""

    def write(
        self,
        b: Builder,
        pointers: Sequence[Value],
        status: Value | None,
        begin: Value,
        end: Value,
        scratch: Value,
    ) -> None:
        """Write the body of the kernel."""


class Piece(NamedTuple):
    """Some work, its number of pointers, and the length of its arrays if that is an argument."""

    work: AnyWork
    pointers: int
    length: int


@dataclass(frozen=True)
class Bundle:
    """Several pieces of work in one kernel; pointers are those of each piece in turn."""

    pieces: tuple[Piece, ...]

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return sum(blocks_of(p) for p in self.pieces)

    @property
    def scratch(self) -> int:
        """Bytes of scratch a thread needs."""
        return max(p.work.scratch for p in self.pieces)

    @property
    def fallible(self) -> bool:
        """Whether it can set the status word."""
        return any(p.work.fallible for p in self.pieces)

    @property
    def bytes_moved(self) -> int:
        """Bytes that must be read or written once."""
        return sum(p.work.bytes_moved * max(p.length, 1) for p in self.pieces)

    @property
    def flops(self) -> int:
        """Floating-point operations."""
        return sum(p.work.flops * max(p.length, 1) for p in self.pieces)

    def functions(self, b: Builder) -> list[str]:
        """Write the entry function, already begun, and the bodies; returns the bodies' names."""
        table, begin, end, scratch = b.arguments
        total = sum(p.pointers for p in self.pieces)
        status = [b.load(table, total, "ptr")] if self.fallible else []
        names: list[str] = []
        for work, rows in self._classes().items():
            name = f"{b.name}.part{len(names)}"
            names.append(name)
            count = int(rows[0][4])
            _body(b, name, work, count, bool(status))
            data = b.module.table(f"{name}.rows", np.array([r[:4] for r in rows], "int64"))
            rows_at = Value(data, "ptr", 1, b)
            with b.loop(0, len(rows)) as loop:
                first, blocks, base, length = (
                    b.load(rows_at, loop.index * 4 + k, "int64") for k in range(4)
                )
                low = b.maximum(begin - first, 0)
                high = b.minimum(end - first, blocks)

                def call(base: Value = base, low: Value = low, high: Value = high,
                         length: Value = length, name: str = name, count: int = count,
                         ) -> tuple[Value, ...]:  # fmt: skip
                    pointers = [b.load(table, base + k, "ptr") for k in range(count)]
                    b.call(name, [*pointers, *status, low, high, scratch, length])
                    return ()

                b.branch(b.compare("lt", low, high), call)
        b.ret()
        return names

    def _classes(self) -> dict[AnyWork, list[tuple[int, ...]]]:
        """The pieces of each distinct work: first block, blocks, first pointer, length, count."""
        classes: dict[AnyWork, list[tuple[int, ...]]] = {}
        block = base = 0
        for piece in self.pieces:
            rows = classes.setdefault(piece.work, [])
            rows.append((block, blocks_of(piece), base, piece.length, piece.pointers))
            block += blocks_of(piece)
            base += piece.pointers
        return classes


def blocks_of(piece: Piece) -> int:
    """Number of blocks of a piece."""
    if isinstance(piece.work, FlatWork):
        return -(-piece.length // UNIT)
    return piece.work.blocks


def piece_of(work: AnyWork | Bundle, pointers: int) -> Piece:
    """A piece of a bundle; elementwise work on whole arrays becomes independent of their size."""
    assert not isinstance(work, Bundle)
    if isinstance(work, NestWork) and _is_flat(work):
        (n,) = work.nest.space
        plan = replace(work.plan, items=1, chunk=1)
        return Piece(FlatWork(NestWork(replace(work.nest, space=(0,)), plan)), pointers, n)
    return Piece(work, pointers, 0)


def _is_flat(work: NestWork) -> bool:
    nest = work.nest
    if len(nest.space) != 1:
        return False
    affines = [i.affine for i in nest.instructions if i.affine is not None]
    affines += [s.affine for s in nest.stores]
    plain = all(a.const == 0 and not a.dynamic and a.coefs[0] in (0, 1) for a in affines)
    guarded = any(i.guards or i.op in ("reduce", "arg") for i in nest.instructions)
    fits = UNIT % work.plan.width == 0
    return plain and not guarded and fits and not work.fallible


@dataclass(frozen=True)
class FlatWork:
    """An elementwise formula over arrays whose length is an argument."""

    work: NestWork
    blocks = 1
    scratch = 0
    fallible = False

    @property
    def bytes_moved(self) -> int:
        """Bytes that must be read or written once, for each element."""
        one, two = (replace(self.work, nest=replace(self.work.nest, space=(n,))) for n in (1, 2))
        return two.bytes_moved - one.bytes_moved

    @property
    def flops(self) -> int:
        """Elementwise operations, for each element."""
        return replace(self.work, nest=replace(self.work.nest, space=(1,))).flops

    def write(
        self,
        b: Builder,
        pointers: Sequence[Value],
        status: Value | None,
        begin: Value,
        end: Value,
        scratch: Value,
    ) -> None:
        """Write the body of the kernel; the length is its last argument."""
        length, width = b.arguments[-1], self.work.plan.width
        writer = NestWriter(b, self.work.nest, self.work.plan, pointers, status)
        place = Place(b, self.work.nest, pointers, status, 0, width)
        writer.emit(place, range(len(self.work.nest.instructions)), 0)
        stop = b.minimum(end * UNIT, length)
        whole = b.and_(stop, -width)
        with b.loop(begin * UNIT, whole, width) as loop:
            writer.item(place.at(0, loop.index, None))
        left = b.mask(stop - whole, width)
        tail = place.at(0, whole, left)
        b.branch(b.compare("lt", whole, stop), lambda: writer.item(tail))


def _body(b: Builder, name: str, work: AnyWork, count: int, has_status: bool) -> None:
    names: list[tuple[str, str]] = [(f"p{i}", "ptr") for i in range(count)]
    status = [("status", "ptr")] if has_status else []
    parameters = [*names, *status, *INTERFACE[1:], ("length", "int64")]
    body = b.module.function(name, parameters, attributes="noinline")
    begin, end, scratch = body.arguments[-4:-1]
    state = body.arguments[count] if has_status else None
    work.write(body, body.arguments[:count], state, begin, end, scratch)
    body.ret()
