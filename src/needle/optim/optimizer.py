"""What all optimizers share: the parameters, their state, and how both are saved.

Optimizers compute on arrays, not on Tensors: an update has no gradient, and a tracer records arrays
too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from needle.autograd import Tensor
from needle.errors import ArgumentError, DtypeError
from needle.nn.calls import check_state

State = dict[Tensor, Tensor]


class Optimizer:
    """Base of all optimizers: `step()` updates the parameters from their gradients.

    A subclass names its per-parameter state in `slots` (made in `__init__`, each a dict from
    parameter to Tensor) and its numbers in `numbers`. Numbers are plain attributes and may be
    changed at any time. A parameter without gradient is skipped. No gradient and no dtype is
    changed, no graph held.

    Errors: ArgumentError without parameters, DtypeError for something that is no Tensor.
    """

    slots: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    lr: float

    def __init__(self, params: Iterable[Tensor]) -> None:
        if callable(getattr(params, "parameters", None)):
            raise DtypeError(
                "Optimizer: expected parameters, got a module; pass model.parameters()"
            )
        if isinstance(params, Tensor):
            raise DtypeError(
                "Optimizer: expected a list of parameters, got a Tensor; pass [tensor]"
            )
        given = list(params)
        if not given:
            raise ArgumentError("Optimizer: expected at least one parameter, got none")
        for p in given:
            if not isinstance(p, Tensor):
                raise DtypeError(f"Optimizer: expected Tensors, got {type(p).__name__} {p!r:.40}")
            if p.op is not None:
                raise DtypeError(
                    f"Optimizer: expected parameters, got the result of {p.op.name}; make it one "
                    "by nn.Parameter(tensor)"
                )
        self.params = list(dict.fromkeys(given))  # a shared one is updated once

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        raise NotImplementedError(f"{type(self).__name__} has no step(self)")

    def reset_grad(self) -> None:
        """Set `grad` of all parameters to None."""
        for p in self.params:
            p.grad = None

    def zero_grad(self) -> None:
        """Set `grad` of all parameters to None: `reset_grad()` under PyTorch's name."""
        self.reset_grad()

    def zeros(self) -> State:
        """Return a zero for each parameter, of its shape and dtype."""
        return {p: Tensor.make_const(np.zeros(p.shape, p.dtype)) for p in self.params}

    def updates(self) -> Iterator[tuple[Tensor, Any, Any]]:
        """Yield (parameter, its array, its gradient's array in that dtype) where there is one."""
        for p in self.params:
            if p.grad is None:
                continue
            array, grad = p.realize_cached_data(), p.grad.realize_cached_data()
            yield p, array, grad if grad.dtype == array.dtype else grad.astype(array.dtype)

    def state_dict(self) -> dict[str, Any]:
        """Return numbers by name and copies of the state by `name.i` for parameter i.

        >>> p = nn.Parameter(ndl.ones(1))
        >>> list(ndl.optim.SGD([p], momentum=0.9).state_dict())
        ['lr', 'momentum', 'weight_decay', 'u.0']
        """
        state: dict[str, Any] = {name: getattr(self, name) for name in self.numbers}
        for key, tensor in self._arrays().items():
            state[key] = np.array(tensor.realize_cached_data())
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned, all or nothing.

        Errors: StateDictError that lists what is missing, unexpected or of the wrong shape.
        """
        arrays = self._arrays()
        wrong = [
            f"{key} of shape {np.shape(state_dict[key])}, expected {tensor.shape}"
            for key, tensor in arrays.items()
            if key in state_dict and np.shape(state_dict[key]) != tensor.shape
        ]
        check_state(self, [*self.numbers, *arrays], state_dict, wrong)
        copies = {key: np.array(state_dict[key], dtype=t.dtype) for key, t in arrays.items()}
        for key, copy in copies.items():
            arrays[key].cached_data = copy
        for name in self.numbers:
            setattr(self, name, _number(state_dict[name]))

    def _arrays(self) -> dict[str, Tensor]:
        return {
            f"{slot}.{i}": getattr(self, slot)[p]
            for slot in self.slots
            for i, p in enumerate(self.params)
        }

    def __repr__(self) -> str:
        numbers = ", ".join(f"{name}={getattr(self, name)}" for name in self.numbers)
        return f"{type(self).__name__}({len(self.params)} parameters, {numbers})"


def assign(tensor: Tensor, array: Any) -> None:
    """Give a Tensor another array of its dtype; whoever holds the old one keeps its values."""
    if isinstance(array, np.generic):  # NumPy's arithmetic turns 0-d arrays into scalars
        array = np.asarray(array)
    dtype = tensor.dtype  # wider where a number such as lr is a NumPy float64
    tensor.cached_data = array if array.dtype == dtype else array.astype(dtype)


def check_number(name: str, value: Any, low: float = 0.0, below: float = float("inf")) -> Any:
    """Return an optimizer's number; ArgumentError unless low <= value < below."""
    if not low <= value < below:
        limit = f"from {low:g}" + (f" to below {below:g}" if below < float("inf") else "")
        raise ArgumentError(f"{name}: expected a number {limit}, got {value}")
    return value


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, np.ndarray | np.generic) else value
