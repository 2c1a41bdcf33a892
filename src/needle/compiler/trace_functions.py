"""The table of traced functions by NumPy's names, and those that make, move and join arrays.

One table serves the Array API namespace, NumPy's `__array_function__` and the methods of traced
arrays.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from needle.compiler import trace_record as t
from needle.compiler import trace_reduce as r
from needle.compiler.graph import Node
from needle.compiler.primitives import Concat, Flip, Pad
from needle.compiler.primitives_base import DTYPES
from needle.compiler.trace import TracedArray, as_traced, lift, not_traced, typed, wrap
from needle.compiler.trace_elementwise import apply
from needle.compiler.trace_index import getitem, setitem
from needle.errors import TraceError

axes_of = r.axes_of


def _view(x: Any, forth: Callable[[Node], Node], back: Callable[[Node], Node]) -> TracedArray:
    """Return a view whose elements are those of x in other places."""
    return TracedArray.view(as_traced(x), forth, lambda base, new: back(new))


# ---- other shapes


def reshape(a: Any, *shape: Any, order: str = "C", copy: Any = None, **named: Any) -> TracedArray:
    """Give another shape; one size may be -1."""
    x = as_traced(a)
    if order not in ("C", "A"):
        not_traced(f"np.reshape with order={order!r}", "transpose first")
    given = named.get("shape", named.get("newshape", shape[0] if len(shape) == 1 else shape))
    sizes = [given.__index__()] if hasattr(given, "__index__") else [n.__index__() for n in given]
    if sizes.count(-1) == 1:
        known = math.prod(n for n in sizes if n != -1)
        sizes = [x.size // known if n == -1 and known else n for n in sizes]
    if math.prod(sizes) != x.size or any(n < 0 for n in sizes):
        raise ValueError(f"cannot reshape array of size {x.size} into shape {tuple(sizes)}")
    before = x.shape
    return _view(x, lambda n: t.reshape(n, sizes), lambda n: t.reshape(n, before))


def ravel(a: Any, order: str = "C") -> TracedArray:
    """Join all axes."""
    return reshape(a, -1, order=order) if as_traced(a).size else reshape(a, 0)


def flatten(a: Any, order: str = "C") -> TracedArray:
    """Join all axes, in a copy."""
    return wrap(ravel(a, order).node)


def permute_dims(a: Any, axes: Sequence[int]) -> TracedArray:
    """Reorder the axes."""
    x = as_traced(a)
    order = [int(i) for i in np.lib.array_utils.normalize_axis_tuple(axes, x.ndim)]
    if len(order) != x.ndim:
        raise ValueError("axes don't match array")
    inverse = [order.index(i) for i in range(x.ndim)]
    return _view(x, lambda n: t.permute(n, order), lambda n: t.permute(n, inverse))


def transpose(a: Any, *axes: Any) -> TracedArray:
    """Reorder the axes, or reverse them."""
    x = as_traced(a)
    order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
    return permute_dims(x, order or tuple(range(x.ndim))[::-1])


def swapaxes(a: Any, axis1: int, axis2: int) -> TracedArray:
    """Swap two axes."""
    order = list(range(as_traced(a).ndim))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return permute_dims(a, order)


def matrix_transpose(x: Any) -> TracedArray:
    """Swap the last two axes."""
    return swapaxes(x, -1, -2)


def moveaxis(a: Any, source: Any, destination: Any) -> TracedArray:
    """Move axes to other positions."""
    ndim = as_traced(a).ndim
    normal = np.lib.array_utils.normalize_axis_tuple
    pairs = sorted(zip(normal(destination, ndim), normal(source, ndim), strict=True))
    order = [i for i in range(ndim) if i not in [s for _, s in pairs]]
    for place, axis in pairs:
        order.insert(place, axis)
    return permute_dims(a, order)


def squeeze(a: Any, axis: Any = None) -> TracedArray:
    """Drop axes of size 1."""
    x = as_traced(a)
    axes = [i for i, n in enumerate(x.shape) if n == 1] if axis is None else axes_of(axis, x.ndim)
    if any(x.shape[i] != 1 for i in axes):
        raise ValueError("cannot select an axis to squeeze out which has size not equal to one")
    return reshape(x, tuple(n for i, n in enumerate(x.shape) if i not in axes))


def expand_dims(a: Any, axis: Any = 0) -> TracedArray:
    """Insert axes of size 1."""
    x = as_traced(a)
    count = len(axis) if isinstance(axis, tuple | list) else 1
    new, sizes = axes_of(axis, x.ndim + count), iter(x.shape)
    return reshape(x, tuple(1 if i in new else next(sizes) for i in range(x.ndim + count)))


def broadcast_to(a: Any, shape: Any, subok: bool = False) -> TracedArray:
    """Repeat to a shape."""
    x = as_traced(a)
    sizes = (shape,) if isinstance(shape, int) else tuple(n.__index__() for n in shape)
    if np.broadcast_shapes(x.shape, sizes) != sizes:
        raise ValueError(f"operands could not be broadcast: {x.shape} to {sizes}")

    def refuse(base: Node, new: Node) -> Node:
        raise ValueError("assignment destination is read-only")

    return TracedArray.view(x, lambda n: t.broadcast(n, sizes), refuse)


def broadcast_arrays(*arrays: Any, subok: bool = False) -> tuple[TracedArray, ...]:
    """Repeat all to their common shape."""
    shape = np.broadcast_shapes(*(as_traced(x).shape for x in arrays))
    return tuple(broadcast_to(x, shape) for x in arrays)


def flip(m: Any, axis: Any = None) -> TracedArray:
    """Reverse along axes."""
    axes = axes_of(axis, as_traced(m).ndim)

    def turn(n: Node) -> Node:
        return t.make(Flip(axes), n) if axes else n

    return _view(m, turn, turn)


def roll(a: Any, shift: Any, axis: Any = None) -> TracedArray:
    """Shift elements around the ends."""
    x = as_traced(a)
    if axis is None:
        return reshape(roll(ravel(x), shift, 0), x.shape)
    axes = [axis] if isinstance(axis, int) else list(axis)
    for by, k in zip([shift] * len(axes) if isinstance(shift, int) else shift, axes, strict=True):
        k %= x.ndim
        n = x.shape[k]
        if n and by % n:
            lead = (slice(None),) * k
            x = concatenate([x[(*lead, slice(n - by % n, n))], x[(*lead, slice(0, n - by % n))]], k)
    return wrap(x.node)


# ---- joining and repeating


def concatenate(arrays: Sequence[Any], axis: Any = 0, out: Any = None, *, dtype: Any = None,
                casting: str = "same_kind") -> TracedArray:  # fmt: skip
    """Join along an axis."""
    parts = [as_traced(x) for x in arrays]
    if axis is None:
        parts, axis = [ravel(x) for x in parts], 0
    kind = np.dtype(dtype) if dtype is not None else np.result_type(*(x.dtype for x in parts))
    (axis,) = axes_of(axis, parts[0].ndim)
    shapes = {(*x.shape[:axis], *x.shape[axis + 1 :]) for x in parts}
    if len(shapes) != 1 or len({x.ndim for x in parts}) != 1:
        raise ValueError(
            "all the input array dimensions except for the concatenation axis must match: "
            f"{[x.shape for x in parts]}"
        )
    nodes = [t.cast(x.node, kind) for x in parts]
    return wrap(t.make(Concat(axis), *nodes) if len(nodes) > 1 else nodes[0])


def stack(arrays: Sequence[Any], axis: int = 0, out: Any = None) -> TracedArray:
    """Join along a new axis."""
    return concatenate([expand_dims(x, axis) for x in arrays], axis)


def _at_least(count: int) -> Callable[..., Any]:
    def grow(*arrays: Any) -> Any:
        grown = [as_traced(x) for x in arrays]
        grown = [
            reshape(x, (*(1,) * (count - x.ndim), *x.shape)) if x.ndim < count else x for x in grown
        ]
        return grown[0] if len(grown) == 1 else tuple(grown)

    return grow


atleast_1d, atleast_2d = _at_least(1), _at_least(2)


def vstack(tup: Sequence[Any], **options: Any) -> TracedArray:
    """Join rows."""
    return concatenate([atleast_2d(x) for x in tup], 0)


def hstack(tup: Sequence[Any], **options: Any) -> TracedArray:
    """Join columns."""
    parts = [atleast_1d(x) for x in tup]
    return concatenate(parts, 0 if parts[0].ndim == 1 else 1)


def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[TracedArray]:
    """Cut along an axis into equal parts or at indices."""
    x = as_traced(ary)
    (axis,) = axes_of(axis, x.ndim)
    n = x.shape[axis]
    if isinstance(indices_or_sections, int):
        if n % indices_or_sections:
            raise ValueError("array split does not result in an equal division")
        edges = list(range(0, n + 1, n // indices_or_sections))
    else:
        edges = [0, *indices_or_sections, n]
    lead = (slice(None),) * axis
    return [x[(*lead, slice(a, b))] for a, b in itertools.pairwise(edges)]


def repeat(a: Any, repeats: Any, axis: Any = None) -> TracedArray:
    """Repeat each element."""
    x = ravel(a) if axis is None else as_traced(a)
    (axis,) = axes_of(0 if axis is None else axis, x.ndim)
    return take(x, np.repeat(np.arange(x.shape[axis]), repeats), axis)


def tile(A: Any, reps: Any) -> TracedArray:
    """Repeat the whole array."""
    counts = (reps,) if isinstance(reps, int) else tuple(reps)
    x = as_traced(A)
    x = reshape(x, (*(1,) * (len(counts) - x.ndim), *x.shape)) if x.ndim < len(counts) else x
    counts = (*(1,) * (x.ndim - len(counts)), *counts)
    pairs = [size for c, n in zip(counts, x.shape, strict=True) for size in (c, n)]
    column = reshape(x, tuple(size for n in x.shape for size in (1, n)))
    return wrap(
        broadcast_to(column, pairs)
        .reshape([c * n for c, n in zip(counts, x.shape, strict=True)])
        .node
    )


def pad(
    array: Any, pad_width: Any, mode: str = "constant", constant_values: Any = 0
) -> TracedArray:
    """Put a constant around the array."""
    if mode != "constant" or np.ndim(constant_values):
        not_traced(f"np.pad with mode={mode!r}", "join parts with np.concatenate")
    x = lift(array)
    widths = np.broadcast_to(np.asarray(pad_width), (len(x.shape), 2)).tolist()
    low, high = (tuple(side) for side in zip(*widths, strict=True)) if widths else ((), ())
    return wrap(t.make(Pad(low, high, (0,) * len(low), constant_values), x))


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
