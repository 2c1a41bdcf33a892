"""Rules for elementwise nodes: constants, neutral elements, signs, powers, quotients.

Each is exact, NaN, infinities and signed zeros included, except where its docstring says how it
rounds differently.
"""

from __future__ import annotations

import math

import numpy as np

from needle.compiler.graph import Node
from needle.compiler.primitives import (
    Binary, Broadcast, Cast, Compare, Constant, Permute, Primitive, Random, Reshape, Unary,
    Where,
)  # fmt: skip
from needle.compiler.primitives_base import FLOAT32, FLOAT64
from needle.compiler.simplify_rewriter import Rewriter, is_fn, scalar, under


def fold_constants(p: Primitive, node: Node, make: Rewriter) -> Node | None:
    """2.0 * 3.0 -> 6.0."""
    if not node.inputs or not all(isinstance(x.primitive, Constant) for x in node.inputs):
        return None
    try:
        with np.errstate(all="ignore"):
            value = node.primitive.evaluate(*[x.primitive.evaluate() for x in node.inputs])
    except ValueError:  # an integer to a negative power: the run raises it
        return None
    return make(Constant(value.item(), node.dtype))


_NEUTRAL_RIGHT = {
    "mul": "1", "div": "1", "floordiv": "1", "pow": "1", "sub": "0", "or": "0", "xor": "0",
    "shl": "0", "shr": "0", "add": "0",
}  # fmt: skip
_NEUTRAL_LEFT = {"mul": "1", "add": "0", "or": "0", "xor": "0"}


def _is_neutral(node: Node, wanted: str | None, fn: str) -> bool:
    value = scalar(node)
    if wanted is None or value is None or value != int(wanted):
        return False
    if value == 0 and node.dtype.kind == "f":  # x + 0.0 turns -0.0 into 0.0; x + -0.0 does not
        return (math.copysign(1, value) < 0) == (fn == "add")
    return not (fn == "floordiv" and node.dtype.kind == "f")


def drop_neutral(p: Binary, node: Node, make: Rewriter) -> Node | None:
    """x * 1 -> x, x / 1 -> x, x - 0 -> x, x + -0.0 -> x, n + 0 -> n, n | 0 -> n."""
    fn = p.fn
    a, b = node.inputs
    if _is_neutral(b, _NEUTRAL_RIGHT.get(fn), fn):
        return a
    return b if _is_neutral(a, _NEUTRAL_LEFT.get(fn), fn) else None


def negated(node: Node, make: Rewriter) -> Node | None:
    """Return y where `node` is -y, also under reshape, permute and broadcast; else None."""
    if is_fn(node, "neg"):
        return node.inputs[0]
    if not isinstance(node.primitive, Broadcast | Reshape | Permute):
        return None
    inner = negated(node.inputs[0], make)  # at most three deep: views are composed
    return None if inner is None else make(node.primitive, inner)


def add_of_negation(p: Binary, node: Node, make: Rewriter) -> Node | None:
    """a + -b -> a - b, -a + b -> b - a, a - -b -> a + b."""
    a, b = node.inputs
    if is_fn(node, "add", "sub"):
        minus_b = negated(b, make)
        if minus_b is not None:
            return make.binary("sub" if is_fn(node, "add") else "add", a, minus_b)
    if is_fn(node, "add"):
        minus_a = negated(a, make)
        return None if minus_a is None else make.binary("sub", b, minus_a)
    return None


def negation_out_of_product(p: Binary, node: Node, make: Rewriter) -> Node | None:
    """-a * b -> -(a * b), a / -b -> -(a / b), -a * -b -> a * b."""
    if not is_fn(node, "mul", "div"):
        return None
    signs = [negated(x, make) for x in node.inputs]
    if signs == [None, None]:
        return None
    a, b = (x if y is None else y for x, y in zip(node.inputs, signs, strict=True))
    product = make.binary(p.fn, a, b)
    return product if None not in signs else make.unary("neg", product)


