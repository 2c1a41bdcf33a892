"""Data sets: what an index gives, and what is said about a wrong one."""

import importlib

import numpy as np
import pytest

from needle import data
from needle.errors import DataError, IndexRangeError, ShapeError

X = np.arange(12, dtype=np.float32).reshape(6, 2)
Y = np.array([0, 1, 2, 3, 4, 5], np.uint8)


@pytest.mark.parametrize("index", [2, -1, slice(1, 4), [3, 0, 3], np.array([5, 1]), X[:, 0] > 4])
def test_array_data_set_indexes_each_array_as_numpy_does(index):
    x, y = data.NDArrayDataset(X, Y)[index]
    np.testing.assert_array_equal(x, X[index])
    np.testing.assert_array_equal(y, Y[index])
    assert x.dtype == np.float32
    assert y.dtype == np.uint8


def test_array_data_set_keeps_arrays_and_takes_lists():
    dataset = data.NDArrayDataset(X, [1, 2, 3, 4, 5, 6])
    assert dataset.arrays[0] is X
    assert len(dataset) == 6
    assert dataset[1][1] == 2
    assert len(data.NDArrayDataset(X)[0]) == 1


def test_a_for_loop_over_a_data_set_ends():
    samples = list(data.NDArrayDataset(X, Y))
    assert [int(y) for _, y in samples] == [0, 1, 2, 3, 4, 5]


def test_mismatched_lengths_are_named():
    with pytest.raises(DataError, match=r"same number of rows in each array, got \(6, 2\), \(5,\)"):
        data.NDArrayDataset(X, Y[:5])


@pytest.mark.parametrize("arrays", [(), (np.float32(1.0),), (X, 3)])
def test_no_arrays_or_no_rows(arrays):
    with pytest.raises(DataError, match="one row a sample"):
        data.NDArrayDataset(*arrays)


@pytest.mark.parametrize("index", [6, -7, [0, 6], "a", 1.0])
def test_a_wrong_index_is_an_index_error_that_names_the_data_set(index):
    with pytest.raises(IndexError, match="NDArrayDataset of 6 samples: ") as caught:
        data.NDArrayDataset(X, Y)[index]
    assert isinstance(caught.value, IndexRangeError)


def test_base_class_says_what_to_define():
    with pytest.raises(NotImplementedError, match=r"Mine: define __getitem__\(self, index\)"):
        type("Mine", (data.Dataset,), {})()[0]
    with pytest.raises(NotImplementedError, match=r"Mine: define __len__\(self\)"):
        len(type("Mine", (data.Dataset,), {})())


def test_transforms_are_applied_in_order():
    dataset = data.Dataset([lambda x: x + 1, lambda x: x * 10])
    assert dataset.apply_transforms(2) == 30
    assert data.Dataset().apply_transforms(2) == 2


def test_a_subclass_need_not_call_the_base_constructor():
    class Mine(data.Dataset):
        def __init__(self):
            pass

    assert Mine().apply_transforms(5) == 5


@pytest.mark.parametrize("indices", [[4, 1, 1], np.array([-1, 0]), Y % 2 == 0, []])
def test_subset_gives_the_chosen_samples(indices):
    subset = data.Subset(data.NDArrayDataset(X, Y), indices)
    expected = Y[np.asarray(indices, dtype=None if len(indices) else int)]
    assert len(subset) == len(expected)
    np.testing.assert_array_equal(subset[:][1], expected)
    np.testing.assert_array_equal([subset[i][1] for i in range(len(subset))], expected)


def test_subset_asks_an_int_only_data_set_for_ints():
    class Squares(data.Dataset):
        def __len__(self):
            return 5

        def __getitem__(self, index):
            assert type(index) is int
            return (index * index,)

    subset = data.Subset(Squares(), [3, 4])
    assert not subset.takes_index_arrays
    assert subset[1] == (16,)
    assert data.Subset(data.NDArrayDataset(X), [0]).takes_index_arrays


def test_subset_names_what_is_wrong():
    dataset = data.NDArrayDataset(X, Y)
    with pytest.raises(
        IndexRangeError, match="NDArrayDataset of 6 samples: index 6 is out of bounds"
    ):
        data.Subset(dataset, [0, 6])
    with pytest.raises(IndexRangeError, match="index -7 is out of bounds"):
        data.Subset(dataset, [-7, 5])
    with pytest.raises(IndexRangeError, match="must be of integer"):
        data.Subset(dataset, [0.5])
    with pytest.raises(ShapeError, match=r"one axis of indices, got shape \(1, 2\)"):
        data.Subset(dataset, np.array([[0, 1]], np.int64))
    with pytest.raises(IndexRangeError, match="boolean index did not match"):
        data.Subset(dataset, [True, False])
    with pytest.raises(IndexRangeError, match="Subset of 2 samples: index 2 is out of bounds"):
        data.Subset(dataset, [0, 1])[2]


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("data_basic", ["Dataset", "DataLoader"]),
        ("data_transforms", ["Transform", "RandomFlipHorizontal", "RandomCrop"]),
        (
            "datasets",
            [
                "CIFAR10Dataset",
                "Corpus",
                "Dictionary",
                "MNISTDataset",
                "NDArrayDataset",
                "batchify",
                "get_batch",
            ],
        ),
        ("datasets.cifar10_dataset", ["CIFAR10Dataset"]),
        ("datasets.ptb_dataset", ["Corpus", "Dictionary", "batchify", "get_batch"]),
        ("datasets.mnist_dataset", ["MNISTDataset"]),
        ("datasets.ndarray_dataset", ["NDArrayDataset"]),
    ],
)
def test_the_paths_of_the_course_lead_to_the_same_classes(module, names):
    loaded = importlib.import_module(f"needle.data.{module}")
    assert sorted(loaded.__all__) == sorted(names)
    for name in names:
        assert getattr(loaded, name) is getattr(data, name)
