"""The elementwise primitives in IR, with NumPy's semantics: wraparound, NaN, signed zero, mod.

``apply(b, fn, *operands)`` writes the code of any function in the IR's tables of unary, binary and
compare functions, ``cast(b, x, dtype)`` that of ``ndarray.astype``. Both serve any width.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from needle.compiler.emit import mathfn
from needle.compiler.emit.emit import Builder
from needle.compiler.emit.values import Value, is_float, is_signed
from needle.compiler.graph.primitives import COMPARE
from needle.compiler.graph.primitives_base import wrapped
from needle.compiler.target import ITEM_BYTES

_INTRINSIC = ("floor", "ceil", "trunc", "rint", "sqrt")


def apply(b: Builder, fn: str, *operands: Value) -> Value:
    """``fn`` of values of one dtype and width.

    >>> from needle.compiler.emit.emit import Module
    >>> from needle.compiler.target import named
    >>> b = Module(named("haswell")).function("f", [("x", "float32", 8)])
    >>> apply(b, "isnan", *b.arguments).type
    '<8 x i1>'
    """
    operands = b.match(*operands)
    if fn in COMPARE:
        return b.compare(fn, *operands)
    if fn in _INTRINSIC:
        return b.intrinsic(fn, *operands)
    if is_float(operands[0].dtype) and fn in mathfn.FUNCTIONS:
        return mathfn.call(b, fn, *operands)
    return _RULES[fn](b, *operands)


def cast(b: Builder, x: Value, dtype: str) -> Value:
    """``x.astype(dtype)``; floats out of an integer's range give some integer, never a trap."""
    if x.dtype == dtype:
        return x
    if x.literal is not None and math.isfinite(x.literal):
        return b.const(x.literal if is_float(dtype) else wrapped(x.literal, dtype), dtype, x.width)
    if dtype == "bool":
        return b.compare("ne", x, 0)
    if x.dtype == "bool":
        return b.select(x, b.const(1, dtype, x.width), b.const(0, dtype, x.width))
    if is_float(x.dtype):
        return _cast_float(b, x, dtype)
    if is_float(dtype):
        return b.convert("sitofp" if is_signed(x.dtype) else "uitofp", x, dtype)
    return _resize(b, x, dtype)


def _cast_float(b: Builder, x: Value, dtype: str) -> Value:
    if is_float(dtype):
        return b.convert("fpext" if dtype == "float64" else "fptrunc", x, dtype)
    if dtype == "uint64":
        return _frozen(b, b.convert("fptoui", x, dtype))
    # As C code does it on the CPUs NumPy runs on: through the next signed type, then wrapped.
    middle = "int64" if dtype in ("int64", "uint32") else "int32"
    return _resize(b, _frozen(b, b.convert("fptosi", x, middle)), dtype)


def _frozen(b: Builder, x: Value) -> Value:
    """Some fixed bits where the conversion was out of range (poison otherwise)."""
    return b.emit(f"freeze {x.typed}", x.dtype, x.width)


def _resize(b: Builder, x: Value, dtype: str) -> Value:
    before, after = ITEM_BYTES[x.dtype], ITEM_BYTES[dtype]
    if before == after:
        return b.bitcast(x, dtype)
    if before > after:
        return b.convert("trunc", x, dtype)
    return b.convert("sext" if is_signed(x.dtype) else "zext", x, dtype)


def _abs(b: Builder, x: Value) -> Value:
    if is_float(x.dtype):
        return abs(x)
    return b.select(x < 0, -x, x) if is_signed(x.dtype) else x


def _sign(b: Builder, x: Value) -> Value:
    one = b.const(1, x.dtype, x.width)
    zero = b.zeros(x.dtype, x.width)
    result = b.select(x > 0, one, zero)
    if x.dtype == "bool" or not (is_float(x.dtype) or is_signed(x.dtype)):
        return result
    result = b.select(x < 0, b.const(-1, x.dtype, x.width), result)
    return b.select(b.isnan(x), x, result) if is_float(x.dtype) else result


def _power(b: Builder, x: Value, y: Value) -> Value:
    """Integers, by squaring; a negative exponent (an error in NumPy) counts as its bits."""
    bits = 8 * ITEM_BYTES[x.dtype]
    one = b.const(1, x.dtype, x.width)
    exponent = b.bitcast(y, "u" + x.dtype.lstrip("u"))
    with b.loop(0, bits, 1, (one, x, exponent)) as loop:
        result, base, left = loop.carried
        odd = b.compare("ne", left & 1, 0)
        loop.next(b.select(odd, result * base, result), base * base, left >> 1)
    return loop.results[0]


