"""NumPy's ufuncs on traced arrays: one rule each, from nodes of the loop's dtypes to a node.

`call` serves `np.f(...)`, `np.f.reduce(...)`, `np.f.accumulate`, `np.f.outer`, with `out=`,
`where=` and `dtype=`. NumPy itself resolves the dtypes, so promotion is its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from needle.compiler.graph.graph import Node
from needle.compiler.graph.primitives import BINARY, COMPARE, UNARY
from needle.compiler.graph.primitives_base import DTYPES
from needle.compiler.trace import record as t
from needle.compiler.trace.composed import COMPOSED
from needle.compiler.trace.operand import as_traced, lift, shape_of, typed, wrap
from needle.compiler.trace.record import not_traced
from needle.compiler.trace.trace import TracedArray, is_foreign

Rule = Callable[..., Any]


def _binary(fn: str, on_bool: str) -> Rule:
    return lambda a, b: t.binary(on_bool if a.dtype == np.bool_ else fn, a, b)


def truth(x: Node) -> Node:
    """Return where a node is not 0."""
    return x if x.dtype == np.bool_ else t.compare("ne", x, t.like(0, x))


def _logical(fn: str) -> Rule:
    return lambda a, b: t.binary(fn, truth(a), truth(b))


def _of_floats(fn: str, otherwise: Rule) -> Rule:
    return lambda x: t.unary(fn, x) if x.dtype.kind == "f" else otherwise(x)


def _whole_reciprocal(x: Node) -> Node:
    """1 / x without its fraction."""
    whole = t.compare("eq", t.unary("abs", x), t.like(1, x))
    return t.where(whole, x, t.like(0, x))


def _everywhere(value: bool) -> Rule:
    return lambda x: t.constant(value, np.bool_, x.shape)


RULES: dict[str, Rule] = {
    ufunc.__name__: functools.partial(record, fn)
    for record, primitives in ((t.unary, UNARY), (t.binary, BINARY), (t.compare, COMPARE))
    for fn, (ufunc, _) in primitives.items()
    if isinstance(ufunc, np.ufunc)
}
"""The rules by ufunc name; operands come broadcast, in the dtypes of NumPy's loop. A primitive that
is a ufunc is its own rule; what it does not do for other dtypes follows."""
RULES |= {
    **{name: _of_floats(name, lambda x: x) for name in ("floor", "ceil", "trunc", "rint")},
    "absolute": lambda x: x if x.dtype == np.bool_ else t.unary("abs", x),
    "reciprocal": _of_floats("reciprocal", _whole_reciprocal),
    "isnan": _of_floats("isnan", _everywhere(False)),
    "isinf": _of_floats("isinf", _everywhere(False)),
    "isfinite": _of_floats("isfinite", _everywhere(True)),
    "add": _binary("add", "or"), "multiply": _binary("mul", "and"),
    "logical_not": lambda x: t.unary("not", truth(x)),
    "logical_and": _logical("and"), "logical_or": _logical("or"), "logical_xor": _logical("xor"),
}  # fmt: skip

REDUCTIONS = {
    "add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min",
    "logical_and": "all", "logical_or": "any",
}  # fmt: skip
"""Functions that a ufunc's `reduce` is."""


def call(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Record what `ufunc.method(*inputs, **kwargs)` computes."""
    if any(x is None or isinstance(x, str) or is_foreign(x) for x in inputs):
        return NotImplemented
    out, name = kwargs.pop("out", None), ufunc.__name__
    if method == "__call__":
        result = _plain(ufunc, inputs, kwargs)
    elif method == "reduce" and name in REDUCTIONS:
        result = t.active().functions[REDUCTIONS[name]](*inputs, **{"axis": 0, **kwargs})
    elif method == "accumulate" and ufunc is np.add:
        result = t.active().functions["cumsum"](*inputs, **{"axis": 0, **kwargs})
    elif method == "outer":
        a, b = map(as_traced, inputs)
        result = _plain(ufunc, (a.reshape((*a.shape, *(1,) * b.ndim)), b), kwargs)
    else:
        not_traced(f"np.{name}.{method}")
    return result if out is None else store(name, out, result)


def _plain(ufunc: np.ufunc, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name = ufunc.__name__
    if ufunc is np.matmul:
        return t.active().functions["matmul"](*inputs, **kwargs)
    if name not in RULES and name not in COMPOSED:
        not_traced(f"np.{name}")
    dtype, mask = kwargs.pop("dtype", None), kwargs.pop("where", True)
    kwargs.pop("casting", None), kwargs.pop("order", None), kwargs.pop("subok", None)
    if mask is not True or kwargs:
        not_traced(f"np.{name} with {', '.join(kwargs) or 'where='}", "use ops.where")
    dtypes = _loop(ufunc, inputs, dtype)
    shape = np.broadcast_shapes(*map(shape_of, inputs))
    nodes = [t.broadcast(lift(x, d), shape) for x, d in zip(inputs, dtypes, strict=False)]
    if name in RULES:
        return wrap(t.cast(RULES[name](*nodes), dtypes[-1]))
    result = COMPOSED[name](*map(wrap, nodes))
    return result if isinstance(result, tuple) else result.astype(dtypes[-1])


def _loop(ufunc: np.ufunc, inputs: tuple[Any, ...], dtype: Any) -> tuple[np.dtype, ...]:
    """The dtypes of NumPy's loop: inputs, then outputs."""
    kinds = [typed(x) for x in inputs]
    negative = isinstance(inputs[-1], int | np.integer) and bool(inputs[-1] < 0)
    if ufunc is np.power and negative and np.dtype(kinds[0]).kind in "iu":
        raise ValueError("integers to negative integer powers are not allowed")
    wanted: Any = (*kinds, *(None,) * ufunc.nout)
    form = (None,) * ufunc.nin + (np.dtype(dtype),) * ufunc.nout
    options: Any = {} if dtype is None else {"signature": form}
    dtypes = ufunc.resolve_dtypes(wanted, **options)
    other = [d for d in dtypes if d not in DTYPES]
    if other:
        raise t.refuse(
            f"np.{ufunc.__name__} of {', '.join(str(k) for k in kinds)} computes in "
            f"{other[0]}, which is not compiled{t.at_line()}; convert with .astype('float32')"
        )
    return dtypes


def store(name: str, out: Any, result: Any) -> Any:
    """Write a result into the arrays given as `out=`."""
    outs = out if isinstance(out, tuple) else (out,)
    results = result if isinstance(result, tuple) else (result,)
    for target, value in zip(outs, results, strict=True):
        if not isinstance(target, TracedArray):
            raise t.refuse(
                f"np.{name}: out= is an ndarray made outside of the trace{t.at_line()}; make it "
                "with np.empty_like(x) of a traced x"
            )
        if not np.can_cast(value.dtype, target.dtype, "same_kind"):
            raise TypeError(f"np.{name}: cannot write {value.dtype} into {target.dtype}")
        if np.broadcast_shapes(value.shape, target.shape) != target.shape:
            raise ValueError(f"np.{name}: shape {value.shape} does not fit into {target.shape}")
        target.assign(t.broadcast(t.cast(value.node, target.dtype), target.shape))
    return out if not isinstance(out, tuple) else out[0] if len(out) == 1 else out
