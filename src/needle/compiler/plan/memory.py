"""Where intermediates lie, and where threads must wait for each other."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from typing import NamedTuple

from needle.compiler.graph.graph import Node
from needle.compiler.index import storage
from needle.compiler.lower.lower import Lowered
from needle.compiler.program import Buffer

ALIGNMENT = 64


def barriers(lowered: Sequence[Lowered], places: dict[Node, Buffer]) -> list[bool]:
    """For each step whether all threads must have finished the ones before.

    They must where it reads or overwrites what another thread may have written, or overwrites what
    another may still read, since the last barrier.
    """
    result = []
    written: dict[object, Lowered] = {}
    read: dict[object, list[Lowered]] = {}
    for one in lowered:
        writes = [_identity(n, places) for n in one.writes]
        reads = [_identity(n, places) for n in one.parameters]
        needed = any(x in written and not _same_thread(written[x], one) for x in reads)
        needed |= any(not _same_thread(r, one) for x in writes for r in read.get(x, ()))
        if needed:
            written.clear()
            read.clear()
        result.append(needed)
        written.update(dict.fromkeys(writes, one))
        for x in reads:
            read.setdefault(x, []).append(one)
    return result


def _identity(node: Node, places: dict[Node, Buffer]) -> object:
    owner = storage(node)
    return places.get(owner, owner)


def _same_thread(before: Lowered, after: Lowered) -> bool:
    """Whether each thread needs only what it made itself."""
    return before.work.cost.blocks == after.work.cost.blocks == 1


def allocate(lowered: Sequence[Lowered], waits: Sequence[bool], places: dict[Node, Buffer]) -> int:
    """Give every intermediate a place in the arena; returns the arena's size.

    A place is used again only behind a barrier, so that sharing memory never costs one.
    """
    epochs = list(itertools.accumulate(waits, initial=0))[1:]
    last: dict[Node, int] = {}
    for one, now in zip(lowered, epochs, strict=True):
        last.update(dict.fromkeys(map(storage, one.parameters), now))
    live: list[_Place] = []
    top = 0
    for one, now in zip(lowered, epochs, strict=True):
        live = [place for place in live if place.last >= now]
        for node in one.writes:
            if node not in places:
                size = -(-node.size * node.dtype.itemsize // ALIGNMENT) * ALIGNMENT
                start = _smallest_gap(live, size)
                bisect.insort(live, _Place(start, start + size, last[node]))
                top = max(top, start + size)
                places[node] = Buffer("arena", 0, start)
    return top


class _Place(NamedTuple):
    """Bytes of the arena, and the epoch in which they are last used."""

    start: int
    stop: int
    last: int


def _smallest_gap(live: Sequence[_Place], size: int) -> int:
    """Where to put so many bytes: into the smallest gap between places that fits, or after them."""
    stops = [0, *(place.stop for place in live)]
    gaps = ((place.start - stop, stop) for place, stop in zip(live, stops, strict=False))
    return min((gap for gap in gaps if gap[0] >= size), default=(0, stops[-1]))[1]
