"""The table of traced functions by NumPy's names, and those that are made of others.

One table serves the Array API namespace, NumPy's `__array_function__` and the methods of traced
arrays. What is made of other functions is written in plain NumPy: on traced arrays it records.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from needle.compiler import trace_elementwise, trace_extensions
from needle.compiler import trace_nodes as n
from needle.compiler import trace_products as products
from needle.compiler.trace_index import getitem, setitem
from needle.compiler.trace_nodes import NOT_GIVEN, axes_of
from needle.compiler.trace_operand import as_traced, result_type, wrap
from needle.compiler.trace_record import not_traced

# ---- making arrays


def _filled(value: Any) -> Callable[..., Any]:
    def make(shape: Any, dtype: Any = None, order: str = "C", *, device: Any = None) -> Any:
        return n.full(shape, value, np.float64 if dtype is None else dtype)

    return make


def _full_like(a: Any, fill_value: Any, dtype: Any = None, order: str = "K", subok: bool = True,
               shape: Any = None, *, device: Any = None) -> Any:  # fmt: skip
    x = as_traced(a)
    return n.full(x.shape if shape is None else shape, fill_value, dtype or x.dtype)


def _filled_like(value: Any) -> Callable[..., Any]:
    return lambda a, *args, **options: _full_like(a, value, *args, **options)


def _asarray(a: Any, dtype: Any = None, *args: Any, copy: Any = False, **options: Any) -> Any:
    x = as_traced(a)
    return x.astype(x.dtype if dtype is None else dtype, copy=bool(copy))


def _copy(a: Any, order: str = "K", subok: bool = False) -> Any:
    return wrap(as_traced(a).node)


def _copyto(dst: Any, src: Any, casting: str = "same_kind", where: Any = True) -> None:
    dst[... if where is True else where] = src


# ---- other shapes


def _ravel(a: Any, order: str = "C") -> Any:
    x = as_traced(a)
    return n.reshape(x, x.size, order=order)


def _swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    order = list(range(as_traced(a).ndim))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return n.transpose(a, order)


def _moveaxis(a: Any, source: Any, destination: Any) -> Any:
    ndim = as_traced(a).ndim
    normal = np.lib.array_utils.normalize_axis_tuple
    pairs = sorted(zip(normal(destination, ndim), normal(source, ndim), strict=True))
    order = [i for i in range(ndim) if i not in [s for _, s in pairs]]
    for place, axis in pairs:
        order.insert(place, axis)
    return n.transpose(a, order)


def _squeeze(a: Any, axis: Any = None) -> Any:
    x = as_traced(a)
    axes = [i for i, size in enumerate(x.shape) if size == 1]
    axes = axes if axis is None else [*axes_of(axis, x.ndim)]
    if any(x.shape[i] != 1 for i in axes):
        raise ValueError("cannot select an axis to squeeze out which has size not equal to one")
    return x.reshape(tuple(size for i, size in enumerate(x.shape) if i not in axes))


def _expand_dims(a: Any, axis: Any = 0) -> Any:
    x = as_traced(a)
    count = x.ndim + (len(axis) if isinstance(axis, tuple | list) else 1)
    new, sizes = axes_of(axis, count), iter(x.shape)
    return x.reshape(tuple(1 if i in new else next(sizes) for i in range(count)))


def _broadcast_arrays(*arrays: Any, subok: bool = False) -> tuple[Any, ...]:
    shape = np.broadcast_shapes(*(as_traced(x).shape for x in arrays))
    return tuple(n.broadcast_to(x, shape) for x in arrays)


def _at_least(count: int, *arrays: Any) -> Any:
    grown = [as_traced(x) for x in arrays]
    grown = [x.reshape((*(1,) * (count - x.ndim), *x.shape)) for x in grown]
    return grown[0] if len(grown) == 1 else tuple(grown)


def _roll(a: Any, shift: Any, axis: Any = None) -> Any:
    x = as_traced(a)
    if axis is None:
        return _roll(x.ravel(), shift, 0).reshape(x.shape)
    axes = [axis] if isinstance(axis, int) else list(axis)
    shifts = [shift] * len(axes) if isinstance(shift, int) else shift
    for by, k in zip(shifts, axes, strict=True):
        at = -by % x.shape[k] if x.shape[k] else 0
        x = np.concatenate(_split(x, [at], k)[::-1], k)
    return x.copy()


# ---- joining, cutting and repeating


def _stack(arrays: Sequence[Any], axis: int = 0, out: Any = None) -> Any:
    return n.concatenate([_expand_dims(x, axis) for x in arrays], axis)


def _vstack(tup: Sequence[Any], **options: Any) -> Any:
    return n.concatenate([_at_least(2, x) for x in tup], 0)


def _hstack(tup: Sequence[Any], **options: Any) -> Any:
    parts = [_at_least(1, x) for x in tup]
    return n.concatenate(parts, 0 if parts[0].ndim == 1 else 1)


def _column_stack(tup: Sequence[Any]) -> Any:
    parts = [as_traced(x) for x in tup]
    return _hstack([x.reshape((-1, 1)) if x.ndim < 2 else x for x in parts])


def _split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    x = as_traced(ary)
    (axis,) = axes_of(axis, x.ndim)
    size = x.shape[axis]
    if isinstance(indices_or_sections, int):
        if size % indices_or_sections:
            raise ValueError("array split does not result in an equal division")
        edges = list(range(0, size + 1, size // indices_or_sections))
    else:
        edges = [0, *indices_or_sections, size]
    lead = (slice(None),) * axis
    return [x[(*lead, slice(a, b))] for a, b in itertools.pairwise(edges)]


def _repeat(a: Any, repeats: Any, axis: Any = None) -> Any:
    x = _ravel(a) if axis is None else as_traced(a)
    (axis,) = axes_of(axis or 0, x.ndim)
    return x[(*(slice(None),) * axis, np.repeat(np.arange(x.shape[axis]), repeats))]


def _tile(A: Any, reps: Any) -> Any:
    x, counts = as_traced(A), (reps,) if isinstance(reps, int) else tuple(reps)
    rank = max(x.ndim, len(counts))
    shape = (*(1,) * (rank - x.ndim), *x.shape)
    counts = (*(1,) * (rank - len(counts)), *counts)
    column = x.reshape(tuple(size for m in shape for size in (1, m)))
    rows = np.broadcast_to(column, [m for pair in zip(counts, shape, strict=True) for m in pair])
    return rows.reshape(tuple(c * m for c, m in zip(counts, shape, strict=True))).copy()


# ---- picking


def _take(a: Any, indices: Any, axis: Any = None, out: Any = None, mode: str = "raise") -> Any:
    x = _ravel(a) if axis is None else as_traced(a)
    (axis,) = axes_of(axis or 0, x.ndim)
    known = isinstance(indices, int) or hasattr(indices, "dtype")
    return x[(*(slice(None),) * axis, indices if known else np.asarray(indices))].copy()


def _take_along_axis(arr: Any, indices: Any, axis: Any = -1) -> Any:
    x = as_traced(arr)
    (axis,) = axes_of(axis, x.ndim)
    places: list[Any] = [*np.ogrid[tuple(slice(size) for size in indices.shape)]]
    places[axis] = indices
    return x[tuple(places)]


def _diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    x = _moveaxis(a, (axis1, axis2), (-2, -1))
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


def _clip(a: Any, a_min: Any = None, a_max: Any = None, out: Any = None, *, min: Any = None,
          max: Any = None, **options: Any) -> Any:  # fmt: skip
    low, high, x = (a_min if min is None else min), (a_max if max is None else max), as_traced(a)
    x = x if low is None or low is np._NoValue else np.maximum(x, low)
    return x if high is None or high is np._NoValue else np.minimum(x, high)


def _round(a: Any, decimals: int = 0, out: Any = None) -> Any:
    return np.rint(a * 10.0**decimals) / 10.0**decimals if decimals else np.rint(a)


def _nan_to_num(
    x: Any, copy: bool = True, nan: float = 0.0, posinf: Any = None, neginf: Any = None
) -> Any:
    a = as_traced(x)
    if a.dtype.kind != "f":
        return a
    limits = np.finfo(a.dtype)
    high, low = limits.max if posinf is None else posinf, limits.min if neginf is None else neginf
    largest: Any = np.where(a > 0, high, low)
    a = np.where(np.isinf(a), largest.astype(a.dtype), a)
    return np.where(np.isnan(a), nan, a)


def _diff(a: Any, n: int = 1, axis: int = -1) -> Any:
    x = as_traced(a)
    lead = (slice(None),) * axes_of(axis, x.ndim)[0]
    for _ in range(n):
        x = np.subtract(x[(*lead, slice(1, None))], x[(*lead, slice(None, -1))])
    return x


def _isclose(
    a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Any:
    near = np.abs(np.subtract(a, b)) <= atol + rtol * np.abs(b)
    return (near & np.isfinite(b)) | np.equal(a, b)


# ---- along axes


def _count(x: Any, axis: Any) -> int:
    return math.prod(x.shape[i] for i in axes_of(axis, x.ndim))


def _floating(a: Any, dtype: Any = None) -> Any:
    x = as_traced(a)
    return x.astype(dtype or (x.dtype if x.dtype.kind == "f" else np.float64), copy=False)


def _mean(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False
) -> Any:
    x = _floating(a, dtype)
    return np.sum(x, axis, keepdims=keepdims) / float(_count(x, axis))


def _var(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: float = 0,
    keepdims: Any = False, *, correction: Any = None, mean: Any = None,
) -> Any:  # fmt: skip
    """Centred: the sum of (a - mean a)^2 divided by n - correction."""
    x = _floating(a, dtype)
    given = mean is not None and mean is not np._NoValue
    away = x - (mean if given else np.mean(x, axis, keepdims=True))
    free = ddof if correction in NOT_GIVEN else correction
    return np.sum(away * away, axis, keepdims=keepdims) / float(max(_count(x, axis) - free, 0))


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


def _aliases(names: str, function: Any) -> Iterable[tuple[str, Any]]:
    return ((name, function) for name in names.split())


FUNCTIONS: dict[str, Any] = {
    "ufunc": trace_elementwise.call, "needle extensions": trace_extensions,
    "getitem": getitem, "setitem": setitem,
    "sum": n.reduction("sum", np.add, 0), "prod": n.reduction("prod", np.multiply, 1),
    **dict(_aliases("max amax", n.reduction("max", np.maximum))),
    **dict(_aliases("min amin", n.reduction("min", np.minimum))),
    "all": n.truths("min"), "any": n.truths("max"), "mean": _mean, "var": _var, "std": _std,
    "argmax": n.arg_reduction("argmax"), "argmin": n.arg_reduction("argmin"),
    **dict(_aliases("cumsum cumulative_sum", n.cumsum)),
    "ptp": lambda a, axis=None: np.max(a, axis) - np.min(a, axis),
    "nansum": lambda a, *args, **options: np.sum(np.where(np.isnan(a), 0, a), *args, **options),
    "count_nonzero": lambda a, axis=None, *, keepdims=False: np.sum(
        as_traced(a).astype(bool), axis, keepdims=keepdims),
    **dict(_aliases("linalg.norm linalg.vector_norm", _norm)),
    "matmul": n.matmul, "dot": products.dot, "vdot": products.vdot, "inner": products.inner,
    "outer": products.outer,
    "tensordot": products.tensordot, "einsum": products.einsum,
    "trace": lambda a, *args, **options: np.sum(_diagonal(a, *args, **options), -1),
    "reshape": n.reshape, "ravel": _ravel, "flatten": lambda a, order="C": _ravel(a, order).copy(),
    **dict(_aliases("transpose permute_dims", n.transpose)),
    "swapaxes": _swapaxes, "matrix_transpose": lambda x: _swapaxes(x, -1, -2),
    "moveaxis": _moveaxis, "squeeze": _squeeze, "expand_dims": _expand_dims, "roll": _roll,
    "flip": n.flip, "fliplr": lambda m: n.flip(m, 1), "flipud": lambda m: n.flip(m, 0),
    "broadcast_to": n.broadcast_to, "broadcast_arrays": _broadcast_arrays,
    **dict(_aliases("concatenate concat", n.concatenate)),
    "stack": _stack, "vstack": _vstack, "hstack": _hstack, "column_stack": _column_stack,
    **dict(_aliases("split array_split", _split)),
    "repeat": _repeat, "tile": _tile, "pad": n.pad,
    "atleast_1d": functools.partial(_at_least, 1), "atleast_2d": functools.partial(_at_least, 2),
    **dict(_aliases("zeros empty", _filled(0))), "ones": _filled(1), "full": n.full,
    **dict(_aliases("zeros_like empty_like", _filled_like(0))), "ones_like": _filled_like(1),
    "full_like": _full_like, **dict(_aliases("asarray asanyarray ascontiguousarray", _asarray)),
    "array": lambda a, *args, **options: _asarray(a, *args, **{"copy": True, **options}),
    "astype": n.astype, "copy": _copy, "copyto": _copyto,
    "fill": lambda a, value: _copyto(a, value),
    "take": _take, "take_along_axis": _take_along_axis, "tril": n.band("le"),
    "triu": n.band("ge"), "diag": _diag, "diagonal": _diagonal,
    "where": n.where, "clip": _clip, **dict(_aliases("round around", _round)),
    "nan_to_num": _nan_to_num, "diff": _diff, "isclose": _isclose, "real": as_traced,
    "shape": lambda a: as_traced(a).shape, "ndim": lambda a: as_traced(a).ndim, "size": _size,
    "isscalar": lambda a: False, "may_share_memory": lambda *args, **options: False,
    "result_type": result_type, "to_device": lambda a, device: a,
}  # fmt: skip
