"""The order of the kernels: by levels, so that as few barriers as possible separate them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from needle.compiler.fuse.group import MOST_MEMBERS
from needle.compiler.graph.graph import Node
from needle.compiler.index import storage
from needle.compiler.lower.bundle import Tailed
from needle.compiler.lower.lower import Lowered, bundled, with_tail
from needle.compiler.lower.nest import NestWork

TAIL_ELEMENTS = 4096
"""Size of work that is left to the thread that finishes last: half a microsecond."""

SMALL_ELEMENTS = 1 << 16
"""Size of loop nests that share a kernel with others: to larger ones a kernel is no matter."""


def levels(lowered: Sequence[Lowered]) -> list[int]:
    """For each kernel the most kernels that must run one after the other before it."""
    writer = {n: k for k, one in enumerate(lowered) for n in one.writes}
    result = [0] * len(lowered)
    for k, one in enumerate(lowered):
        before = {writer.get(storage(n), k) for n in one.parameters} - {k}
        result[k] = max((result[b] + 1 for b in before), default=0)
    return result


def tailed(lowered: Sequence[Lowered]) -> list[Lowered]:
    """The kernels with small ones moved to the end of the last kernel they depend on."""
    order = ordered(lowered)
    result: list[Lowered] = []
    writer: dict[Node, int] = {}
    for one in order:
        hosts = {writer[n] for n in map(storage, one.parameters) if n in writer}
        last = max(hosts, default=-1)
        if last >= 0 and _is_tail(one) and _takes_tail(result[last], one):
            result[last] = with_tail(result[last], one)
        else:
            last = len(result)
            result.append(one)
        writer.update(dict.fromkeys(one.writes, last))
    return result


def _is_tail(one: Lowered) -> bool:
    """Whether work takes about as long as a barrier."""
    return not one.state and isinstance(one.work, NestWork) and _elements(one) <= TAIL_ELEMENTS


def _takes_tail(host: Lowered, tail: Lowered) -> bool:
    """Whether a kernel can end with some work: each buffer must be one pointer to both."""
    slots = {*host.slots, *tail.slots}
    one_each = len({node for node, _ in slots}) == len(slots)
    small = len(host.members) + len(tail.members) <= 2 * MOST_MEMBERS
    return isinstance(host.work, NestWork | Tailed) and not host.state and one_each and small


def ordered(lowered: Sequence[Lowered]) -> list[Lowered]:
    """Kernels by level; those that write state come last."""
    found = levels(lowered)
    order = sorted(range(len(lowered)), key=lambda k: (lowered[k].state, found[k], k))
    return [lowered[k] for k in order]


def bundled_small(lowered: Sequence[Lowered]) -> list[Lowered]:
    """The kernels in order, the small loop nests of each level made one."""
    found = levels(lowered)
    small: dict[int, list[int]] = {}
    for k, one in enumerate(lowered):
        if not one.state and isinstance(one.work, NestWork) and _elements(one) <= SMALL_ELEMENTS:
            small.setdefault(found[k], []).append(k)
    first = {group[0]: group for group in small.values()}
    gone = {k for group in small.values() for k in group[1:]}
    return [
        bundled([lowered[j] for j in first.get(k, [k])])
        for k in range(len(lowered))
        if k not in gone
    ]


def _elements(one: Lowered) -> int:
    return math.prod(one.work.nest.space) if isinstance(one.work, NestWork) else 0


def bundled_state(lowered: Sequence[Lowered]) -> list[Lowered]:
    """The kernels with those that write state and do not wait for each other made one."""
    plain = [one for one in lowered if not one.state]
    state = [one for one in lowered if one.state]
    written: set[Node] = {n for one in state for n in one.writes}
    if any(storage(n) in written - set(one.writes) for one in state for n in one.parameters):
        return list(lowered)
    return [*plain, bundled(state)] if state else plain
