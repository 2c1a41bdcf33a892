"""CIFAR-10's batches: layout, scaling, transforms, bad files."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from needle import data
from needle.errors import DataError, DownloadError

STATE = np.random.RandomState(0)
FLAT = STATE.randint(256, size=(6, 4, 3072)).astype(np.uint8)  # six batches of four
LABELS = STATE.randint(10, size=(6, 4))


def write(folder, name, i, **changes):
    content = {"batch_label": "x", "labels": LABELS[i].tolist(), "data": FLAT[i], "filenames": []}
    # the keys of the original files are Python 2's strings: bytes here
    content = {k.encode(): v for k, v in (content | changes).items()}
    (folder / name).write_bytes(pickle.dumps(content, 2))


@pytest.fixture
def folder(tmp_path):
    for i in range(5):
        write(tmp_path, f"data_batch_{i + 1}", i)
    write(tmp_path, "test_batch", 5)
    return tmp_path


def pixel(i, c, h, w):
    """The formula of the format: 1024 red bytes, row by row, then green, then blue."""
    return FLAT[i // 4, i % 4, c * 1024 + h * 32 + w]


def test_training_and_test_part(folder):
    train, test = (data.CIFAR10Dataset(folder, train=part) for part in (True, False))
    assert (len(train), len(test)) == (20, 4)
    assert train.X.shape == (20, 3, 32, 32) and train.X.dtype == np.float32
    assert train.y.tolist() == LABELS[:5].ravel().tolist()
    assert test.y.tolist() == LABELS[5].tolist()
    for i, c, h, w in [(0, 0, 0, 1), (7, 2, 31, 0), (19, 1, 4, 17)]:
        x, y = train[i]
        assert x[c, h, w] == np.float32(pixel(i, c, h, w)) / np.float32(255)
        assert (x.shape, x.dtype, y) == ((3, 32, 32), np.float32, LABELS[i // 4, i % 4])


def test_the_courses_arguments(folder):
    dataset = data.CIFAR10Dataset(str(folder), False, 0.5, [lambda x: x * 0])
    assert not dataset[1][0].any() and dataset.X.any()


@pytest.mark.parametrize("index", [slice(2, 9), [4, 0, 19], np.arange(20) % 3 == 0])
def test_a_batch_by_one_index(folder, index):
    dataset = data.CIFAR10Dataset(folder, train=True)
    x, y = dataset[index]
    np.testing.assert_array_equal(x, dataset.X[index], strict=True)
    np.testing.assert_array_equal(y, dataset.y[index])


def test_transforms_see_height_width_channels(folder):
    crop, flip = data.RandomCrop(2), data.RandomFlipHorizontal(1)
    dataset = data.CIFAR10Dataset(folder, train=True, transforms=[crop, flip])
    plain = data.CIFAR10Dataset(folder, train=True)
    np.random.seed(0)
    x, _ = dataset[[3, 8]]
    np.random.seed(0)
    for i, got in zip([3, 8], x, strict=True):
        dh, dw = np.random.randint(-2, 3, size=2)
        np.random.rand()
        padded = np.pad(plain[i][0], ((0, 0), (2, 2), (2, 2)))
        expected = padded[:, 2 + dh : 34 + dh, 2 + dw : 34 + dw][..., ::-1]
        np.testing.assert_array_equal(got, expected)


def test_batch_transforms_see_batches_and_a_single_image_as_a_batch_of_one(folder):
    shapes = []

    def note(x):
        shapes.append(x.shape)
        return x + 1

    dataset = data.CIFAR10Dataset(folder, True, batch_transforms=[note, data.Augment(0, 1)])
    plain = data.CIFAR10Dataset(folder, True)
    np.testing.assert_array_equal(dataset[[2, 1]][0], plain[[2, 1]][0][..., ::-1] + 1)
    np.testing.assert_array_equal(dataset[5][0], plain[5][0][..., ::-1] + 1)
    assert shapes == [(2, 3, 32, 32), (1, 3, 32, 32)]


def test_text_keys_and_label_arrays_of_python_3_are_read_too(folder):
    content = {"data": FLAT[0], "labels": LABELS[0]}
    (folder / "test_batch").write_bytes(pickle.dumps(content))
    assert data.CIFAR10Dataset(folder, False).y.tolist() == LABELS[0].tolist()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"data": FLAT[0, :, :3000]}, r"expected data of uint8 \(N, 3072\), got uint8 of .*3000"),
        ({"data": FLAT[0].astype(np.float32)}, r"got float32 of shape \(4, 3072\)"),
        ({"data": [1, 2]}, "labels, one for each image|expected data of uint8"),
        ({"labels": [1, 2, 3]}, "expected 4 integer labels"),
        ({"labels": ["1", "2", "3", "4"]}, "expected 4 integer labels"),
        ({"labels": [0, 1, 10, 3]}, "labels from 0 to 9, got 0 to 10"),
        ({"labels": [0, -1, 1, 3]}, "labels from 0 to 9, got -1 to 3"),
        ({"labels": Path()}, "which is no array: refused, nothing was run"),
    ],
)
def test_a_batch_with_anything_else_is_named(folder, changes, text):
    write(folder, "data_batch_3", 2, **changes)
    with pytest.raises(DataError, match=rf"data_batch_3: .*({text})"):
        data.CIFAR10Dataset(folder, train=True)


def test_files_that_are_no_batches_are_named(folder):
    for content in (b"", b"no pickle", pickle.dumps([1])):
        (folder / "test_batch").write_bytes(content)
        with pytest.raises(DataError, match=r"test_batch: (not a whole pickle|expected a dict)"):
            data.CIFAR10Dataset(folder, train=False)
    with pytest.raises(DataError, match=r"test_batch: no such file; .*cifar-10-batches-py"):
        data.CIFAR10Dataset(folder / "elsewhere", train=False)


def test_cifar10_finds_the_folder(folder, monkeypatch):
    assert [len(part) for part in data.cifar10(folder, download=False)] == [20, 4]
    folder.rename(folder.parent / "cifar-10-batches-py")
    monkeypatch.setenv("NEEDLE_DATA", str(folder.parent))
    assert [len(part) for part in data.cifar10(download=False)] == [20, 4]
    with pytest.raises(DownloadError, match=r"put data_batch_1, .*test_batch of cifar-10-python"):
        data.cifar10(folder.parent / "elsewhere", download=False)


@pytest.mark.skipif(
    not Path(os.environ.get("NEEDLE_DATA", "-"), "cifar-10-batches-py").is_dir(),
    reason="NEEDLE_DATA names no folder of CIFAR-10",
)
def test_cifar10_from_the_users_folder():
    train, test = data.cifar10(download=False)
    assert np.bincount(train.y).tolist() == [5000] * 10
    assert np.bincount(test.y).tolist() == [1000] * 10
    # the mean of each channel that everyone normalises with
    assert np.round(train.images.mean((0, 2, 3)) / 255, 3).tolist() == [0.491, 0.482, 0.447]
