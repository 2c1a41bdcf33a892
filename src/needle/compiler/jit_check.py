"""Looking twice: the eager error behind a bad index, and the comparisons of NEEDLE_CHECK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np

from needle.autograd.tensor import Tensor
from needle.backend import random
from needle.compiler import philox, signature
from needle.compiler.state import State
from needle.compiler.state_holders import restore, slots
from needle.errors import CheckError, NeedleError


class Snapshot:
    """Everything a call may write: slots, data and gradients, with copies of all arrays."""

    def __init__(self, state: State, leaves: list[Any], foreign: list[Any] = ()) -> None:  # type: ignore[assignment]
        self.state = state
        self.held = slots(state.holders)
        values = [*state.tensors, *foreign, *leaves]
        self.tensors = [(x, x._data, x._grad) for x in values if hasattr(x, "_data")]
        arrays = [a for a in leaves if isinstance(a, np.ndarray)]
        arrays += [data for _, data, _ in self.tensors if isinstance(data, np.ndarray)]
        arrays += [state.holders[i].target[key] for i, key in state.arrays]
        self.arrays = [(a, a.copy()) for a in arrays if a.flags.writeable]
        self.random = np.random.get_state()

    def restore(self) -> None:
        """Put everything back."""
        restore(self.state.holders, self.held)
        for value, data, grad in self.tensors:
            value._data, value._grad = data, grad
        for array, values in self.arrays:
            np.copyto(array, values)
        np.random.set_state(self.random)


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
        _compare_eager(variant, state, leaves, call, before, result)
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
        from needle.compiler import check  # which needs all passes

        if not hasattr(self.executable, "program"):
            return
        steps = getattr(self.variant, "steps", None)
        if steps is None:
            steps = self.variant.steps = self._steps()
        outputs = check.check(self.executable, steps, self.arrays_before, self.numbers)
        for node, right, value in zip(self.variant.graph.outputs, outputs, self.out, strict=True):
            if not np.array_equal(right, value, equal_nan=value.dtype.kind == "f"):
                apart = np.abs(value.astype("float64") - right.astype("float64"))
                where = (
                    f"{node.source.op} at {node.source.file}:{node.source.line}"
                    if node.source
                    else node
                )
                raise CheckError(
                    f"NEEDLE_CHECK: the result of {where} is apart by {np.nanmax(apart):.3g} from "
                    "that of the same program run again"
                )

    def _steps(self) -> list[Any]:
        """Plan the program once more, to know the nodes behind each of its steps."""
        from needle.compiler.plan import compile_graph
        from needle.compiler.simplify import simplify

        steps: list[Any] = []
        wiring = self.variant.wiring
        compile_graph(
            simplify(wiring.graph), tied=wiring.tied, numbers=wiring.numbers, records=steps
        )
        return steps


def _compare_eager(
    variant: Any, state: State, leaves: list[Any], call: Any, before: Snapshot, result: Any
) -> None:
    """Run the function eagerly from the state before, and compare results and state."""
    function, args, kwargs = call
    after = Snapshot(state, leaves, variant.trace.foreign)
    mine = dict(_values(state, leaves, result))
    before.restore()
    try:
        if variant.fetch.draws_key:
            source = PhiloxStream(int(np.random.randint(0, 2**64, dtype=np.uint64)))
            with random.use_source(source):
                eager = function(*args, **kwargs)
        else:
            eager = function(*args, **kwargs)
        theirs = dict(_values(state, leaves, eager))
    finally:
        after.restore()
    largest = max((np.abs(v).max(initial=0) for k, v in theirs.items() if ".grad" in k), default=0)
    for label, right in theirs.items():
        value = mine.get(label)
        if value is None or value.shape != right.shape:
            raise CheckError(f"NEEDLE_CHECK=2: {label} is there in the eager run only")
        room = 1e-3 * np.abs(right[np.isfinite(right)]).max(initial=0) + 1e-5 * largest + 1e-6
        grad = theirs.get(f"{label}.grad")
        wrong = ~np.isclose(value, right, rtol=0, atol=room, equal_nan=True)
        if grad is not None:  # where it is rounding noise, Adam scales that up
            size = np.abs(grad)
            wrong &= ~(size <= max(1e-5 * largest, 1e-3 * size.max(initial=0)))
        if wrong.any():
            apart = np.nanmax(np.abs(value - right)[wrong])
            raise CheckError(
                f"NEEDLE_CHECK=2: {label} differs from the eager run by {apart:.3g}: tracing froze "
                "something that changes (a clock, an attribute of another object, a file)"
            )


class PhiloxStream:
    """What the program draws, for the eager run: the `Random` primitive's definition."""

    def __init__(self, key: int) -> None:
        self.key, self.index = key, 0

    def uniform(self, shape: Any) -> np.ndarray:
        """Draw from the uniform distribution."""
        return self._next(philox.uniform, shape)

    def normal(self, shape: Any) -> np.ndarray:
        """Draw from the normal distribution."""
        return self._next(philox.normal, shape)

    def _next(self, draw: Any, shape: Any) -> np.ndarray:
        self.index += 1
        return np.asarray(draw(self.key, self.index - 1, tuple(shape)), "float64")


class HostStream(random.NumpyStream):
    """What a call drew on the host, in order; None stands for what does not matter."""

    def __init__(self, draws: list[Any]) -> None:
        self.draws = iter(draws)

    def uniform(self, shape: Any) -> Any:
        """Draw from the uniform distribution."""
        found = next(self.draws)
        return super().uniform(shape) if found is None else found

    def normal(self, shape: Any) -> Any:
        """Draw from the normal distribution."""
        found = next(self.draws)
        return super().normal(shape) if found is None else found


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
