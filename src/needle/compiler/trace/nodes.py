"""Traced functions that make nodes: other shapes, joins, selections, sums and products."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from needle.compiler.graph.graph import Node
from needle.compiler.graph.primitives import ArgReduce, Concat, Cumulative, Flip, MatMul, Pad
from needle.compiler.graph.primitives_base import DTYPES
from needle.compiler.trace import record as t
from needle.compiler.trace.elementwise import truth
from needle.compiler.trace.operand import as_traced, lift, result_type, wrap
from needle.compiler.trace.record import not_traced
from needle.compiler.trace.trace import TracedArray


def given(x: Any) -> bool:
    """Whether an option has a value."""
    return x is not None and x is not np._NoValue


def axes_of(axis: Any, ndim: int) -> tuple[int, ...]:
    """Return the axes as sorted non-negative ints."""
    if axis is None:
        return tuple(range(ndim))
    given = axis if isinstance(axis, tuple | list) else (axis,)
    return tuple(sorted(int(a) for a in np.lib.array_utils.normalize_axis_tuple(given, ndim)))


def along(a: Any, axis: Any) -> tuple[Any, int]:
    """Return an array and its axis; without `axis`, all its elements in a line."""
    x = as_traced(a)
    return (reshape(x, -1), 0) if axis is None else (x, axes_of(axis, x.ndim)[0])


# ---- making and converting


def full(shape: Any, fill_value: Any, dtype: Any = None) -> TracedArray:
    """Make an array of one value."""
    value = lift(fill_value, None if dtype is None else np.dtype(dtype))
    sizes = (shape,) if hasattr(shape, "__index__") else shape
    return wrap(t.broadcast(value, [n.__index__() for n in sizes]))


def astype(x: Any, dtype: Any, *, copy: bool = True) -> TracedArray:
    """Convert to a dtype."""
    a = as_traced(x)
    if np.dtype(dtype) not in DTYPES:
        raise t.refuse(f"astype: {np.dtype(dtype)} is not compiled{t.at_line()}; use float32")
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


def reshaping(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make one of NumPy's functions that give the same elements another shape.

    NumPy says which, and whether that is a view or, as of a transposed array, a copy.
    """

    @functools.wraps(function)
    def change(a: Any, *args: Any, **options: Any) -> TracedArray:
        def look(x: np.ndarray) -> np.ndarray:
            return function(x, *args, **options)

        x = as_traced(a)
        laid = x.layout()
        new = look(laid)
        before, sizes = x.shape, new.shape
        if not np.may_share_memory(laid, new):
            return wrap(t.reshape(x.node, sizes))
        return TracedArray.view(
            x, lambda n: t.reshape(n, sizes), lambda base, n: t.reshape(n, before), look
        )

    return change


def permuting(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make one of NumPy's functions that put the axes in another order: it says in which."""

    @functools.wraps(function)
    def change(a: Any, *args: Any, **options: Any) -> TracedArray:
        def look(x: np.ndarray) -> np.ndarray:
            return function(x, *args, **options)

        x = as_traced(a)
        order = look(np.empty(range(x.ndim))).shape  # axis k is of size k
        inverse = [order.index(i) for i in range(x.ndim)]
        return TracedArray.view(
            x, lambda n: t.permute(n, order), lambda base, n: t.permute(n, inverse), look
        )

    return change


def _reshaped(
    a: np.ndarray, *sizes: Any, order: str = "C", shape: Any = None, newshape: Any = None
) -> np.ndarray:
    if order not in ("C", "A"):
        not_traced(f"np.reshape with order={order!r}", "transpose first")
    return a.reshape(*(sizes or (newshape if shape is None else shape,)))


reshape = reshaping(_reshaped)
ravel = reshaping(lambda a, order="C": _reshaped(np.ravel(a), -1, order=order))
transpose = permuting(lambda a, *order, axes=None: a.transpose(*(order or (axes,))))


def broadcast_to(a: Any, shape: Any) -> TracedArray:
    """Repeat to a shape."""
    x = as_traced(a)
    sizes = np.broadcast_to(x.layout(), shape).shape

    def refuse(base: Node, new: Node) -> Node:
        raise ValueError("assignment destination is read-only")

    look = functools.partial(np.broadcast_to, shape=sizes)
    return TracedArray.view(x, lambda n: t.broadcast(n, sizes), refuse, look)


def flip(m: Any, axis: Any = None) -> TracedArray:
    """Reverse along axes."""
    axes = axes_of(axis, as_traced(m).ndim)

    def turn(x: Node) -> Node:
        return t.make(Flip(axes), x) if axes else x

    look = functools.partial(np.flip, axis=axes)
    return TracedArray.view(as_traced(m), turn, lambda base, n: turn(n), look)


def concatenate(arrays: Sequence[Any], axis: Any = 0, *, dtype: Any = None) -> TracedArray:
    """Join along an axis."""
    parts = [as_traced(x) for x in arrays]
    if axis is None:
        parts, axis = [reshape(x, -1) for x in parts], 0
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
    array: Any, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0
) -> TracedArray:
    """Put a constant around the array."""
    if mode != "constant" or np.ndim(constant_values):
        not_traced(f"np.pad with mode={mode!r}", "join parts with np.concatenate")
    x = lift(array)
    widths = np.broadcast_to(np.asarray(pad_width), (len(x.shape), 2)).tolist()
    low, high = (tuple(side) for side in zip(*widths, strict=True)) if widths else ((), ())
    return wrap(t.make(Pad(low, high, (0,) * len(low), constant_values), x))


