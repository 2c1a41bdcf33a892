"""exp, expm1, and what is made of them: sigmoid, tanh, erf."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from needle.compiler.emit.emit import Builder
from needle.compiler.emit.mathfn_tables import COEFFICIENTS
from needle.compiler.emit.values import Value
from needle.compiler.target import ITEM_BYTES

LOG2_E = 1 / math.log(2)


def table(name: str, x: Value) -> Sequence[float]:
    """The coefficients of a fitted polynomial in the precision of ``x``."""
    return COEFFICIENTS[name, x.dtype]


def polynomial(b: Builder, x: Value, coefficients: Sequence[float]) -> Value:
    """``c0 + c1 x + c2 x^2 + ...`` by Horner's rule."""
    result = b.const(coefficients[-1], x.dtype, x.width)
    for c in reversed(coefficients[:-1]):
        result = b.fma(result, x, c)
    return result


def integer_like(x: Value) -> str:
    """The signed integer dtype as wide as x's."""
    return f"int{8 * ITEM_BYTES[x.dtype]}"


def float_format(x: Value) -> tuple[int, int]:
    """Bits of the stored mantissa, and bias of the exponent."""
    return (23, 127) if x.dtype == "float32" else (52, 1023)


#: log(2) = high + low; a product of high and an exponent is exact.
LN2 = {
    "float32": (0.693359375, -2.1219444005469057e-4),
    "float64": (6.93147180369123816490e-01, 1.90821492927058770002e-10),
}


def to_integer(b: Builder, x: Value) -> tuple[Value, Value]:
    """The nearest integer, as a float and as an integer, for |x| under 2^(mantissa - 1)."""
    mantissa, _ = float_format(x)
    magic = 1.5 * 2.0**mantissa
    shifted = x + magic
    whole = b.bitcast(shifted, integer_like(x))
    base = int(np.dtype(x.dtype).type(magic).view(integer_like(x)))
    return shifted - magic, whole - base


def from_integer(b: Builder, n: Value, x: Value) -> Value:
    """A small integer as a float like x (AVX2 has no such instruction for 64 bits)."""
    if x.dtype == "float32":
        return b.convert("sitofp", n, "float32")
    magic = 1.5 * 2.0**52
    return b.bitcast(n + int(np.float64(magic).view(np.int64)), "float64") - magic


def power_of_two(b: Builder, n: Value, x: Value) -> Value:
    """``2^n`` as a float like x, for n in the range of normal numbers."""
    mantissa, bias = float_format(x)
    return b.bitcast((n + bias) << mantissa, x.dtype)


def scale(b: Builder, x: Value, n: Value) -> Value:
    """``x 2^n`` in one rounding, also where the result is denormal or overflows."""
    half = n >> 1
    return x * power_of_two(b, half, x) * power_of_two(b, n - half, x)


def clipped(b: Builder, x: Value, least: float, most: float) -> Value:
    """``x`` between two numbers; NaN stays NaN."""
    x = b.select(x > most, most, x)
    return b.select(x < least, least, x)


def reduced(b: Builder, x: Value) -> tuple[Value, Value]:
    """``x = n log(2) + r``; returns r, |r| <= log(2) / 2, and the integer n."""
    high, low = LN2[x.dtype]
    n, whole = to_integer(b, x * LOG2_E)
    return b.fma(n, -low, b.fma(n, -high, x)), whole


def exp(
    b: Builder,
    x: Value,
    *,
    low: Value | None = None,
    coefficients: Sequence[float] | None = None,
) -> Value:
    """``exp(x)``, or ``exp(x + low)`` for a correction ``low``, which must be 0 for infinite x."""
    most, least = (89.0, -104.0) if x.dtype == "float32" else (710.0, -746.0)
    x = clipped(b, x, least, most)
    r, n = reduced(b, x)
    if low is not None:
        r = r + low
    p = polynomial(b, r, coefficients or table("EXP", x))
    return scale(b, b.fma(r * r, p, r) + 1, n)


def expm1(b: Builder, x: Value) -> Value:
    """``exp(x) - 1`` without cancellation near 0."""
    most, least, tiny = (
        (89.0, -18.0, 2.0**-26) if x.dtype == "float32" else (710.0, -38.0, 2.0**-55)
    )
    r, n = reduced(b, clipped(b, x, least, most))
    p = b.fma(r * r, polynomial(b, r, table("EXP", x)), r)
    half = power_of_two(b, n - 1, x)  # 2^128 is no float32, half of it is
    result = b.fma(half, p, half - 0.5) * 2
    return b.select(abs(x) < tiny, x, result)


def sigmoid(b: Builder, x: Value) -> Value:
    """``1 / (1 + exp(-x))``; for negative x as ``e / (1 + e)``, which keeps its last bits."""
    e = exp(b, -abs(x))
    return b.select(x < 0, e, 1) / (e + 1)


def tanh(b: Builder, x: Value) -> Value:
    """A polynomial for ``|x| <= 0.55``, else ``1 - 2 / (exp(2 |x|) + 1)``."""
    size = abs(x)
    square = x * x
    near = b.fma(x * square, polynomial(b, square, table("TANH", x)), x)
    far = 1 - 2 / (exp(b, size + size) + 1)
    far = b.intrinsic("copysign", far, x)
    return b.select(size <= 0.55, signed_zero(b, x, near), far)


def erf(b: Builder, x: Value) -> Value:
    """A polynomial for ``|x| < 0.92``, else ``1 - exp(p(|x|))`` with p fitted to log(erfc)."""
    size = abs(x)
    square = x * x
    near = b.fma(x, polynomial(b, square, table("ERF", x)), x)
    limit = 4.0 if x.dtype == "float32" else 6.0  # erf is 1 to the last bit beyond
    inside = b.select(size > limit, limit, size)
    far = 1 - exp(b, polynomial(b, inside - 0.92, table("ERFC", x)))
    far = b.intrinsic("copysign", far, x)
    return b.select(size < 0.92, near, far)


def signed_zero(b: Builder, x: Value, result: Value) -> Value:
    """``result``, but ``x`` itself where that is a zero, which keeps its sign."""
    return b.select(b.compare("eq", x, 0), x, result)
