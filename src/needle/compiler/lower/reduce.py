"""Reductions inside a sweep: a state carried from turn to turn, one term at a time.

The state of sum, prod, max and min is one vector, each lane with its own partial result; argmax and
argmin carry the best value and its position. Lanes are joined in a fixed order at the end.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

from needle.compiler.emit import like_numpy as emit_numpy
from needle.compiler.emit.emit import Builder
from needle.compiler.emit.values import Value, is_float
from needle.compiler.lower.elementwise import COMBINE, Place
from needle.compiler.lower.instruction import Instruction

State = tuple[Value, ...]


def parts(i: Instruction) -> int:
    """How many values a reduction carries."""
    return 2 if i.op == "arg" else 1


def neutral(fn: str, dtype: str) -> float | int:
    """The element that changes no result."""
    if fn in ("sum", "prod"):
        return 0 if fn == "sum" else 1
    largest = fn in ("min", "argmin")
    if dtype == "bool":
        return int(largest)
    if is_float(dtype):
        return math.inf if largest else -math.inf
    limits = np.iinfo(dtype)
    return int(limits.max if largest else limits.min)


def start(b: Builder, i: Instruction, operand: str, width: int) -> State:
    """The state before the first term; `operand` is the dtype of what is reduced."""
    value = b.const(neutral(str(i.attribute), operand), operand, width)
    if i.op == "arg":
        return value, b.const(np.iinfo(np.int64).max, "int64", width)
    return (value,)


def step(place: Place, i: Instruction, state: State) -> State:
    """The state after the term at `place`; lanes off the mask stay as they are."""
    b, width = place.b, place.width
    term: State = (b.splat(place.values[i.args[0]], width),)
    if i.op == "arg":
        term = (*term, b.splat(place.each(i.affine), width))
    if place.mask is not None:
        unchanged = start(b, i, term[0].dtype, width)
        tail = place.tail()
        term = tuple(b.select(tail, x, y) for x, y in zip(term, unchanged, strict=True))
    return _joined(b, i, state, term)


def finish(b: Builder, i: Instruction, turns: Sequence[State], across: bool) -> Value:
    """The result of the states of several turns.

    `across` joins the lanes, upper half to lower half until one is left.
    """
    state = functools.reduce(lambda x, y: _joined(b, i, x, y), turns)
    while across and state[0].width > 1:
        half = state[0].width // 2
        low, high = ([b.extract(v, at, half) for v in state] for at in (0, half))
        state = _joined(b, i, tuple(low), tuple(high))
    return state[-1]


def _joined(b: Builder, i: Instruction, x: State, y: State) -> State:
    if i.op == "arg":
        return _better(b, str(i.attribute), x, y)
    return (emit_numpy.apply(b, COMBINE[str(i.attribute)], x[0], y[0]),)


def _better(b: Builder, fn: str, best: State, other: State) -> State:
    """The better of two (value, position) pairs; NaN is best, then the lower position."""
    (x, i), (y, j) = best, other
    better = b.compare("gt" if fn == "argmax" else "lt", y, x)
    equal = b.compare("eq", y, x)
    if is_float(x.dtype):
        nan_x, nan_y = b.isnan(x), b.isnan(y)
        better = better | (nan_y & ~nan_x)
        equal = equal | (nan_x & nan_y)
    better = better | (equal & (j < i))
    return b.select(better, y, x), b.select(better, j, i)