def _shift_left(b: Builder, x: Value, y: Value) -> Value:
    inside, amount = _shift_amount(b, x, y)
    return b.select(inside, x << amount, 0)


def _shift_right(b: Builder, x: Value, y: Value) -> Value:
    inside, amount = _shift_amount(b, x, y)
    most = 8 * ITEM_BYTES[x.dtype] - 1
    signs = x >> most if is_signed(x.dtype) else b.zeros(x.dtype, x.width)
    return b.select(inside, x >> amount, signs)


def _shift_amount(b: Builder, x: Value, y: Value) -> tuple[Value, Value]:
    """Whether ``y`` is in range (a negative one is not), and ``y`` made safe."""
    unsigned = b.bitcast(y, "u" + y.dtype.lstrip("u"))
    inside = unsigned < 8 * ITEM_BYTES[x.dtype]
    return inside, b.select(inside, y, 0)


def _divmod(b: Builder, x: Value, y: Value) -> tuple[Value, Value]:
    return (_float_divmod if is_float(x.dtype) else _integer_divmod)(b, x, y)


def _integer_divmod(b: Builder, x: Value, y: Value) -> tuple[Value, Value]:
    """Rounded down; 0 and 0 for a zero divisor; the least integer over -1 wraps to itself."""
    undefined = b.compare("eq", y, 0)
    unsafe = undefined
    if is_signed(x.dtype):
        least = -(1 << (8 * ITEM_BYTES[x.dtype] - 1))
        overflow = b.compare("eq", x, least) & b.compare("eq", y, -1)
        unsafe = undefined | overflow
    divisor = b.select(unsafe, 1, y)
    quotient = x / divisor
    rest = x - quotient * divisor
    if is_signed(x.dtype):
        signs_differ = (rest ^ divisor) < 0
        lower = b.compare("ne", rest, 0) & signs_differ
        quotient = b.select(lower, quotient - 1, quotient)
        rest = b.select(lower, rest + divisor, rest)
    return b.select(undefined, 0, quotient), b.select(undefined, 0, rest)


def _float_divmod(b: Builder, x: Value, y: Value) -> tuple[Value, Value]:
    """NumPy's ``divmod``: the remainder has y's sign, the quotient is snapped to an integer."""
    ratio = x / y
    rest = mathfn.call(b, "fmod", x, y)
    quotient = (x - rest) / y
    other_sign = (y < 0) ^ (rest < 0)
    inexact = b.compare("ne", rest, 0)
    lower = inexact & other_sign
    quotient = b.select(lower, quotient - 1, quotient)
    zero = b.zeros(x.dtype, x.width)
    rest = b.select(lower, rest + y, b.select(inexact, rest, b.intrinsic("copysign", zero, y)))
    floored = b.intrinsic("floor", quotient)
    floored = b.select(quotient - floored > 0.5, floored + 1, floored)
    signed_zero = b.intrinsic("copysign", zero, ratio)
    result = b.select(b.compare("ne", quotient, 0), floored, signed_zero)
    return b.select(b.compare("eq", y, 0), ratio, result), rest


_RULES: dict[str, Callable[..., Value]] = {
    "neg": Builder.neg,
    "abs": _abs,
    "sign": _sign,
    "rsqrt": lambda b, x: 1 / b.intrinsic("sqrt", x),
    "reciprocal": lambda b, x: 1 / x,
    "not": lambda b, x: ~x,
    "isnan": Builder.isnan,
    "isinf": lambda b, x: b.compare("eq", abs(x), math.inf),
    "isfinite": lambda b, x: abs(x) < math.inf,
    "add": lambda b, x, y: x + y,
    "sub": lambda b, x, y: x - y,
    "mul": lambda b, x, y: x * y,
    "div": Builder.div,
    "pow": _power,
    "mod": lambda b, x, y: _divmod(b, x, y)[1],
    "floordiv": lambda b, x, y: _divmod(b, x, y)[0],
    "max": lambda b, x, y: x | y if x.dtype == "bool" else b.maximum(x, y),
    "min": lambda b, x, y: x & y if x.dtype == "bool" else b.minimum(x, y),
    "and": lambda b, x, y: x & y,
    "or": lambda b, x, y: x | y,
    "xor": lambda b, x, y: x ^ y,
    "shl": _shift_left,
    "shr": _shift_right,
}
