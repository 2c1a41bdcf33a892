"""Traced functions that make nodes: other shapes, joins, selections, sums and products."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from needle.compiler import trace_record as t
from needle.compiler.graph import Node
from needle.compiler.primitives import ArgReduce, Concat, Cumulative, Flip, MatMul, Pad
from needle.compiler.primitives_base import DTYPES
from needle.compiler.trace import TracedArray
from needle.compiler.trace_elementwise import truth
from needle.compiler.trace_operand import as_traced, lift, result_type, wrap
from needle.compiler.trace_record import not_traced
from needle.errors import TraceError

NOT_GIVEN = (None, np._NoValue)


def axes_of(axis: Any, ndim: int) -> tuple[int, ...]:
    """Return the axes as sorted non-negative ints."""
    if axis is None:
        return tuple(range(ndim))
    given = axis if isinstance(axis, tuple | list) else (axis,)
    return tuple(sorted(int(a) for a in np.lib.array_utils.normalize_axis_tuple(given, ndim)))


def _sizes(shape: Any) -> tuple[int, ...]:
    single = hasattr(shape, "__index__")
    return (shape.__index__(),) if single else tuple(n.__index__() for n in shape)


# ---- making and converting


def full(
    shape: Any, fill_value: Any, dtype: Any = None, order: str = "C", *, device: Any = None
) -> TracedArray:
    """Make an array of one value."""
    value = lift(fill_value, None if dtype is None else np.dtype(dtype))
    return wrap(t.broadcast(value, _sizes(shape)))


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


def where(condition: Any, *branches: Any) -> TracedArray:
    """Select elementwise, with broadcasting and promotion."""
    if len(branches) != 2:
        not_traced("np.where with one argument", "its shape depends on values: give three")
    dtype = result_type(*branches)
    nodes = [truth(lift(condition)), *(lift(x, dtype) for x in branches)]
    shape = np.broadcast_shapes(*(n.shape for n in nodes))
    return wrap(t.where(*(t.broadcast(n, shape) for n in nodes)))


def band(keep: str) -> Callable[..., Any]:
    """Make `tril` ("le") or `triu` ("ge")."""

    def make(m: Any, k: int = 0) -> TracedArray:
        x = lift(m)
        rank = len(x.shape)
        row, column = t.iota(x.shape, rank - 2), t.iota(x.shape, rank - 1)
        inside = t.compare(keep, column, t.binary("add", row, t.like(k, row)))
        return wrap(t.where(inside, x, t.like(0, x)))

    return make


# ---- other shapes


def _view(x: Any, forth: Callable[[Node], Node], back: Callable[[Node], Node]) -> TracedArray:
    """Return a view whose elements are those of x in other places."""
    return TracedArray.view(as_traced(x), forth, lambda base, new: back(new))


def reshape(a: Any, *shape: Any, order: str = "C", copy: Any = None, **named: Any) -> TracedArray:
    """Give another shape; one size may be -1."""
    x = as_traced(a)
    if order not in ("C", "A"):
        not_traced(f"np.reshape with order={order!r}", "transpose first")
    given = named.get("shape", named.get("newshape", shape[0] if len(shape) == 1 else shape))
    sizes = _sizes(given)
    if sizes.count(-1) == 1:
        known = math.prod(n for n in sizes if n != -1)
        sizes = tuple(x.size // known if n == -1 and known else n for n in sizes)
    if math.prod(sizes) != x.size or any(n < 0 for n in sizes):
        raise ValueError(f"cannot reshape array of size {x.size} into shape {sizes}")
    before = x.shape
    return _view(x, lambda n: t.reshape(n, sizes), lambda n: t.reshape(n, before))


def transpose(a: Any, *axes: Any) -> TracedArray:
    """Reorder the axes, or reverse them."""
    x = as_traced(a)
    given = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
    if not given:
        given = tuple(range(x.ndim))[::-1]
    order = [int(i) for i in np.lib.array_utils.normalize_axis_tuple(given, x.ndim)]
    if len(order) != x.ndim:
        raise ValueError("axes don't match array")
    inverse = [order.index(i) for i in range(x.ndim)]
    return _view(x, lambda n: t.permute(n, order), lambda n: t.permute(n, inverse))


def broadcast_to(a: Any, shape: Any, subok: bool = False) -> TracedArray:
    """Repeat to a shape."""
    x, sizes = as_traced(a), _sizes(shape)
    if np.broadcast_shapes(x.shape, sizes) != sizes:
        raise ValueError(f"operands could not be broadcast: {x.shape} to {sizes}")

    def refuse(base: Node, new: Node) -> Node:
        raise ValueError("assignment destination is read-only")

    return TracedArray.view(x, lambda n: t.broadcast(n, sizes), refuse)


def flip(m: Any, axis: Any = None) -> TracedArray:
    """Reverse along axes."""
    axes = axes_of(axis, as_traced(m).ndim)

    def turn(n: Node) -> Node:
        return t.make(Flip(axes), n) if axes else n

    return _view(m, turn, turn)


def concatenate(arrays: Sequence[Any], axis: Any = 0, out: Any = None, *, dtype: Any = None,
                casting: str = "same_kind") -> TracedArray:  # fmt: skip
    """Join along an axis."""
    parts = [as_traced(x) for x in arrays]
    if axis is None:
        parts, axis = [x.reshape(x.size) for x in parts], 0
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


# ---- along axes


def _sum_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype in which NumPy sums: small integers and bool widen."""
    if dtype.kind in "biu" and dtype.itemsize < 8:
        return np.dtype(np.uint64 if dtype.kind == "u" else np.int64)
    return dtype


