"""Tensors made of constants and of random numbers.

Each random function draws by one call of the device, so that the number and order of draws, and
with `numpy.random.seed` every number, are known from the code alone.
"""

from __future__ import annotations

from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import DTypeLike

from needle.autograd import Tensor
from needle.backend import extensions
from needle.backend.device import Device, check_device
from needle.errors import DtypeError, ShapeError
from needle.ops.arguments import as_shape


class Kind(TypedDict, total=False):
    """What a Tensor is besides its values; `dtype` is float32 unless it is given."""

    device: Device | None
    dtype: DTypeLike
    requires_grad: bool


def rand(
    *shape: int,
    low: float = 0.0,
    high: float = 1.0,
    device: Device | None = None,
    dtype: DTypeLike = "float32",
    requires_grad: bool = False,
) -> Tensor:
    """Draw from the uniform distribution on [low, high): one call of `device.rand`, then scaled.

    Shape `shape`; drawn and scaled in float64, then converted to `dtype`.

    Errors: ShapeError for a shape that is not made of ints of at least 0.

    >>> np.random.seed(0)
    >>> ndl.init.rand(2, low=-1, high=1)
    needle.Tensor([0.09762701 0.43037874])
    """
    array = check_device(device).rand(*_sizes("rand", shape)) * (high - low) + low
    return Tensor.make_const(array.astype(dtype), requires_grad=requires_grad)


def randn(
    *shape: int,
    mean: float = 0.0,
    std: float = 1.0,
    device: Device | None = None,
    dtype: DTypeLike = "float32",
    requires_grad: bool = False,
) -> Tensor:
    """Draw from the normal distribution: one call of `device.randn`, then mean + std * draw.

    Shape `shape`; drawn and scaled in float64, then converted to `dtype`.

    >>> np.random.seed(0)
    >>> ndl.init.randn(2, mean=1, std=0.1)
    needle.Tensor([1.1764052 1.0400157])
    """
    array = check_device(device).randn(*_sizes("randn", shape)) * std + mean
    return Tensor.make_const(array.astype(dtype), requires_grad=requires_grad)


def constant(
    *shape: int,
    c: float = 1.0,
    device: Device | None = None,
    dtype: DTypeLike = "float32",
    requires_grad: bool = False,
) -> Tensor:
    """Fill a Tensor of shape `shape` with the number `c`.

    >>> ndl.init.constant(2, c=0.5)
    needle.Tensor([0.5 0.5])
    """
    array = check_device(device).full(_sizes("constant", shape), c, dtype)
    return Tensor.make_const(array, requires_grad=requires_grad)


def ones(*shape: int, **kind: Unpack[Kind]) -> Tensor:
    """Fill with ones; `device`, `dtype` and `requires_grad` as in `constant`.

    >>> ndl.ones(2)
    needle.Tensor([1. 1.])
    """
    return constant(*shape, c=1.0, **kind)


def zeros(*shape: int, **kind: Unpack[Kind]) -> Tensor:
    """Fill with zeros; `device`, `dtype` and `requires_grad` as in `constant`.

    >>> ndl.zeros(2, dtype="int64")
    needle.Tensor([0 0])
    """
    return constant(*shape, c=0.0, **kind)


def ones_like(array: Any, *, device: Device | None = None, requires_grad: bool = False) -> Tensor:
    """Fill with ones in the shape and dtype of `array`, a Tensor or ndarray.

    >>> ndl.ones_like(np.array([3, 4]))
    needle.Tensor([1 1])
    """
    return ones(*array.shape, device=device, dtype=array.dtype, requires_grad=requires_grad)


def zeros_like(array: Any, *, device: Device | None = None, requires_grad: bool = False) -> Tensor:
    """Fill with zeros in the shape and dtype of `array`, a Tensor or ndarray.

    >>> ndl.zeros_like(ndl.Tensor([3.0, 4.0]))
    needle.Tensor([0. 0.])
    """
    return zeros(*array.shape, device=device, dtype=array.dtype, requires_grad=requires_grad)


def randb(
    *shape: int,
    p: float = 0.5,
    device: Device | None = None,
    dtype: DTypeLike = "bool",
    requires_grad: bool = False,
) -> Tensor:
    """Draw True with probability `p`: `device.rand(*shape) <= p`, one call.

    >>> np.random.seed(0)
    >>> ndl.init.randb(3, p=0.6)
    needle.Tensor([ True False False])
    """
    array = check_device(device).rand(*_sizes("randb", shape)) <= p
    if np.dtype(dtype) != np.bool_:
        array = array.astype(dtype)
    return Tensor.make_const(array, requires_grad=requires_grad)


def one_hot(
    n: int,
    i: Any,
    device: Device | None = None,
    dtype: DTypeLike = "float32",
    requires_grad: bool = False,
) -> Tensor:
    """Turn labels into rows of the n x n identity matrix: result[..., j] = 1 where i[...] = j.

    `i` holds integers from 0 to n - 1 in any dtype (Tensor or ndarray); shape `i.shape + (n,)`.

    Errors: IndexRangeError for a label outside 0 .. n - 1, ArgumentError for one with a fraction.

    >>> ndl.init.one_hot(3, ndl.Tensor([2, 0]))
    needle.Tensor([[0. 0. 1.]
     [1. 0. 0.]])
    """
    check_device(device)
    labels = i.realize_cached_data() if isinstance(i, Tensor) else i
    if not hasattr(labels, "dtype"):
        raise DtypeError(f"one_hot: expected a Tensor or an array of labels, got {labels!r:.40}")
    labels = extensions.checked_labels(labels, n, "one_hot")
    # A comparison, not np.eye(n)[labels]: the same for any dtype, and a tracer records it.
    array = labels.reshape((*labels.shape, 1)) == np.arange(n)
    if np.dtype(dtype) != np.bool_:
        array = array.astype(dtype)
    return Tensor.make_const(array, requires_grad=requires_grad)


def _sizes(name: str, shape: tuple[Any, ...]) -> tuple[int, ...]:
    """Return the sizes; `f((2, 3))` is read as `f(2, 3)`."""
    sizes = as_shape(name, shape[0] if len(shape) == 1 else shape)
    if any(n < 0 for n in sizes):
        raise ShapeError(f"{name}: expected sizes of at least 0, got {sizes}")
    return sizes
