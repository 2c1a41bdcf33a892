"""Ops of sequence models: rows of a table by number, and the mask that hides the future."""

from __future__ import annotations

from typing import Any

import numpy as np

from needle.autograd.tensor import Tensor, TensorOp
from needle.autograd.value import NUMBERS
from needle.backend import extensions
from needle.errors import DtypeError, ShapeError
from needle.ops.arguments import as_floating, shape_of
from needle.ops.indexing import getitem

LOWEST = -float(np.finfo(np.float32).max)


def embedding(weight: Any, ids: Any) -> Tensor:
    """Take the rows of a table by their numbers: result[...] = weight[ids[...]].

    Shapes: weight (n, ...), ids of any shape, or a number; the result is ids.shape +
    weight.shape[1:]. The ids are integers of any dtype. The gradient adds up the rows that were
    taken; ids have none.

    Errors: IndexRangeError for an id outside 0 .. n - 1, ArgumentError for one with a fraction.

    >>> ops.embedding(ndl.Tensor([[1.0, 2.0], [3.0, 4.0]]), np.array([1, 1, 0])).numpy().tolist()
    [[3.0, 4.0], [3.0, 4.0], [1.0, 2.0]]
    """
    shape = shape_of("embedding", weight)
    data = ids.realize_cached_data() if isinstance(ids, Tensor) else ids
    if isinstance(ids, NUMBERS):
        data = np.asarray(ids)
    elif not hasattr(ids, "dtype") and hasattr(ids, "__array_namespace__"):
        data = ids.__array_namespace__().asarray(ids)  # a number that a tracer has lifted
    if not shape:
        raise ShapeError(f"embedding: expected a table (n, ...), got {shape}")
    shape_of("embedding", data)
    if data.dtype.kind not in "biuf":
        raise DtypeError(f"embedding: expected integers as ids, got dtype {data.dtype}")
    return getitem(weight, extensions.checked_labels(data, shape[0], "embedding"))


class CausalMask(TensorOp):
    """Scores plus -3.4e38 where a query comes before the key."""

    name = "causal_mask"

    def compute(self, a: Any) -> Any:
        if len(a.shape) < 2 or a.shape[-1] < a.shape[-2]:
            raise ShapeError(f"causal_mask: expected scores (..., T, S >= T), got {a.shape}")
        xp, a, (queries, keys) = a.__array_namespace__(), as_floating(a), a.shape[-2:]
        lowest = max(LOWEST, float(np.finfo(a.dtype).min))
        return a + xp.triu(xp.full((queries, keys), lowest, dtype=a.dtype), k=keys - queries + 1)

    def gradient(self, out_grad: Tensor, node: Tensor) -> Tensor:
        return out_grad


def causal_mask(scores: Any) -> Tensor:
    """Add -finfo(float32).max above the diagonal: softmax then gives what lies ahead nothing.

    Shapes: (..., T, S) for T queries and S keys, of which the last T are those of the queries.

    >>> ops.softmax(ops.causal_mask(ndl.zeros(2, 2)))
    needle.Tensor([[1.  0. ]
     [0.5 0.5]])
    """
    return CausalMask()(scores)