def _kept(x: Node, axes: Sequence[int], result: Node, keepdims: Any) -> TracedArray:
    """Return a reduction's result, with axes of size 1 if asked for."""
    if keepdims is not True:
        return wrap(result)
    return wrap(t.reshape(result, tuple(1 if i in axes else n for i, n in enumerate(x.shape))))


def reduction(fn: str, ufunc: np.ufunc, neutral: Any = None) -> Callable[..., Any]:
    """Make `sum`, `prod`, `max` or `min`; `ufunc` combines two values."""

    def reduce(
        a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False,
        initial: Any = None, where: Any = True,
    ) -> TracedArray:  # fmt: skip
        x = lift(a)
        start = None if initial is np._NoValue else initial
        if out is not None:
            not_traced(f"np.{fn} with out=", "assign the result")
        if where is not True and where is not np._NoValue:
            other = start if neutral is None else neutral
            if other is None:
                not_traced(f"np.{fn} with where= and without initial=", "use np.where before")
            x = lift(np.where(where, wrap(x), np.asarray(other, x.dtype)))
        axes = axes_of(axis, len(x.shape))
        if neutral is not None:
            x = t.cast(x, np.dtype(dtype) if dtype is not None else _sum_dtype(x.dtype))
        elif any(x.shape[i] == 0 for i in axes):
            raise ValueError(f"zero-size array to reduction operation {fn} which has no identity")
        result = _kept(x, axes, t.reduce(fn, x, axes), keepdims)
        return result if start is None else ufunc(result, start)

    return reduce


def truths(fn: str) -> Callable[..., Any]:
    """Make `all` ("min") or `any` ("max")."""

    def reduce(a: Any, axis: Any = None, out: Any = None, keepdims: Any = False) -> TracedArray:
        x = truth(lift(a))
        axes = axes_of(axis, len(x.shape))
        if any(x.shape[i] == 0 for i in axes):
            shape = tuple(n for i, n in enumerate(x.shape) if i not in axes)
            result = t.constant(fn == "min", np.bool_, shape)
        else:
            result = t.reduce(fn, x, axes)
        return _kept(x, axes, result, keepdims)

    return reduce


def arg_reduction(fn: str) -> Callable[..., Any]:
    """Make `argmax` or `argmin`."""

    def search(a: Any, axis: Any = None, out: Any = None, *, keepdims: Any = False) -> TracedArray:
        x = lift(a)
        axes = axes_of(axis, len(x.shape))
        flat = x if axis is not None else t.reshape(x, (x.size,))
        along = axes[0] if axis is not None else 0
        if flat.shape[along] == 0:
            raise ValueError(f"attempt to get {fn} of an empty sequence")
        return _kept(x, axes, t.make(ArgReduce(fn, along), flat), keepdims)

    return search


def cumsum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> TracedArray:
    """Running sum."""
    x = lift(a)
    if axis is None:
        x, axis = t.reshape(x, (x.size,)), 0
    x = t.cast(x, np.dtype(dtype) if dtype is not None else _sum_dtype(x.dtype))
    return wrap(t.make(Cumulative("sum", *axes_of(axis, len(x.shape))), x))


def matmul(a: Any, b: Any, out: Any = None) -> TracedArray:
    """Multiply matrices; leading axes broadcast, vectors are rows or columns."""
    dtype = result_type(a, b)
    # of bools: or of ands
    x, y = (lift(v, np.int64 if dtype == np.bool_ else dtype) for v in (a, b))
    if not x.shape or not y.shape:
        raise ValueError("matmul: expected arrays with axes, got a scalar")
    row, column = len(x.shape) == 1, len(y.shape) == 1
    x = t.reshape(x, (1, *x.shape)) if row else x
    y = t.reshape(y, (*y.shape, 1)) if column else y
    if x.shape[-1] != y.shape[-2]:
        raise ValueError(f"matmul: shapes {x.shape} and {y.shape} do not fit")
    batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    x, y = (t.broadcast(v, (*batch, *v.shape[-2:])) for v in (x, y))
    shape = (*batch, *(() if row else x.shape[-2:-1]), *(() if column else y.shape[-1:]))
    return wrap(t.cast(t.reshape(t.make(MatMul(), x, y), shape), dtype))
