"""Traced functions that give arrays other shapes, join, cut and repeat them."""

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
from needle.compiler.trace import TracedArray, not_traced
from needle.compiler.trace_operand import as_traced, lift, wrap
from needle.compiler.trace_index import getitem

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
    places = np.repeat(np.arange(x.shape[axis]), repeats)
    return getitem(x, (*(slice(None),) * axis, places))


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
