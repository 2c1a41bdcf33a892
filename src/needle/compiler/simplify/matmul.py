"""Rules for matrix products: transposes become flags, stacks of products become one product."""

from __future__ import annotations

import math

import numpy as np

from needle.compiler.graph.graph import Node
from needle.compiler.graph.primitives import (
    Broadcast,
    Cast,
    Compare,
    Gather,
    Iota,
    MatMul,
    Permute,
    Reshape,
    ScatterAdd,
)  # fmt: skip
from needle.compiler.graph.primitives_base import INT32
from needle.compiler.simplify.rewriter import Rewriter, stretched_axes, under

SMALL_INTEGERS = frozenset(map(np.dtype, ("bool", "int8", "uint8", "int16", "uint16", "int32")))


def _matrix_transposed(node: Node) -> Node | None:
    """Return x where `node` is x with its last two axes swapped, else None."""
    if not isinstance(node.primitive, Permute):
        return None
    rank = len(node.shape)
    swapped = (*range(rank - 2), rank - 1, rank - 2)
    return node.inputs[0] if node.primitive.axes == swapped else None


def transpose_into_matmul(p: MatMul, below: object, node: Node, make: Rewriter) -> Node | None:
    """x.T @ y -> matmul[T] of x and y, for either operand."""
    flags = [p.transpose_a, p.transpose_b]
    inputs = list(node.inputs)
    for i, x in enumerate(node.inputs):
        stored = _matrix_transposed(x)
        if stored is not None:
            flags[i], inputs[i] = not flags[i], stored
    return make(MatMul(*flags), *inputs) if inputs != list(node.inputs) else None


def transpose_of_matmul(p: Permute, below: MatMul, node: Node, make: Rewriter) -> Node | None:
    """(x @ y).T -> y.T @ x.T, with flags."""
    if (product := _matrix_transposed(node)) is None:
        return None
    swapped = MatMul(not below.transpose_b, not below.transpose_a)
    return make(swapped, *reversed(product.inputs))


def matmul_by_repeated_matrix(p: MatMul, below: object, node: Node, make: Rewriter) -> Node | None:
    """A batch of products with one right-hand matrix -> one product over the joined rows.

    (B, M, K) @ broadcast (K, N) -> reshape((B M, K) @ (K, N)).
    """
    a, b = node.inputs
    rank = len(node.shape)
    if rank == 2 or p.transpose_a or not isinstance(b.primitive, Broadcast):
        return None
    if not all(n == 1 or i in stretched_axes(b) for i, n in enumerate(b.shape[:-2])):
        return None
    if any(axis >= rank - 2 for axis in stretched_axes(b)):
        return None
    rows = make.reshape(a, (math.prod(a.shape[:-1]), a.shape[-1]))
    product = make(p, rows, make.reshape(b.inputs[0], b.shape[-2:]))
    return make.reshape(product, node.shape)


def _one_hot_index(node: Node) -> Node | None:
    """Return the indices where `node` compares them with 0, 1, ... along its last axis."""
    last = len(node.shape) - 1
    for index, count in (node.inputs, node.inputs[::-1]):
        row = under(count, Broadcast)
        counter, whole = row.primitive, row.shape[-1:] == node.shape[-1:]
        is_count = isinstance(counter, Iota) and whole and counter.axis == len(row.shape) - 1
        is_index = index.dtype.kind in "iu" and isinstance(index.primitive, Broadcast)
        if is_count and is_index and stretched_axes(index) == (last,):
            return index.inputs[0]
    return None


def one_hot_in_32_bits(p: Compare, below: Broadcast, node: Node, make: Rewriter) -> Node | None:
    """int64 index == 0, 1, ..., n - 1 -> the same in int32, the index clipped to -1..n before.

    As wide as float32, so that a comparison fills no more vectors than what it selects from.
    """
    index = _one_hot_index(node) if p.fn in ("eq", "ne") else None
    if index is None or node.inputs[0].dtype.itemsize < 8 or node.shape[-1] >= 2**31 - 1:
        return None
    inner = under(index, Reshape)
    if isinstance(inner.primitive, Cast) and inner.inputs[0].dtype in SMALL_INTEGERS:
        index = make.reshape(inner.inputs[0], index.shape)
    else:
        if index.dtype.kind == "i":
            index = make.binary("max", index, make.full(-1, index))
        index = make.binary("min", index, make.full(node.shape[-1], index))
    narrow = make.broadcast(make.cast(index, INT32), node.shape)
    return make(p, narrow, make(Iota(node.shape, len(node.shape) - 1, INT32)))


def one_hot_rows(node: Node, make: Rewriter) -> Node | None:
    """Return the index of each row where `node` is a matrix of one-hot rows, else None."""
    hot = under(node, Cast, Reshape)
    if not isinstance(hot.primitive, Compare) or hot.primitive.fn != "eq":
        return None
    index = _one_hot_index(hot) if hot.shape[-1:] == node.shape[-1:] else None
    return None if index is None else make.reshape(index, node.shape[:-1])


def one_hot_matmul(p: MatMul, below: Cast | Reshape, node: Node, make: Rewriter) -> Node | None:
    """one_hot(i) @ W -> gather(W, i), and one_hot(i).T @ G -> scatter_add(G, i).

    An index out of range is an error instead of a row of zeros; infinities and NaN in rows that
    are not named do not spread.
    """
    hot, x = node.inputs
    if len(node.shape) != 2 or p.transpose_b:
        return None
    index = one_hot_rows(hot, make)
    if index is None:
        return None
    if p.transpose_a:
        return make(ScatterAdd(0, hot.shape[1]), x, index)
    return make(Gather(0), x, index)
