"""Looking twice: the eager error behind a bad index, and the comparisons of NEEDLE_CHECK."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np

from needle.autograd.tensor import Tensor
from needle.backend import random
from needle.compiler.graph.graph import Graph
from needle.compiler.jit import signature
from needle.compiler.jit.again import PhiloxStream, Snapshot
from needle.compiler.jit.call import Variant
from needle.compiler.jit.native import Compile, Interpreted
from needle.compiler.jit.state import State
from needle.errors import CheckError, NeedleError

WIDE = 0.01
"""The share of float32's tolerance that is left in float64; what is cast to float32 is rounded."""


def raise_as_eager(state: State, leaves: list[Any], call: Any, error: IndexError) -> NoReturn:
    """Raise what the eager run raises for a bad index: it names op, module and index."""
    function, args, kwargs = call
    snapshot = Snapshot(state, leaves)
    try:
        function(*args, **kwargs)
    except (NeedleError, IndexError) as eager:
        raise eager from None
    finally:
        snapshot.restore()
    raise error


def run(variant: Any, state: State, leaves: list[Any], call: Any, level: int) -> Any:
    """Run a compiled call and compare it with the interpreter, from level 2 with the eager run too.

    Raises: CheckError that names what differs; the state is then that of the compiled call.
    """
    before = Snapshot(state, leaves, variant.trace.foreign)
    watched = Watched(variant)
    executable, variant.executable = variant.executable, watched
    try:
        result = variant.run(state, leaves, call)
    finally:
        variant.executable = executable
    watched.compare()
    if level > 1:
        after = Snapshot(state, leaves, variant.trace.foreign)
        try:
            _compare_eager(Reruns(variant, state, leaves, call, before), result, watched.out)
        finally:
            after.restore()
    return result


class Watched:
    """An executable that keeps copies of what it is given and what it returns."""

    def __init__(self, variant: Any) -> None:
        self.variant, self.executable = variant, variant.executable

    def __getattr__(self, name: str) -> Any:
        return getattr(self.executable, name)

    def run(self, numbers: Any = ()) -> Any:
        """Run the executable."""
        self.arrays_before, self.numbers = [a.copy() for a in self.executable.arrays], numbers
        out = self.executable.run(numbers)
        self.out = [np.copy(x) for x in out]
        return out

    def compare(self) -> None:
        """Compare each kernel with the interpreter, and what was returned with the checked run."""
        from needle.compiler.check import check  # which needs all passes

        if not hasattr(self.executable, "program"):
            return
        steps = getattr(self.variant, "steps", None)
        if steps is None:
            steps = self.variant.steps = self._steps()
        outputs = check.check(self.executable, steps, self.arrays_before, self.numbers)
        for node, right, value in zip(self.variant.graph.outputs, outputs, self.out, strict=True):
            if not np.array_equal(right, value, equal_nan=value.dtype.kind == "f"):
                apart = np.abs(value.astype("float64") - right.astype("float64"))
                where = f"{node.source.op} at {node.source.place}" if node.source else node
                raise CheckError(
                    f"NEEDLE_CHECK: the result of {where} is apart by {np.nanmax(apart):.3g} from "
                    "that of the same program run again"
                )

    def _steps(self) -> list[Any]:
        """Plan the program once more, to know the nodes behind each of its steps."""
        from needle.compiler.plan.plan import compile_graph
        from needle.compiler.simplify.simplify import simplify

        steps: list[Any] = []
        wiring = self.variant.wiring
        compile_graph(
            simplify(wiring.graph), tied=wiring.tied, numbers=wiring.numbers, records=steps
        )
        return steps


