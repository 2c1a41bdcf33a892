"""Where intermediates lie, and where threads must wait for each other."""

from __future__ import annotations

from collections.abc import Sequence

from needle.compiler.graph import Node
from needle.compiler.lower import Lowered
from needle.compiler.lower_index import storage
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
    epoch = 0
    epochs = []
    for wait in waits:
        epoch += wait
        epochs.append(epoch)
    last: dict[Node, int] = {}
    for one, now in zip(lowered, epochs, strict=True):
        last.update(dict.fromkeys(map(storage, one.parameters), now))
    free: list[tuple[int, int]] = []
    ending: dict[int, list[tuple[int, int]]] = {}
    top = 0
    done = -1
    for one, now in zip(lowered, epochs, strict=True):
        for gone in range(done + 1, now):
            for place in ending.pop(gone, ()):
                _release(free, place)
        done = now - 1
        for node in one.writes:
            if node in places:
                continue
            size = -(-node.size * node.dtype.itemsize // ALIGNMENT) * ALIGNMENT
            offset = _take(free, size)
            if offset is None:
                offset, top = top, top + size
            places[node] = Buffer("arena", 0, offset)
            ending.setdefault(last[node], []).append((offset, size))
    return top


def _take(free: list[tuple[int, int]], size: int) -> int | None:
    """The smallest free range that fits, cut to size."""
    fitting = [place for place in free if place[1] >= size]
    if not fitting:
        return None
    offset, room = min(fitting, key=lambda place: place[1])
    free.remove((offset, room))
    if room > size:
        free.append((offset + size, room - size))
    return offset


def _release(free: list[tuple[int, int]], place: tuple[int, int]) -> None:
    """Add a range, joined with its neighbours."""
    offset, size = place
    for other in list(free):
        if other[0] + other[1] == offset:
            free.remove(other)
            offset, size = other[0], size + other[1]
        elif offset + size == other[0]:
            free.remove(other)
            size += other[1]
    free.append((offset, size))
