"""What `needle.backend.extensions` does for traced arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from needle.compiler import trace_record as t
from needle.compiler.primitives import Gather
from needle.compiler.trace import TracedArray
from needle.compiler.trace_operand import as_traced, lift, wrap


def erf(x: Any) -> TracedArray:
    """Return the error function of each element; integers give float64."""
    node = lift(x)
    return wrap(t.unary("erf", node if node.dtype.kind == "f" else t.cast(node, np.float64)))


def scatter_add(shape: tuple[int, ...], index: Any, values: Any) -> TracedArray:
    """Return zeros of `shape` with `values` added at `index`."""
    from needle.compiler.trace_index import Index

    plan = Index(index, tuple(shape))
    node = lift(values)
    return wrap(plan.scatter(t.broadcast(node, plan.shape)))


def checked_labels(labels: Any, n: int) -> TracedArray:
    """Return labels as int64; the call raises for one that is not an integer from 0 to n - 1."""
    traced = as_traced(labels)
    node = traced.node
    index = t.cast(node, np.int64)
    if node.dtype.kind == "f":
        whole = t.compare("eq", t.cast(index, node.dtype), node)
        index = t.where(whole, index, t.like(-1, index))
    return wrap(t.make(Gather(0), t.iota((n,), 0), index))
