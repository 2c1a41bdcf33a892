"""Ufuncs that are made of others, in plain NumPy: on traced arrays its functions record.

Operands come broadcast, in the dtypes of NumPy's loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np


def _pick(best: Callable[..., Any]) -> Callable[..., Any]:
    """The larger or smaller one, NaN only where both are."""
    return lambda a, b: np.where(np.isnan(a), b, np.where(np.isnan(b), a, best(a, b)))


def _hypot(a: Any, b: Any) -> Any:
    a, b = abs(a), abs(b)
    big, small = np.maximum(a, b), np.minimum(a, b)
    ratio = np.where(big == 0, small, small / big)
    length = big * np.sqrt(1 + ratio * ratio)
    return np.where(np.isinf(a), a, np.where(np.isinf(b), b, length))  # whatever the other is


def _logaddexp(a: Any, b: Any) -> Any:
    tail = np.log1p(np.exp(-abs(a - b)))
    # equal infinities: their difference is NaN, their sum the infinity itself
    return np.where(a == b, a + math.log(2), np.maximum(a, b) + tail)


def _leg(x: Any) -> Any:
    """The other leg of a right triangle with hypotenuse 1."""
    return np.sqrt((1 - x) * (1 + x))


def _cosh(x: Any) -> Any:
    """(e^|x| + e^-|x|) / 2 by squares of e^(|x|/2), which overflows no earlier."""
    root = np.exp(abs(x) * 0.5)
    return 0.5 * root * root + 0.5 / root / root


def _sinh(x: Any) -> Any:
    size = abs(x)
    root, e = np.exp(size * 0.5), np.expm1(size)
    small = (e + e / (e + 1)) * 0.5  # exact for small x, where the difference would cancel
    large = 0.5 * root * root - 0.5 / root / root
    return np.copysign(np.where(size < 1, small, large), x)


def _signbit(x: Any) -> Any:
    return np.where(x == 0, np.reciprocal(x), x) < 0 if x.dtype.kind == "f" else x < 0


def _copysign(a: Any, b: Any) -> Any:
    size = abs(a)
    return np.where(np.signbit(b), -size, size)


def _heaviside(x: Any, middle: Any) -> Any:
    value = np.where(x == 0, middle, (x > 0).astype(x.dtype))
    return np.where(np.isnan(x), x, value)


def _degrees(x: Any) -> Any:
    return x * (180 / math.pi)


def _radians(x: Any) -> Any:
    return x * (math.pi / 180)


COMPOSED: dict[str, Callable[..., Any]] = {
    "fmax": _pick(np.maximum), "fmin": _pick(np.minimum), "hypot": _hypot,
    "logaddexp": _logaddexp, "sinh": _sinh, "cosh": _cosh, "signbit": _signbit,
    "copysign": _copysign, "heaviside": _heaviside,
    "degrees": _degrees, "rad2deg": _degrees, "radians": _radians, "deg2rad": _radians,
    "fabs": abs, "positive": lambda x: x, "conjugate": lambda x: x, "square": lambda x: x * x,
    "cbrt": lambda x: np.copysign(abs(x) ** (1 / 3), x),
    "exp2": lambda x: 2.0**x, "float_power": lambda a, b: a**b,
    "log2": lambda x: np.log(x) * (1 / math.log(2)),
    "log10": lambda x: np.log(x) * (1 / math.log(10)),
    "tan": lambda x: np.sin(x) / np.cos(x),
    "arctan": lambda x: np.arctan2(x, 1.0),
    "arcsin": lambda x: np.arctan2(x, _leg(x)), "arccos": lambda x: np.arctan2(_leg(x), x),
    "divmod": lambda a, b: (a // b, a % b),
}  # fmt: skip
"""The definitions by ufunc name."""
