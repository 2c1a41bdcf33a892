"""Constants, random numbers, one-hot rows: values, shapes, dtypes, and what each call draws."""

import numpy as np
import pytest

import needle as ndl
from needle import init
from needle.errors import ArgumentError, DtypeError, IndexRangeError, ShapeError


def stream(seed, draw):
    """Return what `draw` gives after seeding, and the next number of the stream."""
    np.random.seed(seed)
    return draw(), np.random.rand()


@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 3, 4)])
def test_rand_is_one_scaled_draw_of_numpy(shape):
    ours, next_ours = stream(5, lambda: init.rand(*shape, low=-2, high=0.5))
    theirs, next_theirs = stream(5, lambda: np.random.rand(*shape))
    expected = np.asarray(theirs * 2.5 - 2).astype("float32")
    np.testing.assert_array_equal(ours.numpy(), expected)
    assert ours.numpy().dtype == np.float32
    assert ours.shape == shape
    assert next_ours == next_theirs


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4)])
def test_randn_is_one_scaled_draw_of_numpy(shape):
    ours, next_ours = stream(5, lambda: init.randn(*shape, mean=3, std=0.1, dtype="float64"))
    theirs, next_theirs = stream(5, lambda: np.random.randn(*shape))
    np.testing.assert_array_equal(ours.numpy(), np.asarray(theirs * 0.1 + 3))
    assert ours.dtype == np.float64
    assert next_ours == next_theirs


def test_randb_is_one_draw_compared_with_p():
    ours, next_ours = stream(5, lambda: init.randb(4, 5, p=0.3))
    theirs, next_theirs = stream(5, lambda: np.random.rand(4, 5) <= 0.3)
    np.testing.assert_array_equal(ours.numpy(), theirs)
    assert ours.dtype == np.bool_
    assert next_ours == next_theirs
    assert init.randb(2, dtype="float32").dtype == np.float32


def test_a_shape_may_be_given_as_one_tuple():
    assert init.rand((2, 3)).shape == init.zeros([2, 3]).shape == (2, 3)


@pytest.mark.parametrize("make", [init.rand, init.randn, init.randb, init.zeros, init.ones])
def test_bad_shapes_are_named(make):
    with pytest.raises(ShapeError, match="sizes of at least 0"):
        make(2, -1)
    with pytest.raises(ShapeError, match="shape of ints"):
        make(2, 1.5)


def test_constants():
    c = init.constant(2, 3, c=0.25, dtype="float64")
    np.testing.assert_array_equal(c.numpy(), np.full((2, 3), 0.25))
    assert c.dtype == np.float64
    assert not c.requires_grad
    assert init.constant(1, requires_grad=True).requires_grad
    np.testing.assert_array_equal(ndl.ones(2).numpy(), np.ones(2, np.float32))
    assert ndl.zeros(2, dtype="int8").numpy().tolist() == [0, 0]


@pytest.mark.parametrize("like", [np.array([[3, 4]], np.int16), ndl.Tensor([[1.5, 2.0]])])
def test_like_takes_shape_and_dtype(like):
    for make, value in [(ndl.ones_like, 1), (ndl.zeros_like, 0)]:
        made = make(like, requires_grad=False)
        assert made.numpy().tolist() == [[value, value]]
        assert made.dtype == like.dtype
        assert not made.requires_grad


@pytest.mark.parametrize("dtype", ["int64", "uint8", "int8", "float32", "float64"])
@pytest.mark.parametrize("shape", [(4,), (2, 2), (0,)])
def test_one_hot_of_labels_of_any_dtype(dtype, shape):
    labels = np.array([2, 0, 1, 2])[: np.prod(shape)].reshape(shape).astype(dtype)
    for given in (labels, ndl.Tensor(labels)):
        rows = init.one_hot(3, given)
        np.testing.assert_array_equal(rows.numpy(), np.eye(3)[labels.astype(int)])
        assert rows.dtype == np.float32
        assert not rows.requires_grad


@pytest.mark.parametrize("label", [-1, 3])
def test_one_hot_refuses_labels_out_of_range(label):
    with pytest.raises(IndexRangeError, match=f"labels from 0 to 2, got {label}"):
        init.one_hot(3, np.array([0, label, 1]))


@pytest.mark.parametrize("label", [0.5, np.nan])
def test_one_hot_refuses_what_is_no_label(label):
    with pytest.raises(ArgumentError, match=f"integers as labels, got {label}"):
        init.one_hot(3, np.array([0, label]))
    with pytest.raises(DtypeError, match="a Tensor or an array"):
        init.one_hot(3, [0, 1])


def test_a_device_that_is_not_enabled_is_refused():
    for make in (init.rand, init.ones, init.randb):
        with pytest.raises(ndl.errors.DeviceError, match="not enabled"):
            make(2, device=ndl.cuda())


def test_the_course_paths_hold_the_same_functions():
    from needle.init import init_basic, init_initializers

    assert init_basic.rand is init.rand
    assert init_basic.one_hot is init.one_hot
    assert init_initializers.kaiming_uniform is init.kaiming_uniform
