"""Check gradients against central differences, to first and second order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    tensors, state = [_leaf(i, x) for i, x in enumerate(inputs)], np.random.get_state()
    if not any(x.requires_grad for x in tensors):
        raise ArgumentError("gradcheck: expected at least one floating input, got none")
    try:
        _check_orders(_Held(f, tensors), order, eps, atol, rtol)
    finally:
        np.random.set_state(state)


def _check_orders(held: _Held, order: int, eps: float, atol: float, rtol: float) -> None:
    weights = [_weight(y.shape, seed) for seed, y in enumerate(held.outputs())]
    names = [f"input {i}" for i in range(len(held.leaves))]
    _check(held, weights, names, eps, atol, rtol)
    if order == 2:
        names += [f"out_grad {i}" if len(weights) > 1 else "out_grad" for i in range(len(weights))]
        name = f"gradient of {held.name}"
        gradients = _Held(held.gradients, [*held.leaves, *weights], name)
        again = [_weight(y.shape, 100 + seed) for seed, y in enumerate(gradients.outputs())]
        _check(gradients, again, names, eps, atol, rtol)


class _Held:
    """A function with the leaves it is called on, evaluated from one random state."""

    def __init__(self, f: Callable[..., Any], leaves: Sequence[Tensor], name: str = "") -> None:
        self.f, self.leaves, self.name = f, leaves, name
        self._state = np.random.get_state()

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
        op = results[0].op
        default = op.name if op is not None else getattr(self.f, "__name__", "f")
        self.name = self.name or default
        return results

    def gradients(self, *leaves_and_weights: Tensor) -> list[Tensor]:
        """Return the gradient of the weighted results for each floating leaf, with its graph."""
        weights = leaves_and_weights[len(self.leaves) :]
        grads = self.backward(weights)
        return [g for g, x in zip(grads, self.leaves, strict=True) if x.requires_grad]

    def backward(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """Differentiate by the leaves; zeros where nothing depends on one."""
        kept = [x.grad for x in self.leaves]
        for x in self.leaves:
            x.grad = None
        loss = _weighted(self.outputs(), weights)
        if loss.requires_grad:
            loss.backward()
        zero = [Tensor.make_const(np.zeros(x.shape)) for x in self.leaves]
        grads = [z if x.grad is None else x.grad for x, z in zip(self.leaves, zero, strict=True)]
        for x, grad in zip(self.leaves, kept, strict=True):
            x.grad = grad
        return grads

    def value(self, weights: Sequence[Tensor]) -> float:
        """Return the weighted sum of the results as a number."""
        return float(_weighted(self.outputs(), weights).item())


def _check(
    held: _Held, weights: list[Tensor], names: list[str], eps: float, atol: float, rtol: float
) -> None:
    for name, x, grad in zip(names, held.leaves, held.backward(weights), strict=True):
        if not x.requires_grad:
            continue
        if grad.shape != x.shape:
            raise AssertionError(
                f"gradcheck: {held.name}, {name}: gradient of shape {grad.shape} for {x.shape}"
            )
        for index in np.ndindex(x.shape):
            analytic = float(grad.numpy()[index])
            numeric = _slope(held, weights, x, index, eps)
            if not abs(analytic - numeric) <= atol + rtol * abs(numeric):
                raise AssertionError(
                    f"gradcheck: {held.name}, {name}, element {list(index)}: "
                    f"analytic {analytic:.9g}, numeric {numeric:.9g}"
                )


def _slope(
    held: _Held, weights: list[Tensor], x: Tensor, index: tuple[int, ...], eps: float
) -> float:
    own = x.cached_data
    low, high = np.array(own), np.array(own)
    low[index] -= eps
    high[index] += eps
    try:
        x.cached_data = low
        below = held.value(weights)
        x.cached_data = high
        above = held.value(weights)
    finally:
        x.cached_data = own
    return float(
        (above - below) / (high[index] - low[index])
    )  # what the additions rounded 2 eps to


def _weighted(outputs: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    total = Tensor.make_const(np.zeros(()))
    for y, w in zip(outputs, weights, strict=True):
        total = total + (y * w).sum()
    return total


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
