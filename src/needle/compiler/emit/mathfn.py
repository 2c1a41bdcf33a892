"""Elementary functions in pure IR, for scalars and vectors of float32 and float64.

Each function is emitted once per module and width, as ``needle.exp.float32x16``, and inlined.
float32 results are within 2 ulp of the correctly rounded value (pow: 4), float64 within 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from needle.compiler.emit import mathfn_exp, mathfn_log, mathfn_trig
from needle.compiler.emit.emit import Builder
from needle.compiler.emit.mathfn_exp import float_format, integer_like
from needle.compiler.emit.values import Value


def fmod(b: Builder, x: Value, y: Value) -> Value:
    """The remainder of ``x / y`` rounded towards zero, exactly, with the sign of x.

    Each turn takes away n y 2^k, n an integer of at most ``mantissa - 1`` bits and k as large as
    the rest allows; the difference fits a float, so nothing is rounded. One turn does where
    |x / y| < 2^22, at most 13 in float32 and 42 in float64.
    """
    size, divisor = abs(x), abs(y)
    usable = (size < math.inf) & (divisor > 0)

    with b.loop(0, 64, 1, [size]) as loop:
        (rest,) = loop.carried
        step = _scaled_divisor(b, rest, divisor)
        count = b.intrinsic("trunc", rest / step)
        left = b.intrinsic("fma", -count, step, rest)
        left = b.select(left < 0, left + step, left)  # the quotient was rounded up
        left = b.select(rest < divisor, rest, left)
        loop.next(left)
        loop.condition = b.any(usable & (left >= divisor))
    result = b.intrinsic("copysign", loop.results[0], x)
    return b.select(usable, result, b.select(b.isnan(y), y, math.nan))


def _scaled_divisor(b: Builder, rest: Value, divisor: Value) -> Value:
    """``divisor 2^k``, the smallest of which rest is less than ``2^(mantissa - 1)`` times."""
    mantissa, bias = float_format(rest)
    kind = integer_like(rest)
    far = 2.0 ** (bias - 8)
    lifted = divisor
    for _ in range(2):  # the largest float over the least is about far^2.3
        overflow = b.compare("eq", rest / lifted, math.inf)
        lifted = b.select(overflow, lifted * far, lifted)
    exponent = b.bitcast(rest / lifted, kind) >> mantissa  # biased
    excess = exponent - (bias + mantissa - 1)
    excess = b.select(excess > 0, excess, 0)
    return lifted * b.bitcast((excess + bias) << mantissa, rest.dtype)


FUNCTIONS: dict[str, Callable[..., Value]] = {
    "exp": mathfn_exp.exp,
    "expm1": mathfn_exp.expm1,
    "sigmoid": mathfn_exp.sigmoid,
    "tanh": mathfn_exp.tanh,
    "erf": mathfn_exp.erf,
    "log": mathfn_log.log,
    "log1p": mathfn_log.log1p,
    "pow": mathfn_log.power,
    "sin": mathfn_trig.sin,
    "cos": mathfn_trig.cos,
    "atan2": mathfn_trig.atan2,
    "fmod": fmod,
}


def call(b: Builder, fn: str, *operands: Value) -> Value:
    """``fn`` of floats of one dtype and width.

    >>> from needle.compiler.emit.emit import Module
    >>> from needle.compiler.target import named
    >>> b = Module(named("haswell")).function("f", [("x", "float32", 8)])
    >>> call(b, "exp", *b.arguments).type
    '<8 x float>'
    """
    options = {"attributes": "alwaysinline", "contract": False}
    x = operands[0]
    return b.shared(fn, operands, x.dtype, x.width, FUNCTIONS[fn], **options)
