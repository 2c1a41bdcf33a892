"""Operands of traced functions: numbers, lists, ndarrays and traced arrays become nodes."""

from __future__ import annotations

from typing import Any

import numpy as np

from needle.compiler.graph.graph import Node
from needle.compiler.trace import record as t
from needle.compiler.trace.number import TracedNumber
from needle.compiler.trace.trace import TracedArray


def typed(x: Any) -> Any:
    """Return what decides about promotion: a dtype, or `int` or `float` for a Python number."""
    if type(x) is float or type(x) is int:
        return type(x)
    weak = getattr(x, "weak", None)
    if weak is not None:
        return weak
    kind = getattr(x, "dtype", None)
    return kind if kind is not None else np.asarray(x).dtype


def result_type(*operands: Any) -> np.dtype:
    """Return NumPy's promotion of operands."""
    kinds = [typed(x) for x in operands]
    return np.result_type(*(k(0) if k is int or k is float else k for k in kinds))


def shape_of(x: Any) -> tuple[int, ...]:
    """Return the shape of an operand."""
    shape = getattr(x, "shape", None)
    return shape if shape is not None else np.shape(x)


def lift(x: Any, dtype: Any = None) -> Node:
    """Return an operand as a node of the given dtype."""
    if isinstance(x, TracedArray):
        node = x.node
    elif isinstance(x, TracedNumber):
        return t.cast(x.node(), result_type(x) if dtype is None else dtype)
    elif isinstance(x, np.ndarray) and not _is_literal(x):
        node = TracedArray.of(t.active(), x).node
    elif isinstance(x, list | tuple):
        traced = any(_has_traced(part) for part in x)
        return lift(np.stack([as_traced(part) for part in x]) if traced else np.asarray(x), dtype)
    else:
        array = np.asarray(x)
        dtype = array.dtype if dtype is None else dtype
        return t.constant(array.astype(dtype)[()].item(), dtype)
    return node if dtype is None else t.cast(node, dtype)


def _is_literal(x: np.ndarray) -> bool:
    """Whether an array is a fresh number: 0-d, with no memory that somebody else could change."""
    return x.ndim == 0 and x.base is None and id(x) not in t.active().arrays


def _has_traced(x: Any) -> bool:
    if isinstance(x, list | tuple):
        return any(_has_traced(part) for part in x)
    return isinstance(x, TracedArray | TracedNumber)


def wrap(node: Node) -> TracedArray:
    """Return a node as a traced array of the active trace."""
    return TracedArray(t.active(), node)


def as_traced(x: Any) -> Any:
    """Return an operand as a traced array: itself, or a new one."""
    return x if isinstance(x, TracedArray) else wrap(lift(x))
