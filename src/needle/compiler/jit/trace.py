"""One trace: run the user's function with traced values, and note what it reads, writes and
returns.

Slots that the function rebinds are compared with a snapshot afterwards, and put back. The result
is a `Trace`: a graph, where its inputs come from, and what to write where when it has run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from needle.autograd.mode import mode
from needle.autograd.tensor import Tensor
from needle.backend import random
from needle.compiler.graph.primitives_base import DTYPES
from needle.compiler.jit import signature
from needle.compiler.jit.collect import collect, refuse_changes
from needle.compiler.jit.origins import Leaf, Slot, Trace
from needle.compiler.jit.state import State
from needle.compiler.jit.state_holders import Holder, restore, slots
from needle.compiler.jit.state_others import Generators, others
from needle.compiler.jit.tracer import StepTracer
from needle.compiler.trace import record as t
from needle.compiler.trace.number import TracedNumber
from needle.compiler.trace.trace import TracedArray
from needle.errors import TraceError


class HostDraw(Exception):  # noqa: N818
    """The function drew from a generator of the host."""


class IteratorFromBefore:
    """Stands for an iterator from before the call, whose next value only a trace would take."""

    def __init__(self, label: str, iterator: Any) -> None:
        self._label, self._iterator = label, iterator

    def __iter__(self) -> IteratorFromBefore:
        return self

    def __next__(self) -> Any:
        raise t.refuse(
            f"next({self._label}) gives one value while tracing, which would be that of each call"
            f"{t.at_line()}; call it outside and pass what it gives as an argument"
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._iterator, name)


def trace(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any],
    static: frozenset[str], state: State, leaves: list[Any], draws: str,
) -> Trace:  # fmt: skip
    """Trace one call. Whatever happens, slots and NumPy's random state are as before afterwards."""
    job = (function, args, kwargs, static, state, leaves, draws)
    try:
        return _trace(*job)
    except HostDraw:  # look again, at every node: looking costs more than tracing
        return _trace(*job, watch=True)


def _trace(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any],
    static: frozenset[str], state: State, leaves: list[Any], draws: str, watch: bool = False,
) -> Trace:  # fmt: skip
    outside, own = others(state)
    held, held_outside = slots(state.holders), slots(outside)
    generators = Generators(own)
    tracer = StepTracer(state, leaves, draws)
    if watch:
        tracer.recorder.on_node = lambda name: generators.check(tracer.recorder, name)
    try:
        with t.recording(tracer.recorder), _arrays_locked(tracer, outside):
            mode.tracer = tracer
            try:
                placed = slots(outside)
                result = _run(tracer, function, args, kwargs, static, leaves)
                if tracer.recorder.refused is not None:
                    raise tracer.recorder.refused
                if watch:
                    generators.check(tracer.recorder)
                elif generators.used():
                    raise HostDraw
                hint = ", or make the object an argument of the function"
                refuse_changes(outside, placed, hint)
                collect(tracer, held, result)
            finally:
                mode.tracer = None
    except BaseException:
        generators.restore()
        raise
    finally:
        restore(state.holders, held)
        restore(outside, held_outside)
        tracer.clear()
    tracer.trace.frozen += generators.drawn
    return tracer.trace


@contextlib.contextmanager
def _arrays_locked(tracer: StepTracer, outside: list[Holder]) -> Iterator[None]:
    """Have arrays that are attributes of other objects traced; nobody writes into the rest."""
    rest = [x for _, x in tracer.state.others if isinstance(x, np.ndarray)]
    for holder in outside:
        for key, x in holder.items():
            if not isinstance(x, np.ndarray):
                continue
            if holder.style == "attribute" and x.dtype in DTYPES:
                holder.target[key] = TracedArray.of(tracer.recorder, x, holder.slot(key))
            else:
                rest.append(x)
    locked = [x for x in rest if x.flags.writeable]
    for x in locked:
        x.flags.writeable = False
    try:
        yield
    except ValueError as error:
        if not locked or "read-only" not in str(error):
            raise
        raise TraceError(
            "a compiled function writes into an array that it does not reach as its state, "
            "which would change only while tracing; put it into an attribute of a module, or "
            "make it an argument"
        ) from error
    finally:
        for x in locked:
            x.flags.writeable = True


def _run(
    tracer: StepTracer, function: Callable[..., Any], args: tuple[Any, ...],
    kwargs: dict[str, Any], static: frozenset[str], leaves: list[Any],
) -> Any:  # fmt: skip
    recorder, state = tracer.recorder, tracer.state
    count = iter(range(len(leaves)))

    def swap(x: Any) -> Any:
        i = next(count)
        if isinstance(x, Tensor):
            return x
        if isinstance(x, np.ndarray):
            return TracedArray.of(recorder, x.view(), f"argument {i}", Leaf(i))
        return TracedNumber(recorder, Leaf(i), x)

    made: list[tuple[str, Any]] = []
    swapped = [signature.replace(x, swap, f"argument {i}", made) for i, x in enumerate(args)]
    named = {
        name: value if name in static else signature.replace(value, swap, name, made)
        for name, value in sorted(kwargs.items())
    }
    own = [Holder(x, label, "item") for label, x in made]
    held = slots(own)
    for i, key in state.arrays:
        target = state.holders[i].target
        array = target[key].view()  # two slots are two inputs, whatever they share now
        traced = TracedArray.of(recorder, array, state.holders[i].slot(key), Slot(i, key))
        tracer.holders[i, key] = target[key] = traced
    for i, key in state.numbers:
        target = state.holders[i].target
        number = TracedNumber(recorder, Slot(i, key), target[key])
        tracer.lifted[i, key] = target[key] = number
    for i, key in state.iterators:
        holder = state.holders[i]
        stand_in = IteratorFromBefore(holder.slot(key), holder.target[key])
        tracer.holders[i, key] = holder.target[key] = stand_in
    with random.use_source(tracer):
        result = function(*swapped, **named)
    refuse_changes(own, held, ", or copy the argument first and change the copy")
    return result
