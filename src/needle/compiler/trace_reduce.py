"""Traced functions that combine elements along axes, and products of arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from needle.compiler import trace_record as t
from needle.compiler.graph import Node
from needle.compiler.primitives import ArgReduce, Cumulative, MatMul
from needle.compiler.trace import TracedArray, not_traced
from needle.compiler.trace_operand import as_traced, lift, typed, wrap
from needle.compiler.trace_elementwise import _truth, apply

_NO = (None, np._NoValue)


def axes_of(axis: Any, ndim: int) -> tuple[int, ...]:
    """Return the axes as sorted non-negative ints."""
    if axis is None:
        return tuple(range(ndim))
    given = axis if isinstance(axis, tuple | list) else (axis,)
    return tuple(sorted(int(a) for a in np.lib.array_utils.normalize_axis_tuple(given, ndim)))


def _kept(x: Node, axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(1 if i in axes else n for i, n in enumerate(x.shape))


def _sum_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype in which NumPy sums: small integers and bool widen."""
    if dtype.kind == "b" or (dtype.kind == "i" and dtype.itemsize < 8):
        return np.dtype(np.int64)
    if dtype.kind == "u" and dtype.itemsize < 8:
        return np.dtype(np.uint64)
    return dtype


def _reduction(fn: str) -> Any:
    adds = fn in ("sum", "prod")

    def reduction(
        a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False,
        initial: Any = None, where: Any = True,
    ) -> TracedArray:  # fmt: skip
        x = lift(a)
        if out is not None:
            not_traced(f"np.{fn} with out=", "assign the result")
        if where is not True and where is not np._NoValue:
            neutral = {"sum": 0, "prod": 1}.get(fn, initial if initial not in _NO else None)
            if neutral is None:
                not_traced(f"np.{fn} with where= and without initial=", "use np.where before")
            x = lift(functions_where(where, wrap(x), np.asarray(neutral, x.dtype)))
        if adds:
            x = t.cast(x, np.dtype(dtype) if dtype is not None else _sum_dtype(x.dtype))
        axes = axes_of(axis, len(x.shape))
        if not adds and any(x.shape[i] == 0 for i in axes):
            raise ValueError(f"zero-size array to reduction operation {fn} which has no identity")
        shape = _kept(x, axes)
        result = t.reduce(fn, x, axes)
        result = t.reshape(result, shape) if keepdims is True else result
        if initial in _NO:
            return wrap(result)
        pair = {"sum": "add", "prod": "multiply", "max": "maximum", "min": "minimum"}[fn]
        return apply(pair, wrap(result), initial)

    return reduction


def functions_where(condition: Any, a: Any, b: Any) -> TracedArray:
    """Record `np.where(condition, a, b)` with broadcasting and promotion."""
    dtype = np.result_type(*(_weak_sample(typed(x)) for x in (a, b)))
    nodes = [_truth(lift(condition)), lift(a, dtype), lift(b, dtype)]
    shape = np.broadcast_shapes(*(n.shape for n in nodes))
    return wrap(t.where(*(t.broadcast(n, shape) for n in nodes)))


def _weak_sample(kind: Any) -> Any:
    return kind(0) if kind is int or kind is float else kind  # float == np.dtype("float64")


sum_, prod, max_, min_ = map(_reduction, ("sum", "prod", "max", "min"))


def _truths(fn: str) -> Any:
    def reduction(a: Any, axis: Any = None, out: Any = None, keepdims: Any = False) -> TracedArray:
        x = _truth(lift(a))
        axes = axes_of(axis, len(x.shape))
        if any(x.shape[i] == 0 for i in axes):
            shape = tuple(n for i, n in enumerate(x.shape) if i not in axes)
            return wrap(
                t.constant(fn == "min", np.bool_, _kept(x, axes) if keepdims is True else shape)
            )
        result = t.reduce(fn, x, axes)
        return wrap(t.reshape(result, _kept(x, axes)) if keepdims is True else result)

    return reduction


all_, any_ = _truths("min"), _truths("max")


def mean(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False
) -> TracedArray:
    """Average: the sum divided by the count; integers average in float64."""
    x = as_traced(a)
    if dtype is None and x.dtype.kind != "f":
        dtype = np.float64
    count = math.prod(x.shape[i] for i in axes_of(axis, x.ndim))
    return apply("divide", sum_(x, axis, dtype, out, keepdims), float(count))


