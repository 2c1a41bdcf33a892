"""Indexing, slicing and gathering; the gradient puts values back and adds where they meet."""

from __future__ import annotations

from typing import Any

import numpy as np

from needle.autograd.tensor import Tensor, TensorOp
from needle.backend import extensions
from needle.errors import DtypeError, ShapeError
from needle.ops.arguments import as_shape, reduced_axes, shape_of


class _Slot:
    """The place in an index where the op's next index array goes."""

    def __repr__(self) -> str:
        return "array"


_ARRAY = _Slot()


def _fill(pattern: tuple[Any, ...], arrays: tuple[Any, ...]) -> Any:
    remaining = iter(arrays)
    index = tuple(next(remaining) if part is _ARRAY else part for part in pattern)
    return index[0] if len(index) == 1 else index


class GetItem(TensorOp):
    """a[index]; index arrays are further inputs."""

    name = "getitem"

    def __init__(self, pattern: tuple[Any, ...]) -> None:
        self.pattern = pattern

    def compute(self, a: Any, *arrays: Any) -> Any:
        return a[_fill(self.pattern, arrays)]

    def gradient(self, out_grad: Tensor, node: Tensor) -> tuple[Tensor | None, ...]:
        a, *arrays = node.inputs
        placed = SetItem(a.shape, self.pattern)(out_grad, *arrays)
        return (placed, *[None for _ in arrays])


class SetItem(TensorOp):
    """Zeros of a shape with values added at an index."""

    name = "scatter_add"

    def __init__(self, shape: tuple[int, ...], pattern: tuple[Any, ...]) -> None:
        self.shape, self.pattern = shape, pattern

    def compute(self, values: Any, *arrays: Any) -> Any:
        return extensions.scatter_add(self.shape, _fill(self.pattern, arrays), values)

    def gradient(self, out_grad: Tensor, node: Tensor) -> tuple[Tensor | None, ...]:
        _, *arrays = node.inputs
        return (GetItem(self.pattern)(out_grad, *arrays), *[None for _ in arrays])


def split_index(index: Any) -> tuple[tuple[Any, ...], list[Any]]:
    """Separate an index into a pattern and the arrays that go into its slots."""
    pattern: list[Any] = []
    arrays: list[Any] = []
    for part in index if isinstance(index, tuple) else (index,):
        if isinstance(part, list):
            part = np.asarray(part, dtype=None if part else np.intp)
        if part is None or part is Ellipsis or isinstance(part, int | slice | np.integer):
            pattern.append(part)
            continue
        if not hasattr(part, "dtype") or part.dtype.kind not in "biu":
            raise DtypeError(
                "getitem: expected ints, slices, None, ... or arrays of ints or bools, "
                f"got {part!r:.60}"
            )
        pattern.append(_ARRAY)
        arrays.append(part.detach() if isinstance(part, Tensor) else part)
    return tuple(pattern), arrays


def getitem(a: Any, index: Any) -> Tensor:
    """Index and slice as NumPy does: `x[index]`. Gradients of repeated elements add up.

    >>> ops.getitem(ndl.Tensor([1.0, 2.0, 3.0]), slice(1, None))
    needle.Tensor([2. 3.])
    """
    pattern, arrays = split_index(index)
    return GetItem(pattern)(a, *arrays)


def scatter_add(shape: tuple[int, ...], index: Any, values: Any) -> Tensor:
    """Return zeros of `shape` with `values` added at `index`; repeated places add up.

    >>> ops.scatter_add((3,), np.array([0, 0, 2]), ndl.Tensor([1.0, 2.0, 3.0]))
    needle.Tensor([3. 0. 3.])
    """
    pattern, arrays = split_index(index)
    return SetItem(tuple(shape), pattern)(values, *arrays)


def gather(a: Any, index: Any, axis: int = -1) -> Tensor:
    """Pick along `axis` by an integer index of the same rank: result[i, j] = a[i, index[i, j]].

    This is `torch.gather` and `numpy.take_along_axis`. Index axes other than `axis` are of a's size
    or smaller.

    >>> ops.gather(ndl.Tensor([[1.0, 2.0], [3.0, 4.0]]), np.array([[1], [0]]), axis=1)
    needle.Tensor([[2.]
     [3.]])
    """
    ndim, shape = len(shape_of("gather", a)), shape_of("gather", index)
    if len(shape) != ndim:
        raise ShapeError(f"gather: expected an index of {ndim} axes, got shape {shape}")
    (along,) = reduced_axes("gather", as_shape("gather", axis), ndim)
    places: list[Any] = [
        np.arange(n).reshape([-1 if i == j else 1 for j in range(ndim)])
        for i, n in enumerate(shape)
    ]
    places[along] = index
    return getitem(a, tuple(places))
