"""The table of traced functions by NumPy's names, and those that are made of others.

One table serves the Array API namespace, NumPy's `__array_function__` and the methods of traced
arrays: `out=` and options that change nothing are dealt with once, for all. What is made of other
functions is written in plain NumPy: on traced arrays it records.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from needle.compiler.trace import extensions as trace_extensions
from needle.compiler.trace import nodes as n
from needle.compiler.trace import products
from needle.compiler.trace.elementwise import call, store
from needle.compiler.trace.index import getitem, setitem
from needle.compiler.trace.nodes import along, axes_of, given
from needle.compiler.trace.operand import as_traced, result_type, wrap
from needle.compiler.trace.record import not_traced

_ALL = (slice(None),)

# ---- making arrays


def _filled(value: Any) -> Callable[..., Any]:
    return lambda shape, dtype=np.float64: n.full(shape, value, dtype or np.float64)


def _full_like(a: Any, fill_value: Any, dtype: Any = None, *, shape: Any = None) -> Any:
    x = as_traced(a)
    return n.full(x.shape if shape is None else shape, fill_value, dtype or x.dtype)


def _filled_like(value: Any) -> Callable[..., Any]:
    return lambda a, dtype=None, *, shape=None: _full_like(a, value, dtype, shape=shape)


def _asarray(a: Any, dtype: Any = None, *, copy: Any = False) -> Any:
    x = as_traced(a)
    return x.astype(x.dtype if dtype is None else dtype, copy=bool(copy))


def _copy(a: Any) -> Any:
    return wrap(as_traced(a).node)


def _copyto(dst: Any, src: Any, *, where: Any = True) -> None:
    dst[... if where is True else where] = src


# ---- other shapes


def _broadcast_arrays(*arrays: Any) -> tuple[Any, ...]:
    shape = np.broadcast_shapes(*(as_traced(x).shape for x in arrays))
    return tuple(n.broadcast_to(x, shape) for x in arrays)


def _at_least(function: Callable[..., Any]) -> Callable[..., Any]:
    grow = n.reshaping(function)

    def at_least(*arrays: Any) -> Any:
        grown = tuple(map(grow, arrays))
        return grown[0] if len(grown) == 1 else grown

    return at_least


def _roll(a: Any, shift: Any, axis: Any = None) -> Any:
    x = as_traced(a)
    if axis is None:
        return _roll(x.ravel(), shift, 0).reshape(x.shape)
    for by, k in np.broadcast(shift, axis):
        at = -by % x.shape[k] if x.shape[k] else 0
        x = np.concatenate(_split(x, [at], k)[::-1], k)
    return x.copy()


# ---- joining, cutting and repeating


def _stack(arrays: Sequence[Any], axis: int = 0, *, dtype: Any = None) -> Any:
    return n.concatenate([np.expand_dims(as_traced(x), axis) for x in arrays], axis, dtype=dtype)


def _joining(grow: Callable[[Any], Any], axis: int) -> Callable[..., Any]:
    """Make `vstack` or one like it: parts that are made of one rank, joined along an axis."""

    def join(tup: Sequence[Any], *, dtype: Any = None) -> Any:
        parts = [grow(as_traced(x)) for x in tup]
        return n.concatenate(parts, min(axis, parts[0].ndim - 1), dtype=dtype)

    return join


def _splitting(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make `split` or `array_split`: NumPy says which places along the axis each part has."""

    def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
        x, axis = along(ary, axis)
        parts = function(np.arange(x.shape[axis]), indices_or_sections)
        ends = [(part[0], part[-1] + 1) if part.size else (0, 0) for part in parts]
        return [x[(*_ALL * axis, slice(*map(int, pair)))] for pair in ends]

    return split


_split = _splitting(np.split)


def _repeat(a: Any, repeats: Any, axis: Any = None) -> Any:
    x, axis = along(a, axis)
    return x[(*_ALL * axis, np.repeat(np.arange(x.shape[axis]), repeats))]


def _tile(A: Any, reps: Any) -> Any:
    x, counts = as_traced(A), (reps,) if isinstance(reps, int) else tuple(reps)
    rank = max(x.ndim, len(counts))
    shape = (*(1,) * (rank - x.ndim), *x.shape)
    counts = (*(1,) * (rank - len(counts)), *counts)
    column = x.reshape(tuple(size for m in shape for size in (1, m)))
    rows = np.broadcast_to(column, [m for pair in zip(counts, shape, strict=True) for m in pair])
    return rows.reshape(tuple(c * m for c, m in zip(counts, shape, strict=True))).copy()


# ---- picking


def _take(a: Any, indices: Any, axis: Any = None) -> Any:
    x, axis = along(a, axis)
    known = isinstance(indices, int) or hasattr(indices, "dtype")
    return x[(*_ALL * axis, indices if known else np.asarray(indices))].copy()


def _take_along_axis(arr: Any, indices: Any, axis: Any = -1) -> Any:
    x, axis = along(arr, axis)
    places: list[Any] = [*np.ogrid[tuple(slice(size) for size in indices.shape)]]
    places[axis] = indices
    return x[tuple(places)]


