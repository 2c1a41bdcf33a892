"""Arithmetic of two inputs, with NumPy's broadcasting, and of an input and a number."""

from __future__ import annotations

from typing import Any

import numpy as np

from needle.autograd.tensor import Tensor, TensorOp
from needle.autograd.value import NUMBERS, common_dtype, number_as_array
from needle.ops.arguments import to_scalar
from needle.ops.compare import equal, where
from needle.ops.elementwise import log
from needle.ops.movement import cast, sum_to

_FLOAT = np.dtype("float64")  # what a Python number counts as


class EWiseAdd(TensorOp):
    """a + b."""

    name = "add"

    def compute(self, a: Any, b: Any) -> Any:
        return a + b

    def gradient(self, out_grad: Tensor, node: Tensor) -> tuple[Tensor, ...]:
        return tuple(sum_to(out_grad, x.shape) for x in node.inputs)


def add(a: Any, b: Any) -> Tensor:
    """Add with broadcasting: a + b.

    >>> ops.add(ndl.Tensor([1.0, 2.0]), ndl.Tensor([[10.0], [20.0]]))
    needle.Tensor([[11. 12.]
     [21. 22.]])
    """
    return EWiseAdd()(a, b)


def subtract(a: Any, b: Any) -> Tensor:
    """Subtract with broadcasting: a - b, the node `EWiseAdd(a, Negate(b))`; AddScalar for a number.

    >>> ops.subtract(ndl.Tensor([3.0]), ndl.Tensor([1.0]))
    needle.Tensor([2.])
    """
    if isinstance(b, NUMBERS) and getattr(a, "dtype", _FLOAT).kind != "u":
        return AddScalar(-to_scalar("subtract", b))(a)
    if isinstance(a, NUMBERS) and getattr(b, "dtype", _FLOAT).kind == "f":
        return AddScalar(a)(Negate()(b))
    return EWiseAdd()(a, Negate()(_widened(b, a)))


def _widened(b: Any, a: Any) -> Any:
    """Convert an integer `b` to the dtype of a - b: the negative of a narrower uint8 would wrap."""
    if not all(hasattr(x, "dtype") or isinstance(x, NUMBERS) for x in (a, b)):
        return b  # the op below says what is wrong with it
    dtype = common_dtype((a, b))
    if isinstance(b, NUMBERS):
        return number_as_array(Negate(), b, dtype)
    return b if b.dtype.kind == "f" or b.dtype == dtype else cast(b, dtype)


class AddScalar(TensorOp):
    """a + s."""

    name = "add_scalar"

    def __init__(self, scalar: Any) -> None:
        self.scalar = to_scalar(self.name, scalar)

    def compute(self, a: Any) -> Any:
        return a + self.scalar

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        return out_grad


def add_scalar(a: Any, scalar: Any) -> Tensor:
    """Add a number: a + s. `scalar` is a number or a 1-element array.

    >>> ops.add_scalar(ndl.Tensor([1.0]), 2)
    needle.Tensor([3.])
    """
    return AddScalar(scalar)(a)


class EWiseMul(TensorOp):
    """a * b."""

    name = "multiply"

    def compute(self, a: Any, b: Any) -> Any:
        return a * b

    def gradient(self, out_grad: Tensor, node: Tensor) -> tuple[Tensor | None, ...]:
        a, b = node.inputs
        return (
            sum_to(out_grad * b, a.shape) if a.requires_grad else None,
            sum_to(out_grad * a, b.shape) if b.requires_grad else None,
        )


def multiply(a: Any, b: Any) -> Tensor:
    """Multiply with broadcasting: a * b.

    >>> ops.multiply(ndl.Tensor([1.0, 2.0]), ndl.Tensor([3.0, 4.0]))
    needle.Tensor([3. 8.])
    """
    return EWiseMul()(a, b)


class MulScalar(TensorOp):
    """a * s."""

    name = "mul_scalar"

    def __init__(self, scalar: Any) -> None:
        self.scalar = to_scalar(self.name, scalar)

    def compute(self, a: Any) -> Any:
        return a * self.scalar

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        return MulScalar(self.scalar)(out_grad)


