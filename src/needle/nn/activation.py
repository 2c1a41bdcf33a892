"""Activations as modules."""

from __future__ import annotations

from typing import Any

from needle import ops
from needle.autograd import Tensor
from needle.nn.module import Module


class ReLU(Module):
    """max(x, 0), any shape; the gradient at 0 is 0.

    >>> nn.ReLU()(ndl.Tensor([-1.0, 2.0]))
    needle.Tensor([0. 2.])
    """

    def forward(self, x: Any) -> Tensor:
        return ops.relu(x)


class Sigmoid(Module):
    """1 / (1 + e^-x), any shape.

    >>> nn.Sigmoid()(ndl.Tensor([0.0]))
    needle.Tensor([0.5])
    """

    def forward(self, x: Any) -> Tensor:
        return ops.sigmoid(x)


class Tanh(Module):
    """Hyperbolic tangent, any shape.

    >>> nn.Tanh()(ndl.Tensor([0.0]))
    needle.Tensor([0.])
    """

    def forward(self, x: Any) -> Tensor:
        return ops.tanh(x)


class GELU(Module):
    """x Phi(x), Phi the normal distribution function; `approximate="tanh"` for the approximation.

    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016.

    >>> nn.GELU()(ndl.Tensor([1.0])).numpy().round(4).tolist()
    [0.8413]
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, x: Any) -> Tensor:
        return ops.gelu(x, self.approximate)
