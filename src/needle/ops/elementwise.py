"""Functions of each element: logarithm, exponential, activations, limits."""

from __future__ import annotations

import math
from typing import Any

from needle.autograd.tensor import Tensor, TensorOp
from needle.backend import extensions
from needle.errors import ArgumentError
from needle.ops.arguments import to_scalar
from needle.ops.compare import equal, greater, greater_equal, less, less_equal, sign
from needle.ops.movement import sum_to


class Log(TensorOp):
    """Natural logarithm."""

    name = "log"

    def compute(self, a: Any) -> Any:
        return a.__array_namespace__().log(a)

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        return out_grad / node.inputs[0]


def log(a: Any) -> Tensor:
    """Take the natural logarithm; -inf at 0, NaN below.

    >>> ops.log(ndl.Tensor([1.0]))
    needle.Tensor([0.])
    """
    return Log()(a)


class Exp(TensorOp):
    """e ** a."""

    name = "exp"

    def compute(self, a: Any) -> Any:
        return a.__array_namespace__().exp(a)

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        return out_grad * node


def exp(a: Any) -> Tensor:
    """Take the exponential: e ** a.

    >>> ops.exp(ndl.Tensor([0.0]))
    needle.Tensor([1.])
    """
    return Exp()(a)


class Sqrt(TensorOp):
    """Square root."""

    name = "sqrt"

    def compute(self, a: Any) -> Any:
        return a.__array_namespace__().sqrt(a)

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        return out_grad / (node * 2)


def sqrt(a: Any) -> Tensor:
    """Take the square root; NaN below 0.

    >>> ops.sqrt(ndl.Tensor([4.0]))
    needle.Tensor([2.])
    """
    return Sqrt()(a)


class Abs(TensorOp):
    """|a|."""

    name = "abs"

    def compute(self, a: Any) -> Any:
        return a.__array_namespace__().abs(a)

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        return out_grad * sign(node.inputs[0])


def abs(a: Any) -> Tensor:
    """Take the absolute value; the gradient at 0 is 0.

    >>> ops.abs(ndl.Tensor([-2.0]))
    needle.Tensor([2.])
    """
    return Abs()(a)


class Tanh(TensorOp):
    """Hyperbolic tangent."""

    name = "tanh"

    def compute(self, a: Any) -> Any:
        return a.__array_namespace__().tanh(a)

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        return out_grad * (1 - node**2)


def tanh(a: Any) -> Tensor:
    """Take the hyperbolic tangent.

    >>> ops.tanh(ndl.Tensor([0.0]))
    needle.Tensor([0.])
    """
    return Tanh()(a)


class Sigmoid(TensorOp):
    """1 / (1 + e^-a)."""

    name = "sigmoid"

    def compute(self, a: Any) -> Any:
        xp = a.__array_namespace__()
        z = xp.exp(xp.abs(a) * -1.0)  # never overflows; times -1.0 since -a wraps for uint8
        return xp.where(a < 0, z, xp.ones_like(z)) / (1 + z)

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        return out_grad * (node * (1 - node))


def sigmoid(a: Any) -> Tensor:
    """Take the logistic function: 1 / (1 + e^-a).

    >>> ops.sigmoid(ndl.Tensor([0.0]))
    needle.Tensor([0.5])
    """
    return Sigmoid()(a)


class ReLU(TensorOp):
    """max(a, 0)."""

    name = "relu"

    def compute(self, a: Any) -> Any:
        return a.__array_namespace__().maximum(a, 0)

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        return out_grad * greater(node, 0)


def relu(a: Any) -> Tensor:
    """Take the positive part: max(a, 0). The gradient at 0 is 0; NaN passes.

    >>> ops.relu(ndl.Tensor([-1.0, 2.0]))
    needle.Tensor([0. 2.])
    """
    return ReLU()(a)


class Erf(TensorOp):
    """The error function."""

    name = "erf"

    def compute(self, a: Any) -> Any:
        return extensions.erf(a)

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        return out_grad * (exp(-(node.inputs[0] ** 2)) * (2 / math.sqrt(math.pi)))


def erf(a: Any) -> Tensor:
    """Take the error function: 2/sqrt(pi) times the integral of e^(-t^2) from 0 to a.

    >>> ops.erf(ndl.Tensor([0.0]))
    needle.Tensor([0.])
    """
    return Erf()(a)


