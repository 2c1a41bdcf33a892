"""What a sample of an op is, and makers of its inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Arrays = tuple[np.ndarray, ...]
Maker = Callable[[np.random.RandomState], np.ndarray]

SPECIAL = np.array([0.0, -0.0, 0.5, -1.5, 2.0, 1e10, -1e10, np.inf, -np.inf, np.nan])


@dataclass(frozen=True)
class Sample:
    """One call of an op: float64 inputs (integers where they are indices) and other arguments."""

    name: str
    function: Callable[..., Any]
    make_inputs: Callable[[int], Arrays]
    kwargs: dict[str, Any] = field(default_factory=dict)
    smooth: bool = True  # has a second derivative at the inputs that a difference quotient can see
    differentiable: bool = True
    large: bool = False  # values at 1e10: too large for difference quotients
    special: bool = False  # 0, -0, infinities and NaN: values are compared with NumPy's

    def apply(self, tensors: Any) -> Any:
        """Call the op."""
        return self.function(*tensors, **self.kwargs)


def inputs(*makers: Maker) -> Callable[[int], Arrays]:
    """Return the `make_inputs` of a Sample: each maker draws from one generator, in order."""

    def make(seed: int) -> Arrays:
        state = np.random.RandomState(seed)
        return tuple(np.asarray(maker(state)) for maker in makers)

    return make


def normal(*shape: int, scale: float = 1.0) -> Maker:
    return lambda state: scale * state.randn(*shape)


def positive(*shape: int, scale: float = 1.0) -> Maker:
    return lambda state: scale * (0.5 + state.rand(*shape))


def large(*shape: int) -> Maker:
    return normal(*shape, scale=1e10)


def apart(*shape: int) -> Maker:
    """Distinct values, none within 0.2 of another or of 0: for ops with kinks."""
    size = int(np.prod(shape))
    return lambda state: (state.permutation(size) - size // 2 + 0.3).reshape(shape) * 0.5


def integers(high: int, *shape: int) -> Maker:
    return lambda state: state.randint(0, high, size=shape)


def booleans(*shape: int) -> Maker:
    return lambda state: state.rand(*shape) < 0.5


def fixed(values: Any) -> Maker:
    return lambda state: np.array(values)


SHAPES = {"matrix": (3, 4), "zero_d": (), "empty": (0, 3), "size_one_axes": (1, 3, 1)}
PAIRS = {
    "equal": ((3, 4), (3, 4)),
    "rows": ((3, 4), (4,)),
    "outer": ((3, 1), (1, 4)),
    "leading": ((3, 1), (2, 3, 4)),
    "zero_d": ((), (3,)),
    "both_zero_d": ((), ()),
    "empty": ((0, 3), (1, 3)),
    "size_one_axes": ((1, 1), (1,)),
}
AXES = {
    "all": {},
    "last": {"axes": -1},
    "first": {"axes": 0},
    "pair": {"axes": (0, 2)},
    "kept": {"axes": (1,), "keepdims": True},
    "none_of_them": {"axes": ()},
}
