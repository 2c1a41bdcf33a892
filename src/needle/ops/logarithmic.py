"""Logarithms of sums of exponentials and what follows from them, stable forward and backward."""

from __future__ import annotations

from typing import Any

from needle.autograd.tensor import Tensor, TensorOp
from needle.ops.arguments import as_floating, reduced_axes, resolve_axes
from needle.ops.elementwise import exp
from needle.ops.reduce import Reduction, summation


class LogSumExp(Reduction):
    """log(sum(exp(a))) over axes."""

    name = "logsumexp"

    def compute(self, a: Any) -> Any:
        xp, axes, a = a.__array_namespace__(), self.over(a), as_floating(a)
        top = xp.max(a, axis=axes, keepdims=True)
        top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))  # inf - inf would be NaN
        result = xp.log(xp.sum(xp.exp(a - top), axis=axes, keepdims=True)) + top
        return result if self.keepdims else xp.squeeze(result, axis=axes)

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        a = node.inputs[0]
        return self.spread(out_grad, a) * exp(a - self.spread(node, a))


def logsumexp(
    a: Any, axes: Any = None, keepdims: bool = False, *, axis: Any = None, dim: Any = None
) -> Tensor:
    """Compute log(sum(exp(a))) over `axes` without overflow.

    >>> ops.logsumexp(ndl.Tensor([1000.0, 1000.0])).item()
    1000.6931471805599
    """
    return LogSumExp(resolve_axes("logsumexp", axes, axis, dim), keepdims)(a)


class LogSoftmax(TensorOp):
    """a - log(sum(exp(a))) along an axis."""

    name = "logsoftmax"

    def __init__(self, axis: int = 1) -> None:
        self.axis = axis

    def compute(self, a: Any) -> Any:
        reduced_axes(self.name, self.axis, len(a.shape))
        xp, a = a.__array_namespace__(), as_floating(a)
        shifted = a - xp.max(a, axis=self.axis, keepdims=True)
        return shifted - xp.log(xp.sum(xp.exp(shifted), axis=self.axis, keepdims=True))

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        return out_grad - exp(node) * summation(out_grad, self.axis, keepdims=True)


def logsoftmax(a: Any, axis: int = 1) -> Tensor:
    """Compute log(softmax(a)) along `axis`: by default 1, the classes of (rows, classes).

    >>> ops.logsoftmax(ndl.Tensor([[0.0, 0.0]])).numpy().round(4).tolist()
    [[-0.6931, -0.6931]]
    """
    return LogSoftmax(resolve_axes("logsoftmax", axis))(a)


class Softmax(TensorOp):
    """exp(a) / sum(exp(a)) along an axis."""

    name = "softmax"

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def compute(self, a: Any) -> Any:
        reduced_axes(self.name, self.axis, len(a.shape))
        xp, a = a.__array_namespace__(), as_floating(a)
        z = xp.exp(a - xp.max(a, axis=self.axis, keepdims=True))
        return z / xp.sum(z, axis=self.axis, keepdims=True)

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        return node * (out_grad - summation(out_grad * node, self.axis, keepdims=True))


def softmax(a: Any, axis: int = -1) -> Tensor:
    """Turn scores into probabilities along `axis`: exp(a) / sum(exp(a)).

    >>> ops.softmax(ndl.Tensor([[0.0, 0.0]]))
    needle.Tensor([[0.5 0.5]])
    """
    return Softmax(resolve_axes("softmax", axis))(a)