def _diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    x = np.moveaxis(as_traced(a), (axis1, axis2), (-2, -1))
    count = max(0, min(x.shape[-2] + min(offset, 0), x.shape[-1] - max(offset, 0)))
    places = np.arange(count)
    return x[..., places - min(offset, 0), places + max(offset, 0)]


def _diag(v: Any, k: int = 0) -> Any:
    x = as_traced(v)
    if x.ndim == 2:
        return _diagonal(x, k)
    line = np.pad(x, (max(k, 0), max(-k, 0)))
    size = x.shape[0] + abs(k)
    on = np.eye(size, k=k, dtype=bool)
    return np.where(on, np.broadcast_to(line, (size, size)), np.zeros((), x.dtype))


# ---- elementwise, under names that are no ufuncs


def _clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    low, high, x = (a_min if min is None else min), (a_max if max is None else max), as_traced(a)
    x = np.maximum(x, low) if given(low) else x.copy()
    return np.minimum(x, high) if given(high) else x


def _round(a: Any, decimals: int = 0) -> Any:
    x = as_traced(a)
    if x.dtype.kind in "iu":
        return x.copy() if decimals >= 0 else _round(_floating(x), decimals).astype(x.dtype)
    return np.rint(x * 10.0**decimals) / 10.0**decimals if decimals else np.rint(x)


def _nan_to_num(
    x: Any, copy: bool = True, nan: float = 0.0, posinf: Any = None, neginf: Any = None
) -> Any:
    a = as_traced(x)
    if not copy:
        not_traced("np.nan_to_num with copy=False", "assign the result")
    if a.dtype.kind != "f":
        return a.copy()
    limits = np.finfo(a.dtype)
    high, low = limits.max if posinf is None else posinf, limits.min if neginf is None else neginf
    largest: Any = np.where(a > 0, high, low)
    a = np.where(np.isinf(a), largest.astype(a.dtype), a)
    return np.where(np.isnan(a), nan, a)


def _diff(a: Any, n: int = 1, axis: int = -1) -> Any:
    x, axis = along(a, axis)
    differ = np.not_equal if x.dtype == np.bool_ else np.subtract
    for _ in range(n):
        x = differ(x[(*_ALL * axis, slice(1, None))], x[(*_ALL * axis, slice(None, -1))])
    return x