def var(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: float = 0,
    keepdims: Any = False, *, correction: Any = None, mean: Any = None,
) -> TracedArray:  # fmt: skip
    """Variance, centred: the sum of (a - mean a)^2 divided by n - correction."""
    x = as_traced(a)
    if dtype is not None or x.dtype.kind != "f":
        x = wrap(t.cast(x.node, np.dtype(dtype or np.float64)))
    centre = average(x, axis, keepdims=True) if mean in _NO else mean
    away = apply("subtract", x, centre)
    count = math.prod(x.shape[i] for i in axes_of(axis, x.ndim))
    free = ddof if correction in _NO else correction
    total = sum_(apply("multiply", away, away), axis, None, out, keepdims)
    return apply("divide", total, float(max(count - free, 0)))


average = mean  # under another name where `mean` is an argument


def std(a: Any, *args: Any, **kwargs: Any) -> TracedArray:
    """Standard deviation: the root of the variance."""
    return apply("sqrt", var(a, *args, **kwargs))


def _arg(fn: str) -> Any:
    def search(a: Any, axis: Any = None, out: Any = None, *, keepdims: Any = False) -> TracedArray:
        x = lift(a)
        shape = x.shape
        if axis is None:
            x, axis = t.reshape(x, (x.size,)), 0
            kept = (1,) * len(shape)
        else:
            (axis,) = axes_of(axis, len(shape))
            kept = _kept(x, (axis,))
        if x.shape[axis] == 0:
            raise ValueError(f"attempt to get {fn} of an empty sequence")
        result = t.make(ArgReduce(fn, axis), x)
        return wrap(t.reshape(result, kept) if keepdims is True else result)

    return search


argmax, argmin = _arg("argmax"), _arg("argmin")


def cumsum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> TracedArray:
    """Running sum."""
    x = lift(a)
    if axis is None:
        x, axis = t.reshape(x, (x.size,)), 0
    x = t.cast(x, np.dtype(dtype) if dtype is not None else _sum_dtype(x.dtype))
    return wrap(t.make(Cumulative("sum", *axes_of(axis, len(x.shape))), x))


def count_nonzero(a: Any, axis: Any = None, *, keepdims: Any = False) -> TracedArray:
    """Count the elements that are not 0."""
    return sum_(wrap(_truth(lift(a))), axis, None, None, keepdims)


def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> TracedArray:
    """Euclidean length (of all elements without `axis`); ord 1 and infinity over one axis."""
    a = as_traced(x)
    a = a if a.dtype.kind == "f" else wrap(t.cast(a.node, np.float64))
    if ord in (None, "fro") or (ord == 2 and (a.ndim == 1 or isinstance(axis, int))):
        return apply("sqrt", sum_(apply("multiply", a, a), axis, None, None, keepdims))
    if isinstance(axis, int) or a.ndim == 1:
        size = apply("absolute", a)
        if ord == 1:
            return sum_(size, axis, None, None, keepdims)
        if ord in (np.inf, -np.inf):
            return (max_ if ord > 0 else min_)(size, axis, None, None, keepdims)
    return not_traced(f"np.linalg.norm with ord={ord!r}")


# ---- products


def _promoted(*arrays: Any) -> list[Node]:
    dtype = np.result_type(*(_weak_sample(typed(x)) for x in arrays))
    return [lift(x, dtype) for x in arrays]


def _product(a: Node, b: Node) -> Node:
    if a.dtype == np.bool_:  # or of ands
        return t.cast(_product(t.cast(a, np.int64), t.cast(b, np.int64)), np.bool_)
    return t.make(MatMul(), a, b)


def matmul(a: Any, b: Any, out: Any = None) -> TracedArray:
    """Multiply matrices; leading axes broadcast, vectors are rows or columns."""
    x, y = _promoted(a, b)
    if not x.shape or not y.shape:
        raise ValueError("matmul: expected arrays with axes, got a scalar")
    row, column = len(x.shape) == 1, len(y.shape) == 1
    x = t.reshape(x, (1, *x.shape)) if row else x
    y = t.reshape(y, (*y.shape, 1)) if column else y
    if x.shape[-1] != y.shape[-2]:
        raise ValueError(f"matmul: shapes {x.shape} and {y.shape} do not fit")
    batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    product = _product(
        t.broadcast(x, (*batch, *x.shape[-2:])), t.broadcast(y, (*batch, *y.shape[-2:]))
    )
    shape = (*batch, *(() if row else x.shape[-2:-1]), *(() if column else y.shape[-1:]))
    return wrap(t.reshape(product, shape))


def dot(a: Any, b: Any, out: Any = None) -> TracedArray:
    """NumPy's dot: the last axis of a with the second to last of b."""
    x, y = as_traced(a), as_traced(b)
    if not x.ndim or not y.ndim:
        return apply("multiply", x, y)
    if x.ndim <= 2 and y.ndim <= 2:
        return matmul(x, y)
    return tensordot(x, y, ([x.ndim - 1], [max(y.ndim - 2, 0)]))


