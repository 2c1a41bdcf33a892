"""Modules made of modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from needle.autograd import Tensor
from needle.errors import DtypeError, ShapeError
from needle.nn.calls import fail
from needle.nn.module import Module


class Sequential(Module):
    """One module after another: each takes the result of the one before.

    `.modules` is the tuple of them; `model[i]` picks one, a slice gives a Sequential of the same
    modules. In `state_dict` they go by index: `0.weight`.

    >>> nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    Sequential: 26 parameters
      0 Linear 3 -> 4: 16 parameters
      1 ReLU
      2 Linear 4 -> 2: 10 parameters
    """

    def __init__(self, *modules: Any) -> None:
        super().__init__()
        for module in modules:
            if not callable(module):
                raise DtypeError(
                    f"Sequential: expected modules, got {type(module).__name__}; "
                    "pass them one by one: Sequential(*layers)"
                )
        self.modules = modules

    def forward(self, x: Any) -> Any:
        for module in self.modules:
            x = module(x)
        return x

    def _attributes(self) -> Mapping[str, Any]:
        others = {name: value for name, value in vars(self).items() if name != "modules"}
        return {**{str(i): module for i, module in enumerate(self.modules)}, **others}

    def __len__(self) -> int:
        return len(self.modules)

    def __bool__(self) -> bool:
        return True  # an empty one is a model too: `if model:` asks for presence

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return Sequential(*self.modules[index])
        return self.modules[index]


class Residual(Module):
    """fn(x) + x, for an fn that keeps the shape.

    Errors: ShapeError where fn changes the shape, instead of a silent broadcast.

    Source: He et al., "Deep Residual Learning", 2015.

    >>> nn.Residual(nn.ReLU())(ndl.Tensor([-1.0, 2.0]))
    needle.Tensor([-1.  4.])
    """

    def __init__(self, fn: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: Any) -> Tensor:
        y = self.fn(x)
        if y.shape != x.shape:
            raise fail(
                self, ShapeError, f"expected fn to keep the shape {tuple(x.shape)}, got {y.shape}"
            )
        return y + x
