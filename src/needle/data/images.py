"""Labelled images, kept as bytes and scaled to float32 as they are read."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from needle.data.dataset import NDArrayDataset, Sample
from needle.data.idx import read_idx
from needle.errors import DataError


class ImageDataset(NDArrayDataset):
    """Images (N, H, W, C) of uint8 in 0..maximum with one uint8 label each.

    `dataset[i]` is `(image / maximum as float32 in [0, 1], label)`; slices and index arrays give
    batches. `transforms` are applied image by image, then `batch_transforms` to whole batches; the
    second are far faster. `X` and `y` are the whole set as it is, for `fit`.

    >>> images = np.full((2, 4, 4, 1), 255, np.uint8)
    >>> dataset = ndl.data.ImageDataset(images, np.array([3, 7], np.uint8))
    >>> x, y = dataset[0]
    >>> x.shape, x.dtype.name, float(x.max()), int(y)
    ((4, 4, 1), 'float32', 1.0, 3)
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        transforms: Sequence[Callable[[Any], Any]] | None = None,
        maximum: int = 255,
        batch_transforms: Sequence[Callable[[np.ndarray], np.ndarray]] = (),
    ) -> None:
        self.images = checked("ImageDataset", images, "images (N, H, W, C)", rank=4)
        self.labels = checked("ImageDataset", labels, "labels (N,)", rank=1)
        super().__init__(images, labels)
        self.transforms, self.batch_transforms = transforms, batch_transforms
        self.maximum = maximum

    def __getitem__(self, index: Any) -> Sample:
        images, labels = super().__getitem__(index)
        x = scaled(images, self.maximum)
        if self.transforms:
            x = self.apply_transforms(x) if labels.ndim == 0 else self._transform_each(x)
        for transform in self.batch_transforms:
            x = transform(x) if labels.ndim else transform(x[np.newaxis])[0]
        return x, labels

    @property
    def X(self) -> np.ndarray:  # noqa: N802
        """All images as float32 (N, H, W, C), without transforms; made anew at each read."""
        return scaled(self.images, self.maximum)

    @property
    def y(self) -> np.ndarray:
        """All labels, uint8 (N,)."""
        return self.labels

    def _transform_each(self, x: np.ndarray) -> np.ndarray:
        return np.stack([self.apply_transforms(image) for image in x]) if len(x) else x


class MNISTDataset(ImageDataset):
    """Images and labels from two IDX files, gzipped or plain: MNIST and all that use its format.

    `dataset[i]` is `((28, 28, 1) float32 in [0, 1], uint8 label)`.
    Raises: DataError for files that are corrupt, truncated or do not belong together.
    Reference: LeCun et al., "Gradient-based learning applied to document recognition", 1998.
    """

    def __init__(
        self,
        image_filename: str | os.PathLike[str],
        label_filename: str | os.PathLike[str],
        transforms: Sequence[Callable[[Any], Any]] | None = None,
    ) -> None:
        images = read_uint8(image_filename, "images (N, H, W)", rank=3)
        labels = read_uint8(label_filename, "labels (N,)", rank=1)
        if len(images) != len(labels):
            counts = f"{len(images)} images in {image_filename}, {len(labels)} labels in"
            raise DataError(f"MNISTDataset: {counts} {label_filename}")
        super().__init__(images[..., np.newaxis], labels, transforms)


def read_uint8(path: str | os.PathLike[str], what: str, rank: int) -> np.ndarray:
    """Return the uint8 array of the given rank in an IDX file."""
    return checked(str(path), read_idx(path), what, rank)


def checked(where: str, array: np.ndarray, what: str, rank: int) -> np.ndarray:
    """Return the array; DataError unless it is of uint8 with so many axes."""
    if array.dtype != np.uint8 or array.ndim != rank:
        got = f"{array.dtype} of shape {array.shape}"
        raise DataError(f"{where}: expected uint8 {what}, got {got}")
    return array


def scaled(array: np.ndarray, maximum: int) -> np.ndarray:
    """Return bytes as float32 from 0 to 1.

    True division, not a product with 1 / maximum: it is correctly rounded and costs 4 us more per
    100 MNIST images.
    """
    return np.divide(array, np.float32(maximum), dtype=np.float32)
