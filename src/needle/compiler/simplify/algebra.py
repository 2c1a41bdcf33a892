"""Rules for elementwise nodes: constants, neutral elements, signs, powers, quotients.

Each is exact, NaN, infinities and signed zeros included, except where its docstring says how it
rounds differently.
"""

from __future__ import annotations

import math

import numpy as np

from needle.compiler.graph.graph import Node
from needle.compiler.graph.primitives import (
    Binary,
    Broadcast,
    Cast,
    Compare,
    Constant,
    Elementwise,
    Permute,
    Random,
    Reshape,
    Unary,
)  # fmt: skip
from needle.compiler.graph.primitives_base import FLOAT32, FLOAT64
from needle.compiler.simplify.rewriter import COMMUTATIVE, Rewriter, is_fn, scalar, under


def fold_constants(p: Elementwise, below: Constant, node: Node, make: Rewriter) -> Node | None:
    """2.0 * 3.0 -> 6.0."""
    if not all(isinstance(x.primitive, Constant) for x in node.inputs):
        return None
    try:
        with np.errstate(all="ignore"):
            value = p.evaluate(*[x.primitive.evaluate() for x in node.inputs])
    except ValueError:  # an integer to a negative power: the run raises it
        return None
    return make(Constant(value.item(), node.dtype))


NEUTRAL = {"mul": 1.0, "div": 1.0, "pow": 1.0, "sub": 0.0, "add": -0.0}
"""Right operands that change nothing: x + 0.0 turns -0.0 into 0.0, x + -0.0 does not."""


def _is_neutral(node: Node, fn: str) -> bool:
    value, neutral = scalar(node), NEUTRAL.get(fn)
    if value is None or neutral is None or value != neutral:
        return False
    return node.dtype.kind != "f" or math.copysign(1, value) == math.copysign(1, neutral)


def drop_neutral(p: Binary, below: object, node: Node, make: Rewriter) -> Node | None:
    """x * 1 -> x, x / 1 -> x, x ** 1 -> x, x - 0 -> x, x + -0.0 -> x, n + 0 -> n."""
    a, b = node.inputs
    if _is_neutral(b, p.fn):
        return a
    return b if p in COMMUTATIVE and _is_neutral(a, p.fn) else None


def negated(node: Node, make: Rewriter) -> Node | None:
    """Return y where `node` is -y, also under reshape, permute and broadcast; else None."""
    if is_fn(node, "neg"):
        return node.inputs[0]
    if not isinstance(node.primitive, Broadcast | Reshape | Permute):
        return None
    inner = negated(node.inputs[0], make)  # at most three deep: views are composed
    return None if inner is None else make(node.primitive, inner)


def add_of_negation(p: Binary, below: object, node: Node, make: Rewriter) -> Node | None:
    """a + -b -> a - b, -a + b -> b - a, a - -b -> a + b."""
    if p.fn not in ("add", "sub"):
        return None
    a, b = node.inputs
    if (minus_b := negated(b, make)) is not None:
        return make.binary("sub" if p.fn == "add" else "add", a, minus_b)
    minus_a = negated(a, make) if p.fn == "add" else None
    return None if minus_a is None else make.binary("sub", b, minus_a)


def power_by_constant(p: Binary, below: object, node: Node, make: Rewriter) -> Node | None:
    """x ** c for c = 2, 3, 0, and for floats 0.5, -0.5, -1, as products and roots.

    As NumPy's `**` does: x ** 0.5 is sqrt(x), NaN at -inf and -0.0 at -0.0.
    """
    x, exponent = node.inputs[0], scalar(node.inputs[1])
    if p.fn != "pow" or exponent is None:
        return None
    if exponent == 0:
        return make.full(1, node)
    if exponent in (2, 3):
        square = make.binary("mul", x, x)
        return square if exponent == 2 else make.binary("mul", square, x)
    root = {0.5: "sqrt", -0.5: "rsqrt", -1.0: "reciprocal"}.get(exponent)
    return make.unary(root, x) if root and node.dtype.kind == "f" else None


