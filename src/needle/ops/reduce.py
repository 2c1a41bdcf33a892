"""Ops that reduce axes: sum, mean, variance, largest, smallest."""

from __future__ import annotations

import math
from typing import Any

from needle.autograd.tensor import Tensor, TensorOp
from needle.ops.arguments import kept_shape, reduced_axes, resolve_axes
from needle.ops.elementwise import equal
from needle.ops.movement import broadcast_to, reshape


class Reduction(TensorOp):
    """Base of the reductions: which axes go, and how a gradient is spread back over them."""

    def __init__(self, axes: Any = None, keepdims: bool = False) -> None:
        self.axes = resolve_axes(self.name, axes)
        self.keepdims = keepdims

    def over(self, a: Any) -> tuple[int, ...]:
        """Return the reduced axes of an input."""
        return reduced_axes(self.name, self.axes, len(a.shape))

    def count(self, a: Any) -> int:
        """Return how many elements go into one result."""
        return math.prod(a.shape[i] for i in self.over(a))

    def average(self, a: Any, keepdims: bool = True) -> Any:
        """Return the mean of an array: the sum divided by n, at half the cost of numpy.mean."""
        xp, axes = a.__array_namespace__(), self.over(a)
        if a.dtype.kind != "f" or a.dtype.itemsize < 4:  # whose sums overflow where the mean fits
            return xp.mean(a, axis=axes, keepdims=keepdims)
        return xp.sum(a, axis=axes, keepdims=keepdims) / self.count(a)

    def spread(self, value: Tensor, like: Any) -> Tensor:
        """Repeat a result along the reduced axes, to the shape of the input `like`."""
        return broadcast_to(reshape(value, kept_shape(like.shape, self.over(like))), like.shape)


class Summation(Reduction):
    """Sum over axes."""

    name = "summation"

    def compute(self, a: Any) -> Any:
        return a.__array_namespace__().sum(a, axis=self.over(a), keepdims=self.keepdims)

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        return self.spread(out_grad, node.inputs[0])


def summation(
    a: Any, axes: Any = None, keepdims: bool = False, *, axis: Any = None, dim: Any = None
) -> Tensor:
    """Sum over `axes`: None (all), an int or a tuple. `axis` is accepted for `axes`.

    >>> ops.summation(ndl.Tensor([[1.0, 2.0], [3.0, 4.0]]), axes=1)
    needle.Tensor([3. 7.])
    """
    return Summation(resolve_axes("summation", axes, axis, dim), keepdims)(a)


class Mean(Reduction):
    """Average over axes."""

    name = "mean"

    def compute(self, a: Any) -> Any:
        return self.average(a, self.keepdims)

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        a = node.inputs[0]
        return self.spread(out_grad / (self.count(a) or 1), a)


def mean(
    a: Any, axes: Any = None, keepdims: bool = False, *, axis: Any = None, dim: Any = None
) -> Tensor:
    """Average over `axes`: None (all), an int or a tuple.

    >>> ops.mean(ndl.Tensor([[1.0, 2.0], [3.0, 4.0]]), axes=0)
    needle.Tensor([2. 3.])
    """
    return Mean(resolve_axes("mean", axes, axis, dim), keepdims)(a)


class Var(Reduction):
    """Variance over axes, centred: the mean of (a - mean a)^2."""

    name = "var"

    def __init__(self, axes: Any = None, keepdims: bool = False, correction: float = 0) -> None:
        super().__init__(axes, keepdims)
        self.correction = correction

    def compute(self, a: Any) -> Any:
        centred = a - self.average(a)
        total = a.__array_namespace__().sum(
            centred * centred, axis=self.over(a), keepdims=self.keepdims
        )
        return total / (self.count(a) - self.correction)

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        a = node.inputs[0]
        centred = a - mean(a, self.over(a), keepdims=True)
        degrees = self.count(a) - self.correction
        return self.spread(out_grad, a) * centred * (2 / degrees if degrees else math.inf)


def var(
    a: Any,
    axes: Any = None,
    keepdims: bool = False,
    *,
    correction: float = 0,
    axis: Any = None,
    dim: Any = None,
) -> Tensor:
    """Compute the variance over `axes`, divided by n - `correction` (0: biased).

    >>> ops.var(ndl.Tensor([1.0, 3.0]))
    needle.Tensor(1.0)
    """
    return Var(resolve_axes("var", axes, axis, dim), keepdims, correction)(a)


class Max(Reduction):
    """Largest element over axes."""

    name = "max"

    def compute(self, a: Any) -> Any:
        return a.__array_namespace__().max(a, axis=self.over(a), keepdims=self.keepdims)

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        a = node.inputs[0]
        chosen = equal(a, self.spread(node, a)).astype(out_grad.dtype)
        shared = chosen / summation(chosen, self.over(a), keepdims=True)
        return self.spread(out_grad, a) * shared


class Min(Max):
    """Smallest element over axes."""

    name = "min"

    def compute(self, a: Any) -> Any:
        return a.__array_namespace__().min(a, axis=self.over(a), keepdims=self.keepdims)


def max(
    a: Any, axes: Any = None, keepdims: bool = False, *, axis: Any = None, dim: Any = None
) -> Tensor:
    """Take the largest element over `axes`; equal ones share the gradient; NaN passes.

    >>> ops.max(ndl.Tensor([[1.0, 5.0], [3.0, 4.0]]), axes=1)
    needle.Tensor([5. 4.])
    """
    return Max(resolve_axes("max", axes, axis, dim), keepdims)(a)


def min(
    a: Any, axes: Any = None, keepdims: bool = False, *, axis: Any = None, dim: Any = None
) -> Tensor:
    """Take the smallest element over `axes`; equal ones share the gradient; NaN passes.

    >>> ops.min(ndl.Tensor([[1.0, 5.0], [3.0, 4.0]]), axes=1)
    needle.Tensor([1. 3.])
    """
    return Min(resolve_axes("min", axes, axis, dim), keepdims)(a)
