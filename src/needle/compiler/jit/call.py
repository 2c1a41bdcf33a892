"""One compiled variant of a function, and what happens at each call of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from needle.compiler.graph.graph import Graph
from needle.compiler.jit.gradient import Call
from needle.compiler.jit.native import Compile, Interpreted
from needle.compiler.jit.origins import Trace
from needle.compiler.jit.program import SHAPE_GUARD, Fetch, wire
from needle.compiler.jit.state import State
from needle.compiler.program import Buffer
from needle.compiler.run.run import BoundProgram


class GuardError(Exception):
    """A guard of the trace does not hold; nothing was done."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


class Variant:
    """A trace with its executable: for one state, one signature, and while its guards hold."""

    def __init__(self, trace: Trace, state: State, compile: Compile) -> None:
        self.trace = trace
        self.wiring = wire(trace, trace.outputs, trace.tied)
        self.compile = compile
        self.executable = compile(self.wiring.graph, self.wiring.tied, self.wiring.numbers)
        in_place, vouched = set(), set[int]()
        if isinstance(self.executable, BoundProgram):
            self.executable = _vouched(self.executable, [p for _, p in trace.grads])
            vouched = self.executable.vouched
            outputs = enumerate(self.executable.program.outputs)
            in_place = {j for j, output in outputs if output.in_place is not None}
        self.fetch = Fetch(trace, self.wiring, state, in_place, vouched)
        inputs = enumerate(self.wiring.graph.inputs)
        self.arrays = [node for i, node in inputs if i not in self.wiring.numbers]
        self.copied = 0
        self._gradients: dict[int, BoundProgram | Interpreted] = {}

    def gradient_program(self, position: int) -> BoundProgram | Interpreted:
        """Return the program of a result's gradient, compiled at the first use."""
        program = self._gradients.get(position)
        if program is None:
            wiring = wire(self.trace, self.trace.gradients[position][1], {})
            program = self.compile(wiring.graph, {}, wiring.numbers)
            self._gradients[position] = program
        return program

    @property
    def graph(self) -> Graph:
        """The graph that was traced."""
        return self.wiring.graph

    def take(self, i: int, array: np.ndarray) -> np.ndarray:
        """Bind an array that is not the one of the last call."""
        node = self.arrays[i]
        if (array.shape, array.dtype) != (node.shape, node.dtype):
            raise GuardError(SHAPE_GUARD)
        if not array.flags.c_contiguous:
            self.copied += 1
            array = np.asarray(array, order="C")
        return self.executable.take(i, array)

    def run(self, state: State, leaves: Sequence[Any], args: Any) -> Any:
        """Run once; GuardError where a guard does not hold."""
        trace, fetch, executable = self.trace, self.fetch, self.executable
        tensors, targets, foreign = state.tensors, state.targets, trace.foreign
        key = np.random.randint(0, 2**64, dtype=np.uint64) if fetch.draws_key else 0
        call = Call(self, state, leaves, args)
        runs = executable.runs()
        try:
            out = fetch.run(leaves, tensors, targets, foreign, call, key, executable)
            if type(out) is int:
                raise GuardError(out)
        except KeyboardInterrupt:
            if executable.runs() != runs:  # leave a whole step's state
                call.out = executable.outputs()
                fetch.apply(leaves, tensors, targets, foreign, call, call.out, True)
            raise
        for label, position in trace.prints:
            print(f"{label}{out[position]}")
        result = trace.result(call)
        if trace.gradients:  # a result that is a node keeps the call, but no state
            call.out = []
        return result


def _vouched(bound: BoundProgram, gradients: list[int | None]) -> BoundProgram:
    """Let gradients in their slots be overwritten: the call replaces them anyway.

    But a call that meets a bad index must leave those of the call before. So the status is looked
    at before the first of them is written, and those that are written before it is known have other
    buffers at each call.
    """
    steps = [*bound.program.steps]
    first: dict[Buffer, int] = {}
    for k, step in reversed([*enumerate(steps)]):
        first.update(dict.fromkeys(step.buffers, k))
    last = max((k for k, s in enumerate(steps) if Buffer("status") in s.buffers), default=-1)
    places = {p: first.get(Buffer("result", p), -1) for p in gradients if p is not None}
    safe = {p: k for p, k in places.items() if k > last}
    if last >= 0 and safe:
        k = min(safe.values())
        steps[k] = replace(steps[k], commit=True)
        bound = BoundProgram(replace(bound.program, steps=tuple(steps)), bound.library)
    for place in safe:
        bound.vouch(place, 1)
    return bound
