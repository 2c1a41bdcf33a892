"""sin, cos and atan2."""

from __future__ import annotations

import functools
import math

import numpy as np

from needle.compiler.emit.emit import Builder
from needle.compiler.emit.mathfn_exp import (
    float_format,
    integer_like,
    polynomial,
    signed_zero,
    table,
    to_integer,
)  # fmt: skip
from needle.compiler.emit.values import Value

#: pi / 2 as a sum of three numbers, and up to where x - n pi / 2 is exact enough with them.
_HALF_PI = {
    "float32": (1.57079637050628662109375, -4.37113900018624283e-8, -1.7151245100058819e-15),
    "float64": (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591833e-33),
}
_NEAR = {"float32": 2.0**17, "float64": 2.0**20}
_LOW_WORD = 0xFFFFFFFF
_TWO_OVER_PI = (
    "A2F9836E4E441529FC2757D1F534DDC0DB6295993C439041FE5163ABDEBBC561B7246E3A424DD2E006"
    "492EEA09D1921CFE1DEB1CB129A73EE88235F52EBB4484E99C7026B45F7E413991D639835339F49C84"
    "5F8BBDF9283B1FF897FFDE05980FEF2F118B5A0A6D1F6D367ECF27CB09B74F463F669E5FEA2D7527BA"
    "C7EBE5F17B3D0739F78A5292EA6BFB5FB11F8D5D0856033046FC7B6BABF0CFBC209AF4361DA9E39161"
)
"""The bits of 2 / pi after the point, in hexadecimal."""


def sin(b: Builder, x: Value) -> Value:
    """``sin(x) = +-sin(r)`` or ``+-cos(r)`` with r = x - n pi / 2."""
    return signed_zero(b, x, _circular(b, x, "sin"))


def cos(b: Builder, x: Value) -> Value:
    """As ``sin``, a quarter turn further."""
    return _circular(b, x, "cos")


def _circular(b: Builder, x: Value, fn: str) -> Value:
    """The reduction of W. Cody and W. Waite, 1980; large arguments in a function of their own."""
    n, quarter = to_integer(b, x * (2 / math.pi))
    r = x
    for part in _HALF_PI[x.dtype]:
        r = b.intrinsic("fma", n, -part, r)  # exact: n pi / 2 cancels
    result = _of_quarter(b, r, quarter, fn)
    far = abs(x) >= _NEAR[x.dtype]
    with b.when(b.any(far), [result]) as rare:
        options = {"attributes": "noinline cold", "contract": False}
        write = functools.partial(_large, fn=fn)
        large = b.shared(f"{fn}.large", [x], x.dtype, x.width, write, **options)
        rare.next(b.select(far, large, result))
    return rare.results[0]


def _of_quarter(b: Builder, r: Value, quarter: Value, fn: str) -> Value:
    """Sine or cosine of ``quarter pi / 2 + r``, |r| <= pi / 4."""
    square = r * r
    sine = b.fma(r * square, polynomial(b, square, table("SIN", r)), r)
    tail = b.fma(square * square, polynomial(b, square, table("COS", r)), square * -0.5)
    cosine = tail + 1
    turned = quarter if fn == "sin" else quarter + 1
    result = b.select(b.compare("ne", turned & 1, 0), cosine, sine)
    return b.select(b.compare("ne", turned & 2, 0), -result, result)


def _large(b: Builder, x: Value, fn: str) -> Value:
    """Sine or cosine of large arguments, in float64."""
    single = x.dtype == "float32"
    r, quarter = _payne_hanek(b, b.convert("fpext", x, "float64") if single else x)
    result = _of_quarter(b, r, quarter, fn)
    return b.convert("fptrunc", result, "float32") if single else result


