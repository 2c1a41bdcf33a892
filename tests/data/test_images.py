"""Labelled images: the scaling, the indices, the files, the sets that needle knows."""

import gzip
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from needle import data
from needle.data import image_sets
from needle.data.idx import idx_bytes
from needle.errors import DataError, IndexRangeError

PIXELS = np.random.default_rng(0).integers(0, 256, (7, 28, 28)).astype(np.uint8)
LABELS = np.array([3, 1, 4, 1, 5, 9, 2], np.uint8)
SCALED = (PIXELS.astype(np.float64) / 255).astype(np.float32)[..., None]


@pytest.fixture
def idx_files(tmp_path):
    images, labels = tmp_path / "images.gz", tmp_path / "labels.gz"
    images.write_bytes(gzip.compress(idx_bytes(PIXELS)))
    labels.write_bytes(gzip.compress(idx_bytes(LABELS)))
    return images, labels


@pytest.mark.parametrize("index", [0, -1, np.int64(3), slice(1, 5), [4, 0], LABELS == 1, []])
def test_an_index_gives_scaled_images_and_labels(idx_files, index):
    dataset = data.MNISTDataset(*idx_files)
    x, y = dataset[index]
    np.testing.assert_array_equal(x, SCALED[index], strict=True)
    np.testing.assert_array_equal(y, LABELS[index], strict=True)


def test_one_sample(idx_files):
    dataset = data.MNISTDataset(*map(str, idx_files))
    x, y = dataset[4]
    assert len(dataset) == 7
    assert (x.shape, x.dtype, y.dtype, int(y)) == ((28, 28, 1), np.float32, np.uint8, 5)


def test_the_whole_set_as_arrays(idx_files):
    dataset = data.MNISTDataset(*idx_files, transforms=[lambda image: image * 0])
    np.testing.assert_array_equal(dataset.X, SCALED, strict=True)
    np.testing.assert_array_equal(dataset.y, LABELS)
    assert dataset.images.dtype == np.uint8


def test_transforms_see_one_image_at_a_time_with_the_same_draws(idx_files):
    transforms = [data.RandomCrop(5), data.RandomFlipHorizontal()]
    dataset = data.MNISTDataset(*idx_files, transforms=transforms)
    np.random.seed(0)
    one_by_one = np.stack([dataset[i][0] for i in (6, 2, 2, 0)])
    np.random.seed(0)
    at_once = dataset[np.array([6, 2, 2, 0])][0]
    np.testing.assert_array_equal(at_once, one_by_one, strict=True)
    assert not np.array_equal(at_once[1], at_once[2])
    assert dataset[2:2][0].shape == (0, 28, 28, 1)


def test_loader_gives_float32_batches(idx_files):
    batches = list(data.DataLoader(data.MNISTDataset(*idx_files), 4))
    assert [(x.shape, y.shape) for x, y in batches] == [
        ((4, 28, 28, 1), (4,)),
        ((3, 28, 28, 1), (3,)),
    ]
    np.testing.assert_array_equal(batches[1][0].numpy(), SCALED[4:], strict=True)


def test_a_wrong_index_is_named(idx_files):
    with pytest.raises(
        IndexRangeError, match="MNISTDataset of 7 samples: index 7 is out of bounds"
    ):
        data.MNISTDataset(*idx_files)[7]


def test_files_that_do_not_belong_together_are_named(idx_files):
    images, labels = idx_files
    with pytest.raises(DataError, match=r"labels.gz: expected uint8 images .*, got uint8 of shape"):
        data.MNISTDataset(labels, labels)
    with pytest.raises(DataError, match=r"images.gz: expected uint8 labels"):
        data.MNISTDataset(images, images)
    labels.write_bytes(idx_bytes(LABELS[:5]))
    with pytest.raises(DataError, match=r"7 images in .*images.gz, 5 labels in .*labels.gz"):
        data.MNISTDataset(images, labels)


def test_image_data_set_checks_its_arrays():
    with pytest.raises(DataError, match=r"uint8 images \(N, H, W, C\), got float32"):
        data.ImageDataset(SCALED, LABELS)
    with pytest.raises(DataError, match=r"got uint8 of shape \(7, 28, 28\)"):
        data.ImageDataset(PIXELS, LABELS)
    with pytest.raises(DataError, match=r"uint8 labels \(N,\), got int64"):
        data.ImageDataset(PIXELS[..., None], LABELS.astype(np.int64))
    with pytest.raises(DataError, match=r"same number of rows in each array"):
        data.ImageDataset(PIXELS[..., None], LABELS[:3])


def test_digits_are_those_of_the_uci_repository():
    train, test = data.digits()
    assert (len(train), len(test)) == (1437, 360)
    # scikit-learn's description: images per class; its first image, a zero, by rows.
    counts = np.bincount(np.concatenate([train.y, test.y]))
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    x, y = test[0]
    assert (x.shape, x.dtype, y) == ((8, 8, 1), np.float32, 0)
    assert (x[0, :, 0] * 16).tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    assert (x[7, :, 0] * 16).tolist() == [0, 0, 6, 13, 10, 0, 0, 0]
    assert train.X.min() == 0
    assert train.X.max() == 1


def test_digits_are_split_by_position():
    train, test = data.digits()
    # The file begins 0 to 9, 0 to 9, ...: every fifth is a 0 or a 5.
    assert train.y[:8].tolist() == [1, 2, 3, 4, 6, 7, 8, 9]
    assert test.y[:4].tolist() == [0, 5, 0, 5]


def test_digits_stay_small():
    folder = Path(image_sets.__file__).parent
    assert 0 < sum(path.stat().st_size for path in folder.glob("digits-*")) < 100_000


def own_mnist():
    own = os.environ.get("NEEDLE_DATA")
    return Path(own, "mnist") if own and Path(own, "mnist").is_dir() else None


needs_mnist = pytest.mark.skipif(own_mnist() is None, reason="NEEDLE_DATA names no folder of MNIST")


@needs_mnist
def test_mnist_from_the_users_folder():
    train, test = data.mnist(download=False)
    # The numbers of images per class, and the mean and deviation everyone normalises with.
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(train.y).tolist() == counts
    assert np.bincount(test.y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert round(train.images.mean() / 255, 4) == 0.1307
    assert round(train.images.std() / 255, 4) == 0.3081
    assert train[0][0].shape == (28, 28, 1)


@needs_mnist
def test_the_table_of_hashes_is_that_of_the_files():
    for name, expected in image_sets.MNIST.sha256.items():
        assert hashlib.sha256((own_mnist() / name).read_bytes()).hexdigest() == expected