def vdot(a: Any, b: Any) -> TracedArray:
    """Sum of the products of all elements."""
    x, y = as_traced(a), as_traced(b)
    return matmul(x.reshape((-1,)), y.reshape((-1,)))


def inner(a: Any, b: Any) -> TracedArray:
    """Sum of products over the last axes."""
    x, y = as_traced(a), as_traced(b)
    if not x.ndim or not y.ndim:
        return apply("multiply", x, y)
    return tensordot(x, y, ([x.ndim - 1], [y.ndim - 1]))


def outer(a: Any, b: Any, out: Any = None) -> TracedArray:
    """All products of two arrays' elements."""
    return apply("multiply", as_traced(a).reshape((-1, 1)), as_traced(b).reshape((1, -1)))


def tensordot(a: Any, b: Any, axes: Any = 2) -> TracedArray:
    """Contract pairs of axes."""
    x, y = _promoted(a, b)
    if isinstance(axes, int):
        left, right = list(range(len(x.shape) - axes, len(x.shape))), list(range(axes))
    else:
        left, right = ([p] if isinstance(p, int) else list(p) for p in axes)
    left = [i % len(x.shape) for i in left]
    right = [i % len(y.shape) for i in right]
    free_x = [i for i in range(len(x.shape)) if i not in left]
    free_y = [i for i in range(len(y.shape)) if i not in right]
    shape = (*(x.shape[i] for i in free_x), *(y.shape[i] for i in free_y))
    terms = math.prod(x.shape[i] for i in left)
    if [x.shape[i] for i in left] != [y.shape[i] for i in right]:
        raise ValueError(f"tensordot: axes {axes} of shapes {x.shape} and {y.shape} do not fit")
    rows = t.reshape(t.permute(x, (*free_x, *left)), (math.prod(x.shape[i] for i in free_x), terms))
    columns = t.permute(y, (*right, *free_y))
    columns = t.reshape(columns, (terms, math.prod(y.shape[i] for i in free_y)))
    return wrap(t.reshape(_product(rows, columns), shape))


def einsum(subscripts: str, *operands: Any, **options: Any) -> TracedArray:
    """Einstein summation of one or more operands, left to right, each pair by one product."""
    if not isinstance(subscripts, str) or "." in subscripts:
        not_traced("np.einsum with an ellipsis or lists", "name every axis")
    given, _, result = subscripts.replace(" ", "").partition("->")
    terms = given.split(",")
    if "->" not in subscripts:
        counted = sorted(c for c in set(given) if c.isalpha())
        result = "".join(c for c in counted if given.count(c) == 1)
    parts = [_diagonals(n, term) for n, term in zip(_promoted(*operands), terms, strict=True)]
    node, labels = parts[0]
    for k, (other, names) in enumerate(parts[1:], 1):
        later = set(result).union(*(term for _, term in parts[k + 1 :]))
        node, labels = _contract(node, labels, other, names, later)
    node, labels = _summed(node, labels, set(result))
    return wrap(t.permute(node, tuple(labels.index(c) for c in result)))


def _diagonals(x: Node, labels: str) -> tuple[Node, str]:
    """Take the diagonal of axes with one name."""
    for c in labels:
        while labels.count(c) > 1:
            i, j = labels.index(c), labels.rindex(c)
            mask = t.compare("eq", t.iota(x.shape, i), t.iota(x.shape, j))
            x = t.reduce("sum", t.where(mask, x, t.like(0, x)), (j,))
            labels = labels[:j] + labels[j + 1 :]
    return x, labels


def _summed(x: Node, labels: str, kept: set[str]) -> tuple[Node, str]:
    axes = tuple(i for i, c in enumerate(labels) if c not in kept)
    return t.reduce("sum", x, axes), "".join(c for c in labels if c in kept)


def _contract(x: Node, a: str, y: Node, b: str, later: set[str]) -> tuple[Node, str]:
    x, a = _summed(x, a, later | set(b))
    y, b = _summed(y, b, later | set(a))
    batch = [c for c in a if c in b and c in later]
    terms = [c for c in a if c in b and c not in later]
    rows, columns = [c for c in a if c not in b], [c for c in b if c not in a]
    size = {**dict(zip(b, y.shape, strict=True)), **dict(zip(a, x.shape, strict=True))}

    def arrange(node: Node, names: str, *groups: list[str]) -> Node:
        order = [c for group in (batch, *groups) for c in group]
        node = t.permute(node, tuple(names.index(c) for c in order))
        shape = [size[c] for c in batch] + [math.prod(size[c] for c in g) for g in groups]
        return t.reshape(node, shape)

    product = _product(arrange(x, a, rows, terms), arrange(y, b, terms, columns))
    names = [*batch, *rows, *columns]
    return t.reshape(product, tuple(size[c] for c in names)), "".join(names)
