"""What `--data` names: data sets, texts, and folders and files of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from needle import data
from needle.cli.config import NAMES, TEXTS, TrainConfig, is_text
from needle.data import Dataset, MNISTDataset, NDArrayDataset
from needle.data.image_sets import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS
from needle.data.images import scaled
from needle.errors import ArgumentError, DataError

IDX_FILES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)
NPY_FILES = ("x_train.npy", "y_train.npy", "x_test.npy", "y_test.npy")
Reader = Callable[[Path, Path], Dataset]
MOST_CLASSES = 1000
"""More classes than this, and than there are samples, are no classes but some other number."""


@dataclass(frozen=True)
class Source:
    """Training samples, what a model must know of them, and what there is beside them.

    `about` has the `characters` of a text; else the `shape` of a sample, the number of `classes`,
    and the `maximum`, by which a uint8 sample is divided. `validation` is the end of a text; of
    samples, the run chooses a part. `test` is a function that gives the test samples: a text has
    none.
    """

    name: str
    train: Dataset
    about: dict[str, Any]
    validation: Dataset | None = None
    test: Callable[[], Dataset] | None = None


def open_source(config: TrainConfig) -> Source:
    """Return what `--data` names: a data set or a text by its name, a folder, a file of text.

    A folder holds MNIST's four IDX files (gzipped or not), or `x_train.npy`, `y_train.npy`,
    `x_test.npy` and `y_test.npy`: samples (N, ...), floats as they are to be learned or uint8 that
    is divided by 255; labels (N,), integers from 0. A text is cut into windows of `--context`
    characters.

    Raises: DataError for what is nothing of these, or damaged, or a text that is too short.
    """
    name = config.data
    if is_text(name):
        return open_text(config)
    if name in NAMES:
        train, test = getattr(data, name.replace("-", "_"))()
        return Source(name, train, facts(train, 10, train.maximum), test=lambda: test)
    folder = Path(name)
    readers: dict[tuple[str, ...], Reader] = {IDX_FILES: MNISTDataset, NPY_FILES: npy_dataset}
    for files, reader in readers.items():
        paths = [path for file in files if (path := _existing(folder / file))]
        if len(paths) == len(files):
            return open_folder(folder.resolve().name or "data", reader, paths)
    found = "" if folder.exists() else "no such file or folder; "
    known = f"{found}expected {', '.join((*NAMES, *TEXTS))}, a file of text"
    text = f"--data {name}: {known}, or a folder with {', '.join(IDX_FILES)}"
    raise DataError(f"{text}, or with {', '.join(NPY_FILES)}")


def open_text(config: TrainConfig) -> Source:
    """Return a text as windows of characters: its beginning to learn from, its end to validate."""
    length, share = config.context, config.val_fraction
    try:
        if config.data in TEXTS:
            name, parts = "tinyshakespeare", data.tiny_shakespeare(length, share)
        else:
            name, parts = Path(config.data).stem, data.text_file(config.data, length, share)
    except (ArgumentError, DataError) as error:
        if isinstance(error.__cause__, UnicodeError):
            raise
        options = f"length is --context {length}, val_fraction is --val-fraction {share}"
        raise type(error)(f"{error} ({options})") from error
    train, validation = parts
    assert train.characters is not None
    return Source(name, train, {"characters": train.characters.text}, validation)


def open_folder(name: str, reader: Reader, paths: list[Path]) -> Source:
    """Return the data set in four files: samples and labels to train, samples and labels to test.

    The last two are opened by `test()` alone.
    """
    train = reader(paths[0], paths[1])
    if not len(train):
        raise DataError(f"{paths[0]}: expected training samples, got none")
    classes = int(train[np.arange(len(train))][1].max()) + 1
    if classes > max(MOST_CLASSES, len(train)):
        text = f"expected the numbers of classes, got labels up to {classes - 1}"
        raise DataError(f"{paths[1]}: {text} for {len(train)} samples; number the classes from 0")
    about = facts(train, classes, 255)
    return Source(name, train, about, test=partial(open_test, reader, paths, about))


def open_test(reader: Reader, paths: list[Path], about: dict[str, Any]) -> Dataset:
    """Return the test samples; DataError unless they are what the training samples are."""
    test = reader(paths[2], paths[3])
    labels = test[np.arange(len(test))][1]
    shape, most = list(np.shape(test[0][0])) if len(test) else None, about["classes"] - 1
    if shape != about["shape"]:
        got = "none" if shape is None else f"shape {tuple(shape)}"
        text = f"expected samples as in training, of shape {tuple(about['shape'])}"
        raise DataError(f"{paths[2]}: {text}, got {got}")
    if labels.max() > most:
        text = f"expected labels from 0 to {most}, as in training, got {labels.max()}"
        raise DataError(f"{paths[3]}: {text}")
    return test


def facts(train: Dataset, classes: int, maximum: int) -> dict[str, Any]:
    """Return what a model of samples, and a reader of further ones, must know."""
    return {"shape": list(np.shape(train[0][0])), "classes": classes, "maximum": maximum}


def npy_dataset(samples: Path, labels: Path) -> NDArrayDataset:
    """Return the data set in two .npy files.

    Raises: DataError where they are no arrays of finite numbers and integer labels of one length.
    """
    X, y = read_npy(samples), read_npy(labels)
    if y.ndim != 1 or y.dtype.kind not in "iu" or (len(y) and y.min() < 0):
        text = f"expected integer labels (N,) from 0, got {y.dtype} of shape {y.shape}"
        raise DataError(f"{labels}: {text}")
    if not np.isfinite(X).all():
        where = tuple(np.argwhere(~np.isfinite(X))[0].tolist())
        raise DataError(f"{samples}: expected finite numbers, got {X[where]} at {list(where)}")
    return NDArrayDataset(as_float32(X, 255), y)


def read_npy(path: Path) -> np.ndarray:
    """Return the array of numbers in a .npy file; DataError for anything else, pickles included."""
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataError(f"{path}: not a whole .npy file of numbers ({error})") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        got = array.dtype if isinstance(array, np.ndarray) else "an archive of several"
        raise DataError(f"{path}: expected one array of numbers, got {got}")
    return array


def as_float32(array: np.ndarray, maximum: int) -> np.ndarray:
    """Return samples as float32: uint8 divided by `maximum`, all else as it is."""
    return scaled(array, maximum) if array.dtype == np.uint8 else array.astype(np.float32)


def _existing(path: Path) -> Path | None:
    """Return the path as it is, else without its `.gz`, else None."""
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    return next((candidate for candidate in (path, plain) if candidate.is_file()), None)