def negation_out_of_constant(p: Binary, node: Node, make: Rewriter) -> Node | None:
    """x * -1 -> -x and x * -c -> -(x * c), for floats: the sign may vanish in a difference."""
    if not is_fn(node, "mul") or node.dtype.kind != "f":
        return None
    for x, factor in (node.inputs, node.inputs[::-1]):
        value = scalar(factor)
        if value is not None and value < 0:
            return make.unary("neg", make.binary("mul", x, make.full(-value, node)))
    return None


def power_by_constant(p: Binary, node: Node, make: Rewriter) -> Node | None:
    """x ** c for c = 2, 3, 0, and for floats 0.5, -0.5, -1, as products and roots.

    As NumPy's `**` does: x ** 0.5 is sqrt(x), NaN at -inf and -0.0 at -0.0.
    """
    if not is_fn(node, "pow"):
        return None
    x, exponent = node.inputs[0], scalar(node.inputs[1])
    if exponent == 0:
        return make.full(1, node)
    if exponent == 2:
        return make.binary("mul", x, x)
    if exponent == 3:
        return make.binary("mul", make.binary("mul", x, x), x)
    root = {0.5: "sqrt", -0.5: "rsqrt", -1.0: "reciprocal"}.get(exponent or 0)
    return make.unary(root, x) if root and node.dtype.kind == "f" else None


def divide_by_broadcast(p: Binary, node: Node, make: Rewriter) -> Node | None:
    """x / broadcast(s) -> x * broadcast(1 / s), and 1 / x -> reciprocal(x).

    One rounding more; a constant s whose reciprocal is not a normal number stays. For another s
    below 2^-128 (float32) the reciprocal overflows: x / s is then beyond range for |x| > 2.
    """
    if not is_fn(node, "div"):
        return None
    a, b = node.inputs
    if scalar(a) == 1:
        return make.unary("reciprocal", b)
    if not isinstance(b.primitive, Broadcast):
        return _divide_by_number(node, make)
    value, limits = scalar(b), np.finfo(node.dtype)
    if value is not None and not float(limits.tiny) <= 1 / abs(value or math.inf) <= float(
        limits.max
    ):
        return None
    inverse = make.unary("reciprocal", b.inputs[0])
    return make.binary("mul", a, make.broadcast(inverse, node.shape))


def _divide_by_number(node: Node, make: Rewriter) -> Node | None:
    value = scalar(node.inputs[1])
    if not value or math.frexp(value)[0] not in (0.5, -0.5) or abs(math.log2(abs(value))) > 120:
        return None  # 0-d: only powers of two, where the product is exact
    return make.binary("mul", node.inputs[0], make.full(1 / value, node))


def reciprocal_of_root(p: Unary, node: Node, make: Rewriter) -> Node | None:
    """1 / sqrt(x) -> rsqrt(x), 1 / (sqrt(x) sqrt(x)) -> rsqrt(x) rsqrt(x), 1 / rsqrt(x) -> sqrt(x).

    The number of roundings changes by one.
    """
    x = node.inputs[0] if is_fn(node, "reciprocal") else node
    if is_fn(x, "sqrt", "rsqrt") and x is not node:
        return make.unary("rsqrt" if is_fn(x, "sqrt") else "sqrt", x.inputs[0])
    if is_fn(x, "mul") and x.inputs[0] is x.inputs[1] and is_fn(x.inputs[0], "sqrt"):
        root = make.unary("rsqrt", x.inputs[0].inputs[0])
        return make.binary("mul", root, root)
    return None


def cast_of_cast(p: Cast, node: Node, make: Rewriter) -> Node | None:
    """cast(x) to its own dtype -> x; cast(cast(x, wider), t) -> cast(x, t) where wider is exact."""
    (x,) = node.inputs
    if x.dtype == node.dtype:
        return x
    if isinstance(x.primitive, Cast) and _is_exact(x.inputs[0].dtype, x.dtype):
        return make.cast(x.inputs[0], node.dtype)
    return None


