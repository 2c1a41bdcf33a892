"""Products of traced arrays that are made of `matmul`, in plain NumPy: it records."""

from __future__ import annotations

import math
import string
from typing import Any

import numpy as np

from needle.compiler.trace.operand import as_traced, result_type
from needle.compiler.trace.record import not_traced


def dot(a: Any, b: Any) -> Any:
    """NumPy's dot: the last axis of a with the second to last of b."""
    x, y = as_traced(a), as_traced(b)
    if not x.ndim or not y.ndim:
        return x * y
    if x.ndim <= 2 and y.ndim <= 2:
        return x @ y
    return tensordot(x, y, ([x.ndim - 1], [max(y.ndim - 2, 0)]))


def inner(a: Any, b: Any) -> Any:
    """Sum of products over the last axes."""
    x, y = as_traced(a), as_traced(b)
    return tensordot(x, y, ([-1], [-1])) if x.ndim and y.ndim else x * y


def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    """Contract pairs of axes."""
    x, y = as_traced(a), as_traced(b)
    if isinstance(axes, int):
        left, right = list(range(x.ndim - axes, x.ndim)), list(range(axes))
    else:
        left, right = ([p] if isinstance(p, int) else list(p) for p in axes)
    if [x.shape[i] for i in left] != [y.shape[i] for i in right]:
        raise ValueError(f"tensordot: axes {axes} of shapes {x.shape} and {y.shape} do not fit")
    names = sorted(string.ascii_letters)
    first, second = names[: x.ndim], names[x.ndim : x.ndim + y.ndim]
    for i, j in zip(left, right, strict=True):
        second[j] = first[i]
    return einsum(f"{''.join(first)},{''.join(second)}", x, y)  # what is free, in order


def einsum(subscripts: str, *operands: Any, **options: Any) -> Any:
    """Einstein summation of one or more operands, left to right, each pair by one product."""
    if not isinstance(subscripts, str) or "." in subscripts:
        not_traced("np.einsum with an ellipsis or lists", "name every axis")
    given, _, result = subscripts.replace(" ", "").partition("->")
    terms = given.split(",")
    if "->" not in subscripts:
        counted = sorted(c for c in set(given) if c.isalpha())
        result = "".join(c for c in counted if given.count(c) == 1)
    dtype = result_type(*operands)
    arrays = [as_traced(x).astype(dtype, copy=False) for x in operands]
    parts = [_diagonals(x, term) for x, term in zip(arrays, terms, strict=True)]
    x, labels = parts[0]
    for k, (other, names) in enumerate(parts[1:], 1):
        later = set(result).union(*(term for _, term in parts[k + 1 :]))
        x, labels = _contract(x, labels, other, names, later)
    x, labels = _summed(x, labels, set(result))
    return x.transpose(tuple(labels.index(c) for c in result)) if labels else x


def _diagonals(x: Any, labels: str) -> tuple[Any, str]:
    """Take the diagonal of axes with one name."""
    for c in labels:
        while labels.count(c) > 1:
            x = np.diagonal(x, 0, labels.index(c), labels.rindex(c))
            labels = labels.replace(c, "", 2) + c
    return x, labels


def _summed(x: Any, labels: str, kept: set[str]) -> tuple[Any, str]:
    axes = tuple(i for i, c in enumerate(labels) if c not in kept)
    if axes:
        x = np.any(x, axes) if x.dtype == np.bool_ else np.sum(x, axes, dtype=x.dtype)
    return x, "".join(c for c in labels if c in kept)


def _contract(x: Any, a: str, y: Any, b: str, later: set[str]) -> tuple[Any, str]:
    x, a = _summed(x, a, later | set(b))
    y, b = _summed(y, b, later | set(a))
    batch = [c for c in a if c in b and c in later]
    terms = [c for c in a if c in b and c not in later]
    rows, columns = [c for c in a if c not in b], [c for c in b if c not in a]
    size = {**dict(zip(b, y.shape, strict=True)), **dict(zip(a, x.shape, strict=True))}

    def arrange(z: Any, names: str, *groups: list[str]) -> Any:
        order = [names.index(c) for group in (batch, *groups) for c in group]
        shape = [size[c] for c in batch] + [math.prod(size[c] for c in g) for g in groups]
        return (z.transpose(tuple(order)) if order else z).reshape(tuple(shape))

    product = arrange(x, a, rows, terms) @ arrange(y, b, terms, columns)
    names = [*batch, *rows, *columns]
    return product.reshape(tuple(size[c] for c in names)), "".join(names)


def vdot(a: Any, b: Any) -> Any:
    """Sum of the products of all elements."""
    return np.ravel(as_traced(a)) @ np.ravel(as_traced(b))


def outer(a: Any, b: Any) -> Any:
    """All products of two arrays' elements."""
    return as_traced(a).reshape((-1, 1)) * np.ravel(as_traced(b))
