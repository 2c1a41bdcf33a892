"""From a traced graph to something that runs it: simplified, fused, compiled, or from disk."""

from __future__ import annotations

import contextlib
import functools
import gc
import sys
import time
from collections.abc import Iterator

from needle.compiler.graph import Graph
from needle.compiler.jit_program import Executable, Interpreted

SLOW = 1.0
"""Seconds of compilation above which one line on stderr says so."""


def interpret(graph: Graph, tied: dict[int, int], numbers: frozenset[int]) -> Executable:
    """Return the interpreter as the executable."""
    return Interpreted(graph, tied, numbers)


def compile_graph(graph: Graph, tied: dict[int, int], numbers: frozenset[int]) -> Executable:
    """Return a native program, compiled now or at another time."""
    from needle.compiler import cache, run

    start = time.perf_counter()
    name = cache.key([str(graph), repr(sorted(tied.items())), repr(sorted(numbers))])
    found = cache.load(name)
    if found is not None:
        return run.load(*found)
    from needle.compiler.native import compile_module  # a hit needs none of the passes
    from needle.compiler.plan import compile_graph as plan
    from needle.compiler.simplify import simplify

    with _without_collector():
        program = plan(simplify(graph), tied=tied, numbers=numbers)
    objects = [compile_module(program.llvm_ir)]
    cache.store(name, program, objects)
    seconds = time.perf_counter() - start
    if seconds > SLOW:
        kernels = len(program.kernels)
        print(f"needle: compiled {kernels} kernels in {seconds:.1f} s", file=sys.stderr)
    return run.load(program, objects)


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
    from needle.compiler.native import NativeUnavailable, llvm

    try:
        llvm()
    except NativeUnavailable as error:
        print(f"needle: {error}", file=sys.stderr)
        return False
    return True
