"""From a data set to batches of constant Tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from needle.autograd import Tensor
from needle.data.dataset import Dataset
from needle.errors import DataError, DtypeError, ShapeError, whole_number


class DataLoader:
    """Iterate over `dataset` in batches: tuples of Tensors that require no gradient.

    Shapes: a sample `((H, W, C), ())` gives batches `((B, H, W, C), (B,))`; the last batch may be
    short, which compiles a program of its own, unless `drop_last` leaves it out. With `shuffle`
    each `iter()` draws one `numpy.random.permutation(len(dataset))`, so `numpy.random.seed` repeats
    an epoch. `dtype` ("float32") converts floating arrays; without it they keep theirs.

    Raises: DataError for an empty data set, or where `drop_last` leaves nothing; ArgumentError for
    a batch_size below 1, DtypeError for a dtype that is not floating, ShapeError where the samples
    of a batch differ in shape.

    >>> dataset = ndl.data.NDArrayDataset(np.ones((5, 3), "float32"), np.arange(5))
    >>> loader = ndl.data.DataLoader(dataset, batch_size=2)
    >>> len(loader), [(x.shape, y.shape) for x, y in loader]
    (3, [((2, 3), (2,)), ((2, 3), (2,)), ((1, 3), (1,))])
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 1,
        shuffle: bool = False,
        dtype: DTypeLike | None = None,
        drop_last: bool = False,
    ) -> None:
        self.dataset, self.shuffle, self.drop_last = dataset, shuffle, drop_last
        text = "DataLoader: expected an integer batch_size"
        self.batch_size = whole_number(text, batch_size, 1)
        self.dtype = None if dtype is None else np.dtype(dtype)
        if self.dtype is not None and self.dtype.kind != "f":
            raise DtypeError(f"DataLoader: expected a floating dtype, got {self.dtype}")
        if len(dataset) == 0:
            raise DataError(f"DataLoader: the data set ({type(dataset).__name__}) is empty")
        if len(self) == 0:
            text = f"drop_last leaves none of {len(dataset)} samples"
            raise DataError(f"DataLoader: {text}; pass a smaller batch_size than {batch_size}")

    def __len__(self) -> int:
        count = len(self.dataset) + (0 if self.drop_last else self.batch_size - 1)
        return count // self.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        # Drawn here, not in the generator: iter() is what draws, whenever the first batch is taken.
        count = len(self.dataset)
        return self._batches(np.random.permutation(count) if self.shuffle else np.arange(count))

    def _batches(self, order: np.ndarray) -> Iterator[tuple[Tensor, ...]]:
        gather = take if getattr(self.dataset, "takes_index_arrays", False) else stack
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            indices = order[start : start + self.batch_size]
            yield tuple(constant(array, self.dtype) for array in gather(self.dataset, indices))


def constant(array: np.ndarray, dtype: np.dtype | None) -> Tensor:
    """Return an array as a Tensor without a gradient, floats as `dtype` where one is given."""
    if array.dtype.kind not in "biufc":
        raise DtypeError(f"DataLoader: expected numbers, got samples of dtype {array.dtype}")
    if dtype is not None and array.dtype.kind == "f":
        array = array.astype(dtype, copy=False)
    return Tensor.make_const(array)


def take(dataset: Dataset, indices: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return a batch by one index into a data set that takes index arrays."""
    return tuple(np.asarray(array) for array in as_tuple(dataset[indices]))


def stack(dataset: Dataset, indices: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return a batch of samples taken one by one."""
    samples = [as_tuple(dataset[int(index)]) for index in indices]
    shapes = {tuple(np.shape(array) for array in sample) for sample in samples}
    if len(shapes) > 1:
        first, second = sorted(shapes)[:2]
        hint = "; for arrays, pass NDArrayDataset(X, y)" if isinstance(dataset, tuple) else ""
        text = f"samples of a batch differ in shape: {first} and {second}{hint}"
        raise ShapeError(f"DataLoader: {text}")
    return tuple(np.stack([np.asarray(a) for a in column]) for column in zip(*samples, strict=True))


def as_tuple(sample: Any) -> tuple[Any, ...]:
    """Return the arrays of a sample; a lone array is a sample of one."""
    return tuple(sample) if isinstance(sample, (tuple, list)) else (sample,)
