"""The transforms: what they do to an image, and what they draw."""

import numpy as np
import pytest

from needle import data
from needle.errors import ArgumentError, ShapeError

IMAGE = np.arange(24, dtype=np.float32).reshape(4, 3, 2) + 1


def shifted(image, dh, dw):
    """The crop's formula, pixel by pixel."""
    result = np.zeros_like(image)
    height, width = image.shape[:2]
    for h in range(height):
        for w in range(width):
            if 0 <= h + dh < height and 0 <= w + dw < width:
                result[h, w] = image[h + dh, w + dw]
    return result


def test_flip_mirrors_the_columns():
    flipped = data.RandomFlipHorizontal(p=1)(IMAGE)
    for h, w, c in np.ndindex(IMAGE.shape):
        assert flipped[h, w, c] == IMAGE[h, 2 - w, c]


@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 1.0])
def test_flip_draws_one_rand_and_flips_below_p(p):
    flip = data.RandomFlipHorizontal(p)
    np.random.seed(0)
    draws = [np.random.rand() for _ in range(40)]
    after = np.random.rand()
    np.random.seed(0)
    flipped = [flip(IMAGE)[0, 0, 0] != IMAGE[0, 0, 0] for _ in range(40)]
    assert flipped == [draw < p for draw in draws]
    assert np.random.rand() == after


@pytest.mark.parametrize("padding", [0, 1, 3, 7])
def test_crop_draws_two_integers_and_shifts_rows_by_the_first(padding):
    crop = data.RandomCrop(padding)
    np.random.seed(3)
    draws = [np.random.randint(-padding, padding + 1, size=2) for _ in range(30)]
    after = np.random.rand()
    np.random.seed(3)
    for dh, dw in draws:
        cropped = crop(IMAGE)
        assert cropped.dtype == np.float32
        np.testing.assert_array_equal(cropped, shifted(IMAGE, dh, dw))
    assert np.random.rand() == after


def test_defaults():
    assert data.RandomFlipHorizontal().p == 0.5
    assert data.RandomCrop().padding == 3


def test_the_image_itself_is_never_written():
    before = IMAGE.copy()
    for transform in (data.RandomFlipHorizontal(1), data.RandomCrop(2)):
        transform(IMAGE)
    np.testing.assert_array_equal(IMAGE, before)


@pytest.mark.parametrize("p", [-0.1, 1.5, float("nan")])
def test_flip_checks_p(p):
    with pytest.raises(ArgumentError, match=r"p in \[0, 1\]"):
        data.RandomFlipHorizontal(p)


@pytest.mark.parametrize("padding", [-1, 1.5, None])
def test_crop_checks_padding(padding):
    with pytest.raises(ArgumentError, match=f"padding >= 0, got {padding!r}"):
        data.RandomCrop(padding)


@pytest.mark.parametrize("transform", [data.RandomFlipHorizontal(), data.RandomCrop()])
def test_a_row_is_no_image(transform):
    with pytest.raises(ShapeError, match=r"expected an image \(H, W, C\), got shape \(784,\)"):
        transform(np.zeros(784))


def test_base_class_says_what_to_define():
    with pytest.raises(NotImplementedError, match="define __call__"):
        data.Transform()(IMAGE)
