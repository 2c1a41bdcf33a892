"""From a traced graph to something that runs it: simplified, fused, compiled, or from disk."""

from __future__ import annotations

import contextlib
import functools
import gc
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from needle.compiler.graph.graph import Graph
from needle.compiler.graph.interpret import interpret as run_graph
from needle.compiler.run import cache
from needle.compiler.run.run import BoundProgram, load

SLOW = 1.0
"""Seconds of compilation above which one line on stderr says so."""


Compile = Callable[[Graph, dict[int, int], frozenset[int]], "BoundProgram | Interpreted"]


class Interpreted:
    """A graph run by the interpreter, with the methods of `run.BoundProgram`; see there.

    With `wide`, all float32 is computed in float64.
    """

    def __init__(
        self, graph: Graph, tied: dict[int, int], numbers: frozenset[int], wide: bool = False
    ) -> None:
        self.graph, self.numbers, self.wide = graph, numbers, wide
        self.arrays: list[Any] = [None] * (len(graph.inputs) - len(numbers))
        self.moved = 0
        self.runs = lambda: self.moved
        self.outputs: Callable[[], list[np.ndarray]] = list

    def take(self, i: int, array: np.ndarray) -> np.ndarray:
        """Bind an array."""
        self.arrays[i] = array
        return array

    def call(self, arrays: Sequence[np.ndarray], numbers: Sequence[float] = ()) -> list[np.ndarray]:
        """Bind all arrays and run."""
        self.arrays = [*arrays]
        return self.run(numbers)

    def run(self, numbers: Sequence[float] = ()) -> list[np.ndarray]:
        """Run the interpreter; results never share memory with inputs."""
        values, figures = iter(self.arrays), iter(numbers)
        given = [
            np.asarray(next(figures), node.dtype) if i in self.numbers else next(values)
            for i, node in enumerate(self.graph.inputs)
        ]
        results = [np.array(x) for x in run_graph(self.graph, given, wide=self.wide)]
        self.outputs = lambda: results
        self.moved += 1
        return results


interpret = Interpreted


def compile_graph(graph: Graph, tied: dict[int, int], numbers: frozenset[int]) -> BoundProgram:
    """Return a native program, compiled now or at another time."""
    start = time.perf_counter()
    name = cache.key([str(graph), repr(sorted(tied.items())), repr(sorted(numbers))])
    found = cache.load(name)
    if found is not None:
        return load(*found)
    from needle.compiler.plan.plan import compile_graph as plan
    from needle.compiler.run.native import compile_module  # a hit needs none of the passes
    from needle.compiler.simplify.simplify import simplify

    with _without_collector():
        program = plan(simplify(graph), tied=tied, numbers=numbers)
    objects = [compile_module(program.llvm_ir)]
    cache.store(name, program, objects)
    seconds = time.perf_counter() - start
    if seconds > SLOW:
        kernels = len(program.kernels)
        print(f"needle: compiled {kernels} kernels in {seconds:.1f} s", file=sys.stderr)
    return load(program, objects)


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """No cyclic garbage collection meanwhile: the passes make many objects and few cycles, and
    looking through them again and again took a fifth of the time for 20,000 nodes.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@functools.cache
def available() -> bool:
    """Whether LLVM works here; if not, one line on stderr says so, and everything runs eagerly."""
    from needle.compiler.run.native import NativeUnavailable, llvm

    try:
        llvm()
    except NativeUnavailable as error:
        print(f"needle: {error}", file=sys.stderr)
        return False
    return True
