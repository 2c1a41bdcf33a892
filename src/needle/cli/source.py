"""The data sets that the command line knows by name, and folders of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from needle import data
from needle.cli.config import TEXTS
from needle.data import Dataset, MNISTDataset, NDArrayDataset
from needle.data.image_sets import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS
from needle.errors import DataError

IDX_FILES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)
NPY_FILES = ("x_train.npy", "y_train.npy", "x_test.npy", "y_test.npy")
Reader = Callable[[Path, Path], Dataset]
NAMES = ("digits", "mnist", "fashion-mnist", "cifar10")


@dataclass(frozen=True)
class Source:
    """Training samples, and a function that gives the test samples.

    `maximum` is what a uint8 sample is divided by, `classes` the number of labels.
    """

    name: str
    train: Dataset
    test: Callable[[], Dataset]
    classes: int = 10
    maximum: int = 255

    @property
    def about(self) -> dict[str, Any]:
        """What a model of it, and a reader of further samples, must know."""
        return {"shape": self.shape, "classes": self.classes, "maximum": self.maximum}

    @property
    def shape(self) -> list[int]:
        """The shape of one sample."""
        return list(np.shape(self.train[0][0]))


def open_source(name: str) -> Source:
    """Return the data set of `--data`: a name, or a folder.

    A folder holds MNIST's four IDX files (gzipped or not), or `x_train.npy`, `y_train.npy`,
    `x_test.npy` and `y_test.npy`: samples (N, ...), floats as they are to be learned or uint8 that
    is divided by 255; labels (N,), integers from 0.

    Raises: DataError for a name or a folder that is neither.
    """
    if name in NAMES:
        images, held_out = getattr(data, name.replace("-", "_"))()
        return Source(name, images, lambda: held_out, maximum=images.maximum)
    folder = Path(name)
    label = folder.resolve().name or "data"
    readers: tuple[tuple[tuple[str, ...], Reader], ...] = (
        (IDX_FILES, MNISTDataset),
        (NPY_FILES, npy_dataset),
    )
    for files, reader in readers:
        paths = [path for file in files if (path := _existing(folder / file))]
        if len(paths) == len(files):
            train = reader(paths[0], paths[1])
            if not len(train):
                raise DataError(f"{paths[0]}: expected training samples, got none")
            test = partial(reader, paths[2], paths[3])
            return Source(label, train, test, classes_of(train))
    found = "" if folder.exists() else "no such file or folder; "
    known = f"{found}expected {', '.join((*NAMES, *TEXTS))}, a file of text"
    text = f"--data {name}: {known}, or a folder with {', '.join(IDX_FILES)}"
    raise DataError(f"{text}, or with {', '.join(NPY_FILES)}")


def npy_dataset(samples: Path, labels: Path) -> NDArrayDataset:
    """Return the data set in two .npy files.

    Raises: DataError where they are no arrays of numbers and integer labels of one length.
    """
    X, y = read_npy(samples), read_npy(labels)
    if y.ndim != 1 or y.dtype.kind not in "iu" or (len(y) and y.min() < 0):
        text = f"expected integer labels (N,) from 0, got {y.dtype} of shape {y.shape}"
        raise DataError(f"{labels}: {text}")
    return NDArrayDataset(scaled(X, 255), y)


def read_npy(path: Path) -> np.ndarray:
    """Return the array of numbers in a .npy file; DataError for anything else, pickles included."""
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataError(f"{path}: not a whole .npy file of numbers ({error})") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        raise DataError(f"{path}: expected one array of numbers")
    return array


def scaled(array: np.ndarray, maximum: int) -> np.ndarray:
    """Return samples as float32: uint8 divided by `maximum`, all else as it is."""
    if array.dtype == np.uint8:
        return np.divide(array, np.float32(maximum), dtype=np.float32)
    return array.astype(np.float32)


def classes_of(train: Dataset) -> int:
    """Return the number of classes: the largest training label plus 1."""
    return int(train[np.arange(len(train))][1].max()) + 1


def _existing(path: Path) -> Path | None:
    """Return the path as it is, else without its `.gz`, else None."""
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    return next((candidate for candidate in (path, plain) if candidate.is_file()), None)
