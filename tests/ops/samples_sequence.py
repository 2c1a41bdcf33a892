"""Samples of the ops that sequence models need; tests/ops/samples.py registers them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from needle import ops
from tests.ops.sample import SPECIAL, fixed, integers, large, normal


def _stack(*tensors: Any, axis: int) -> Any:
    return ops.stack(list(tensors), axis)


def _split_and_stack(a: Any) -> Any:
    """Parts used twice, once and never, put together again."""
    first, second, *_ = ops.split(a, 1)
    return ops.stack([first, first * second], 0)


def joining(add: Callable[..., None]) -> None:
    """Register stack, split and flip."""
    for case, shape, axis in [
        ("first", (2, 3), 0), ("middle", (2, 3), 1), ("last", (2, 3), -1), ("zero_d", (), 0),
        ("empty", (0, 3), 1), ("size_one_axes", (1, 1), 2),
    ]:  # fmt: skip
        parts = [normal(*shape) for _ in range(3)]
        add("stack", case, _stack, *parts, kwargs={"axis": axis})
    add("stack", "one", _stack, normal(3), kwargs={"axis": 0})
    for case, shape, axis in [
        ("first", (2, 3), 0), ("middle", (2, 3, 4), 1), ("last", (2, 3), -1), ("vector", (3,), 0),
        ("empty_parts", (2, 0), 0), ("size_one_axes", (1, 3, 1), 0),
    ]:  # fmt: skip
        add("split", case, ops.split, normal(*shape), kwargs={"axis": axis})
    add("split_and_stack", "parts", _split_and_stack, normal(2, 4, 3))
    for case, shape, axes in [
        ("all", (2, 3), None), ("first", (2, 3), 0), ("pair", (2, 3, 4), (0, -1)),
        ("none_of_them", (2, 3), ()), ("zero_d", (), None), ("empty", (0, 3), (0, 1)),
        ("size_one_axes", (1, 3, 1), (0, 1)),
    ]:  # fmt: skip
        add("flip", case, ops.flip, normal(*shape), kwargs={"axes": axes})
    special = fixed(SPECIAL.reshape(2, 5))
    add("stack", "special", _stack, special, special, kwargs={"axis": 1}, special=True)
    add("split", "special", ops.split, special, kwargs={"axis": 0}, special=True)
    add("flip", "special", ops.flip, special, kwargs={"axes": 1}, special=True)


def sequences(add: Callable[..., None]) -> None:
    """Register the lookup of rows and the causal mask."""
    for case, shape, ids in [
        ("pairs", (5, 3), (4, 2)), ("one_id", (5, 3), ()), ("vector", (5,), (3,)),
        ("cubes", (4, 2, 3), (2, 2)), ("no_ids", (5, 3), (0, 2)), ("one_row", (1, 3), (4,)),
    ]:  # fmt: skip
        add("embedding", case, ops.embedding, normal(*shape), integers(shape[0], *ids))
    rows = fixed(SPECIAL[:, None]), fixed([[9, 0], [0, 3]])
    add("embedding", "special", ops.embedding, *rows, special=True)
    for case, shape in {
        "square": (2, 3, 3), "later_queries": (2, 5), "size_one_axes": (1, 1), "empty": (0, 2, 2),
    }.items():  # fmt: skip
        add("causal_mask", case, _attention, normal(*shape))
    add("causal_mask", "large", _attention, large(3, 3), large=True)
    square = fixed(SPECIAL[:9].reshape(3, 3))
    add("causal_mask", "special", ops.causal_mask, square, special=True)


def _attention(scores: Any) -> Any:
    """The mask with the softmax behind it: what is hidden is 0, not a number of -3.4e38."""
    return ops.softmax(ops.causal_mask(scores))
