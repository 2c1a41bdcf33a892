"""Random changes of one image (H, W, C), drawn from NumPy's global stream."""

from __future__ import annotations

import numpy as np

from needle.errors import ArgumentError, ShapeError, whole_number


class Transform:
    """Base of transforms: a callable from image to image."""

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the changed image."""
        raise NotImplementedError(f"{type(self).__name__}: define __call__(self, x)")


class RandomFlipHorizontal(Transform):
    """Mirror left and right with probability `p`: y[h, w] = x[h, W - 1 - w].

    Shapes: (H, W, C) to (H, W, C). Draws one `numpy.random.rand()`, also where p is 0 or 1.
    Raises: ArgumentError unless 0 <= p <= 1.

    >>> ndl.data.RandomFlipHorizontal(p=1)(np.array([[[1], [2], [3]]])).ravel()
    array([3, 2, 1])
    """

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ArgumentError(f"RandomFlipHorizontal: expected p in [0, 1], got {p}")
        self.p = p

    def __call__(self, img: np.ndarray) -> np.ndarray:
        """Return the image or its mirror image (a view)."""
        check_image("RandomFlipHorizontal", img)
        return img[:, ::-1] if np.random.rand() < self.p else img


class RandomCrop(Transform):
    """Pad with `padding` zeros on each side, then cut out an image of the first size.

    y[h, w] = x[h + dh, w + dw], zero outside x, where (dh, dw) is one draw of
    `numpy.random.randint(-padding, padding + 1, size=2)`. Shapes: (H, W, C) to (H, W, C).
    Raises: ArgumentError for a padding that is not an integer of at least 0.

    >>> ndl.data.RandomCrop(padding=0)(np.array([[[1], [2], [3]]])).ravel()
    array([1, 2, 3])
    """

    def __init__(self, padding: int = 3) -> None:
        self.padding = whole_number("RandomCrop: expected an integer padding", padding, 0)

    def __call__(self, img: np.ndarray) -> np.ndarray:
        """Return the shifted image."""
        check_image("RandomCrop", img)
        pad, (height, width) = self.padding, img.shape[:2]
        dh, dw = np.random.randint(-pad, pad + 1, size=2)
        padded = np.zeros((height + 2 * pad, width + 2 * pad, *img.shape[2:]), img.dtype)
        padded[pad : pad + height, pad : pad + width] = img
        return padded[pad + dh : pad + dh + height, pad + dw : pad + dw + width]


def check_image(where: str, img: np.ndarray) -> None:
    """Raise ShapeError unless `img` has the axes H and W."""
    if np.ndim(img) < 2:
        raise ShapeError(f"{where}: expected an image (H, W, C), got shape {np.shape(img)}")
