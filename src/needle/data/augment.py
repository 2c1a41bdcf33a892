"""Random changes of a whole batch of images at once, drawn from NumPy's global stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from needle.data.dataset import Dataset, Sample
from needle.errors import ArgumentError, ShapeError, whole_number


class Augment:
    """Shift each image by up to `padding` pixels, zeros coming in, and mirror it half of the time.

    y[n, c, h, w] = x[n, c, h + dh[n], w + dw[n]], zero outside x; then mirrored left and right
    with probability `flip`. One draw of `numpy.random.randint(-padding, padding + 1, (N, 2))` for
    (dh, dw) and one of `numpy.random.rand(N)` a batch. Shapes: (N, C, H, W) to (N, C, H, W).

    Raises: ArgumentError for a padding below 0 or flip outside [0, 1].
    Reference: He et al., "Deep Residual Learning for Image Recognition", arXiv:1512.03385,
    section 4.2 (padding 4, flips).

    >>> ndl.data.Augment(padding=0, flip=1)(np.arange(3).reshape(1, 1, 1, 3)).ravel()
    array([2, 1, 0])
    """

    def __init__(self, padding: int = 4, flip: float = 0.5) -> None:
        self.padding = whole_number("Augment: expected an integer padding", padding, 0)
        if not 0 <= flip <= 1:
            raise ArgumentError(f"Augment: expected flip in [0, 1], got {flip}")
        self.flip = flip

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the changed batch."""
        check_batch("Augment", images)
        pad, (count, channels, height, width) = self.padding, images.shape
        shifts = np.random.randint(-pad, pad + 1, (count, 2)) + pad
        flipped = np.random.rand(count) < self.flip
        padded = np.zeros((count, channels, height + 2 * pad, width + 2 * pad), images.dtype)
        padded[:, :, pad : pad + height, pad : pad + width] = images
        windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
        result = windows[np.arange(count), :, shifts[:, 0], shifts[:, 1]]
        result[flipped] = result[flipped, ..., ::-1]
        return result


class Normalize:
    """Subtract each channel's mean and divide by its deviation: (x[:, c] - mean[c]) / std[c].

    Shapes: (N, C, H, W) to (N, C, H, W), mean and std (C,). Raises: ArgumentError where they differ
    in length or a deviation is not positive.

    >>> ndl.data.Normalize([0.5], [0.25])(np.ones((1, 1, 1, 2), "float32")).ravel()
    array([2., 2.], dtype=float32)
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean, self.std = (np.asarray(x, "float32").reshape(-1, 1, 1) for x in (mean, std))
        if self.mean.shape != self.std.shape or not (self.std > 0).all():
            text = f"expected one mean and one positive std a channel, got {mean} and {std}"
            raise ArgumentError(f"Normalize: {text}")

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the scaled batch."""
        check_batch("Normalize", images)
        if len(self.mean) != images.shape[1]:
            text = f"expected {len(self.mean)} channels (N, C, H, W), got shape {images.shape}"
            raise ShapeError(f"Normalize: {text}")
        return (images - self.mean) / self.std


class Augmented(Dataset):
    """The samples of `dataset`, their images changed batch by batch: (change(x), y).

    `change` takes and gives whole batches, as `Augment()` does.

    >>> images = ndl.data.NDArrayDataset(np.ones((10, 3, 8, 8), "float32"), np.zeros(10, int))
    >>> x, y = ndl.data.Augmented(images, ndl.data.Augment(padding=2))[[0, 1]]
    >>> x.shape
    (2, 3, 8, 8)
    """

    def __init__(self, dataset: Dataset, change: Callable[[np.ndarray], np.ndarray]) -> None:
        super().__init__()
        self.dataset, self.change = dataset, change
        self.takes_index_arrays = getattr(dataset, "takes_index_arrays", False)

    def __getitem__(self, index: Any) -> Sample:
        x, *labels = self.dataset[index]
        one = np.ndim(labels[0]) == 0
        changed = self.change(x[np.newaxis] if one else x)
        return (changed[0] if one else changed, *labels)

    def __len__(self) -> int:
        return len(self.dataset)


def check_batch(where: str, images: np.ndarray) -> None:
    """Raise ShapeError unless `images` has the axes N, C, H and W."""
    if np.ndim(images) != 4:
        raise ShapeError(f"{where}: expected images (N, C, H, W), got shape {np.shape(images)}")
