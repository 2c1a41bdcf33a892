"""Check gradients against central differences, to first and second order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from needle.autograd import Tensor, TensorTuple, Value
from needle.errors import ArgumentError, DtypeError


def gradcheck(
    f: Callable[..., Any],
    *inputs: Any,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    order: int = 1,
) -> None:
    """Check the gradients of `f(*inputs)` against (f(x + eps) - f(x - eps)) / (2 eps), in float64.

    `f` gives a Tensor or several. Each floating input is checked, element by element, for a fixed
    random weighting of the outputs; integers and booleans are held constant. A leaf Tensor that
    requires a gradient is used as it is, so that parameters of a module may be inputs; everything
    else is copied. With `order=2`, the gradients themselves are differentiated and checked too, by
    the inputs and by `out_grad`. NumPy's random state is the same at each evaluation and after.

    Errors: AssertionError that shows op, input, element, analytic and numeric value; DtypeError
    where something is not float64.

    >>> ndl.testing.gradcheck(ops.tanh, np.array([0.5, -1.0]), order=2)
    >>> ndl.testing.gradcheck(lambda x: ops.exp(x).detach() * x, np.ones(1))
    Traceback (most recent call last):
        ...
    AssertionError: gradcheck: multiply, input 0, element [0]: analytic ..., numeric ...
    """
    if order not in (1, 2):
        raise ArgumentError(f"gradcheck: expected order 1 or 2, got {order!r}")
    leaves, state = [_leaf(i, x) for i, x in enumerate(inputs)], np.random.get_state()
    if not any(x.requires_grad for x in leaves):
        raise ArgumentError("gradcheck: expected at least one floating input, got none")
    try:
        held = _Held(f, leaves, [f"input {i}" for i in range(len(leaves))])
        held.check(eps, atol, rtol)
        if order == 2:
            held.gradient().check(eps, atol, rtol)
    finally:
        np.random.set_state(state)


class _Held:
    """A function with the leaves it is called on, evaluated from one random state."""

    def __init__(
        self, f: Callable[..., Any], leaves: list[Tensor], names: list[str], seed: int = 0
    ) -> None:
        self.f, self.leaves, self.names = f, leaves, names
        self._state = np.random.get_state()
        outputs = self.outputs()
        self.weights = [_weight(y.shape, seed + i) for i, y in enumerate(outputs)]
        op = outputs[0].op
        self.name = op.name if op is not None else getattr(f, "__name__", "f")

    def outputs(self) -> list[Tensor]:
        """Call the function: its float64 results as a list."""
        np.random.set_state(self._state)
        result = self.f(*self.leaves)
        results = list(result) if isinstance(result, tuple | list | TensorTuple) else [result]
        for y in results:
            if not isinstance(y, Tensor):
                raise DtypeError(f"gradcheck: expected f to give Tensors, got {type(y).__name__}")
            if y.dtype != np.float64:
                raise DtypeError(
                    f"gradcheck: f gave {y.dtype}; gradients are checked in float64: make its "
                    'parameters and constants with dtype="float64"'
                )
        return results

    def loss(self) -> Tensor:
        """Return the weighted sum of all results."""
        total = Tensor.make_const(np.zeros(()))
        for y, w in zip(self.outputs(), self.weights, strict=True):
            total = total + (y * w).sum()
        return total

    def backward(self) -> list[Tensor]:
        """Differentiate by the leaves; zeros where nothing depends on one."""
        kept = [x.grad for x in self.leaves]
        for x in self.leaves:
            x.grad = None
        loss = self.loss()
        if loss.requires_grad:
            loss.backward()
        zero = [Tensor.make_const(np.zeros(x.shape)) for x in self.leaves]
        grads = [z if x.grad is None else x.grad for x, z in zip(self.leaves, zero, strict=True)]
        for x, grad in zip(self.leaves, kept, strict=True):
            x.grad = grad
        return grads

    def gradient(self) -> _Held:
        """Return the gradients by the floating leaves as a function of leaves and weights."""
        several = len(self.weights) > 1
        names = [f"out_grad {i}" if several else "out_grad" for i in range(len(self.weights))]

        def gradients(*_: Tensor) -> list[Tensor]:
            pairs = zip(self.backward(), self.leaves, strict=True)
            return [grad for grad, x in pairs if x.requires_grad]

        leaves, names = [*self.leaves, *self.weights], [*self.names, *names]
        held = _Held(gradients, leaves, names, seed=100)
        held.name = f"gradient of {self.name}"
        return held

    def check(self, eps: float, atol: float, rtol: float) -> None:
        """Compare each element of each gradient with a difference quotient."""
        for name, x, grad in zip(self.names, self.leaves, self.backward(), strict=True):
            if not x.requires_grad:
                continue
            where = f"gradcheck: {self.name}, {name}"
            if grad.shape != x.shape:
                raise AssertionError(f"{where}: gradient of shape {grad.shape} for {x.shape}")
            for index in np.ndindex(x.shape):
                analytic, numeric = float(grad.numpy()[index]), self.slope(x, index, eps)
                if not abs(analytic - numeric) <= atol + rtol * abs(numeric):
                    text = f"analytic {analytic:.9g}, numeric {numeric:.9g}"
                    raise AssertionError(f"{where}, element {list(index)}: {text}")

    def slope(self, x: Tensor, index: tuple[int, ...], eps: float) -> float:
        """Return the difference quotient by one element of a leaf."""
        own, places, values = x.cached_data, [], []
        try:
            for step in (-eps, eps):
                x.cached_data = np.array(own)
                x.cached_data[index] += step
                places.append(x.cached_data[index])  # what the addition rounded it to
                values.append(float(self.loss().item()))
        finally:
            x.cached_data = own
        return float((values[1] - values[0]) / (places[1] - places[0]))


def _weight(shape: tuple[int, ...], seed: int) -> Tensor:
    """Return weights away from 0 from a generator of their own: the global stream is untouched."""
    if np.prod(shape) == 1:
        return Tensor(np.ones(shape))  # then an error shows the gradient itself
    generator = np.random.default_rng(seed)
    sign = generator.choice([-1.0, 1.0], shape)
    return Tensor(sign * generator.uniform(0.5, 1.5, shape))


def _leaf(position: int, x: Any) -> Tensor:
    data = x.realize_cached_data() if isinstance(x, Value) else np.asarray(x)
    if data.dtype.kind in "biu":
        return Tensor.make_const(data)
    if isinstance(x, Tensor):
        if data.dtype != np.float64:
            raise DtypeError(
                f'gradcheck: input {position} is {data.dtype}; pass it as .astype("float64")'
            )
        if x.is_leaf() and x.requires_grad:
            return x
    return Tensor(data, dtype="float64")