def divide_by_broadcast(p: Binary, below: object, node: Node, make: Rewriter) -> Node | None:
    """x / broadcast(s) -> x * broadcast(1 / s), and 1 / x -> reciprocal(x).

    One rounding more; a constant s whose reciprocal is not a normal number stays. For another s
    below 2^-128 (float32) the reciprocal overflows: x / s is then beyond range for |x| > 2. A 0-d
    x is divided as it is, but for powers of two, where the product is exact.
    """
    a, b = node.inputs
    if p.fn != "div":
        return None
    if scalar(a) == 1:
        return make.unary("reciprocal", b)
    value = scalar(b)
    if not (isinstance(b.primitive, Broadcast) if value is None else _has_inverse(value, node)):
        return None
    (divisor,) = b.inputs or (b,)
    inverse = make.unary("reciprocal", divisor)
    return make.binary("mul", a, make.broadcast(inverse, node.shape))


def _has_inverse(value: float, like: Node) -> bool:
    limits, exact = np.finfo(like.dtype), math.frexp(value)[0] in (0.5, -0.5)
    normal = float(limits.tiny) <= 1 / abs(value or math.inf) <= float(limits.max)
    return normal and (like.shape != () or exact)


def reciprocal_of_root(p: Unary, below: Unary | Binary, node: Node, make: Rewriter) -> Node | None:
    """1 / sqrt(x) -> rsqrt(x), 1 / (sqrt(x) sqrt(x)) -> rsqrt(x) rsqrt(x), 1 / rsqrt(x) -> sqrt(x).

    The number of roundings changes by one.
    """
    (x,) = node.inputs
    if p.fn != "reciprocal":
        return None
    if below.fn in ("sqrt", "rsqrt"):
        return make.unary("rsqrt" if below.fn == "sqrt" else "sqrt", x.inputs[0])
    if below.fn == "mul" and x.inputs[0] is x.inputs[1] and is_fn(x.inputs[0], "sqrt"):
        root = make.unary("rsqrt", x.inputs[0].inputs[0])
        return make.binary("mul", root, root)
    return None


def compare_of_widened(p: Compare, below: Cast, node: Node, make: Rewriter) -> Node | None:
    """cast(x, float64) <= s -> x <= s', with s' the float32 next to s on the side that decides."""
    wide, bound = node.inputs
    (x,), value = wide.inputs, scalar(bound)
    widened = (x.dtype, wide.dtype) == (FLOAT32, FLOAT64)
    if not widened or value is None or p.fn not in ("lt", "le", "gt", "ge"):
        return None
    with np.errstate(over="ignore"):
        near = np.float32(value)
        if p.fn in ("le", "gt") and float(near) > value:  # NumPy would round value first
            near = np.nextafter(near, np.float32(-np.inf))
        elif p.fn in ("lt", "ge") and float(near) < value:
            near = np.nextafter(near, np.float32(np.inf))
    return make(p, x, make.full(float(near), x))


def compare_of_uniform(
    p: Compare, below: Random | Cast | Reshape, node: Node, make: Rewriter
) -> Node | None:
    """uniform <= 1 -> true, and likewise what else is decided by 0 <= uniform < 1: dropout of 0."""
    x, bound = node.inputs
    drawn, value = under(x, Cast, Reshape).primitive, scalar(bound)
    if not isinstance(drawn, Random) or drawn.kind != "uniform" or value is None:
        return None
    if value >= 1 and p.fn in ("lt", "le", "gt", "ge"):
        return make.full(p.fn in ("lt", "le"), node)
    return make.full(p.fn == "ge", node) if value <= 0 and p.fn in ("ge", "lt") else None


def softmax_from_logsumexp(p: Unary, below: Binary, node: Node, make: Rewriter) -> Node | None:
    """exp(a - log s) -> e * (1 / s) where s = sum(e), e = exp(a): the exponentials serve again.

    Likewise exp(z - (log s + t)) where e = exp(z - t). Two roundings more in the product, one or
    two fewer in the argument of exp.
    """
    if p.fn != "exp" or below.fn != "sub":
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
