"""How a loop nest is run: which axis in vectors, how wide, and in which blocks."""

from __future__ import annotations

import math
from dataclasses import dataclass

from needle.compiler.emit.values import is_float
from needle.compiler.fuse.rules import HEAVY
from needle.compiler.lower.instruction import Nest, affines, dependencies
from needle.compiler.target import ITEM_BYTES, Target

MAX_BLOCKS, MANY, MANY_ROWS = 64, 16, 64
BLOCK_WORK = 8192
"""Elements times instructions that a block should have at least: about 2 microseconds."""


@dataclass(frozen=True)
class Layout:
    """How a nest is run: which axis is the vector's, how wide it is, how the items are blocked.

    So many `turns` of a sweep are made side by side, so that no sum waits for itself.
    """

    vector: int | None
    width: int
    swept: tuple[bool, ...]
    items: int
    chunk: int
    turns: int = 1

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return -(-self.items // self.chunk)


def layout(nest: Nest, target: Target) -> Layout:
    """Choose the vector axis, its width and the blocks of a collapsed nest."""
    rank = len(nest.space)
    vector = rank - 1 if rank else None
    reduces = any(i.op in ("reduce", "arg") for i in nest.instructions)
    chunks = {s.chunk for s in nest.stores if s.combine}
    swept = (
        nest.inner if reduces or chunks else tuple(a == vector and rank > 1 for a in range(rank))
    )
    if chunks and vector is not None and not nest.inner[vector]:
        swept, vector = nest.inner, None  # blocks of rows are summed one by one
    outer = math.prod(n for axis, n in enumerate(nest.space) if not swept[axis] and axis != vector)
    width, items, turns = 1, outer, 1
    if vector is not None:
        width, turns = _width(nest, target, swept[vector], outer)
        items *= 1 if swept[vector] else -(-nest.space[vector] // width)
    work = math.prod(nest.space) * max(1, len(nest.instructions))
    if chunks:
        (chunk,) = chunks
        return Layout(vector, width, swept, items, chunk)
    blocks = max(1, min(MAX_BLOCKS, items, work // BLOCK_WORK))
    return Layout(vector, width, swept, items, -(-items // blocks), turns)


def _width(nest: Nest, target: Target, swept: bool, others: int) -> tuple[int, int]:
    """One register of the widest type, or as many as short bodies and the axis can fill; turns.

    Few blocks beside it leave half of the axis to another thread. Sums of columns take wide pieces
    of many rows: narrow ones, a power of two apart, get in each other's way in the cache.
    """
    n = nest.space[-1]
    dtypes = _varying_dtypes(nest, len(nest.space) - 1)
    floats = [dtype for dtype in dtypes if is_float(dtype)]
    widest = max(floats or dtypes, key=lambda dtype: ITEM_BYTES[dtype], default="float32")
    lanes = target.lanes(widest)
    heavy = any(i.attribute in HEAVY for i in nest.instructions if i.op == "apply")
    column = not swept and any(nest.inner)
    most = 2 if heavy or target.registers < 32 else 8 if column and others >= MANY else 4
    enough = n // 2 if column and others < MANY else n
    while most > 1 and lanes * most > max(lanes, -(-enough // lanes) * lanes):
        most //= 2
    rows = max((n for n, inner in zip(nest.space, nest.inner, strict=True) if inner), default=1)
    return lanes * most, 4 // most if column and not heavy and most < 4 and rows >= MANY_ROWS else 1


def _varying_dtypes(nest: Nest, vector: int) -> list[str]:
    """The dtypes of what differs from lane to lane."""
    varying: list[bool] = []
    for i in nest.instructions:
        moves = any(a.coefs[vector] for a in affines(i))
        varying.append(moves or any(varying[d] for d in dependencies(i)))
    return [i.dtype for i, flag in zip(nest.instructions, varying, strict=True) if flag]