class Reruns:
    """The same call from the state before it, in other ways; each gives what `_values` yields."""

    def __init__(
        self, variant: Variant, state: State, leaves: list[Any], call: Any, before: Snapshot
    ) -> None:
        self.variant, self.state, self.leaves = variant, state, leaves
        self.call, self.before = call, before

    def eager(self, wide: bool = False) -> dict[str, np.ndarray]:
        """Run the Python function; with `wide`, on float64 instead of float32."""
        function, args, kwargs = self.call
        self.before.restore()
        swap = self.before.widen() if wide else lambda x: x
        new = [signature.replace(x, swap) for x in args]
        named = {name: signature.replace(x, swap) for name, x in kwargs.items()}
        with contextlib.ExitStack() as stack:
            if self.variant.fetch.draws_key:
                key = int(np.random.randint(0, 2**64, dtype=np.uint64))
                stack.enter_context(random.use_source(PhiloxStream(key)))
            result = function(*new, **named)
        return dict(_values(self.state, [*map(swap, self.leaves)], result))

    def traced(
        self, graph: Callable[[Graph], Graph] = lambda graph: graph
    ) -> dict[str, np.ndarray]:
        """Interpret what was traced, changed by `graph`, in float64."""
        return self._run(lambda g, tied, numbers: Interpreted(graph(g), tied, numbers, wide=True))

    def placed(self, out: list[np.ndarray]) -> dict[str, np.ndarray]:
        """Put known outputs where the trace says."""

        def known(*wiring: Any) -> Interpreted:
            executable = Interpreted(*wiring)
            executable.run = lambda numbers=(): out  # type: ignore[method-assign]
            return executable

        return self._run(known)

    def _run(self, compile: Compile) -> dict[str, np.ndarray]:
        self.before.restore()
        variant = Variant(self.variant.trace, self.state, compile)
        return dict(
            _values(self.state, self.leaves, variant.run(self.state, self.leaves, self.call))
        )


def _compare_eager(reruns: Reruns, result: Any, out: list[np.ndarray]) -> None:
    """Run the function eagerly from the state before, and compare results and state.

    Where they differ, rounding may be why: a ReLU whose input is 0 but for rounding goes either
    way. In float64 it goes one way, so there each step from the function to its results is looked
    at by itself.
    """
    from needle.compiler.simplify.simplify import simplify

    compiled = dict(_values(reruns.state, reruns.leaves, result))
    first = _difference(compiled, reruns.eager(), 1)
    if not first:
        return
    try:
        exact = reruns.eager(wide=True)
    except Exception as error:
        raise CheckError(
            f"NEEDLE_CHECK=2: {first}: tracing froze something that changes, or rounding decides; "
            f"in float64, where it would not, the function raises {type(error).__name__}: {error}"
        ) from error
    traced = reruns.traced()
    if found := _difference(traced, exact, WIDE):
        raise CheckError(
            f"NEEDLE_CHECK=2: {found}: tracing froze something that changes (a clock, an attribute "
            "of another object, a file)"
        )
    if found := _difference(reruns.traced(simplify), traced, WIDE):
        raise CheckError(f"NEEDLE_CHECK=2: {found}: the compiler changed what was traced")
    if found := _difference(compiled, reruns.placed(out), 0):
        raise CheckError(f"NEEDLE_CHECK=2: {found}: the compiler put it in the wrong place")


def _difference(mine: dict[str, np.ndarray], eager: dict[str, np.ndarray], tolerance: float) -> str:
    """Say what differs from the eager run; an empty string if nothing does."""
    largest = max((np.abs(v).max(initial=0) for k, v in eager.items() if ".grad" in k), default=0)
    for label, right in eager.items():
        value = mine.get(label)
        if value is None or value.shape != right.shape:
            return f"{label} is there in the eager run only"
        room = 1e-3 * np.abs(right[np.isfinite(right)]).max(initial=0) + 1e-5 * largest + 1e-6
        grad = eager.get(f"{label}.grad")
        wrong = ~np.isclose(value, right, rtol=0, atol=tolerance * room, equal_nan=True)
        if grad is not None:  # where it is rounding noise, Adam scales that up
            size = np.abs(grad)
            wrong &= ~(size <= max(1e-5 * largest, 1e-3 * size.max(initial=0)))
        if wrong.any():
            apart = np.nanmax(np.abs(value - right)[wrong])
            return f"{label} differs from the eager run by {apart:.3g}"
    return ""


def _values(state: State, leaves: list[Any], result: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Yield every array and number of the result and of the reachable state, in float64."""
    found: list[tuple[str, Any]] = []
    signature.structure(result, lambda x, path: found.append((path, x)))
    for holder in state.holders:
        found += [(holder.slot(key) + str(_serial(key)), value) for key, value in holder.items()]
    found += [(f"argument {i}", leaf) for i, leaf in enumerate(leaves)]
    for label, value in found:
        if isinstance(value, Tensor):
            yield label, np.array(value.realize_cached_data(), "float64")
            if value._grad is not None:
                yield f"{label}.grad", np.array(value.grad.realize_cached_data(), "float64")
        elif isinstance(value, np.ndarray | int | float) and np.asarray(value).dtype.kind in "biuf":
            yield label, np.array(value, "float64")


def _serial(key: Any) -> str:
    return f" {id(key)}" if isinstance(key, Tensor) else ""
