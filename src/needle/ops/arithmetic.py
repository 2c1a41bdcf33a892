"""Arithmetic of two inputs, with NumPy's broadcasting, and of an input and a number.

Tables as in `elementwise`: what is computed, and the gradient by each input, from the gradient g of
the result and the result y.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from needle.autograd.tensor import Tensor
from needle.autograd.value import NUMBERS, common_dtype, number_as_array
from needle.ops.arguments import to_scalar
from needle.ops.elementwise import Elementwise, elementwise, equal, log, where
from needle.ops.movement import cast

_FLOAT = np.dtype("float64")  # what a Python number counts as

EWiseAdd = elementwise(
    "EWiseAdd", "add", lambda a, b: a + b, lambda g, y, a, b: g, lambda g, y, a, b: g
)
EWiseMul = elementwise(
    "EWiseMul", "multiply", lambda a, b: a * b, lambda g, y, a, b: g * b, lambda g, y, a, b: g * a
)
EWiseDiv = elementwise(
    "EWiseDiv",
    "divide",
    lambda a, b: a / b,
    lambda g, y, a, b: g / b,
    lambda g, y, a, b: -(g / b * y),
)
EWisePow = elementwise(
    "EWisePow",
    "power",
    lambda a, b: a**b,
    # b a^(b-1), which is 0 and not 0 * inf where b is 0
    lambda g, y, a, b: g * (b * a ** where(equal(b, 0), 1, b - 1)),
    # a^b log a, which is 0 and not 0 * -inf where a is 0
    lambda g, y, a, b: g * (y * log(where(equal(a, 0), 1, a))),
)
Negate = elementwise("Negate", "negate", lambda a: -a, lambda g, y, a: -g)


class WithNumber(Elementwise):
    """An op of a table with a number s, which stands last in its functions."""

    def __init__(self, scalar: Any) -> None:
        self.scalar = to_scalar(self.name, scalar)

    def compute(self, a: Any) -> Any:
        return self.function(a, self.scalar)

    def gradient(self, out_grad: Tensor, node: Tensor) -> Any:
        return self.gradients[0](out_grad, node, node.inputs[0], self.scalar)


AddScalar = elementwise(
    "AddScalar", "add_scalar", lambda a, s: a + s, lambda g, y, a, s: g, base=WithNumber
)
MulScalar: type[Any] = elementwise(
    "MulScalar",
    "mul_scalar",
    lambda a, s: a * s,
    lambda g, y, a, s: MulScalar(s)(g),
    base=WithNumber,
)
DivScalar: type[Any] = elementwise(
    "DivScalar",
    "divide_scalar",
    lambda a, s: a / s,
    lambda g, y, a, s: DivScalar(s)(g),
    base=WithNumber,
)
PowerScalar = elementwise(
    "PowerScalar",
    "power_scalar",
    lambda a, s: a**s,
    lambda g, y, a, s: g * 0 if s == 0 else g * (s * (a if s == 2 else a ** (s - 1))),
    base=WithNumber,
)


def add(a: Any, b: Any) -> Tensor:
    """Add with broadcasting: a + b.

    >>> ops.add(ndl.Tensor([1.0, 2.0]), ndl.Tensor([[10.0], [20.0]]))
    needle.Tensor([[11. 12.]
     [21. 22.]])
    """
    if isinstance(b, NUMBERS):
        return AddScalar(b)(a)
    return AddScalar(a)(b) if isinstance(a, NUMBERS) else EWiseAdd()(a, b)


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


def add_scalar(a: Any, scalar: Any) -> Tensor:
    """Add a number: a + s. `scalar` is a number or a 1-element array.

    >>> ops.add_scalar(ndl.Tensor([1.0]), 2)
    needle.Tensor([3.])
    """
    return AddScalar(scalar)(a)


def multiply(a: Any, b: Any) -> Tensor:
    """Multiply with broadcasting: a * b.

    >>> ops.multiply(ndl.Tensor([1.0, 2.0]), ndl.Tensor([3.0, 4.0]))
    needle.Tensor([3. 8.])
    """
    if isinstance(b, NUMBERS):
        return MulScalar(b)(a)
    return MulScalar(a)(b) if isinstance(a, NUMBERS) else EWiseMul()(a, b)


def mul_scalar(a: Any, scalar: Any) -> Tensor:
    """Multiply by a number: a * s.

    >>> ops.mul_scalar(ndl.Tensor([1.0]), 2)
    needle.Tensor([2.])
    """
    return MulScalar(scalar)(a)


def divide(a: Any, b: Any) -> Tensor:
    """Divide with broadcasting: a / b.

    >>> ops.divide(ndl.Tensor([1.0]), ndl.Tensor([4.0]))
    needle.Tensor([0.25])
    """
    if isinstance(b, NUMBERS):
        return DivScalar(b)(a)
    if isinstance(a, NUMBERS) and getattr(b, "dtype", _FLOAT).kind != "f":
        a = float(a)  # -2 is no uint8, and the result is floating anyway
    return EWiseDiv()(a, b)


def divide_scalar(a: Any, scalar: Any) -> Tensor:
    """Divide by a number: a / s.

    >>> ops.divide_scalar(ndl.Tensor([1.0]), 4)
    needle.Tensor([0.25])
    """
    return DivScalar(scalar)(a)


def power(a: Any, b: Any) -> Tensor:
    """Raise to a power with broadcasting: a ** b; d/da = b a^(b-1), d/db = a^b log a.

    >>> ops.power(ndl.Tensor([2.0]), ndl.Tensor([3.0]))
    needle.Tensor([8.])
    """
    return PowerScalar(b)(a) if isinstance(b, NUMBERS) else EWisePow()(a, b)


def power_scalar(a: Any, scalar: Any) -> Tensor:
    """Raise to a power that is a number: a ** s.

    >>> ops.power_scalar(ndl.Tensor([3.0]), 2)
    needle.Tensor([9.])
    """
    return PowerScalar(scalar)(a)


def negate(a: Any) -> Tensor:
    """Change the sign: -a.

    >>> ops.negate(ndl.Tensor([1.0]))
    needle.Tensor([-1.])
    """
    return Negate()(a)
