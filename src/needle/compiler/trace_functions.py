"""The table of traced functions by NumPy's names, and those that make, move and join arrays.

One table serves the Array API namespace, NumPy's `__array_function__` and the methods of traced
arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from needle.compiler import trace_record as t
from needle.compiler import trace_reduce as r
from needle.compiler.primitives_base import DTYPES
from needle.compiler.trace import TracedArray, not_traced
from needle.compiler.trace_operand import as_traced, lift, typed, wrap
from needle.compiler.trace_elementwise import apply
from needle.compiler.trace_index import getitem, setitem
from needle.errors import TraceError

from needle.compiler.trace_movement import (
    atleast_1d,
    atleast_2d,
    broadcast_arrays,
    broadcast_to,
    concatenate,
    expand_dims,
    flatten,
    flip,
    hstack,
    matrix_transpose,
    moveaxis,
    pad,
    permute_dims,
    ravel,
    repeat,
    reshape,
    roll,
    split,
    squeeze,
    stack,
    swapaxes,
    tile,
    transpose,
    vstack,
)

axes_of = r.axes_of


# ---- making arrays


def _filled(value: Any) -> Callable[..., Any]:
    def make(shape: Any, dtype: Any = None, order: str = "C", *, device: Any = None) -> TracedArray:
        return full(shape, value, np.float64 if dtype is None else dtype)

    return make


def full(
    shape: Any, fill_value: Any, dtype: Any = None, order: str = "C", *, device: Any = None
) -> TracedArray:
    """Make an array of one value."""
    sizes = (
        (shape.__index__(),) if hasattr(shape, "__index__") else tuple(n.__index__() for n in shape)
    )
    value = lift(fill_value, None if dtype is None else np.dtype(dtype))
    return wrap(t.broadcast(value, sizes))


def full_like(a: Any, fill_value: Any, dtype: Any = None, order: str = "K", subok: bool = True,
              shape: Any = None, *, device: Any = None) -> TracedArray:  # fmt: skip
    """Make an array of one value in the shape and dtype of another."""
    x = as_traced(a)
    return full(
        x.shape if shape is None else shape, fill_value, x.dtype if dtype is None else dtype
    )


def _filled_like(value: Any) -> Callable[..., Any]:
    def make(a: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None,
             *, device: Any = None) -> TracedArray:  # fmt: skip
        return full_like(a, value, dtype, shape=shape)

    return make


def asarray(a: Any, dtype: Any = None, **options: Any) -> TracedArray:
    """Return a traced array; a copy where the dtype changes or `copy=True`."""
    x = as_traced(a)
    return astype(x, x.dtype if dtype is None else dtype, copy=bool(options.get("copy")))


def array(a: Any, dtype: Any = None, **options: Any) -> TracedArray:
    """Return a copy as a traced array."""
    return asarray(a, dtype, **{"copy": True, **options})


def astype(
    x: Any, dtype: Any, order: Any = None, *, copy: bool = True, **options: Any
) -> TracedArray:
    """Convert to a dtype."""
    a = as_traced(x)
    if np.dtype(dtype) not in DTYPES:
        raise TraceError(f"astype: {np.dtype(dtype)} is not compiled{t.at_line()}; use float32")
    if a.dtype == np.dtype(dtype) and not copy:
        return a
    return wrap(t.cast(a.node, np.dtype(dtype)))


def copy(a: Any, order: str = "K", subok: bool = False) -> TracedArray:
    """Return a copy."""
    return wrap(lift(a))


def copyto(dst: Any, src: Any, casting: str = "same_kind", where: Any = True) -> None:
    """Write into an array."""
    setitem(dst, ... if where is True else where, src)


def fill(a: TracedArray, value: Any) -> None:
    """Write one value everywhere."""
    setitem(a, ..., value)


# ---- picking


def take(
    a: Any, indices: Any, axis: Any = None, out: Any = None, mode: str = "raise"
) -> TracedArray:
    """Pick along an axis."""
    x = ravel(a) if axis is None else as_traced(a)
    (axis,) = axes_of(0 if axis is None else axis, x.ndim)
    if isinstance(indices, int):
        return wrap(x[(*(slice(None),) * axis, indices)].node)
    return getitem(
        x, (*(slice(None),) * axis, indices if hasattr(indices, "dtype") else np.asarray(indices))
    )


def take_along_axis(arr: Any, indices: Any, axis: Any = -1) -> TracedArray:
    """Pick along an axis, by an index of the same rank."""
    x = as_traced(arr)
    (axis,) = axes_of(axis, x.ndim)
    places: list[Any] = [
        np.arange(n).reshape([-1 if i == j else 1 for j in range(x.ndim)])
        for i, n in enumerate(indices.shape)
    ]
    places[axis] = indices
    return getitem(x, tuple(places))


def _band(keep: str) -> Callable[..., Any]:
    def make(m: Any, k: int = 0) -> TracedArray:
        x = lift(m)
        rank = len(x.shape)
        row, column = t.iota(x.shape, rank - 2), t.iota(x.shape, rank - 1)
        inside = t.compare(keep, column, t.binary("add", row, t.like(k, row)))
        return wrap(t.where(inside, x, t.like(0, x)))

    return make


def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> TracedArray:
    """Pick the diagonal of two axes, which becomes the last axis."""
    x = moveaxis(a, (axis1, axis2), (-2, -1))
    count = max(0, min(x.shape[-2] + min(offset, 0), x.shape[-1] - max(offset, 0)))
    places = np.arange(count)
    return getitem(x, (..., places - min(offset, 0), places + max(offset, 0)))


def diag(v: Any, k: int = 0) -> TracedArray:
    """Pick the diagonal of a matrix, or put a vector on one."""
    x = as_traced(v)
    if x.ndim == 2:
        return diagonal(x, k)
    n = x.shape[0] + abs(k)
    on = np.eye(n, k=k, dtype=bool)
    line = pad(x, (max(k, 0), max(-k, 0)))
    return r.functions_where(on, broadcast_to(line, (n, n)), np.zeros((), x.dtype))


def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> TracedArray:
    """Sum the diagonal."""
    return r.sum_(diagonal(a, offset, axis1, axis2), -1)


# ---- elementwise, under names that are no ufuncs


def where(condition: Any, *branches: Any) -> TracedArray:
    """Select elementwise."""
    if len(branches) != 2:
        not_traced("np.where with one argument", "its shape depends on values: give three")
    return r.functions_where(condition, *branches)


def clip(a: Any, a_min: Any = None, a_max: Any = None, out: Any = None, *, min: Any = None,
         max: Any = None, **options: Any) -> TracedArray:  # fmt: skip
    """Limit to a range."""
    low, high = (a_min if min is None else min), (a_max if max is None else max)
    x = as_traced(a)
    x = x if low is None or low is np._NoValue else apply("maximum", x, low)
    return x if high is None or high is np._NoValue else apply("minimum", x, high)


def round_(a: Any, decimals: int = 0, out: Any = None) -> TracedArray:
    """Round to a number of decimals, halves to even."""
    if not decimals:
        return apply("rint", a)
    return apply("divide", apply("rint", apply("multiply", a, 10.0**decimals)), 10.0**decimals)


def nan_to_num(
    x: Any, copy: bool = True, nan: float = 0.0, posinf: Any = None, neginf: Any = None
) -> TracedArray:
    """Replace NaN and infinities."""
    a = as_traced(x)
    if a.dtype.kind != "f":
        return a
    limits = np.finfo(a.dtype)
    infinite = r.functions_where(apply("greater", a, 0), limits.max if posinf is None else posinf,
                                 limits.min if neginf is None else neginf)  # fmt: skip
    a = r.functions_where(apply("isinf", a), astype(infinite, a.dtype), a)
    return r.functions_where(apply("isnan", a), nan, a)


def diff(a: Any, n: int = 1, axis: int = -1) -> TracedArray:
    """Subtract neighbours."""
    x = as_traced(a)
    lead = (slice(None),) * axes_of(axis, x.ndim)[0]
    for _ in range(n):
        x = apply("subtract", x[(*lead, slice(1, None))], x[(*lead, slice(None, -1))])
    return x


def isclose(
    a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> TracedArray:
    """Compare within a tolerance."""
    room = apply("add", atol, apply("multiply", rtol, apply("absolute", b)))
    near = apply("less_equal", apply("absolute", apply("subtract", a, b)), room)
    return apply(
        "logical_or", apply("logical_and", near, apply("isfinite", b)), apply("equal", a, b)
    )


def ptp(a: Any, axis: Any = None) -> TracedArray:
    """Largest minus smallest."""
    return apply("subtract", r.max_(a, axis), r.min_(a, axis))


def nansum(a: Any, axis: Any = None, keepdims: Any = False, **options: Any) -> TracedArray:
    """Sum, NaN counted as 0."""
    return r.sum_(r.functions_where(apply("isnan", a), 0, a), axis, None, None, keepdims)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sum": r.sum_, "prod": r.prod, "max": r.max_, "amax": r.max_, "min": r.min_, "amin": r.min_,
    "all": r.all_, "any": r.any_, "mean": r.mean, "var": r.var, "std": r.std, "argmax": r.argmax,
    "argmin": r.argmin, "cumsum": r.cumsum, "cumulative_sum": r.cumsum, "ptp": ptp,
    "nansum": nansum,
    "count_nonzero": r.count_nonzero, "linalg.norm": r.norm, "linalg.vector_norm": r.norm,
    "matmul": r.matmul, "dot": r.dot, "vdot": r.vdot, "inner": r.inner, "outer": r.outer,
    "tensordot": r.tensordot, "einsum": r.einsum, "trace": trace,
    "reshape": reshape, "ravel": ravel, "flatten": flatten, "permute_dims": permute_dims,
    "transpose": transpose, "swapaxes": swapaxes, "matrix_transpose": matrix_transpose,
    "moveaxis": moveaxis, "squeeze": squeeze, "expand_dims": expand_dims, "flip": flip,
    "roll": roll,
    "fliplr": lambda m: flip(m, 1), "flipud": lambda m: flip(m, 0),
    "broadcast_to": broadcast_to, "broadcast_arrays": broadcast_arrays,
    "concatenate": concatenate, "concat": concatenate, "stack": stack, "vstack": vstack,
    "hstack": hstack, "column_stack": lambda tup: hstack(
        [reshape(x, (-1, 1)) if as_traced(x).ndim < 2 else x for x in tup]),
    "split": split, "array_split": split, "repeat": repeat, "tile": tile, "pad": pad,
    "atleast_1d": atleast_1d, "atleast_2d": atleast_2d,
    "zeros": _filled(0), "ones": _filled(1), "empty": _filled(0), "full": full,
    "zeros_like": _filled_like(0), "ones_like": _filled_like(1), "empty_like": _filled_like(0),
    "full_like": full_like, "asarray": asarray, "array": array, "astype": astype, "copy": copy,
    "ascontiguousarray": asarray, "asanyarray": asarray, "copyto": copyto, "fill": fill,
    "take": take, "take_along_axis": take_along_axis, "getitem": getitem, "setitem": setitem,
    "tril": _band("le"), "triu": _band("ge"), "diag": diag, "diagonal": diagonal,
    "where": where, "clip": clip, "round": round_, "around": round_, "nan_to_num": nan_to_num,
    "diff": diff, "isclose": isclose, "real": as_traced,
    "shape": lambda a: as_traced(a).shape, "ndim": lambda a: as_traced(a).ndim,
    "size": lambda a, axis=None: as_traced(a).size if axis is None else as_traced(a).shape[axis],
    "isscalar": lambda a: False, "may_share_memory": lambda *args, **kwargs: False,
    "result_type": lambda *xs: np.result_type(*(r._weak_sample(typed(x)) for x in xs)),
    "to_device": lambda a, device: a,
}  # fmt: skip
