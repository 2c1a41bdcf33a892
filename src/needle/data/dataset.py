"""Data sets: anything with a length whose samples are tuples of arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from needle.errors import DataError, DtypeError, IndexRangeError

Sample = tuple[Any, ...]


class Dataset:
    """Base of data sets: `len(dataset)` samples, `dataset[i]` is a tuple of arrays.

    `takes_index_arrays = True` on a subclass says that `dataset[indices]` returns whole batches, as
    `NDArrayDataset` does; `DataLoader` then asks once per batch instead of once per sample.

    >>> class Squares(ndl.data.Dataset):
    ...     def __len__(self):
    ...         return 4
    ...     def __getitem__(self, i):
    ...         return np.float32(i), np.float32(i * i)
    >>> Squares()[3]
    (np.float32(3.0), np.float32(9.0))
    """

    takes_index_arrays: bool = False
    transforms: Sequence[Callable[[Any], Any]] | None = None

    def __init__(self, transforms: Sequence[Callable[[Any], Any]] | None = None) -> None:
        self.transforms = transforms

    def __getitem__(self, index: Any) -> Sample:
        raise NotImplementedError(f"{type(self).__name__}: define __getitem__(self, index)")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__}: define __len__(self)")

    def apply_transforms(self, x: Any) -> Any:
        """Return `x` after all transforms, in order; for one sample."""
        for transform in self.transforms or ():
            x = transform(x)
        return x


class NDArrayDataset(Dataset):
    """Arrays side by side: sample i is `(arrays[0][i], arrays[1][i], ...)`.

    Indices are ints, slices and index arrays, as in NumPy. The arrays are kept, not copied.
    Raises: DataError without arrays, for one without axes, or where the lengths differ.

    >>> dataset = ndl.data.NDArrayDataset(np.arange(10.0), np.arange(10) % 2)
    >>> dataset[3]
    (np.float64(3.0), np.int64(1))
    >>> dataset[[0, 1]][0]
    array([0., 1.])
    """

    takes_index_arrays = True

    def __init__(self, *arrays: ArrayLike) -> None:
        super().__init__()
        self.arrays = tuple(np.asarray(array) for array in arrays)
        if not self.arrays or any(array.ndim == 0 for array in self.arrays):
            raise DataError("NDArrayDataset: expected arrays with one row a sample, such as (X, y)")
        check_lengths("NDArrayDataset", *self.arrays)

    def __getitem__(self, index: Any) -> Sample:
        return rows(self, index, *self.arrays)

    def __len__(self) -> int:
        return len(self.arrays[0])


class Subset(Dataset):
    """The samples of `dataset` at `indices` (ints in their new order, or a boolean mask).

    Raises: IndexRangeError where an index does not exist, DtypeError where they are no integers.

    >>> train, test = ndl.data.digits()
    >>> order = np.random.permutation(len(train))
    >>> validation, train = ndl.data.Subset(train, order[:200]), ndl.data.Subset(train, order[200:])
    >>> len(validation), len(train)
    (200, 1237)
    """

    def __init__(self, dataset: Dataset, indices: ArrayLike) -> None:
        super().__init__()
        self.dataset = dataset
        self.takes_index_arrays = getattr(dataset, "takes_index_arrays", False)
        self.indices = subset_indices(np.asarray(indices), len(dataset))

    def __getitem__(self, index: Any) -> Sample:
        (chosen,) = rows(self, index, self.indices)
        return self.dataset[chosen if chosen.ndim else int(chosen)]

    def __len__(self) -> int:
        return len(self.indices)


def subset_indices(indices: np.ndarray, length: int) -> np.ndarray:
    """Return integer indices into `length` samples, from integers or a boolean mask."""
    if indices.dtype == bool:
        if indices.shape != (length,):
            raise DataError(f"Subset: expected a mask of shape ({length},), got {indices.shape}")
        return np.flatnonzero(indices)
    if indices.size == 0:
        return np.zeros(0, dtype=np.intp)
    if indices.dtype.kind not in "iu" or indices.ndim != 1:
        got = f"{indices.dtype} of shape {indices.shape}"
        raise DtypeError(f"Subset: expected one axis of integer indices, got {got}")
    if indices.min() < -length or indices.max() >= length:
        outside = indices.min() if indices.min() < -length else indices.max()
        raise IndexRangeError(f"Subset: index {outside} is out of range for {length} samples")
    return indices


def check_lengths(where: str, *arrays: np.ndarray) -> None:
    """Raise DataError unless all arrays have the same number of rows."""
    if len({len(array) for array in arrays}) > 1:
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise DataError(f"{where}: expected the same number of rows in each array, got {shapes}")


def rows(dataset: Dataset, index: Any, *arrays: np.ndarray) -> Sample:
    """Return `array[index]` of each array, with an IndexRangeError that names the data set."""
    try:
        return tuple(array[index] for array in arrays)
    except IndexError as error:
        where = f"{type(dataset).__name__} of {len(dataset)} samples"
        raise IndexRangeError(f"{where}: {error}") from None
