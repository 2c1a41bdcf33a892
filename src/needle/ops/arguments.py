"""How ops read their arguments: scalars, axes, shapes; and the sum that undoes broadcasting."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from operator import index
from typing import Any

import numpy as np

from needle.autograd.value import NUMBERS, Value
from needle.errors import ArgumentError, DtypeError, ShapeError


def to_scalar(op: str, scalar: Any) -> Any:
    """Return a Python number for a number or a 1-element array, so that no dtype is widened."""
    if type(scalar) is float or type(scalar) is int:
        return scalar
    if isinstance(scalar, Value):
        raise DtypeError(
            f"{op}: expected a number, got a Tensor; use the op for two Tensors or .item()"
        )
    if isinstance(scalar, np.generic | np.ndarray | bool | int | float):
        array = np.asarray(scalar)
        if array.size != 1:
            raise ShapeError(f"{op}: expected a number or one element, got shape {array.shape}")
        if array.dtype.kind not in "biuf":
            raise DtypeError(f"{op}: expected a real number, got {array.dtype} {scalar!r:.40}")
        return array.item()
    if hasattr(scalar, "__array_namespace__"):  # a number that a tracer has lifted
        return scalar
    raise DtypeError(f"{op}: expected a number, got {type(scalar).__name__} {scalar!r:.40}")


def resolve_axes(op: str, axes: Any, axis: Any = None, dim: Any = None) -> Any:
    """Return the axes meant by `axes`, or by NumPy's name `axis`: None, an int or ints."""
    if dim is not None:
        raise ArgumentError(f"{op}: `dim` is PyTorch's name; write axes={dim!r}")
    if axis is not None:
        if axes is not None:
            raise ArgumentError(f"{op}: got both axes={axes!r} and axis={axis!r}; give one")
        axes = axis
    if axes is None:
        return None
    try:
        return tuple(index(a) for a in axes) if isinstance(axes, tuple | list) else index(axes)
    except TypeError:
        raise ArgumentError(
            f"{op}: expected axes None, an int or a tuple of ints, got {axes!r:.60}"
        ) from None


def reduced_axes(op: str, axes: Any, ndim: int) -> tuple[int, ...]:
    """Return the axes sorted and non-negative; ShapeError where one is out of range or twice."""
    if axes is None:
        return tuple(range(ndim))
    given = axes if isinstance(axes, tuple) else (axes,)
    for a in given:
        if not -ndim <= a < ndim:
            raise ShapeError(f"{op}: axis {a} is out of range for an input of {ndim} axes")
    result = tuple(sorted(a % ndim for a in given))
    if len(set(result)) != len(result):
        raise ShapeError(f"{op}: an axis is given twice in {axes!r}")
    return result


def as_dtype(op: str, dtype: Any) -> np.dtype:
    """Return a dtype of booleans, integers or floating numbers; DtypeError for any other."""
    try:
        result = np.dtype(dtype)
    except TypeError as error:
        raise DtypeError(f"{op}: {error}") from None
    if result.kind not in "biuf":
        raise DtypeError(f"{op}: expected a bool, integer or float dtype, got {result}")
    return result


def as_floating(a: Any) -> Any:
    """Return an array, integers as float64: a - max(a) would wrap for unsigned ones."""
    return a if a.dtype.kind == "f" else a.astype(np.dtype("float64"))


def shape_of(op: str, a: Any) -> tuple[int, ...]:
    """Return the shape of a Tensor, an array or a number; for a list, say what to write."""
    if hasattr(a, "shape"):
        return a.shape
    if isinstance(a, NUMBERS):
        return ()
    hint = "; write ndl.Tensor([...])" if isinstance(a, list | tuple) else ""
    raise DtypeError(f"{op}: expected a Tensor or an array, got {type(a).__name__} {a!r:.60}{hint}")


def kept_shape(shape: Sequence[int], axes: Sequence[int]) -> tuple[int, ...]:
    """Return `shape` with 1 at the reduced axes."""
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def wanted(node: Any, *gradients: Callable[[], Any]) -> tuple[Any, ...]:
    """Return the gradient of each input, computed only where the input requires one."""
    pairs = zip(gradients, node.inputs, strict=True)
    return tuple([compute() if x.requires_grad else None for compute, x in pairs])


def as_shape(op: str, shape: Any) -> tuple[int, ...]:
    """Return a shape given as int, tuple or list as a tuple of ints."""
    try:
        return tuple(index(n) for n in (shape if isinstance(shape, tuple | list) else (shape,)))
    except TypeError as error:
        raise ShapeError(f"{op}: expected a shape of ints, got {shape!r}") from error


def per_axis(op: str, name: str, value: Any, count: int, least: int | None = 1) -> tuple[int, ...]:
    """Return an int, or one int for each of `count` axes, as a tuple; none below `least`."""
    given = as_shape(op, value)
    result = given * count if len(given) == 1 else given
    if len(result) != count or (least is not None and any(n < least for n in result)):
        bound = "" if least is None else f" of at least {least}"
        raise ArgumentError(f"{op}: expected {name}{bound}, one or {count}, got {value!r}")
    return result


def infer_shape(op: str, shape: tuple[int, ...], size: int, source: Any) -> tuple[int, ...]:
    """Return `shape` with its one -1 replaced so that it holds `size` elements."""
    known = math.prod(n for n in shape if n != -1)
    unknown = shape.count(-1)
    fits = size == known if unknown == 0 else unknown == 1 and known and size % known == 0
    if not fits or any(n < -1 for n in shape):
        raise ShapeError(
            f"{op}: cannot give {size} elements of shape {tuple(source)} the shape {shape}"
        )
    return tuple(size // known if n == -1 else n for n in shape)
