"""How a loop nest is run: which axis in vectors, how wide, and in which blocks."""

from __future__ import annotations

import math
from dataclasses import dataclass

from needle.compiler.emit_values import is_float
from needle.compiler.fuse_rules import HEAVY
from needle.compiler.lower_instruction import Nest, affines, dependencies
from needle.compiler.target import ITEM_BYTES, Target

MAX_BLOCKS = 64
BLOCK_WORK = 8192
"""Elements times instructions that a block should have at least: about 2 microseconds."""


@dataclass(frozen=True)
class Layout:
    """How a nest is run: which axis is the vector's, how wide it is, how the items are blocked."""

    vector: int | None
    width: int
    swept: tuple[bool, ...]
    items: int
    chunk: int

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
    width = 1 if vector is None else _width(nest, target, nest.space[vector], swept[vector])
    items = 1
    for axis, n in enumerate(nest.space):
        if not swept[axis]:
            items *= -(-n // width) if axis == vector else n
    work = math.prod(nest.space) * max(1, len(nest.instructions))
    if chunks:
        (chunk,) = chunks
        return Layout(vector, width, swept, items, chunk)
    blocks = max(1, min(MAX_BLOCKS, items, work // BLOCK_WORK))
    return Layout(vector, width, swept, items, -(-items // blocks))


def _width(nest: Nest, target: Target, n: int, swept: bool) -> int:
    """One register of the widest type, or as many as short bodies and the axis can fill."""
    dtypes = _varying_dtypes(nest, len(nest.space) - 1)
    floats = [dtype for dtype in dtypes if is_float(dtype)]
    widest = max(floats or dtypes, key=lambda dtype: ITEM_BYTES[dtype], default="float32")
    lanes = target.lanes(widest)
    heavy = any(i.attribute in HEAVY for i in nest.instructions if i.op == "apply")
    most = 2 if heavy or target.registers < 32 else 4
    enough = n if swept or not any(nest.inner) else n // 2
    while most > 1 and lanes * most > max(lanes, -(-enough // lanes) * lanes):
        most //= 2
    return lanes * most


def _varying_dtypes(nest: Nest, vector: int) -> list[str]:
    """The dtypes of what differs from lane to lane."""
    varying: list[bool] = []
    for i in nest.instructions:
        moves = any(a.coefs[vector] for a in affines(i))
        varying.append(moves or any(varying[d] for d in dependencies(i)))
    return [i.dtype for i, flag in zip(nest.instructions, varying, strict=True) if flag]