def _is_exact(narrow: np.dtype, wide: np.dtype) -> bool:
    bits = {FLOAT32: 24, FLOAT64: 53}.get(wide)
    if narrow.kind in "iu" and bits is not None:
        return 8 * narrow.itemsize <= bits
    return np.can_cast(narrow, wide, "safe")


def compare_of_widened(p: Compare, node: Node, make: Rewriter) -> Node | None:
    """cast(x, float64) <= s -> x <= s', with s' the float32 next to s on the side that decides."""
    x, bound = node.inputs
    value = scalar(bound)
    widened = isinstance(x.primitive, Cast) and (x.inputs[0].dtype, x.dtype) == (FLOAT32, FLOAT64)
    if not widened or value is None or p.fn not in ("lt", "le", "gt", "ge"):
        return None
    with np.errstate(over="ignore"):
        near = np.float32(value)
        if p.fn in ("le", "gt") and float(near) > value:  # NumPy would round value first
            near = np.nextafter(near, np.float32(-np.inf))
        elif p.fn in ("lt", "ge") and float(near) < value:
            near = np.nextafter(near, np.float32(np.inf))
    limit = make(Broadcast(x.shape), make.constant(float(near), FLOAT32))
    return make(p, x.inputs[0], limit)


def compare_of_uniform(p: Compare, node: Node, make: Rewriter) -> Node | None:
    """uniform <= 1 -> true, and likewise what else is decided by 0 <= uniform < 1: dropout of 0."""
    x, bound = node.inputs
    drawn = under(x, Cast, Reshape).primitive
    value = scalar(bound)
    if not isinstance(drawn, Random) or drawn.kind != "uniform" or value is None:
        return None
    if value >= 1 and p.fn in ("lt", "le", "gt", "ge"):
        return make.full(p.fn in ("lt", "le"), node)
    return make.full(p.fn == "ge", node) if value <= 0 and p.fn in ("ge", "lt") else None


def where_decided(p: Where, node: Node, make: Rewriter) -> Node | None:
    """where(c, a, a) -> a, where(true, a, b) -> a, where(not c, a, b) -> where(c, b, a)."""
    condition, a, b = node.inputs
    if a is b:
        return a
    known = scalar(condition)
    if known is not None:
        return a if known else b
    return make(Where(), condition.inputs[0], b, a) if is_fn(condition, "not") else None


def softmax_from_logsumexp(p: Unary, node: Node, make: Rewriter) -> Node | None:
    """exp(a - log s) -> e * (1 / s) where s = sum(e), e = exp(a): the exponentials serve again.

    Likewise exp(z - (log s + t)) where e = exp(z - t). Two roundings more in the product, one or
    two fewer in the argument of exp.
    """
    if not is_fn(node, "exp") or not is_fn(node.inputs[0], "sub"):
        return None
    z, spread = node.inputs[0].inputs
    lse = under(spread, Broadcast, Reshape)
    for log in lse.inputs if is_fn(lse, "add") else (lse,):
        total = under(log.inputs[0], Broadcast, Reshape) if is_fn(log, "log") else None
        if total is None or total.primitive.name != "sum" or not is_fn(total.inputs[0], "exp"):
            continue
        (exps,) = total.inputs
        shift = next((x for x in lse.inputs if x is not log), None) if log is not lse else None
        (argument,) = exps.inputs
        if _is_difference(argument, z, shift, spread, lse) if shift else argument is z:
            inverse = make.unary("reciprocal", make.reshape(total, spread.inputs[0].shape))
            return make.binary("mul", exps, make.broadcast(inverse, node.shape))
    return None


def _is_difference(node: Node, z: Node, shift: Node, view: Node, base: Node) -> bool:
    """Whether `node` is z - shift, `shift` being seen through the views from `base` to `view`."""
    if not is_fn(node, "sub") or node.inputs[0] is not z:
        return False
    seen = node.inputs[1]
    while view is not base and seen.primitive == view.primitive:
        seen, view = seen.inputs[0], view.inputs[0]
    return seen is shift and view is base
