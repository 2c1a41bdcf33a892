"""Data sets: anything with a length whose samples are tuples of arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from needle.errors import DataError, IndexRangeError, ShapeError

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
        if len({len(array) for array in self.arrays}) > 1:
            shapes = ", ".join(str(array.shape) for array in self.arrays)
            text = f"expected the same number of rows in each array, got {shapes}"
            raise DataError(f"{type(self).__name__}: {text}")

    def __getitem__(self, index: Any) -> Sample:
        return rows(self, index, *self.arrays)

    def __len__(self) -> int:
        return len(self.arrays[0])


class Subset(Dataset):
    """The samples of `dataset` at `indices` (ints in their new order, or a boolean mask).

    Raises: IndexRangeError where an index does not exist or is no integer, or a mask has another
    length; ShapeError for indices of several axes.

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
        chosen = np.asarray(indices)
        chosen = chosen if chosen.size else chosen.astype(np.intp)  # [] is of floats, to NumPy
        (self.indices,) = rows(dataset, chosen, np.arange(len(dataset)))
        if self.indices.ndim != 1:
            raise ShapeError(f"Subset: expected one axis of indices, got shape {chosen.shape}")

    def __getitem__(self, index: Any) -> Sample:
        (chosen,) = rows(self, index, self.indices)
        return self.dataset[chosen if chosen.ndim else int(chosen)]

    def __len__(self) -> int:
        return len(self.indices)


def rows(dataset: Dataset, index: Any, *arrays: np.ndarray) -> Sample:
    """Return `array[index]` of each array, with an IndexRangeError that names the data set."""
    try:
        return tuple(array[index] for array in arrays)
    except IndexError as error:
        where = f"{type(dataset).__name__} of {len(dataset)} samples"
        raise IndexRangeError(f"{where}: {error}") from None
