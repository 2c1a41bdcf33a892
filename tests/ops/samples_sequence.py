"""Samples of the ops that sequence models need; tests/ops/samples.py registers them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from needle import ops
from tests.ops.sample import SPECIAL, fixed, normal


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
