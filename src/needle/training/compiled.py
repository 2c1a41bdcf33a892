"""A training step as one native program, with eager steps where compiling does not pay."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from needle.autograd import Tensor
from needle.errors import TraceError

MOST_SHAPES = 8  # a compilation costs a second: a loader of random lengths must not do one a batch


class CompiledStep:
    """A function of Tensors, compiled once for each shape of a batch, for the first 8 of them.

    Batches of further shapes run eagerly, and so does a step that cannot be traced; either is said
    once on stderr and counted in `explain()`.
    """

    def __init__(self, step: Callable[..., Any]) -> None:
        from needle.compiler.jit.jit import jit  # importing needle must not load the compiler

        self.eager, self.compiled = step, jit(step)
        self.shapes: set[Any] = set()
        self.eager_steps = 0
        self.traceable, self.cause = True, ""

    def __call__(self, *batch: Tensor) -> Any:
        """Run one step."""
        key = tuple((x.shape, x.dtype) for x in batch)
        if self.traceable and key not in self.shapes and len(self.shapes) < MOST_SHAPES:
            self.shapes.add(key)
        if not self.traceable or key not in self.shapes:
            return self._run_eager(f"{MOST_SHAPES} batch shapes are compiled", *batch)
        try:
            return self.compiled(*batch)
        except TraceError as error:
            self.traceable = False
            return self._run_eager(str(error), *batch)

    def _run_eager(self, why: str, *batch: Tensor) -> Any:
        self.cause = self.cause or why
        if self.eager_steps == 0:
            rest = "further ones run eagerly" if self.traceable else "all runs eagerly"
            print(f"needle: {why}; {rest}", file=sys.stderr)
        self.eager_steps += 1
        return self.eager(*batch)

    def explain(self) -> str:
        """Return what was compiled and how many steps ran eagerly."""
        cause = f" ({self.cause})" if self.cause else ""
        return f"{self.compiled.explain()}\nsteps run eagerly: {self.eager_steps}{cause}"
