"""The loader: which samples, in which order, as what, with how many draws and index operations."""

import numpy as np
import pytest

from needle import data
from needle.autograd import Tensor
from needle.errors import ArgumentError, DataError, DtypeError, ShapeError

X = np.arange(20, dtype=np.float32).reshape(10, 2)
Y = np.arange(10, dtype=np.uint8)


class Counting(data.NDArrayDataset):
    """Notes each index it is asked for."""

    def __init__(self, *arrays):
        super().__init__(*arrays)
        self.asked = []

    def __getitem__(self, index):
        self.asked.append(index)
        return super().__getitem__(index)


class IntOnly(data.Dataset):
    """Samples of two arrays, for plain ints alone."""

    def __init__(self, transforms=None):
        super().__init__(transforms)

    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        assert type(index) is int
        return self.apply_transforms(X[index]), int(Y[index])


def labels(loader):
    return [batch[1].numpy().tolist() for batch in loader]


def flat_labels(loader):
    return np.concatenate(labels(loader)).tolist()


@pytest.mark.parametrize("batch_size", [1, 3, 5, 10, 11, np.int64(4)])
def test_batches_hold_all_samples_in_order_and_the_last_may_be_short(batch_size):
    loader = data.DataLoader(data.NDArrayDataset(X, Y), batch_size)
    batches = list(loader)
    assert len(loader) == len(batches) == int(np.ceil(10 / batch_size))
    assert [len(y.numpy()) for _, y in batches[:-1]] == [batch_size] * (len(batches) - 1)
    np.testing.assert_array_equal(np.concatenate([x.numpy() for x, _ in batches]), X)
    np.testing.assert_array_equal(np.concatenate([y.numpy() for _, y in batches]), Y)


def test_the_default_is_batches_of_one_unshuffled():
    assert labels(data.DataLoader(data.NDArrayDataset(X, Y))) == [[i] for i in range(10)]


@pytest.mark.parametrize("dataset", [data.NDArrayDataset(X, Y), IntOnly()])
def test_batches_are_tuples_of_constants(dataset):
    batch = next(iter(data.DataLoader(dataset, 4)))
    assert type(batch) is tuple
    for tensor in batch:
        assert isinstance(tensor, Tensor)
        assert not tensor.requires_grad
        assert tensor.op is None
    assert batch[0].shape == (4, 2)
    assert batch[0].dtype == np.float32


def test_a_batch_shares_nothing_with_the_data_set():
    x = X.copy()
    batch = next(iter(data.DataLoader(data.NDArrayDataset(x), 4)))
    assert not np.shares_memory(batch[0].realize_cached_data(), x)


def test_dtypes_stay_without_a_dtype():
    dataset = data.NDArrayDataset(X, X.astype(np.float64), Y, np.arange(10))
    batch = next(iter(data.DataLoader(dataset, 2)))
    assert [np.dtype(t.dtype).name for t in batch] == ["float32", "float64", "uint8", "int64"]


def test_dtype_converts_floating_arrays_only():
    dataset = data.NDArrayDataset(X.astype(np.float64) / 3, Y)
    x, y = next(iter(data.DataLoader(dataset, 5, dtype="float32")))
    assert (x.dtype, y.dtype) == (np.float32, np.uint8)
    np.testing.assert_array_equal(x.numpy(), X[:5] / np.float32(3))


def test_shuffling_follows_one_permutation_per_iter():
    loader = data.DataLoader(data.NDArrayDataset(X, Y), 4, shuffle=True)
    np.random.seed(5)
    first, second = np.random.permutation(10), np.random.permutation(10)
    after = np.random.rand()
    np.random.seed(5)
    assert flat_labels(loader) == first.tolist()
    assert flat_labels(loader) == second.tolist()
    assert np.random.rand() == after


def test_the_permutation_is_drawn_by_iter_not_by_the_first_batch():
    loader = data.DataLoader(data.NDArrayDataset(X, Y), 10, shuffle=True)
    np.random.seed(5)
    iterator = iter(loader)
    np.random.seed(6)
    batch = next(iterator)
    np.random.seed(5)
    np.testing.assert_array_equal(batch[1].numpy(), np.random.permutation(10))


def test_without_shuffling_nothing_is_drawn():
    np.random.seed(1)
    expected = np.random.rand()
    np.random.seed(1)
    list(data.DataLoader(data.NDArrayDataset(X, Y), 3))
    assert np.random.rand() == expected


def test_two_loops_over_one_loader_do_not_meet():
    loader = data.DataLoader(data.NDArrayDataset(X, Y), 5)
    pairs = [(a[1].numpy()[0], b[1].numpy()[0]) for a, b in zip(loader, loader, strict=True)]
    assert pairs == [(0, 0), (5, 5)]
    nested = [(a[1].numpy()[0], b[1].numpy()[0]) for a in loader for b in loader]
    assert nested == [(0, 0), (0, 5), (5, 0), (5, 5)]