def _payne_hanek(b: Builder, x: Value) -> tuple[Value, Value]:
    """``x = quarter pi / 2 + r`` for |x| >= 2^16: a product with just the bits of 2 / pi needed.

    M. Payne, R. Hanek, SIGNUM Newsletter 18, 1983. x = m 2^e; bits of 2 / pi of weight 2^(2 - e)
    and more give whole turns and are left out; 192 bits from there on are multiplied with m.
    """
    bits = b.bitcast(x, "uint64")
    biased = (bits >> 52) & 0x7FF
    m = (bits & ((1 << 52) - 1)) | (1 << 52)
    offset = 1075 - 64 + 2  # the table begins with 64 zero bits
    start = b.maximum(biased, offset) - offset  # other lanes may be small: they must stay inside
    words = _words_of_two_over_pi(b, start)
    limbs = _product_limbs(b, m, words)
    quarter = limbs[0] >> 30
    above = b.compare("ne", limbs[0] & (1 << 29), 0)  # beyond the middle: count from the next
    quarter = b.select(above, quarter + 1, quarter)
    flip = b.select(above, b.const(_LOW_WORD, "uint64", x.width), 0)
    limbs = [limb ^ flip for limb in limbs[:4]]
    limbs[0] = limbs[0] & ((1 << 30) - 1)
    total = b.zeros("float64", x.width)
    for i in reversed(range(4)):  # from the least: nothing cancels
        part = b.bitcast(limbs[i] | (0x433 << 52), "float64") - 2.0**52
        total = total + part * 2.0 ** -(30 + 32 * i)
    r = total * (math.pi / 2)
    negative = above ^ (x < 0)
    r = b.select(negative, -r, r) + (x - x)  # NaN for infinity
    signed = b.bitcast(quarter, "int64")
    return r, b.select(x < 0, -signed, signed)


def _words_of_two_over_pi(b: Builder, start: Value) -> list[Value]:
    """Six words of 32 bits from bit ``start`` on."""
    pairs = b.module.table("needle.two_over_pi", _two_over_pi_pairs())
    base = Value(pairs, "ptr", 1, b)
    first, shift = b.bitcast(start >> 5, "int64"), start & 31
    gathered = [b.gather(base, first + i, "uint64") for i in range(6)]
    return [(pair << shift) >> 32 for pair in gathered]


def _two_over_pi_pairs() -> np.ndarray:
    """Overlapping pairs of 32-bit words of 2 / pi, after two words of zeros."""
    digits = "0" * 16 + _TWO_OVER_PI
    return np.array([int(digits[i : i + 16], 16) for i in range(0, len(digits) - 8, 8)], np.uint64)


def _product_limbs(b: Builder, m: Value, words: list[Value]) -> list[Value]:
    """``m`` times the number made of ``words`` modulo 2^192, most significant limb first."""
    low, high = m & _LOW_WORD, m >> 32
    carry = b.zeros("uint64", m.width)
    limbs = []
    for i in reversed(range(6)):
        first = low * words[i]
        second = high * words[i + 1] if i < 5 else b.zeros("uint64", m.width)
        total = (first & _LOW_WORD) + (second & _LOW_WORD) + carry
        limbs.append(total & _LOW_WORD)
        carry = (first >> 32) + (second >> 32) + (total >> 32)
    return limbs[::-1]


def atan2(b: Builder, y: Value, x: Value) -> Value:
    """The angle of (x, y): atan of the smaller over the larger, then mirrored into place."""
    height, width = abs(y), abs(x)
    steep = height > width
    large, small = b.select(steep, height, width), b.select(steep, width, height)
    angle, rest = _octant(b, small, large)
    half_pi, half_pi_low, _ = _HALF_PI[x.dtype]
    angle = b.select(steep, half_pi - (angle - (half_pi_low - rest)), angle + rest)
    leftwards = b.bitcast(x, integer_like(x)) < 0
    angle = b.select(leftwards, 2 * half_pi - (angle - 2 * half_pi_low), angle)
    result = b.intrinsic("copysign", angle, y)
    return b.select(b.isnan(x) | b.isnan(y), math.nan, result)


def _octant(b: Builder, small: Value, large: Value) -> tuple[Value, Value]:
    """atan(s / l) as a sum of two; above tan(pi / 8) as pi / 4 + atan((s - l) / (s + l))."""
    _, bias = float_format(small)
    huge = large > 2.0 ** (bias - 2)
    small, large = b.select(huge, small * 0.25, small), b.select(huge, large * 0.25, large)
    equal = b.compare("eq", small, large)  # also both 0 and both infinite
    outer = equal | (small > large * (math.sqrt(2) - 1))
    numerator = b.select(outer, small - large, small)
    denominator = b.select(outer, small + large, large)
    t = b.select(equal, 0, numerator / denominator)
    square = t * t
    rest = t * square * polynomial(b, square, table("ATAN", t))
    half_pi, half_pi_low, _ = _HALF_PI[small.dtype]
    outer = outer & (large > 0)
    base = b.select(outer, b.const(half_pi / 2, t.dtype, t.width), 0)
    rest = b.select(outer, rest + half_pi_low / 2, rest)
    high = base + t
    return high, (t - (high - base)) + rest