def _isclose(
    a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Any:
    y = _floating(b)
    near = np.abs(np.subtract(a, y)) <= atol + rtol * np.abs(y)
    same = (near & np.isfinite(y)) | np.equal(a, y)
    return same | (np.isnan(a) & np.isnan(y)) if equal_nan else same


# ---- along axes


def _count(x: Any, axis: Any) -> int:
    return math.prod(x.shape[i] for i in axes_of(axis, x.ndim))


def _floating(a: Any, dtype: Any = None) -> Any:
    x = as_traced(a)
    return x.astype(dtype or (x.dtype if x.dtype.kind == "f" else np.float64), copy=False)


def _mean(a: Any, axis: Any = None, dtype: Any = None, *, keepdims: Any = False) -> Any:
    x = _floating(a, dtype)
    return np.sum(x, axis, keepdims=keepdims) / float(_count(x, axis))


def _var(
    a: Any, axis: Any = None, dtype: Any = None, *, ddof: float = 0, keepdims: Any = False,
    correction: Any = None, mean: Any = None,
) -> Any:  # fmt: skip
    """Centred: the sum of (a - mean a)^2 divided by n - correction."""
    x = _floating(a, dtype)
    away = x - (mean if given(mean) else np.mean(x, axis, keepdims=True))
    free = correction if given(correction) else ddof
    return np.sum(away * away, axis, keepdims=keepdims) / float(max(_count(x, axis) - free, 0))


@functools.wraps(_var)  # the same options
def _std(a: Any, *args: Any, **kwargs: Any) -> Any:
    return np.sqrt(_var(a, *args, **kwargs))


def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """Euclidean length (of all elements without `axis`); ord 1 and infinity over one axis."""
    a = _floating(x)
    if ord in (None, "fro") or (ord == 2 and (a.ndim == 1 or isinstance(axis, int))):
        return np.sqrt(np.sum(a * a, axis, keepdims=keepdims))
    if isinstance(axis, int) or a.ndim == 1:
        if ord == 1:
            return np.sum(np.abs(a), axis, keepdims=keepdims)
        if ord in (np.inf, -np.inf):
            return (np.max if ord > 0 else np.min)(np.abs(a), axis, keepdims=keepdims)
    return not_traced(f"np.linalg.norm with ord={ord!r}")


# ---- the table


def _size(a: Any, axis: Any = None) -> int:
    return as_traced(a).size if axis is None else as_traced(a).shape[axis]


_TABLE: dict[str, Callable[..., Any]] = {
    "sum": n.reduction("sum", np.add, 0, n.widened),
    "prod": n.reduction("prod", np.multiply, 1, n.widened),
    "max amax": n.reduction("max", np.maximum, None, n.converted),
    "min amin": n.reduction("min", np.minimum, None, n.converted),
    "all": n.reduction("min", np.logical_and, True, n.truths),
    "any": n.reduction("max", np.logical_or, False, n.truths),
    "mean": _mean, "var": _var, "std": _std,
    "argmax": n.arg_reduction("argmax"), "argmin": n.arg_reduction("argmin"),
    "cumsum cumulative_sum": n.cumsum,
    "ptp": lambda a, axis=None: np.max(a, axis) - np.min(a, axis),
    "nansum": lambda a, *args, **options: np.sum(np.where(np.isnan(a), 0, a), *args, **options),
    "count_nonzero": lambda a, axis=None, *, keepdims=False: np.sum(
        as_traced(a).astype(bool), axis, keepdims=keepdims),
    "linalg.norm linalg.vector_norm": _norm,
    "matmul": n.matmul, "dot": products.dot, "vdot": products.vdot, "inner": products.inner,
    "outer": products.outer, "tensordot": products.tensordot, "einsum": products.einsum,
    "trace": lambda a, *args, **options: np.sum(_diagonal(a, *args, **options), -1),
    "reshape": n.reshape, "ravel": n.ravel,
    "flatten": lambda a, order="C": n.ravel(a, order).copy(),
    "transpose permute_dims": n.transpose, "swapaxes": n.permuting(np.swapaxes),
    "matrix_transpose": n.permuting(np.matrix_transpose), "moveaxis": n.permuting(np.moveaxis),
    "squeeze": n.reshaping(np.squeeze), "expand_dims": n.reshaping(np.expand_dims),
    "flip": n.flip, "fliplr": lambda m: n.flip(m, 1), "flipud": lambda m: n.flip(m, 0),
    "broadcast_to": n.broadcast_to, "broadcast_arrays": _broadcast_arrays,
    "concatenate concat": n.concatenate,
    "stack": _stack, "vstack": _joining(np.atleast_2d, 0), "hstack": _joining(np.atleast_1d, 1),
    "column_stack": _joining(lambda x: x.reshape((-1, 1)) if x.ndim < 2 else x, 1),
    "dstack": _joining(np.atleast_3d, 2),
    "split": _split, "array_split": _splitting(np.array_split),
    "roll": _roll, "repeat": _repeat, "tile": _tile, "pad": n.pad,
    "atleast_1d": _at_least(np.atleast_1d), "atleast_2d": _at_least(np.atleast_2d),
    "atleast_3d": _at_least(np.atleast_3d),
    "zeros empty": _filled(0), "ones": _filled(1), "full": n.full,
    "zeros_like empty_like": _filled_like(0), "ones_like": _filled_like(1),
    "full_like": _full_like, "asarray asanyarray ascontiguousarray": _asarray,
    "array": lambda a, dtype=None, *, copy=True: _asarray(a, dtype, copy=copy),
    "astype": n.astype, "copy": _copy, "copyto": _copyto,
    "fill": lambda a, value: _copyto(a, value),
    "take": _take, "take_along_axis": _take_along_axis, "tril": n.band("le"),
    "triu": n.band("ge"), "diag": _diag, "diagonal": _diagonal,
    "where": n.where, "clip": _clip, "round around": _round,
    "nan_to_num": _nan_to_num, "diff": _diff, "isclose": _isclose, "real": as_traced,
    "shape": lambda a: as_traced(a).shape, "ndim": lambda a: as_traced(a).ndim, "size": _size,
    "isscalar": lambda a: False, "may_share_memory": lambda *args, **options: False,
    "result_type": result_type, "to_device": lambda a, device: a,
}  # fmt: skip


# ---- options that all of them have

_LAYOUT = {"device", "like", "order", "subok"}
"""What says nothing about values, where a function does not know it."""
_DEFAULTS: dict[str, tuple[Any, ...]] = {
    "casting": ("same_kind", "unsafe"), "copy": (False,), "mode": ("raise",), "where": (True,),
}  # fmt: skip


def _traced(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that takes `out=` too, and raises for options that it would ignore."""

    def call(*args: Any, **options: Any) -> Any:
        if not options:
            return function(*args)
        out = options.pop("out", None)
        for option in options.keys() - (_parameters(function) or options.keys()):
            value = options.pop(option)
            plain = isinstance(value, bool | str) and value in _DEFAULTS.get(option, ())
            if given(value) and not plain and option not in _LAYOUT:
                not_traced(f"np.{name} with {option}=")
        result = function(*args, **options)
        return result if out is None else store(name, out, result)

    return call


@functools.cache
def _parameters(function: Callable[..., Any]) -> set[str]:
    """The names of a function's parameters; none for one that takes any."""
    found = inspect.signature(function).parameters
    return set() if any(p.kind is p.VAR_KEYWORD for p in found.values()) else {*found}


FUNCTIONS: dict[str, Any] = {
    name: _traced(name, function) for names, function in _TABLE.items() for name in names.split()
}
FUNCTIONS |= {
    "ufunc": call, "needle extensions": trace_extensions, "getitem": getitem, "setitem": setitem,
}  # fmt: skip