class GELU(TensorOp):
    """a Phi(a), Phi the normal distribution function."""

    name = "gelu"

    def compute(self, a: Any) -> Any:
        return a * (extensions.erf(a * math.sqrt(0.5)) + 1) * 0.5

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        a = node.inputs[0]
        phi = exp(a**2 * -0.5) * (1 / math.sqrt(2 * math.pi))
        return out_grad * ((erf(a * math.sqrt(0.5)) + 1) * 0.5 + a * phi)


def gelu(a: Any, approximate: str = "none") -> Tensor:
    """Take the Gaussian error linear unit: a Phi(a); "tanh" gives its approximation by tanh.

    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016.

    >>> ops.gelu(ndl.Tensor([0.0, 1.0])).numpy().round(4).tolist()
    [0.0, 0.8413]
    """
    if approximate == "none":
        return GELU()(a)
    if approximate == "tanh":
        a = a if isinstance(a, Tensor) else Tensor(a, requires_grad=False)
        return 0.5 * a * (1 + tanh(math.sqrt(2 / math.pi) * (a + 0.044715 * a**3)))
    raise ArgumentError(f'gelu: expected approximate "none" or "tanh", got {approximate!r}')


class Maximum(TensorOp):
    """The larger of a and b."""

    name = "maximum"

    def compute(self, a: Any, b: Any) -> Any:
        return a.__array_namespace__().maximum(a, b)

    def gradient(self, out_grad: Tensor, node: Tensor) -> tuple[Tensor, ...]:
        a, b = node.inputs
        to_a = greater(a, b) + equal(a, b) * 0.5  # equal values share the gradient
        return _share(out_grad, to_a, node)


class Minimum(TensorOp):
    """The smaller of a and b."""

    name = "minimum"

    def compute(self, a: Any, b: Any) -> Any:
        return a.__array_namespace__().minimum(a, b)

    def gradient(self, out_grad: Tensor, node: Tensor) -> tuple[Tensor, ...]:
        a, b = node.inputs
        return _share(out_grad, less(a, b) + equal(a, b) * 0.5, node)


def _share(out_grad: Tensor, to_a: Tensor, node: Tensor) -> tuple[Tensor, ...]:
    a, b = node.inputs
    to_a = to_a.astype(out_grad.dtype)
    return sum_to(out_grad * to_a, a.shape), sum_to(out_grad * (1 - to_a), b.shape)


def maximum(a: Any, b: Any) -> Tensor:
    """Take the larger of two, elementwise with broadcasting; equal values share the gradient.

    >>> ops.maximum(ndl.Tensor([1.0, 5.0]), ndl.Tensor([3.0, 2.0]))
    needle.Tensor([3. 5.])
    """
    return Maximum()(a, b)


def minimum(a: Any, b: Any) -> Tensor:
    """Take the smaller of two, elementwise with broadcasting; equal values share the gradient.

    >>> ops.minimum(ndl.Tensor([1.0, 5.0]), ndl.Tensor([3.0, 2.0]))
    needle.Tensor([1. 2.])
    """
    return Minimum()(a, b)


class Clip(TensorOp):
    """min(max(a, low), high)."""

    name = "clip"

    def __init__(self, low: Any = None, high: Any = None) -> None:
        self.low = None if low is None else to_scalar(self.name, low)
        self.high = None if high is None else to_scalar(self.name, high)

    def compute(self, a: Any) -> Any:
        xp = a.__array_namespace__()
        a = a if self.low is None else xp.maximum(a, self.low)
        return a if self.high is None else xp.minimum(a, self.high)

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        a = node.inputs[0]
        if self.low is not None:
            out_grad = out_grad * greater_equal(a, self.low)
        return out_grad if self.high is None else out_grad * less_equal(a, self.high)


def clip(a: Any, min: Any = None, max: Any = None) -> Tensor:
    """Limit to [min, max], numbers or None; the gradient is 0 outside.

    >>> ops.clip(ndl.Tensor([-2.0, 0.5, 2.0]), -1, 1)
    needle.Tensor([-1.   0.5  1. ])
    """
    return Clip(min, max)(a)
