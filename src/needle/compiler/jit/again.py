"""What it takes to run a call again: the state as it was, and the same random numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from needle.backend import random
from needle.compiler.graph import philox
from needle.compiler.jit.state import State
from needle.compiler.jit.state_holders import restore, slots


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

    def widen(self) -> Callable[[Any], Any]:
        """Put float64 in the place of all float32; return what does so with an argument."""
        made: dict[int, Any] = {}

        def wide(x: Any) -> Any:
            single = isinstance(x, np.ndarray) and x.dtype == np.float32
            return made.setdefault(id(x), x.astype(np.float64)) if single else x

        for value, data, _ in self.tensors:
            value._data = wide(data)
        for i, key in self.state.arrays:
            target = self.state.holders[i].target
            target[key] = wide(target[key])
        return wide


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
