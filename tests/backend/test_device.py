"""Devices: names, equality, array makers, and errors of the one that is not there."""

import numpy as np
import pytest

import needle as ndl
from needle import backend_numpy, backend_selection, init
from needle.backend.device import check_device
from needle.errors import DeviceError


def test_names_and_printing():
    assert repr(ndl.cpu()) == "needle.cpu()" and str(ndl.cpu()) == "cpu()"
    assert repr(ndl.cuda()) == "needle.cuda()" and str(ndl.cuda()) == "cuda()"
    assert repr(ndl.cpu_numpy()) == "needle.cpu()"


def test_devices_are_equal_by_kind():
    assert ndl.cpu() == ndl.cpu() == ndl.cpu_numpy() == ndl.default_device()
    assert ndl.cpu() != ndl.cuda() and ndl.cpu() != "cpu()"
    assert hash(ndl.cpu()) == hash(ndl.cpu_numpy()) and len({ndl.cpu(), ndl.cpu(), ndl.cuda()}) == 2
    assert ndl.all_devices() == [ndl.cpu(), ndl.cuda()]


def test_cuda_is_not_enabled_and_says_so():
    assert ndl.cpu().enabled() is True and ndl.cuda().enabled() is False
    for call in (
        lambda: ndl.cuda().rand(2), lambda: ndl.cuda().zeros(2), lambda: check_device(ndl.cuda()),
        lambda: ndl.Tensor([1.0], device=ndl.cuda()), lambda: init.ones(2, device=ndl.cuda()),
    ):  # fmt: skip
        with pytest.raises(DeviceError, match=r"needle\.cuda\(\) is not enabled.*needle\.cpu\(\)"):
            call()
    with pytest.raises(DeviceError, match="expected a needle device"):
        check_device("cuda")
    assert check_device(None) == ndl.cpu()


def test_array_makers():
    cpu = backend_numpy.CPUDevice()
    for array, value in [
        (cpu.zeros(2, 3, dtype="float64"), 0), (cpu.ones(2, 3, dtype="float64"), 1),
        (cpu.full((2, 3), 7, dtype="float64"), 7),
    ]:  # fmt: skip
        assert type(array) is np.ndarray and array.shape == (2, 3) and array.dtype == np.float64
        assert (array == value).all()
    assert cpu.zeros(2).dtype == cpu.ones(2).dtype == cpu.empty((2,)).dtype == np.float32
    assert cpu.empty((2, 3), dtype="int8").dtype == np.int8 and cpu.zeros().shape == ()


@pytest.mark.parametrize(
    "labels", [[0, 2, 1], np.array([0.0, 2.0, 1.0]), np.array([0, 2, 1], "uint8")]
)
def test_one_hot(labels):
    rows = ndl.cpu().one_hot(3, labels, dtype="float64")
    assert rows.dtype == np.float64 and rows.tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert ndl.cpu().one_hot(3, np.zeros((2, 4), int)).shape == (2, 4, 3)
    with pytest.raises(IndexError):
        ndl.cpu().one_hot(3, [3])


@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 3)])
def test_random_numbers_are_those_of_numpys_global_stream(shape):
    for draw, numpys in [(ndl.cpu().rand, np.random.rand), (ndl.cpu().randn, np.random.randn)]:
        np.random.seed(3)
        mine = draw(*shape)
        mine_after = np.random.rand()
        np.random.seed(3)
        expected = np.asarray(numpys(*shape))
        assert mine.dtype == np.float64 and mine.shape == shape
        np.testing.assert_array_equal(mine, expected)
        assert mine_after == np.random.rand(), "more or fewer numbers were drawn"


def test_another_source_of_random_numbers():
    from needle.backend import random

    class Halves:
        def uniform(self, shape):
            return np.full(shape, 0.5)

        def normal(self, shape):
            return np.zeros(shape)

    with random.use_source(Halves()):
        assert ndl.cpu().rand(2).tolist() == [0.5, 0.5] and ndl.cpu().randn(1).tolist() == [0.0]
    assert isinstance(random.source, random.NumpyStream)


def test_the_courses_modules_are_the_same_things():
    for name in backend_numpy.__all__:
        assert getattr(backend_numpy, name) is getattr(ndl.backend, name)
        assert getattr(backend_selection, name) is getattr(ndl.backend, name)
    assert backend_selection.array_api is np
    assert ndl.NDArray is np.ndarray
