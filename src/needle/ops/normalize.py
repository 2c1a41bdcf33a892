"""Standardisation over axes, the common part of LayerNorm and BatchNorm."""

from __future__ import annotations

from typing import Any

from needle.autograd.tensor import Tensor
from needle.ops.arguments import resolve_axes
from needle.ops.reduce import Reduction, mean, var


class Normalize(Reduction):
    """(a - mean) / sqrt(var + eps) over axes, as one node.

    With r = 1/sqrt(var + eps), y the result and g its gradient, da = r (g - mean(g) - y mean(g y)).
    """

    name = "normalize"

    def __init__(self, axes: Any, eps: float) -> None:
        super().__init__(axes, keepdims=True)
        self.eps = eps

    def compute(self, a: Any) -> Any:
        xp, axes = a.__array_namespace__(), self.over(a)
        centred = a - xp.mean(a, axis=axes, keepdims=True)
        variance = xp.mean(centred * centred, axis=axes, keepdims=True)
        return centred / xp.sqrt(variance + self.eps)

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        a, axes = node.inputs[0], self.over(node.inputs[0])
        r = (var(a, axes, keepdims=True) + self.eps) ** -0.5
        along = mean(out_grad * node, axes, keepdims=True)
        return r * (out_grad - mean(out_grad, axes, keepdims=True) - node * along)


def normalize(a: Any, axes: Any, eps: float = 1e-5) -> Tensor:
    """Subtract the mean and divide by sqrt(variance + eps), both over `axes`, the variance biased.

    Source: Ioffe and Szegedy, "Batch Normalization", 2015; Ba et al., "Layer Normalization", 2016.

    >>> ops.normalize(ndl.Tensor([[1.0, 3.0]]), axes=-1, eps=0.0)
    needle.Tensor([[-1.  1.]])
    """
    return Normalize(resolve_axes("normalize", axes), eps)(a)