# ---- along axes


def converted(x: Node, dtype: Any) -> Node:
    """Return a node in `dtype`, if there is one."""
    return x if dtype is None else t.cast(x, np.dtype(dtype))


def truths(x: Node, dtype: Any) -> Node:
    """Return where a node is not 0."""
    return converted(truth(x), dtype)


def widened(x: Node, dtype: Any) -> Node:
    """Return what NumPy sums: small integers and bool widen."""
    return t.cast(x, np.sum(np.empty(0, x.dtype), dtype=dtype).dtype)


def _kept(x: Node, axes: Sequence[int], result: Node, keepdims: Any) -> TracedArray:
    """Return a reduction's result, with axes of size 1 if asked for."""
    if keepdims is not True:
        return wrap(result)
    return wrap(t.reshape(result, tuple(1 if i in axes else n for i, n in enumerate(x.shape))))


def reduction(
    fn: str, ufunc: np.ufunc, neutral: Any, prepare: Callable[[Node, Any], Node]
) -> Callable[..., Any]:
    """Make `sum`, `prod`, `max`, `min`, `all` or `any`: `fn` of the `prepare`d elements.

    `ufunc` combines two values, `neutral` is what no values give, None where that is an error.
    """

    def reduce(
        a: Any, axis: Any = None, dtype: Any = None, *, keepdims: Any = False,
        initial: Any = None, where: Any = True,
    ) -> TracedArray:  # fmt: skip
        if isinstance(dtype, TracedArray):
            not_traced(f"np.{fn} with out= by its position", "write out=...")
        x = prepare(lift(a), dtype)
        if where is not True and given(where):
            other = initial if neutral is None else neutral
            if not given(other):
                not_traced(f"np.{fn} with where= and without initial=", "use np.where before")
            x = lift(np.where(where, wrap(x), wrap(lift(other, x.dtype))))
        axes = axes_of(axis, len(x.shape))
        if all(x.shape[i] for i in axes):
            found = t.reduce(fn, x, axes)
        elif neutral is None:
            raise ValueError(f"zero-size array to reduction operation {fn} which has no identity")
        else:
            rest = [n for i, n in enumerate(x.shape) if i not in axes]
            found = t.constant(neutral, x.dtype, rest)
        result = _kept(x, axes, found, keepdims)
        return ufunc(result, wrap(lift(initial, x.dtype))) if given(initial) else result

    return reduce


def arg_reduction(fn: str) -> Callable[..., Any]:
    """Make `argmax` or `argmin`."""

    def search(a: Any, axis: Any = None, *, keepdims: Any = False) -> TracedArray:
        x, place = along(a, axis)
        if x.shape[place] == 0:
            raise ValueError(f"attempt to get {fn} of an empty sequence")
        whole = lift(a)
        found = t.make(ArgReduce(fn, place), x.node)
        return _kept(whole, axes_of(axis, len(whole.shape)), found, keepdims)

    return search


def cumsum(a: Any, axis: Any = None, dtype: Any = None) -> TracedArray:
    """Running sum."""
    x, place = along(a, axis)
    return wrap(t.make(Cumulative("sum", place), widened(x.node, dtype)))


def matmul(a: Any, b: Any) -> TracedArray:
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