def mul_scalar(a: Any, scalar: Any) -> Tensor:
    """Multiply by a number: a * s.

    >>> ops.mul_scalar(ndl.Tensor([1.0]), 2)
    needle.Tensor([2.])
    """
    return MulScalar(scalar)(a)


class EWiseDiv(TensorOp):
    """a / b."""

    name = "divide"

    def compute(self, a: Any, b: Any) -> Any:
        return a / b

    def gradient(self, out_grad: Tensor, node: Tensor) -> tuple[Tensor | None, ...]:
        a, b = node.inputs
        by_b = out_grad / b
        return (
            sum_to(by_b, a.shape) if a.requires_grad else None,
            sum_to(-(by_b * node), b.shape) if b.requires_grad else None,
        )


def divide(a: Any, b: Any) -> Tensor:
    """Divide with broadcasting: a / b.

    >>> ops.divide(ndl.Tensor([1.0]), ndl.Tensor([4.0]))
    needle.Tensor([0.25])
    """
    if isinstance(a, NUMBERS) and getattr(b, "dtype", _FLOAT).kind != "f":
        a = float(a)  # -2 is no uint8, and the result is floating anyway
    return EWiseDiv()(a, b)


class DivScalar(TensorOp):
    """a / s."""

    name = "divide_scalar"

    def __init__(self, scalar: Any) -> None:
        self.scalar = to_scalar(self.name, scalar)

    def compute(self, a: Any) -> Any:
        return a / self.scalar

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        return DivScalar(self.scalar)(out_grad)


def divide_scalar(a: Any, scalar: Any) -> Tensor:
    """Divide by a number: a / s.

    >>> ops.divide_scalar(ndl.Tensor([1.0]), 4)
    needle.Tensor([0.25])
    """
    return DivScalar(scalar)(a)


class EWisePow(TensorOp):
    """a ** b."""

    name = "power"

    def compute(self, a: Any, b: Any) -> Any:
        return a**b

    def gradient(self, out_grad: Tensor, node: Tensor) -> tuple[Tensor | None, ...]:
        a, b = node.inputs
        grad_a = grad_b = None
        if a.requires_grad:  # b a^(b-1), which is 0 and not 0 * inf where b is 0
            slope = b * a ** where(equal(b, 0), 1, b - 1)
            grad_a = sum_to(out_grad * slope, a.shape)
        if b.requires_grad:  # a^b log a, which is 0 and not 0 * -inf where a is 0
            slope = node * log(where(equal(a, 0), 1, a))
            grad_b = sum_to(out_grad * slope, b.shape)
        return grad_a, grad_b


def power(a: Any, b: Any) -> Tensor:
    """Raise to a power with broadcasting: a ** b; d/da = b a^(b-1), d/db = a^b log a.

    >>> ops.power(ndl.Tensor([2.0]), ndl.Tensor([3.0]))
    needle.Tensor([8.])
    """
    return EWisePow()(a, b)


class PowerScalar(TensorOp):
    """a ** s."""

    name = "power_scalar"

    def __init__(self, scalar: Any) -> None:
        self.scalar = to_scalar(self.name, scalar)

    def compute(self, a: Any) -> Any:
        return a**self.scalar

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        a, s = node.inputs[0], self.scalar
        if s == 0:
            return out_grad * 0
        return out_grad * (s * (a if s == 2 else a ** (s - 1)))


def power_scalar(a: Any, scalar: Any) -> Tensor:
    """Raise to a power that is a number: a ** s.

    >>> ops.power_scalar(ndl.Tensor([3.0]), 2)
    needle.Tensor([9.])
    """
    return PowerScalar(scalar)(a)


class Negate(TensorOp):
    """-a."""

    name = "negate"

    def compute(self, a: Any) -> Any:
        return -a

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        return -out_grad


def negate(a: Any) -> Tensor:
    """Change the sign: -a.

    >>> ops.negate(ndl.Tensor([1.0]))
    needle.Tensor([-1.])
    """
    return Negate()(a)
