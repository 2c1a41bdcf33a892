"""Arguments and results as leaves: what is an input, what belongs to the signature."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from needle.autograd.tensor import Tensor
from needle.errors import ArgumentError, TraceError

_STATIC = (int, str, bytes, type(None), np.integer)


def flatten(args: Sequence[Any], kwargs: dict[str, Any], static: frozenset[str]) -> Any:
    """Return the leaves that are inputs (Tensors, arrays, floats) and a key for all the rest.

    >>> flatten((1, 2.5, [True]), {}, frozenset())[0]
    [2.5]
    """
    leaves: list[Any] = []
    parts: list[Any] = []
    for x in args:
        data = x._data if type(x) is Tensor else None
        if data is None:
            parts.append(_part(x, leaves))
        else:  # most are Tensors: half of the time of a call of `_part`
            leaves.append(x)
            parts.append((Tensor, data.shape, data.dtype, x.requires_grad, x.op is None))
    if kwargs:
        for name in sorted(kwargs):
            value = kwargs[name]
            parts.append(
                (name, ("static", _static(value, name)) if name in static else _part(value, leaves))
            )
    return leaves, tuple(parts)


def _part(x: Any, leaves: list[Any]) -> Any:
    """Return an argument's part of the key; append it to the leaves if it is an input."""
    if isinstance(x, Tensor):
        data = x._data if x._data is not None else x.realize_cached_data()
        leaves.append(x)
        return (type(x), data.shape, data.dtype, x.requires_grad, x.op is None)
    if isinstance(x, np.ndarray):
        leaves.append(x)
        return (np.ndarray, x.shape, x.dtype)
    if isinstance(x, bool | np.bool_):
        return (bool, bool(x))
    if isinstance(x, float | np.floating):
        leaves.append(x)
        return (float, type(x))
    if isinstance(x, _STATIC):
        return (type(x), x)
    if isinstance(x, tuple | list):
        return (type(x), tuple(_part(part, leaves) for part in x))
    if isinstance(x, set | frozenset):
        return (type(x), frozenset(x))
    if isinstance(x, dict):
        return (type(x), tuple((key, _part(value, leaves)) for key, value in x.items()))
    if hasattr(type(x), "__next__"):
        raise TraceError(
            f"jit: an argument is a {type(x).__name__}, and what it gives next would be the same "
            "at each call; pass what next() gives, or a list"
        )
    return ("object", Identity(x))


class Identity:
    """An argument that is compared by identity: a module, an optimizer, a function."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


class Static(Identity):
    """An argument that is compared by type and value: it is named in `static`."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, Static) and type(self.value) is type(other.value)
        return same and self.value == other.value  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash(self.value)

    def __repr__(self) -> str:
        return repr(self.value)


def _static(x: Any, name: str) -> Any:
    """Return the part of the key for an argument named in `static`."""
    if isinstance(x, tuple):
        return (type(x), tuple(_static(part, name) for part in x))
    if isinstance(x, float):  # 0.0 and -0.0 are told apart
        return (type(x), repr(x))
    try:
        hash(x)
    except TypeError:
        raise ArgumentError(
            f"jit: the static argument `{name}` is compared by value, but a {type(x).__name__} "
            "has no hash; pass a tuple, or take the name out of static="
        ) from None
    return Static(x)


def objects(key: Any) -> list[Any]:
    """Return the arguments that a key compares by identity."""
    if isinstance(key, Identity):
        return [key.value]
    return [x for part in key for x in objects(part)] if isinstance(key, tuple) else []


def replace(x: Any, swap: Callable[[Any], Any], label: str = "", made: Any = None) -> Any:
    """Return an argument with each leaf replaced by `swap(leaf)`, in the order of `flatten`.

    The lists and dicts that stand for the argument's own are appended to `made`, with their labels.
    """
    if isinstance(x, Tensor | np.ndarray):
        return swap(x)
    if isinstance(x, float | np.floating):
        return swap(x)
    if isinstance(x, tuple | list):
        parts = [replace(part, swap, f"{label}[{i}]", made) for i, part in enumerate(x)]
        new: Any = type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
    elif isinstance(x, dict):
        new = copy.copy(x)  # of a kind of its own, maybe
        new.update({k: replace(v, swap, f"{label}[{k!r}]", made) for k, v in x.items()})
    else:
        return x
    if made is not None and not isinstance(x, tuple):
        made.append((label, new))
    return new


def describe(key: Any) -> str:
    """Return a signature as text: `float32[100, 64], int64[100]`."""
    if not isinstance(key, tuple) or not key:
        return repr(key)
    head = key[0]
    if isinstance(head, type) and len(key) >= 3 and isinstance(key[2], np.dtype):
        return f"{key[2]}{list(key[1])}"
    if head is float:
        return "float"
    if isinstance(head, str) and len(key) == 2:
        return describe(key[1]) if head == "static" else f"{head}={describe(key[1])}"
    if isinstance(head, type) and len(key) == 2:
        inner = key[1]
        return f"[{', '.join(map(describe, inner))}]" if isinstance(inner, tuple) else repr(inner)
    return ", ".join(map(describe, key))


def structure(x: Any, leaf: Callable[[Any, str], Any], path: str = "result") -> Any:
    """Return a function `build(fetch)` that makes a value like `x` anew.

    `leaf(part, path)` says for each part that is no list, tuple or dict what makes it: a function
    of the call's results.
    """
    if isinstance(x, dict):
        if type(x) is not dict:
            raise TraceError(f"{path}: a compiled function returns dicts, not {type(x).__name__}")
        parts = {key: structure(value, leaf, f"{path}[{key!r}]") for key, value in x.items()}
        return lambda call: {key: part(call) for key, part in parts.items()}
    if isinstance(x, tuple | list):
        made = [structure(part, leaf, f"{path}[{i}]") for i, part in enumerate(x)]
        kind = type(x)
        if hasattr(x, "_fields"):
            return lambda call: kind(*[part(call) for part in made])
        if kind is list:
            return lambda call: [part(call) for part in made]
        return lambda call: kind([part(call) for part in made])
    return leaf(x, path)
