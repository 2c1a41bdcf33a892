"""NumPy's ufuncs on traced arrays: one rule each, from nodes of the loop's dtypes to a node.

`call` serves `np.f(...)`, `np.f.reduce(...)`, `np.f.accumulate`, `np.f.outer`, with `out=`,
`where=` and `dtype=`. NumPy itself resolves the dtypes, so promotion is its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from needle.compiler import trace_record as t
from needle.compiler.graph import Node
from needle.compiler.primitives_base import DTYPES
from needle.compiler.trace import TracedArray, _is_foreign, functions, not_traced
from needle.compiler.trace_operand import lift, shape_of, typed, wrap
from needle.errors import TraceError

Rule = Callable[..., Any]


def _unary(fn: str) -> Rule:
    return lambda x: t.unary(fn, x)


def _binary(fn: str, on_bool: str | None = None) -> Rule:
    def rule(a: Node, b: Node) -> Node:
        return t.binary(on_bool if on_bool and a.dtype == np.bool_ else fn, a, b)

    return rule


def _compare(fn: str) -> Rule:
    return lambda a, b: t.compare(fn, a, b)


def _scaled(fn: str, factor: float) -> Rule:
    return lambda x: t.binary("mul", t.unary(fn, x) if fn else x, t.like(factor, x))


def _truth(x: Node) -> Node:
    return x if x.dtype == np.bool_ else t.compare("ne", x, t.like(0, x))


def _logical(fn: str) -> Rule:
    return lambda a, b: t.binary(fn, _truth(a), _truth(b))


def _reciprocal(x: Node) -> Node:
    if x.dtype.kind == "f":
        return t.unary("reciprocal", x)
    return t.binary("floordiv", t.like(1, x), x)


def _fmax(pick: str) -> Rule:
    def rule(a: Node, b: Node) -> Node:
        if a.dtype.kind != "f":
            return t.binary(pick, a, b)
        other = t.where(t.unary("isnan", b), a, t.binary(pick, a, b))
        return t.where(t.unary("isnan", a), b, other)

    return rule


def _rounding(fn: str) -> Rule:
    return lambda x: t.unary(fn, x) if x.dtype.kind == "f" else x


def _predicate(fn: str, otherwise: bool) -> Rule:
    def rule(x: Node) -> Node:
        if x.dtype.kind == "f":
            return t.unary(fn, x)
        return t.constant(otherwise, np.bool_, x.shape)

    return rule


def _hypot(a: Node, b: Node) -> Node:
    a, b = t.unary("abs", a), t.unary("abs", b)
    big, small = t.binary("max", a, b), t.binary("min", a, b)
    ratio = t.where(t.compare("eq", big, t.like(0, big)), small, t.binary("div", small, big))
    square = t.binary("add", t.like(1, a), t.binary("mul", ratio, ratio))
    root = t.binary("mul", big, t.unary("sqrt", square))
    return t.where(t.unary("isinf", big), big, root)


def _logaddexp(a: Node, b: Node) -> Node:
    apart = t.unary("abs", t.binary("sub", a, b))
    tail = t.unary("log1p", t.unary("exp", t.unary("neg", apart)))
    # equal infinities: their difference is NaN, their sum the infinity itself
    return t.where(
        t.compare("eq", a, b),
        t.binary("add", a, t.like(math.log(2), a)),
        t.binary("add", t.binary("max", a, b), tail),
    )


def _arc(x: Node) -> Node:
    one = t.like(1, x)
    return t.unary("sqrt", t.binary("mul", t.binary("sub", one, x), t.binary("add", one, x)))


def _hyperbolic(combine: str) -> Rule:
    """(e^|x| - e^-|x|) / 2 or the sum, by squares of e^(|x|/2), which overflows no earlier."""

    def rule(x: Node) -> Node:
        size, half = t.unary("abs", x), t.like(0.5, x)
        root = t.unary("exp", t.binary("mul", size, half))
        grows = t.binary("mul", t.binary("mul", half, root), root)
        large = t.binary(combine, grows, t.binary("div", t.binary("div", half, root), root))
        if combine == "add":
            return large
        e = t.unary("expm1", size)  # exact for small x, where the difference would cancel
        small = t.binary("add", e, t.binary("div", e, t.binary("add", e, t.like(1, x))))
        small = t.binary("mul", small, half)
        return _copysign(t.where(t.compare("lt", size, t.like(1, x)), small, large), x)

    return rule


def _signbit(x: Node) -> Node:
    if x.dtype.kind != "f":
        return t.compare("lt", x, t.like(0, x))
    zero = t.compare("eq", x, t.like(0, x))
    return t.compare("lt", t.where(zero, t.unary("reciprocal", x), x), t.like(0, x))


def _copysign(a: Node, b: Node) -> Node:
    size = t.unary("abs", a)
    return t.where(_signbit(b), t.unary("neg", size), size)


def _heaviside(x: Node, middle: Node) -> Node:
    step = t.cast(t.compare("gt", x, t.like(0, x)), x.dtype)
    value = t.where(t.compare("eq", x, t.like(0, x)), middle, step)
    return t.where(t.unary("isnan", x), x, value)


def _identity(x: Node) -> Node:
    return x


RULES: dict[str, Rule] = {
    **{
        name: _unary(name)
        for name in ["exp", "expm1", "log", "log1p", "tanh", "sin", "cos", "sqrt", "sign"]
    },
    "negative": _unary("neg"),
    "absolute": lambda x: x if x.dtype == np.bool_ else t.unary("abs", x),
    "fabs": _unary("abs"),
    "positive": _identity,
    "conjugate": _identity,
    "square": lambda x: t.binary("mul", x, x),
    "cbrt": lambda x: _copysign(t.binary("pow", t.unary("abs", x), t.like(1 / 3, x)), x),
    "reciprocal": _reciprocal,
    "exp2": lambda x: t.binary("pow", t.like(2, x), x),
    "log2": _scaled("log", 1 / math.log(2)),
    "log10": _scaled("log", 1 / math.log(10)),
    "degrees": _scaled("", 180 / math.pi),
    "rad2deg": _scaled("", 180 / math.pi),
    "radians": _scaled("", math.pi / 180),
    "deg2rad": _scaled("", math.pi / 180),
    "tan": lambda x: t.binary("div", t.unary("sin", x), t.unary("cos", x)),
    "arctan": lambda x: t.binary("atan2", x, t.like(1, x)),
    "arcsin": lambda x: t.binary("atan2", x, _arc(x)),
    "arccos": lambda x: t.binary("atan2", _arc(x), x),
    "sinh": _hyperbolic("sub"),
    "cosh": _hyperbolic("add"),
    **{name: _rounding(name) for name in ["floor", "ceil", "trunc", "rint"]},
    "logical_not": lambda x: t.unary("not", _truth(x)),
    "invert": _unary("not"),
    "isnan": _predicate("isnan", False),
    "isinf": _predicate("isinf", False),
    "isfinite": _predicate("isfinite", True),
    "signbit": _signbit,
    "add": _binary("add", "or"),
    "subtract": _binary("sub"),
    "multiply": _binary("mul", "and"),
    "divide": _binary("div"),
    "power": _binary("pow"),
    "float_power": _binary("pow"),
    "remainder": _binary("mod"),
    "floor_divide": _binary("floordiv"),
    "divmod": lambda a, b: (t.binary("floordiv", a, b), t.binary("mod", a, b)),
    "maximum": _binary("max"),
    "minimum": _binary("min"),
    "fmax": _fmax("max"),
    "fmin": _fmax("min"),
    "bitwise_and": _binary("and"),
    "bitwise_or": _binary("or"),
    "bitwise_xor": _binary("xor"),
    "left_shift": _binary("shl"),
    "right_shift": _binary("shr"),
    "logical_and": _logical("and"),
    "logical_or": _logical("or"),
    "logical_xor": _logical("xor"),
    "arctan2": _binary("atan2"),
    "hypot": _hypot,
    "logaddexp": _logaddexp,
    "copysign": _copysign,
    "heaviside": _heaviside,
    "less": _compare("lt"),
    "less_equal": _compare("le"),
    "greater": _compare("gt"),
    "greater_equal": _compare("ge"),
    "equal": _compare("eq"),
    "not_equal": _compare("ne"),
}
"""The rules by ufunc name; operands come broadcast, in the dtypes of NumPy's loop."""

