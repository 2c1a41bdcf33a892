"""Functions of each element: comparisons, selection, exponential, activations, limits.

Nearly all are lines of tables, of which `elementwise` makes classes: what is computed, from arrays;
then for each input its gradient, from the gradient g of the result, the result y, and the inputs.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

from needle.autograd.tensor import Tensor, TensorOp
from needle.backend import extensions
from needle.errors import ArgumentError
from needle.ops.arguments import to_scalar
from needle.ops.movement import sum_to


class Elementwise(TensorOp):
    """An op of a table: inputs broadcast, and their gradients are summed back to their shapes."""

    function: Callable[..., Any]  # of arrays
    gradients: tuple[Any, ...]  # functions that give a Tensor, or None

    def compute(self, *arrays: Any) -> Any:
        return self.function(*arrays)

    def gradient(self, out_grad: Tensor, node: Tensor) -> Any:
        by_input, inputs = self.gradients, node.inputs
        if len(inputs) == 1:
            return by_input[0](out_grad, node, inputs[0])
        gradients = [  # not a generator: it would cost a microsecond
            sum_to(f(out_grad, node, *inputs), x.shape) if f and x.requires_grad else None
            for f, x in zip(by_input, inputs, strict=True)
        ]
        return tuple(gradients)


def elementwise(
    cls: str, name: str, function: Any, *gradients: Any, base: type[Elementwise] = Elementwise
) -> type[Any]:
    """Make the class of an op from a line of a table; without gradients, results are constants."""
    own = {"name": name, "function": staticmethod(function), "gradients": gradients}
    own["__doc__"] = f"See `ops.{name}`."
    own["__module__"] = sys._getframe(1).f_globals.get("__name__", __name__)  # of the table
    if not gradients:
        own |= {"differentiable": False, "gradient": TensorOp.gradient}
    return type(cls, (base,), own)


def _xp(a: Any) -> Any:
    return a.__array_namespace__()


# Of one input: class, name, what is computed, gradient.
Log = elementwise("Log", "log", lambda a: _xp(a).log(a), lambda g, y, a: g / a)
Exp = elementwise("Exp", "exp", lambda a: _xp(a).exp(a), lambda g, y, a: g * y)
Sqrt = elementwise("Sqrt", "sqrt", lambda a: _xp(a).sqrt(a), lambda g, y, a: g / (y * 2))
Abs = elementwise("Abs", "abs", lambda a: _xp(a).abs(a), lambda g, y, a: g * sign(a))
Sign = elementwise("Sign", "sign", lambda a: _xp(a).sign(a))
Tanh = elementwise("Tanh", "tanh", lambda a: _xp(a).tanh(a), lambda g, y, a: g * (1 - y**2))
ReLU = elementwise("ReLU", "relu", lambda a: _xp(a).maximum(a, 0), lambda g, y, a: g * (y > 0))
Sigmoid = elementwise(
    "Sigmoid", "sigmoid", lambda a: _logistic(a), lambda g, y, a: g * (y * (1 - y))
)
Erf = elementwise(
    "Erf", "erf", extensions.erf, lambda g, y, a: g * (exp(-(a**2)) * (2 / math.sqrt(math.pi)))
)
GELU = elementwise("GELU", "gelu", lambda a: a * _normal(a), lambda g, y, a: g * _gelu_slope(a))

# Of two inputs: a gradient for each. Comparisons have none.
Less = elementwise("Less", "less", lambda a, b: a < b)
LessEqual = elementwise("LessEqual", "less_equal", lambda a, b: a <= b)
Equal = elementwise("Equal", "equal", lambda a, b: a == b)
NotEqual = elementwise("NotEqual", "not_equal", lambda a, b: a != b)
Maximum = elementwise(
    "Maximum",
    "maximum",
    lambda a, b: _xp(a).maximum(a, b),
    lambda g, y, a, b: g * _share(a > b, a, b, g),
    lambda g, y, a, b: g * (1 - _share(a > b, a, b, g)),
)
Minimum = elementwise(
    "Minimum",
    "minimum",
    lambda a, b: _xp(a).minimum(a, b),
    lambda g, y, a, b: g * _share(a < b, a, b, g),
    lambda g, y, a, b: g * (1 - _share(a < b, a, b, g)),
)
Where = elementwise(
    "Where",
    "where",
    lambda condition, a, b: _xp(condition).where(condition, a, b),
    None,
    lambda g, y, condition, a, b: where(condition, g, 0),
    lambda g, y, condition, a, b: where(condition, 0, g),
)


def _logistic(a: Any) -> Any:
    xp = a.__array_namespace__()
    z = xp.exp(xp.abs(a) * -1.0)  # never overflows; times -1.0 since -a wraps for uint8
    return xp.where(a < 0, z, xp.ones_like(z)) / (1 + z)


def _normal(a: Any) -> Any:
    """Return the normal distribution function of an array."""
    return (extensions.erf(a * math.sqrt(0.5)) + 1) * 0.5


def _gelu_slope(a: Tensor) -> Tensor:
    density = exp(a**2 * -0.5) * (1 / math.sqrt(2 * math.pi))
    return (erf(a * math.sqrt(0.5)) + 1) * 0.5 + a * density


def _share(chosen: Tensor, a: Tensor, b: Tensor, g: Tensor) -> Tensor:
    """Return a's share of the gradient: 1 where it is chosen, half where both are equal."""
    return (chosen + equal(a, b) * 0.5).astype(g.dtype)


