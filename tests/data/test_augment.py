"""Changes of whole batches: against the formula, image by image, and what they draw."""

import numpy as np
import pytest

from needle import data
from needle.errors import ArgumentError, ShapeError

IMAGES = np.arange(5 * 2 * 4 * 3, dtype=np.float32).reshape(5, 2, 4, 3) + 1


def changed(images, padding, flip):
    """The formula, pixel by pixel, with the draws that the text promises."""
    shifts = np.random.randint(-padding, padding + 1, (len(images), 2))
    flipped = np.random.rand(len(images)) < flip
    result = np.zeros_like(images)
    _, _, height, width = images.shape
    for n, c, h, w in np.ndindex(images.shape):
        row, column = h + shifts[n, 0], (width - 1 - w if flipped[n] else w) + shifts[n, 1]
        if 0 <= row < height and 0 <= column < width:
            result[n, c, h, w] = images[n, c, row, column]
    return result


@pytest.mark.parametrize("padding", [0, 1, 4])
@pytest.mark.parametrize("flip", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_augment_is_its_formula(padding, flip, dtype):
    images = IMAGES.astype(dtype)
    for seed in range(5):
        np.random.seed(seed)
        got = data.Augment(padding, flip)(images)
        after = np.random.rand()
        np.random.seed(seed)
        np.testing.assert_array_equal(got, changed(images, padding, flip), strict=True)
        assert np.random.rand() == after


def test_augment_leaves_its_input_and_takes_an_empty_batch():
    before = IMAGES.copy()
    result = data.Augment(2)(IMAGES)
    result[:] = 0
    np.testing.assert_array_equal(IMAGES, before)
    assert data.Augment()(IMAGES[:0]).shape == (0, 2, 4, 3)


def test_normalize():
    got = data.Normalize([1.0, 2.0], [0.5, 4.0])(IMAGES)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got[:, 0], (IMAGES[:, 0] - 1) / 0.5)
    np.testing.assert_array_equal(got[:, 1], (IMAGES[:, 1] - 2) / 4)


@pytest.mark.parametrize(
    ("padding", "flip"), [(-1, 0.5), (0.5, 0.5), (1, 1.5), (1, -0.1), (1, float("nan"))]
)
def test_augment_checks_its_arguments(padding, flip):
    with pytest.raises(
        ArgumentError, match=r"Augment: expected (an integer padding >= 0|flip in \[0, 1\]), got"
    ):
        data.Augment(padding, flip)


@pytest.mark.parametrize(("mean", "std"), [([0.5], [1, 1]), ([0.0], [0.0]), ([0.0], [np.nan])])
def test_normalize_checks_its_arguments(mean, std):
    with pytest.raises(ArgumentError, match="one mean and one positive std a channel"):
        data.Normalize(mean, std)


def test_a_wrong_rank_or_channel_count_is_named():
    for change in (data.Augment(), data.Normalize([0], [1])):
        with pytest.raises(ShapeError, match=r"images \(N, C, H, W\), got shape \(2, 4, 3\)"):
            change(IMAGES[0])
    with pytest.raises(ShapeError, match=r"expected 3 channels .* got shape \(5, 2, 4, 3\)"):
        data.Normalize([0] * 3, [1] * 3)(IMAGES)


def test_augmented_changes_images_and_keeps_labels():
    x, y = np.arange(5 * 3 * 2 * 2.0).reshape(5, 3, 2, 2), np.arange(5)
    plain = data.NDArrayDataset(x, y)
    changed = data.Augmented(plain, lambda images: images[..., ::-1] + len(images))
    assert len(changed) == 5 and changed.takes_index_arrays
    for index, count in [([3, 0], 2), (slice(1, 4), 3)]:
        images, labels = changed[index]
        np.testing.assert_array_equal(images, x[index][..., ::-1] + count)
        np.testing.assert_array_equal(labels, y[index])
    image, label = changed[2]
    np.testing.assert_array_equal(image, x[2, ..., ::-1] + 1)
    assert label == 2