REDUCTIONS = {
    "add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min",
    "logical_and": "all", "logical_or": "any",
}  # fmt: skip


def call(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Record what `ufunc.method(*inputs, **kwargs)` computes."""
    if any(_is_foreign(x) for x in inputs):
        return NotImplemented
    out = kwargs.pop("out", None)
    if method == "__call__":
        result = _plain(ufunc, inputs, kwargs)
    elif method == "reduce":
        result = _reduction(ufunc, inputs, kwargs)
    elif method == "accumulate" and ufunc.__name__ == "add":
        result = functions()["cumsum"](*inputs, **{"axis": 0, **kwargs})
    elif method == "outer":
        a, b = (functions()["asarray"](x) for x in inputs)
        result = _plain(ufunc, (a.reshape((*a.shape, *(1,) * b.ndim)), b), kwargs)
    else:
        not_traced(f"np.{ufunc.__name__}.{method}")
    return result if out is None else _store(ufunc.__name__, out, result)


def apply(name: str, *inputs: Any) -> TracedArray:
    """Record a ufunc by its name."""
    return _plain(getattr(np, name), inputs, {})


def _plain(ufunc: np.ufunc, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name = ufunc.__name__
    if name == "matmul":
        return functions()["matmul"](*inputs)
    rule = RULES.get(name)
    if rule is None:
        not_traced(f"np.{name}")
    dtype, mask = kwargs.pop("dtype", None), kwargs.pop("where", True)
    kwargs.pop("casting", None), kwargs.pop("order", None), kwargs.pop("subok", None)
    if mask is not True or kwargs:
        not_traced(f"np.{name} with {', '.join(kwargs) or 'where='}", "use ops.where")
    dtypes = _loop(ufunc, inputs, dtype)
    shape = np.broadcast_shapes(*map(shape_of, inputs))
    nodes = [t.broadcast(lift(x, d), shape) for x, d in zip(inputs, dtypes, strict=False)]
    result = rule(*nodes)
    if isinstance(result, tuple):
        return tuple(wrap(part) for part in result)
    return wrap(t.cast(result, dtypes[-1]))


def _loop(ufunc: np.ufunc, inputs: tuple[Any, ...], dtype: Any) -> tuple[np.dtype, ...]:
    """The dtypes of NumPy's loop: inputs, then outputs."""
    kinds = [typed(x) for x in inputs]
    whole = np.dtype(kinds[0]).kind in "iu"
    if ufunc.__name__ == "power" and whole and _is_negative_integer(inputs[1]):
        raise ValueError("integers to negative integer powers are not allowed")
    wanted: Any = (*kinds, *(None,) * ufunc.nout)
    if dtype is None:
        dtypes = ufunc.resolve_dtypes(wanted)
    else:
        form: Any = (None,) * ufunc.nin + (np.dtype(dtype),) * ufunc.nout
        dtypes = ufunc.resolve_dtypes(wanted, signature=form)
    if any(d not in DTYPES for d in dtypes):
        raise TraceError(
            f"np.{ufunc.__name__} of {', '.join(str(k) for k in kinds)} computes in "
            f"{dtypes[-1]}, which is not compiled{t.at_line()}; convert with .astype('float32')"
        )
    return dtypes


def _is_negative_integer(x: Any) -> bool:
    return isinstance(x, int | np.integer) and bool(x < 0)


def _reduction(ufunc: np.ufunc, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name = REDUCTIONS.get(ufunc.__name__)
    if name is None:
        not_traced(f"np.{ufunc.__name__}.reduce")
    options = {k: v for k, v in kwargs.items() if v is not None or k == "axis"}
    if options.get("where", True) is True:
        options.pop("where", None)
    if "initial" in options and options["initial"] is np._NoValue:
        del options["initial"]
    options.setdefault("axis", 0)
    return functions()[name](*inputs, **options)


def _store(name: str, out: Any, result: Any) -> Any:
    """Write a result into the arrays given as `out=`."""
    outs = out if isinstance(out, tuple) else (out,)
    results = result if isinstance(result, tuple) else (result,)
    for target, value in zip(outs, results, strict=True):
        if not isinstance(target, TracedArray):
            raise TraceError(
                f"np.{name}: out= is an ndarray made outside of the trace{t.at_line()}; make it "
                "with np.empty_like(x) of a traced x"
            )
        if not np.can_cast(value.dtype, target.dtype, "same_kind"):
            raise TypeError(f"np.{name}: cannot write {value.dtype} into {target.dtype}")
        if np.broadcast_shapes(value.shape, target.shape) != target.shape:
            raise ValueError(f"np.{name}: shape {value.shape} does not fit into {target.shape}")
        target.assign(t.broadcast(t.cast(value.node, target.dtype), target.shape))
    return out if not isinstance(out, tuple) else out[0] if len(out) == 1 else out