def test_an_array_data_set_is_indexed_once_per_batch():
    dataset = Counting(X, Y)
    list(data.DataLoader(dataset, 4, shuffle=True))
    assert [len(index) for index in dataset.asked] == [4, 4, 2]
    assert all(isinstance(index, np.ndarray) for index in dataset.asked)
    dataset.asked.clear()
    list(data.DataLoader(data.Subset(dataset, [1, 2, 3]), 2))
    assert [len(index) for index in dataset.asked] == [2, 1]


def test_an_int_only_data_set_gives_the_same_batches():
    np.random.seed(2)
    by_array = [
        (x.numpy(), y.numpy()) for x, y in data.DataLoader(data.NDArrayDataset(X, Y), 4, True)
    ]
    np.random.seed(2)
    by_int = [(x.numpy(), y.numpy()) for x, y in data.DataLoader(IntOnly(), 4, True)]
    for (x, y), (expected_x, expected_y) in zip(by_int, by_array, strict=True):
        np.testing.assert_array_equal(x, expected_x)
        np.testing.assert_array_equal(y, expected_y)


def test_transforms_run_on_samples_not_on_batches():
    shapes = []

    def note(x):
        shapes.append(x.shape)
        return x * 2

    x, _ = next(iter(data.DataLoader(IntOnly([note]), 3)))
    assert shapes == [(2,)] * 3
    np.testing.assert_array_equal(x.numpy(), X[:3] * 2)


def test_any_sequence_of_samples_will_do():
    (pairs,) = data.DataLoader([(X[0], 1), (X[1], 0)], 2)
    np.testing.assert_array_equal(pairs[0].numpy(), X[:2])
    np.testing.assert_array_equal(pairs[1].numpy(), [1, 0])
    (rows,) = data.DataLoader([X[0], X[1]], 2)
    np.testing.assert_array_equal(rows[0].numpy(), X[:2])


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, None, "4"])
def test_a_wrong_batch_size_is_named(batch_size):
    with pytest.raises(ArgumentError, match=f"batch_size >= 1, got {batch_size!r}"):
        data.DataLoader(data.NDArrayDataset(X), batch_size)


@pytest.mark.parametrize("dataset", [data.NDArrayDataset(X, Y), IntOnly()])
def test_drop_last_leaves_out_a_short_batch_and_no_other(dataset):
    loader = data.DataLoader(dataset, 4, drop_last=True)
    assert len(loader) == 2 and labels(loader) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    for size, count in ((5, 2), (10, 1), (1, 10)):
        assert labels(data.DataLoader(dataset, size, drop_last=True)) == labels(
            data.DataLoader(dataset, size)
        )
        assert len(data.DataLoader(dataset, size, drop_last=True)) == count


def test_drop_last_of_a_shuffled_epoch_drops_the_end_of_its_order():
    np.random.seed(5)
    expected = np.random.permutation(10)[:9]
    np.random.seed(5)
    loader = data.DataLoader(data.NDArrayDataset(X, Y), 3, shuffle=True, drop_last=True)
    assert flat_labels(loader) == expected.tolist()


def test_drop_last_that_leaves_nothing_is_an_error():
    with pytest.raises(DataError, match="leaves none of 10 samples; pass a smaller batch_size"):
        data.DataLoader(data.NDArrayDataset(X, Y), 11, drop_last=True)


def test_an_empty_data_set_is_an_error():
    with pytest.raises(DataError, match=r"the data set \(NDArrayDataset\) is empty"):
        data.DataLoader(data.NDArrayDataset(X[:0], Y[:0]))


def test_a_dtype_must_be_floating():
    with pytest.raises(DtypeError, match="expected a floating dtype, got int64"):
        data.DataLoader(data.NDArrayDataset(X), dtype="int64")


def test_text_is_no_number():
    with pytest.raises(DtypeError, match="expected numbers, got samples of dtype"):
        list(data.DataLoader(data.NDArrayDataset(np.array(["a", "b"])), 2))


def test_samples_of_different_shapes_are_named():
    with pytest.raises(ShapeError, match=r"differ in shape: \(\(2,\),\) and \(\(3,\),\)"):
        list(data.DataLoader([(np.zeros(2),), (np.zeros(3),)], 2))
    with pytest.raises(ShapeError, match="differ in shape"):
        list(data.DataLoader([(1, 2), (1,)], 2))
    with pytest.raises(ShapeError, match=r"; for arrays, pass NDArrayDataset\(X, y\)"):
        list(data.DataLoader((X, Y), 2))


def test_an_error_in_the_data_set_comes_through():
    class Broken(IntOnly):
        def __getitem__(self, index):
            raise KeyError("no such file")

    with pytest.raises(KeyError, match="no such file"):
        list(data.DataLoader(Broken(), 2))


def test_samples_may_be_tensors():
    (batch,) = data.DataLoader([(Tensor(X[0]), 1), (Tensor(X[1]), 0)], 2)
    np.testing.assert_array_equal(batch[0].numpy(), X[:2], strict=True)
    assert not batch[0].requires_grad
