"""Results have NumPy's dtypes and values: for pairs of dtypes, and for numbers on either side."""

import operator

import numpy as np
import pytest

import needle as ndl
from needle import ops
from needle.errors import DtypeError
from needle.testing import assert_close
from tests.ops.numpy_functions import ARITHMETIC, REDUCTIONS, SINGLE

DTYPES = ["bool", "uint8", "int8", "int32", "int64", "float16", "float32", "float64"]
NUMBERS = [
    True,
    0,
    3,
    -2,
    2.5,
    np.float64(0.1),
    np.float32(0.5),
    np.int64(4),
    np.uint8(200),
    np.True_,
]
OPERATORS = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.pow, operator.lt,
    operator.le, operator.gt, operator.ge,
]  # fmt: skip


def array(dtype, values=(0, 1, 2, 5)):
    return np.array(values).astype(dtype)


def outcome(function, *args):
    """Return the result as an array, or Exception where there is an error."""
    with np.errstate(all="ignore"):
        try:
            return np.asarray(function(*args))
        except (TypeError, ValueError, OverflowError):
            return Exception


def same(mine, numpys):
    if isinstance(numpys, type):
        assert isinstance(mine, type), f"NumPy raises {numpys}, needle gives {mine}"
        return
    assert not isinstance(mine, type), f"needle raises {mine}, NumPy gives {numpys}"
    assert mine.dtype == numpys.dtype
    assert_close(mine, numpys)


@pytest.mark.parametrize("second", DTYPES)
@pytest.mark.parametrize("first", DTYPES)
@pytest.mark.parametrize("op", sorted(ARITHMETIC))
def test_pairs_of_dtypes(op, first, second):
    a, b = array(first), array(second, [1, 2, 3, 4])
    numpys = outcome(ARITHMETIC[op], a, b)
    same(outcome(getattr(ops, op), ndl.Tensor(a), ndl.Tensor(b)), numpys)
    same(outcome(getattr(ops, op), a, ndl.Tensor(b)), numpys)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", sorted(SINGLE))
def test_dtypes_of_single_inputs(op, dtype):
    a = array(dtype)
    same(outcome(getattr(ops, op), ndl.Tensor(a)), outcome(SINGLE[op], a))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", sorted(REDUCTIONS))
def test_dtypes_of_reductions(op, dtype):
    a = array(dtype, [[0, 1, 2], [5, 3, 4]])
    for args in ((), (1,), (0, True)):
        same(outcome(getattr(ops, op), ndl.Tensor(a), *args), outcome(REDUCTIONS[op], a, *args))


@pytest.mark.parametrize("number", NUMBERS, ids=repr)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", OPERATORS, ids=lambda f: f.__name__)
def test_numbers_widen_nothing_of_their_kind(function, dtype, number):
    """NumPy's numbers count as Python's: a np.float64 learning rate leaves float32 as it is."""
    if dtype == "bool" and function is operator.sub and isinstance(number, bool | np.bool_):
        number = int(number)  # NumPy has no bool - bool, needle takes the number
    a, plain = array(dtype), number.item() if isinstance(number, np.generic) else number
    same(outcome(function, ndl.Tensor(a), number), outcome(function, a, plain))
    same(outcome(function, number, ndl.Tensor(a)), outcome(function, plain, a))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int64"])
@pytest.mark.parametrize(
    "op", ["softmax", "logsoftmax", "logsumexp", "sigmoid", "normalize", "gelu", "erf"]
)
def test_integers_are_computed_as_float64(op, dtype):
    a = array(dtype, [[0, 1, 100], [5, 3, 4]])
    arguments = {"normalize": {"axes": 1}, "softmax": {"axis": 1}}.get(op, {})
    result = getattr(ops, op)(ndl.Tensor(a), **arguments)
    assert result.dtype == np.float64
    assert_close(result, getattr(ops, op)(ndl.Tensor(a.astype("float64")), **arguments))


def test_labels_of_uint8_can_be_subtracted():
    predicted, labels = ndl.Tensor([1.0, 2.0], dtype="float32"), np.array([3, 0], dtype="uint8")
    assert (predicted - labels).tolist() == [-2.0, 2.0]
    assert (labels - predicted).tolist() == [2.0, -2.0]
    assert (1 - (predicted > 1.5)).tolist() == [1, 0]
    assert (0.5 - ndl.Tensor(labels)).tolist() == [-2.5, 0.5]


def test_where_takes_the_dtype_of_its_branches():
    a = ndl.Tensor([1.0, 2.0], dtype="float32")
    for condition in (np.array([1, 0]), np.array([True, False]), ndl.Tensor([2.0, 0.0])):
        result = ops.where(condition, a, 0)
        assert result.dtype == np.float32 and result.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("dtype", ["complex64", "U3", "object", "datetime64[s]", "no dtype"])
def test_only_real_numbers_can_be_cast_to(dtype):
    with pytest.raises(DtypeError, match="cast"):
        ops.cast(ndl.Tensor([1.0]), dtype)


def test_gradients_have_the_dtype_of_their_values():
    a = ndl.Tensor([1.0, 2.0], dtype="float32")
    b = ndl.Tensor([3.0, 4.0])
    h = a * 2
    (h * b).sum().backward()
    assert a.grad.dtype == h.grad.dtype == np.float32 and b.grad.dtype == np.float64
    assert a.grad.tolist() == [6.0, 8.0] and b.grad.tolist() == [2.0, 4.0]


def test_gradient_through_a_cast():
    a = ndl.Tensor([1.0, 2.0], dtype="float32")
    (a.astype("float64") * 3).sum().backward()
    assert a.grad.dtype == np.float32 and a.grad.tolist() == [3.0, 3.0]
    whole = a.astype("int64")
    assert not whole.requires_grad and whole.tolist() == [1, 2]
    n = ndl.Tensor([1, 2])
    (n.astype("float32") * 0.5).sum().backward()
    assert n.grad.tolist() == [0.5, 0.5]  # not truncated to integers


@pytest.mark.parametrize("a", [np.full(3, 2**62), np.full(1000, 100, "float16")], ids=str)
def test_a_mean_fits_where_the_sum_does_not(a):
    mean = ops.mean(ndl.Tensor(a))
    assert mean.dtype == np.mean(a).dtype
    assert_close(mean, np.mean(a))
    assert_close(ops.normalize(ndl.Tensor(a), 0), np.zeros(a.shape))
