"""log, log1p and pow."""

from __future__ import annotations

import math

import numpy as np

from needle.compiler.emit.emit import Builder
from needle.compiler.emit.mathfn_exp import (
    LN2,
    exp,
    float_format,
    from_integer,
    integer_like,
    polynomial,
    power_of_two,
    signed_zero,
    table,
)  # fmt: skip
from needle.compiler.emit.mathfn_tables import COEFFICIENTS
from needle.compiler.emit.values import Value

_TWO_THIRDS = (2 / 3, 3.700743415417188e-17)  # the double next to 2/3, and what it lacks


def split(b: Builder, x: Value) -> tuple[Value, Value]:
    """``x = m 2^e`` with 0.75 <= m < 1.5; m as a float, e as an integer; x normal and positive."""
    mantissa, _ = float_format(x)
    kind = integer_like(x)
    base = int(np.dtype(x.dtype).type(0.75).view(kind))
    bits = b.bitcast(x, kind)
    e = (bits - base) >> mantissa
    return b.bitcast(bits - (e << mantissa), x.dtype), e


def _normalized(b: Builder, x: Value) -> tuple[Value, Value]:
    """Denormal numbers scaled up; the exponent to add for it."""
    mantissa, bias = float_format(x)
    denormal = x < 2.0 ** (1 - bias)
    scaled = b.select(denormal, x * 2.0 ** (mantissa + 1), x)
    zero = b.zeros(integer_like(x), x.width)
    return scaled, b.select(denormal, zero - (mantissa + 1), zero)


def _log_of(b: Builder, f: Value, e: Value) -> Value:
    """``e log(2) + log(1 + f)`` for -0.25 <= f <= 0.5."""
    high, low = LN2[f.dtype]
    exponent = from_integer(b, e, f)
    square = f * f
    rest = b.fma(square * f, polynomial(b, f, table("LOG", f)), exponent * low)
    return b.fma(exponent, high, f + b.fma(square, -0.5, rest))


def _special(b: Builder, x: Value, result: Value) -> Value:
    """The logarithm of infinity, NaN, 0 and negative numbers."""
    result = b.select(x < math.inf, result, x)
    result = b.select(b.compare("eq", x, 0), -math.inf, result)
    return b.select(x < 0, math.nan, result)


def log(b: Builder, x: Value) -> Value:
    """``log(m 2^e) = e log(2) + log(1 + f)``, f = m - 1."""
    scaled, extra = _normalized(b, x)
    m, e = split(b, scaled)
    return _special(b, x, _log_of(b, m - 1, e + extra))


def log1p(b: Builder, x: Value) -> Value:
    """The same for u = 1 + x, with f corrected by what the rounding of u lost."""
    u = x + 1
    m, e = split(b, u)
    lost = x - (u - 1)  # 0 wherever 2^-e is below the normal numbers
    _, bias = float_format(x)
    inverse = power_of_two(b, -b.minimum(e, bias - 1), x)
    f = b.fma(lost, inverse, m - 1)
    return signed_zero(b, x, _special(b, u, _log_of(b, f, e)))


def power(b: Builder, x: Value, y: Value) -> Value:
    """``exp(y log|x|)``, the logarithm with the bits that a large y needs; C99's special cases."""
    size = abs(x)
    magnitude = (_power_single if x.dtype == "float32" else _power_double)(b, size, y)
    whole = b.compare("eq", b.intrinsic("trunc", y), y)
    half = y * 0.5
    odd = whole & b.compare("ne", b.intrinsic("trunc", half), half)
    negative = b.bitcast(x, integer_like(x)) < 0
    result = b.select(negative & odd, -magnitude, magnitude)
    base_negative = (x < 0) & (x > -math.inf)
    result = b.select(base_negative & ~whole, math.nan, result)
    turns = b.compare("eq", size, 1) & b.compare("eq", abs(y), math.inf)
    result = b.select(turns, 1, result)
    result = b.select(b.isnan(x) | b.isnan(y), math.nan, result)
    return b.select(b.compare("eq", x, 1) | b.compare("eq", y, 0), 1, result)


def _power_single(b: Builder, size: Value, y: Value) -> Value:
    """In float64, to about 33 bits."""
    wide, exponent = b.convert("fpext", size, "float64"), b.convert("fpext", y, "float64")
    m, e = split(b, wide)
    s = (m - 1) / (m + 1)
    q = s * s
    series = b.fma(b.fma(polynomial(b, q, COEFFICIENTS["ATANH", "float32"]), q, 2 / 3), q, 2)
    logarithm = b.fma(from_integer(b, e, wide), math.log(2), s * series)
    logarithm = b.select(wide < math.inf, logarithm, wide)
    logarithm = b.select(b.compare("eq", wide, 0), -math.inf, logarithm)
    return b.convert(
        "fptrunc",
        exp(b, exponent * logarithm, coefficients=COEFFICIENTS["EXP", "float32"]),
        "float32",
    )


def _power_double(b: Builder, size: Value, y: Value) -> Value:
    """With the logarithm and its product with y in pairs of numbers, to about 65 bits."""
    high, low = _log_pair(b, size)
    high = b.select(size < math.inf, high, size)
    high = b.select(b.compare("eq", size, 0), -math.inf, high)
    product = y * high
    rest = b.intrinsic("fma", y, high, -product) + y * low
    small = abs(product) < 800.0
    return exp(b, product, low=b.select(small, rest, 0))


def _log_pair(b: Builder, x: Value) -> tuple[Value, Value]:
    """log(x) = high + low: 2 s + 2/3 s^3 + ..., s = (m - 1) / (m + 1); only the tail is single."""
    scaled, extra = _normalized(b, x)
    m, e = split(b, scaled)
    f, d = m - 1, m + 1
    s = f / d
    left = b.intrinsic("fma", -s, d, f) - s * (m - (d - 1))
    s_low = left / d
    q = s * s
    q_low = b.intrinsic("fma", s, s, -q) + 2 * s * s_low
    cube = q * s
    cube_low = b.intrinsic("fma", q, s, -cube) + (q * s_low + q_low * s)
    tail = q * polynomial(b, q, table("ATANH", q))
    factor = tail + _TWO_THIRDS[0]
    factor_low = tail - (factor - _TWO_THIRDS[0]) + _TWO_THIRDS[1]
    term = cube * factor
    term_low = b.intrinsic("fma", cube, factor, -term) + (cube * factor_low + cube_low * factor)
    high, low = _add_pairs(s + s, s_low + s_low, term, term_low)
    exponent = from_integer(b, e + extra, x)
    return _add_pairs(exponent * LN2["float64"][0], exponent * LN2["float64"][1], high, low)


def _add_pairs(x: Value, x_low: Value, y: Value, y_low: Value) -> tuple[Value, Value]:
    """The sum of two pairs, where ``|x| >= |y|`` or x = 0 (T. Dekker, 1971)."""
    high = x + y
    return high, y - (high - x) + (x_low + y_low)
