"""CIFAR-10: its python batches, read without running anything in them."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from needle.data.download import Collection, find
from needle.data.images import ImageDataset
from needle.data.pickles import PickledArray, array_constructors, read_pickle
from needle.errors import DataError

TRAIN_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
TEST_BATCH = "test_batch"
CLASSES = 10
CIFAR10 = Collection(
    name="cifar-10-batches-py",
    mirrors=("https://www.cs.toronto.edu/~kriz/",),
    sha256={
        "cifar-10-python.tar.gz": "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
    },
    members=(*TRAIN_BATCHES, TEST_BATCH),
)


class CIFAR10Dataset(ImageDataset):
    """CIFAR-10 from its folder of python batches: 50,000 images to train, 10,000 to test.

    `dataset[i]` is `((3, 32, 32) float32 in [0, 1], uint8 label)`, kept as bytes; slices and index
    arrays give batches. `transforms` see one image (32, 32, 3) at a time, `batch_transforms` whole
    batches (N, 3, 32, 32). `p` is accepted because the course's class has it; nothing reads it.

    Raises: DataError for files that are missing, damaged, or hold anything but images and labels:
    the pickles are read by a reader that calls nothing they name.
    Reference: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """

    def __init__(
        self,
        base_folder: str | os.PathLike[str],
        train: bool,
        p: float = 0.5,
        transforms: Sequence[Callable[[Any], Any]] | None = None,
        batch_transforms: Sequence[Callable[[np.ndarray], np.ndarray]] = (),
    ) -> None:
        names = TRAIN_BATCHES if train else (TEST_BATCH,)
        batches = [read_batch(Path(base_folder, name)) for name in names]
        images, labels = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
        super().__init__(images, labels, transforms, batch_transforms=batch_transforms)

    def apply_transforms(self, x: np.ndarray) -> np.ndarray:
        """Return an image (3, 32, 32) after all transforms, which see it as (32, 32, 3)."""
        return np.moveaxis(super().apply_transforms(np.moveaxis(x, 0, -1)), -1, 0)


def cifar10(
    root: str | os.PathLike[str] | None = None, download: bool = True
) -> tuple[CIFAR10Dataset, CIFAR10Dataset]:
    """Return CIFAR-10: 50,000 small photographs to train, 10,000 to test, downloaded once (170 MB).

    Shapes: images (N, 3, 32, 32), float32 in [0, 1], kept as uint8; labels (N,), uint8, 0 to 9:
    airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck. Looked for in
    `root/cifar-10-batches-py` and `root`, or without a root in `$NEEDLE_DATA/cifar-10-batches-py`
    and the user's cache folder; `download=False` stays off the network.

    Raises: DownloadError that says which files to put where, DataError for corrupt files.
    Reference: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """
    folder = find(CIFAR10, root, download)
    return CIFAR10Dataset(folder, train=True), CIFAR10Dataset(folder, train=False)


def read_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the images (N, 3, 32, 32) and labels (N,) of one pickled batch, both uint8."""
    try:
        file = io.BytesIO(path.read_bytes())
    except FileNotFoundError as error:
        folder = CIFAR10.name
        raise DataError(f"{path}: no such file; expected CIFAR-10's folder {folder}") from error
    try:
        content = read_pickle(file, array_constructors())
        return _images_and_labels(content)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _images_and_labels(content: Any) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(content, dict):
        raise DataError(f"expected a dictionary with data and labels, got {type(content).__name__}")
    named = {k.decode("latin-1") if isinstance(k, bytes) else k: v for k, v in content.items()}
    data, labels = (_array(named.get(name)) for name in ("data", "labels"))
    if data is None or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3 * 32 * 32:
        got = "none" if data is None else f"{data.dtype} of shape {data.shape}"
        raise DataError(f"expected data of uint8 (N, 3072), got {got}")
    if labels is None or labels.shape != (len(data),) or labels.dtype.kind not in "iu":
        raise DataError(f"expected {len(data)} integer labels, one for each image")
    if len(labels) and not 0 <= labels.min() <= labels.max() < CLASSES:
        raise DataError(f"expected labels from 0 to 9, got {labels.min()} to {labels.max()}")
    return data.reshape(-1, 3, 32, 32), labels.astype(np.uint8)


def _array(value: Any) -> np.ndarray | None:
    if isinstance(value, PickledArray):
        return value.array
    if isinstance(value, list) and all(type(x) is int and abs(x) < 1 << 31 for x in value):
        return np.array(value, np.int64)
    return None
