"""Data sets by name and folders of the user's own."""

import gzip

import numpy as np
import pytest

from needle import data
from needle.cli.source import IDX_FILES, open_source, read_npy, scaled
from needle.data.idx import idx_bytes
from needle.errors import DataError
from tests.cli.runs import make_data


def test_digits():
    source = open_source("digits")
    assert (len(source.train), len(source.test())) == (1437, 360)
    assert (source.name, source.classes, source.maximum) == ("digits", 10, 16)
    assert source.shape == [8, 8, 1]


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10"])
def test_names_of_sets_in_mnists_format(monkeypatch, name):
    images = np.zeros((3, 28, 28, 1), np.uint8)
    parts = [data.ImageDataset(images[:k], np.arange(k, dtype=np.uint8)) for k in (3, 2)]
    monkeypatch.setattr(data, name.replace("-", "_"), lambda: tuple(parts))
    source = open_source(name)
    assert source.train is parts[0]
    assert source.test() is parts[1]
    assert (source.name, source.classes, source.maximum) == (name, 10, 255)
    assert source.shape == [28, 28, 1]


@pytest.mark.parametrize("packed", [True, False])
def test_a_folder_of_idx_files(here, packed):
    folder = here / "my letters"
    folder.mkdir()
    labels = np.array([0, 2, 1, 2], np.uint8)
    images = np.arange(4 * 6, dtype=np.uint8).reshape(4, 2, 3)
    for file, array in zip(IDX_FILES, (images, labels, images[:3], labels[:3]), strict=True):
        content = idx_bytes(array)
        path = folder / (file if packed else file.removesuffix(".gz"))
        path.write_bytes(gzip.compress(content) if packed else content)
    source = open_source(str(folder))
    assert (source.name, source.classes, source.shape) == ("my letters", 3, [2, 3, 1])
    np.testing.assert_array_equal(source.test().X[..., 0], (images[:3] / 255).astype("float32"))


def test_a_folder_of_arrays(here):
    source = open_source(str(make_data(here / "table")))
    assert (source.name, source.classes, source.shape) == ("table", 3, [2, 3])
    x, y = source.train[np.arange(80)]
    np.testing.assert_array_equal(x, np.load(here / "table" / "x_train.npy"))
    np.testing.assert_array_equal(y, np.load(here / "table" / "y_train.npy"))
    assert len(source.test()) == 24


def test_no_training_samples_are_an_error_that_names_the_file(here):
    folder = make_data(here / "table", count=0)
    with pytest.raises(DataError, match=r"x_train.npy: expected training samples, got none"):
        open_source(str(folder))


def test_the_test_files_are_not_opened_for_training(here):
    folder = make_data(here / "table")
    for name in ("x_test.npy", "y_test.npy"):
        (folder / name).write_bytes(b"nothing")
    source = open_source(str(folder))
    with pytest.raises(DataError, match=r"_test\.npy: not a whole \.npy file"):
        source.test()


@pytest.mark.parametrize("name", ["cifar", "data/missing", "."])
def test_other_names_list_what_there_is(here, name):
    with pytest.raises(DataError, match=r"expected digits, mnist, .*-ubyte\.gz, .*y_test\.npy"):
        open_source(name)


def test_a_folder_that_lacks_a_file_is_no_data_set(here):
    folder = make_data(here / "table")
    (folder / "y_test.npy").unlink()
    with pytest.raises(DataError, match="expected digits"):
        open_source(str(folder))


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (np.zeros((80, 1), int), r"got int64 of shape \(80, 1\)"),
        (np.zeros(80), r"expected integer labels \(N,\) from 0, got float64"),
        (np.full(80, -1), "expected integer labels"),
        (np.zeros(79, int), "same number of rows"),
    ],
)
def test_labels_are_checked(here, labels, text):
    folder = make_data(here / "table")
    np.save(folder / "y_train.npy", labels)
    with pytest.raises(DataError, match=text):
        open_source(str(folder))


def test_npy_files_are_read_without_pickle(here):
    class Boom:
        def __reduce__(self):
            return (pytest.fail, ("the pickle was run",))

    np.save(here / "a.npy", np.array([Boom()], object), allow_pickle=True)
    with pytest.raises(DataError, match=r"a\.npy: not a whole \.npy file of numbers"):
        read_npy(here / "a.npy")


def test_other_npy_files_are_refused(here):
    np.save(here / "a.npy", np.arange(100.0))
    whole = (here / "a.npy").read_bytes()
    for length in (0, 5, 60, len(whole) - 1):
        (here / "a.npy").write_bytes(whole[:length])
        with pytest.raises(DataError, match="not a whole"):
            read_npy(here / "a.npy")
    np.save(here / "a.npy", np.array(["text"]))
    with pytest.raises(DataError, match="expected one array of numbers"):
        read_npy(here / "a.npy")
    np.savez(here / "b", a=np.ones(2))
    (here / "b.npz").rename(here / "b.npy")
    with pytest.raises(DataError, match="expected one array of numbers"):
        read_npy(here / "b.npy")


def test_bytes_are_scaled_and_all_else_is_taken_as_it_is():
    found = scaled(np.array([0, 8, 16], np.uint8), 16)
    np.testing.assert_array_equal(found, np.array([0, 0.5, 1], "float32"), strict=True)
    found = scaled(np.array([0, 8, 16]), 16)
    np.testing.assert_array_equal(found, np.array([0, 8, 16], "float32"), strict=True)
