"""Which modules are being called, per Python thread, so that errors and warnings name the layer."""

from __future__ import annotations

import sys
import threading
import warnings
import weakref
from collections.abc import Collection
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from needle.errors import (
    DtypeError,
    NeedleError,
    PrecisionWarning,
    ShapeError,
    StateDictError,
)  # fmt: skip

if TYPE_CHECKING:
    from needle.nn.module import Module


class _Calls(threading.local):
    def __init__(self) -> None:
        self.stack: list[Module] = []
        self.widened = False  # a layer met float64 in the outermost call that is running


calls = _Calls()
_warned: weakref.WeakSet[Module] = weakref.WeakSet()


def describe(module: Module) -> str:
    """Return a module's class and sizes: `Linear 64 -> 10`."""
    return f"{type(module).__name__} {module.extra_repr()}".rstrip()


def where(module: Module) -> str:
    """Return the path of a module that is being called: `model.2 (Linear 64 -> 10)`.

    Names are looked up here, when something went wrong, so that a call costs two list operations.
    A layer that is called by itself is named without a path.
    """
    stack = calls.stack
    if not stack or stack[-1] is not module or (len(stack) == 1 and not module.children()):
        return describe(module)
    names = ["model", *[_name(child, parent) for parent, child in pairwise(stack)]]
    return f"{'.'.join(names)} ({describe(module)})"


def _name(child: Module, parent: Module) -> str:
    for name, module in parent.named_modules():
        if module is child:
            return name or type(child).__name__
    return type(child).__name__


def fail(module: Module, kind: type[NeedleError], text: str) -> NeedleError:
    """Make an error that names the module."""
    error = kind(text)
    error.module_path = where(module)
    return error


def check_array(module: Module, x: Any) -> None:
    """Raise DtypeError unless `x` is a Tensor or an array of numbers."""
    if not hasattr(x, "dtype") or not hasattr(x, "shape"):
        hint = "; write ndl.Tensor([...])" if isinstance(x, list | tuple) else ""
        raise fail(module, DtypeError, f"expected a Tensor or an array, got {x!r:.60}{hint}")
    if x.dtype.kind not in "biuf":
        raise fail(module, DtypeError, f"expected numbers, got dtype {x.dtype}")


def check_shape(module: Module, x: Any, expected: str, hint: str = "") -> None:
    """Raise ShapeError unless `x` has the shape in which `expected` ends: `input (N, 3, H, W)`.

    Numbers are sizes, names stand for any size.
    """
    check_array(module, x)
    sizes, shape = _sizes(expected), tuple(x.shape)
    differ = [size not in (None, n) for size, n in zip(sizes, shape, strict=False)]
    if len(sizes) != len(shape) or True in differ:
        raise fail(module, ShapeError, f"expected {expected}, got {shape}{hint}")


@lru_cache(1024)  # a call of a layer is not to parse texts
def _sizes(expected: str) -> list[int | None]:
    sizes = expected[expected.index("(") + 1 : -1].split(", ")
    return [int(size) if size.isdigit() else None for size in sizes]


def check_last_axes(module: Module, x: Any, *sizes: int, argument: str = "") -> None:
    """Raise ShapeError unless `x` ends in axes of these sizes; `argument` is what would set one."""
    check_array(module, x)
    if tuple(x.shape[-len(sizes) :]) != sizes:
        wanted = f"last axis {sizes[0]}" if len(sizes) == 1 else f"last axes {sizes}"
        settable = argument and len(sizes) == 1 and len(x.shape) > 0
        hint = f"; pass {argument}={x.shape[-1]} or reshape" if settable else ""
        raise fail(module, ShapeError, f"expected {wanted}, got {tuple(x.shape)}{hint}")


def check_state(
    owner: object,
    own: Collection[str],
    given: Collection[str],
    wrong: Collection[str] = (),
    strict: bool = True,
) -> tuple[list[str], list[str]]:
    """Return the names missing and unexpected in a state dictionary.

    StateDictError that lists all of them where `strict`, and all that is wrong in any case.
    """
    missing = [name for name in own if name not in given]
    unexpected = [name for name in given if name not in own]
    kinds = {"wrong": wrong}
    if strict:
        kinds |= {"missing": missing, "unexpected": unexpected}
    texts = [f"{kind}: {', '.join(map(str, names))}" for kind, names in kinds.items() if names]
    if texts:
        raise StateDictError(f"load_state_dict: {type(owner).__name__}: {'; '.join(texts)}")
    return missing, unexpected


def warn_precision(module: Module, x: Any, weight: Any) -> None:
    """Warn, once per module, where a float64 input widens a layer of float32.

    The layers behind it get float64 too, as a consequence: they say nothing in that call.
    """
    if x.dtype != np.float64 or weight.dtype != np.float32:
        return
    first, calls.widened = not calls.widened, bool(calls.stack)
    if first and module not in _warned:
        _warned.add(module)
        warnings.warn(
            f"{where(module)}: float64 input, float32 weight: computing in float64; "
            'pass x.astype("float32")',
            PrecisionWarning,
            stacklevel=_frames_inside(),
        )


def _frames_inside() -> int:
    """Count the frames up to the first one outside needle, which the warning should point to."""
    count, frame = 0, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == "needle":
        count, frame = count + 1, frame.f_back
    return count + 1
