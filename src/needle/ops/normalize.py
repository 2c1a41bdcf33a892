"""Standardisation over axes, the common part of LayerNorm and BatchNorm.

With r = 1/sqrt(var + eps), y = (a - mean) r the result and g its gradient,

    da = r (g - mean(g) - y mean(g y)),

all means over the normalised axes. Both directions are one op each: eager training spends its time
on Python per op. As a map of g the second is symmetric, which makes its own gradient short.
"""

from __future__ import annotations

from typing import Any

from needle.autograd.tensor import Tensor
from needle.ops.arguments import resolve_axes
from needle.ops.reduce import Reduction, mean, var


class Standardising(Reduction):
    """Base of the two: axes and eps, and what both compute first."""

    def __init__(self, axes: Any, eps: float) -> None:
        super().__init__(axes, keepdims=True)
        self.eps = eps

    def centred_and_deviation(self, a: Any) -> tuple[Any, Any]:
        """Return a - mean and sqrt(var + eps), as arrays; the variance in its centred form."""
        centred = a - self.average(a)
        variance = self.average(centred * centred)
        return centred, a.__array_namespace__().sqrt(variance + self.eps)


class Normalize(Standardising):
    """y = (a - mean) / sqrt(var + eps) over axes."""

    name = "normalize"

    def compute(self, a: Any) -> Any:
        centred, deviation = self.centred_and_deviation(a)
        return centred / deviation

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        return NormalizeGradient(self.axes, self.eps)(node.inputs[0], out_grad)


class NormalizeGradient(Standardising):
    """da = r (g - mean(g) - y mean(g y)), from a and g."""

    name = "normalize_gradient"

    def compute(self, a: Any, g: Any) -> Any:
        centred, deviation = self.centred_and_deviation(a)
        y = centred / deviation
        return (g - (self.average(g) + y * self.average(g * y))) / deviation

    def gradient(self, out_grad: Tensor, node: Tensor) -> tuple[Tensor | None, Tensor]:
        """With u the gradient given: dg is this op on u, da follows from n r S below.

        sum(u da) = n r S, S = mean(u g) - mean(u) mean(g) - mean(u y) mean(g y); r changes with a
        by -r^2 y / n, and y by this op.
        """
        (a, g), u = node.inputs, out_grad
        grad_g = NormalizeGradient(self.axes, self.eps)(a, u)
        if not a.requires_grad:
            return None, grad_g
        y = normalize(a, self.over(a), self.eps)
        r = (var(a, self.over(a), keepdims=True) + self.eps) ** -0.5
        uy, gy = self._mean(u * y), self._mean(g * y)
        S = self._mean(u * g) - self._mean(u) * self._mean(g) - uy * gy
        through_y = NormalizeGradient(self.axes, self.eps)(a, gy * u + uy * g)
        return -(r * r * S * y) - r * through_y, grad_g

    def _mean(self, x: Tensor) -> Tensor:
        return mean(x, self.over(x), keepdims=True)


def normalize(a: Any, axes: Any, eps: float = 1e-5) -> Tensor:
    """Subtract the mean and divide by sqrt(variance + eps), both over `axes`, the variance biased.

    Source: Ioffe and Szegedy, "Batch Normalization", 2015; Ba et al., "Layer Normalization", 2016.

    >>> ops.normalize(ndl.Tensor([[1.0, 3.0]]), axes=-1, eps=0.0)
    needle.Tensor([[-1.  1.]])
    """
    return Normalize(resolve_axes("normalize", axes), eps)(a)
