"""Data sets by name and folders of the user's own."""

import gzip

import numpy as np
import pytest

from needle import data
from needle.cli.config import TrainConfig
from needle.cli.source import IDX_FILES, as_float32, open_source, read_npy
from needle.data.idx import idx_bytes
from needle.errors import DataError
from tests.cli.runs import make_data


def opened(data):
    return open_source(TrainConfig(data=str(data)))


def test_digits():
    source = opened("digits")
    assert (len(source.train), len(source.test())) == (1437, 360)
    assert source.name == "digits"
    assert source.about == {"shape": [8, 8, 1], "classes": 10, "maximum": 16}


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10"])
def test_names_of_sets_in_mnists_format(monkeypatch, name):
    images = np.zeros((3, 28, 28, 1), np.uint8)
    parts = [data.ImageDataset(images[:k], np.arange(k, dtype=np.uint8)) for k in (3, 2)]
    monkeypatch.setattr(data, name.replace("-", "_"), lambda: tuple(parts))
    source = opened(name)
    assert source.train is parts[0]
    assert source.test() is parts[1]
    assert source.name == name
    assert source.about == {"shape": [28, 28, 1], "classes": 10, "maximum": 255}


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
    source = opened(folder)
    assert source.name == "my letters"
    assert source.about == {"shape": [2, 3, 1], "classes": 3, "maximum": 255}
    np.testing.assert_array_equal(source.test().X[..., 0], (images[:3] / 255).astype("float32"))


def test_a_folder_of_arrays(here):
    source = opened(make_data(here / "table"))
    assert source.name == "table"
    assert source.about == {"shape": [2, 3], "classes": 3, "maximum": 255}
    x, y = source.train[np.arange(80)]
    np.testing.assert_array_equal(x, np.load(here / "table" / "x_train.npy"))
    np.testing.assert_array_equal(y, np.load(here / "table" / "y_train.npy"))
    assert len(source.test()) == 24


def test_no_training_samples_are_an_error_that_names_the_file(here):
    folder = make_data(here / "table", count=0)
    with pytest.raises(DataError, match=r"x_train.npy: expected training samples, got none"):
        opened(folder)


def test_the_test_files_are_not_opened_for_training(here):
    folder = make_data(here / "table")
    for name in ("x_test.npy", "y_test.npy"):
        (folder / name).write_bytes(b"nothing")
    source = opened(folder)
    with pytest.raises(DataError, match=r"_test\.npy: not a whole \.npy file"):
        source.test()


@pytest.mark.parametrize("name", ["cifar", "data/missing", "."])
def test_other_names_list_what_there_is(here, name):
    with pytest.raises(DataError, match=r"expected digits, mnist, .*-ubyte\.gz, .*y_test\.npy"):
        opened(name)


def test_a_folder_that_lacks_a_file_is_no_data_set(here):
    folder = make_data(here / "table")
    (folder / "y_test.npy").unlink()
    with pytest.raises(DataError, match="expected digits"):
        opened(folder)


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (np.zeros((80, 1), int), r"got int64 of shape \(80, 1\)"),
        (np.zeros(80), r"expected integer labels \(N,\) from 0, got float64"),
        (np.full(80, -1), "expected integer labels"),
        (np.zeros(79, int), "same number of rows"),
        (
            np.full(80, 1001),
            r"y_train\.npy: expected the numbers of classes, got labels up to 1001",
        ),
    ],
)
def test_labels_are_checked(here, labels, text):
    folder = make_data(here / "table")
    np.save(folder / "y_train.npy", labels)
    with pytest.raises(DataError, match=text):
        opened(folder)


def test_many_classes_are_fine_where_there_are_as_many_samples(here):
    folder = make_data(here / "table", count=1003)
    np.save(folder / "y_train.npy", np.arange(1003))
    assert opened(folder).about["classes"] == 1003
    few = make_data(here / "few")
    np.save(few / "y_train.npy", np.arange(80) + 900)
    assert opened(few).about["classes"] == 980


def test_a_number_that_is_none_is_found_before_it_is_learned(here):
    folder = make_data(here / "table")
    X = np.load(folder / "x_train.npy")
    X[7, 1, 2] = np.nan
    np.save(folder / "x_train.npy", X)
    with pytest.raises(
        DataError, match=r"x_train\.npy: expected finite numbers, got nan at \[7, 1"
    ):
        opened(folder)


@pytest.mark.parametrize(
    ("samples", "labels", "text"),
    [
        (
            np.zeros((24, 5)),
            np.zeros(24, int),
            r"x_test\.npy: .* of shape \(2, 3\), got shape \(5,\)",
        ),
        (np.zeros((0, 2, 3)), np.zeros(0, int), r"x_test\.npy: expected samples .* got none"),
        (
            np.zeros((24, 2, 3)),
            np.full(24, 7),
            r"y_test\.npy: expected labels from 0 to 2, .* got 7",
        ),
    ],
)
def test_test_samples_that_are_unlike_the_training_samples_are_named(here, samples, labels, text):
    folder = make_data(here / "table")
    np.save(folder / "x_test.npy", samples)
    np.save(folder / "y_test.npy", labels)
    with pytest.raises(DataError, match=text):
        opened(folder).test()


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
    with pytest.raises(DataError, match="expected one array of numbers, got <U4"):
        read_npy(here / "a.npy")
    np.savez(here / "b", a=np.ones(2))
    (here / "b.npz").rename(here / "b.npy")
    with pytest.raises(DataError, match="expected one array of numbers, got an archive"):
        read_npy(here / "b.npy")


def test_bytes_are_scaled_and_all_else_is_taken_as_it_is():
    found = as_float32(np.array([0, 8, 16], np.uint8), 16)
    np.testing.assert_array_equal(found, np.array([0, 0.5, 1], "float32"), strict=True)
    found = as_float32(np.array([0, 8, 16]), 16)
    np.testing.assert_array_equal(found, np.array([0, 8, 16], "float32"), strict=True)