def log(a: Any) -> Tensor:
    """Take the natural logarithm; -inf at 0, NaN below.

    >>> ops.log(ndl.Tensor([1.0]))
    needle.Tensor([0.])
    """
    return Log()(a)


def exp(a: Any) -> Tensor:
    """Take the exponential: e ** a.

    >>> ops.exp(ndl.Tensor([0.0]))
    needle.Tensor([1.])
    """
    return Exp()(a)


def sqrt(a: Any) -> Tensor:
    """Take the square root; NaN below 0.

    >>> ops.sqrt(ndl.Tensor([4.0]))
    needle.Tensor([2.])
    """
    return Sqrt()(a)


def abs(a: Any) -> Tensor:
    """Take the absolute value; the gradient at 0 is 0.

    >>> ops.abs(ndl.Tensor([-2.0]))
    needle.Tensor([2.])
    """
    return Abs()(a)


def tanh(a: Any) -> Tensor:
    """Take the hyperbolic tangent.

    >>> ops.tanh(ndl.Tensor([0.0]))
    needle.Tensor([0.])
    """
    return Tanh()(a)


def sigmoid(a: Any) -> Tensor:
    """Take the logistic function: 1 / (1 + e^-a).

    >>> ops.sigmoid(ndl.Tensor([0.0]))
    needle.Tensor([0.5])
    """
    return Sigmoid()(a)


def relu(a: Any) -> Tensor:
    """Take the positive part: max(a, 0). The gradient at 0 is 0; NaN passes.

    >>> ops.relu(ndl.Tensor([-1.0, 2.0]))
    needle.Tensor([0. 2.])
    """
    return ReLU()(a)


def erf(a: Any) -> Tensor:
    """Take the error function: 2/sqrt(pi) times the integral of e^(-t^2) from 0 to a.

    >>> ops.erf(ndl.Tensor([0.0]))
    needle.Tensor([0.])
    """
    return Erf()(a)


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


def sign(a: Any) -> Tensor:
    """Take the sign: -1, 0 or 1; a constant, its gradient is 0."""
    return Sign()(a)


def less(a: Any, b: Any) -> Tensor:
    """Compare elementwise: a < b.

    >>> ops.less(ndl.Tensor([1.0, 2.0]), 1.5)
    needle.Tensor([ True False])
    """
    return Less()(a, b)


def less_equal(a: Any, b: Any) -> Tensor:
    """Compare elementwise: a <= b."""
    return LessEqual()(a, b)


def greater(a: Any, b: Any) -> Tensor:
    """Compare elementwise: a > b."""
    return Less()(b, a)


def greater_equal(a: Any, b: Any) -> Tensor:
    """Compare elementwise: a >= b."""
    return LessEqual()(b, a)


def equal(a: Any, b: Any) -> Tensor:
    """Compare values elementwise (`==` between Tensors is identity).

    >>> ops.equal(ndl.Tensor([1.0, 2.0]), 2)
    needle.Tensor([False  True])
    """
    return Equal()(a, b)


def not_equal(a: Any, b: Any) -> Tensor:
    """Compare values elementwise: True where they differ."""
    return NotEqual()(a, b)


def where(condition: Any, a: Any, b: Any) -> Tensor:
    """Select elementwise with broadcasting: a where `condition` (bool) holds, else b.

    >>> x = ndl.Tensor([-1.0, 2.0])
    >>> ops.where(x > 0, x, 0)
    needle.Tensor([0. 2.])
    """
    if getattr(condition, "dtype", "bool") != "bool":
        condition = not_equal(condition, 0)
    return Where()(condition, a, b)


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
