"""The order of the kernels: by levels, so that as few barriers as possible separate them."""

from __future__ import annotations

from collections.abc import Sequence

from needle.compiler.graph import Node
from needle.compiler.lower import Lowered, bundled
from needle.compiler.lower_schedule import storage


def levels(lowered: Sequence[Lowered]) -> list[int]:
    """For each kernel the most kernels that must run one after the other before it."""
    writer = {n: k for k, one in enumerate(lowered) for n in one.writes}
    result = [0] * len(lowered)
    for k, one in enumerate(lowered):
        before = {writer.get(storage(n), k) for n in one.parameters} - {k}
        result[k] = max((result[b] + 1 for b in before), default=0)
    return result


def ordered(lowered: Sequence[Lowered]) -> list[Lowered]:
    """Kernels by level; those that write state come last."""
    found = levels(lowered)
    order = sorted(range(len(lowered)), key=lambda k: (lowered[k].state, found[k], k))
    return [lowered[k] for k in order]


def bundled_state(lowered: Sequence[Lowered]) -> list[Lowered]:
    """The kernels with those that write state and do not wait for each other made one."""
    plain = [one for one in lowered if not one.state]
    state = [one for one in lowered if one.state]
    written: set[Node] = {n for one in state for n in one.writes}
    if any(storage(n) in written - set(one.writes) for one in state for n in one.parameters):
        return list(lowered)
    return [*plain, bundled(state)] if state else plain
