"""Tensor: what it can be made of, its attributes, conversions, printing, identity."""

import copy
import gc
import inspect
import pickle

import numpy as np
import pytest

import needle as ndl
from needle import autograd, ops
from needle.errors import DeviceError, DtypeError, GradientError, ShapeError
from needle.nn import Parameter


@pytest.fixture
def no_collection():
    """Keep Python's collector from freeing what earlier tests left while Values are counted."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        ([1.0, 2.0], "float64"), ([1, 2], "int64"), ([True], "bool"), (3, "int64"),
        (2.5, "float64"),
        (True, "bool"), (np.float32(1), "float32"), (np.array(7, dtype="uint8"), "uint8"),
        (np.zeros((0, 3), dtype="float32"), "float32"), (np.ones(2, dtype="float16"), "float16"),
        ([[1, 2.5]], "float64"), ((1, 2), "int64"), (range(3), "int64"), ([], "float64"),
        ([np.float32(1), np.float32(2)], "float32"),
    ],
)  # fmt: skip
def test_made_of_with_numpys_inference(value, dtype):
    t, expected = ndl.Tensor(value), np.array(value)
    assert t.dtype == expected.dtype
    if expected.dtype.kind != "i":  # NumPy's default integer depends on the platform
        assert t.dtype == dtype
    assert t.shape == expected.shape and t.numpy().tolist() == expected.tolist()
    assert t.requires_grad and t.op is None and t.inputs == () and t.is_leaf() and t.grad is None


def test_an_array_is_copied_and_a_tensor_is_shared():
    a = np.ones(3)
    t = ndl.Tensor(a)
    a[0] = 5
    assert t.tolist() == [1.0, 1.0, 1.0]
    same = ndl.Tensor(t)
    assert same is not t and same.cached_data is t.cached_data
    assert ndl.Tensor(t, dtype="float64").cached_data is t.cached_data
    assert ndl.Tensor(t, dtype="float32").dtype == np.float32
    assert ndl.Tensor([ndl.Tensor(1.0), ndl.Tensor(2.0)]).tolist() == [1.0, 2.0]


def test_arguments_by_name():
    t = ndl.Tensor([1, 2], device=ndl.cpu(), dtype="float32", requires_grad=False)
    assert t.dtype == np.float32 and not t.requires_grad and t.device == ndl.cpu()
    kinds = inspect.signature(ndl.Tensor.__init__).parameters
    assert [n for n, p in kinds.items() if p.kind is p.KEYWORD_ONLY] == [
        "device", "dtype", "requires_grad",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "kwargs", "error", "text"),
    [
        ("abc", {}, DtypeError, "expected numbers"), (None, {}, DtypeError, "None"),
        ([[1], [2, 3]], {}, ShapeError, "inhomogeneous"), ([1j], {}, DtypeError, "complex128"),
        (["1", "2"], {}, DtypeError, "<U1"), ([300], {"dtype": "uint8"}, DtypeError, "300"),
        ([1], {"dtype": "nonsense"}, DtypeError, "nonsense"), ({1: 2}, {}, DtypeError, "object"),
        ([1], {"dtype": "complex64"}, DtypeError, "complex64"), ([2**70], {}, DtypeError, "object"),
        ([1.0], {"device": ndl.cuda()}, DeviceError, r"cuda\(\)"),
        ([1.0], {"device": "cpu"}, DeviceError, "cpu"),
        (np.array(["2020-01-01"], dtype="M8"), {}, DtypeError, "datetime64"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_tensor(value, kwargs, error, text, no_collection):
    before = autograd.TENSOR_COUNTER
    with pytest.raises(error, match=text):
        ndl.Tensor(value, **kwargs)
    assert before == autograd.TENSOR_COUNTER


def test_attributes():
    t = ndl.Tensor([[1.0, 2.0, 3.0]])
    assert (t.shape, t.ndim, t.size, len(t)) == ((1, 3), 2, 3, 1)
    assert isinstance(t.shape, tuple) and isinstance(t.dtype, np.dtype)
    assert t.T.shape == (3, 1) and ndl.Tensor(np.zeros((2, 3, 4))).T.shape == (4, 3, 2)
    assert t.num_outputs == 1
    assert ndl.Tensor(5.0).T.shape == ()


def test_one_element():
    for t in (ndl.Tensor(2.5), ndl.Tensor([2.5]), ndl.Tensor([[2.5]])):
        assert (t.item(), float(t), int(t)) == (2.5, 2.5, 2)
        assert type(t.item()) is float and type(float(t)) is float and type(int(t)) is int
    assert type(ndl.Tensor([3]).item()) is int and type(ndl.Tensor(True).item()) is bool


@pytest.mark.parametrize("convert", [ndl.Tensor.item, float, int, bool], ids=lambda f: f.__name__)
@pytest.mark.parametrize("shape", [(2,), (1, 3), (0,)])
def test_more_or_fewer_elements_are_an_error_with_the_shape(convert, shape):
    with pytest.raises(ShapeError) as caught:
        convert(ndl.Tensor(np.zeros(shape)))
    assert str(shape) in str(caught.value)


def test_truth_is_that_of_the_one_element():
    assert not ndl.Tensor(0.0) and ndl.Tensor([[2.0]]) and not ndl.Tensor([False])
    with pytest.raises(ShapeError, match="is not None"):
        bool(ndl.Tensor([1.0, 2.0]))


def test_lists_iteration_and_length():
    t = ndl.Tensor([[1.0, 2.0], [3.0, 4.0]])
    assert t.tolist() == [[1.0, 2.0], [3.0, 4.0]] and ndl.Tensor(3).tolist() == 3
    rows = list(t)
    assert [r.tolist() for r in rows] == [[1.0, 2.0], [3.0, 4.0]] and all(
        r.requires_grad for r in rows
    )
    a, b = t
    (a * b).sum().backward()
    assert t.grad.tolist() == [[3.0, 4.0], [1.0, 2.0]]
    assert list(ndl.Tensor(np.zeros((0, 2)))) == []
    for call in (len, iter, list):
        with pytest.raises(TypeError, match="0-d"):
            call(ndl.Tensor(1.0))


def test_identity_hash_and_equality():
    a, b = ndl.Tensor([1.0]), ndl.Tensor([1.0])
    assert (a == a) is True and (a == b) is False and (a != b) is True and (a != a) is False
    assert {a: 1, b: 2}[a] == 1 and len({a, b, a}) == 2
    assert (a == None) is False and (a != None) is True  # noqa: E711  that is what is tested
    assert (a == "text") is False and (a == object()) is False
    assert a in [b, a] and [b, a].index(a) == 1


@pytest.mark.parametrize(
    "other", [3, 1.5, True, np.ones(1), np.float32(2), [1.0], (1.0,)], ids=repr
)
def test_comparing_with_values_names_the_op(other):
    t = ndl.Tensor([1.0])
    for compare, op in [
        (lambda: t == other, "equal"), (lambda: t != other, "not_equal"),
        (lambda: other == t, "equal"), (lambda: other != t, "not_equal"),
    ]:  # fmt: skip
        with pytest.raises(TypeError, match=rf"ops\.{op}\(t, "):
            compare()


def test_printing():
    t = ndl.Tensor([[1.0, 2.5], [3.0, -4.0]])
    assert str(t) == str(t.numpy()) and repr(t) == f"needle.Tensor({t.numpy()})"
    assert repr(ndl.Tensor(3)) == "needle.Tensor(3)" and repr(ndl.Tensor([])) == "needle.Tensor([])"
    assert f"{ndl.Tensor(2.0):.3f}" == "2.000" and f"{t}" == str(t)
    long = ndl.Tensor(np.zeros(10_000))
    assert "..." in repr(long) and len(repr(long)) < 200
    with pytest.raises(ShapeError, match=r"\(2, 2\)"):
        f"{t:.3f}"


def test_numpy_and_the_array_protocol():
    t = ndl.Tensor([1.0, 2.0])
    assert t.numpy() is t.cached_data
    assert type(np.asarray(t)) is np.ndarray and np.shares_memory(np.asarray(t), t.cached_data)
    assert not np.shares_memory(np.array(t), t.cached_data)
    assert np.asarray(t, dtype="float32").dtype == np.float32
    assert np.shares_memory(t.__array__(copy=False), t.cached_data)
    assert not np.shares_memory(t.__array__(copy=True), t.cached_data)
    with pytest.raises(ValueError, match="copy"):
        t.__array__("float32", copy=False)
    np.testing.assert_array_equal(np.from_dlpack(t), t.numpy())
    assert t.__dlpack_device__() == (1, 0)
    assert np.stack([t, t]).shape == (2, 2)


def test_data_detach_and_constants_share_storage():
    t = ndl.Tensor([1.0, 2.0]) * 2
    for other in (t.data, t.detach(), ndl.Tensor.make_const(t), ndl.Tensor.make_const(t.numpy())):
        assert other is not t and other.cached_data is t.cached_data
        assert other.op is None and not other.requires_grad and other.is_leaf() and not other.inputs
    assert ndl.Tensor.make_const(t, True).requires_grad
    assert ndl.Tensor.make_const(np.ones(1), requires_grad=True).requires_grad


def test_setting_data():
    t, new = ndl.Tensor([1.0, 2.0]), np.array([5.0, 6.0])
    t.data = new
    assert t.cached_data is new and t.requires_grad
    t.data = ndl.Tensor([7.0, 8.0])
    assert t.tolist() == [7.0, 8.0]
    for bad in (ndl.Tensor([1.0], dtype="float32"), np.array([1, 2])):
        with pytest.raises(AssertionError, match="expected dtype float64"):
            t.data = bad
    assert t.tolist() == [7.0, 8.0]


def test_astype_and_copy():
    t = ndl.Tensor([1.0, 2.0])
    other = t.copy()
    assert not np.shares_memory(other.cached_data, t.cached_data) and other.tolist() == t.tolist()
    other.sum().backward()
    assert t.grad.tolist() == [1.0, 1.0]
    assert t.astype("float32").dtype == np.float32 and t.astype(np.int64).tolist() == [1, 2]
    assert ndl.Tensor([1, 2]).copy().tolist() == [1, 2]


def test_reshape_takes_a_tuple_a_list_or_numbers():
    t = ndl.Tensor(np.arange(6.0))
    assert t.reshape(2, 3).shape == t.reshape((2, 3)).shape == t.reshape([2, -1]).shape == (2, 3)
    assert t.reshape(-1).shape == (6,) and ndl.Tensor([1.0]).reshape(()).shape == ()


def test_methods_are_the_ops():
    t = ndl.Tensor(np.arange(6.0).reshape(2, 3))
    assert t.sum(axes=1).tolist() == [3.0, 12.0] and t.sum(axis=0).tolist() == [3.0, 5.0, 7.0]
    assert (
        t.mean(1, keepdims=True).shape == (2, 1) and t.max().item() == 5.0 and t.min().item() == 0.0
    )
    assert t.var().item() == np.var(t.numpy()) and t.var(1, correction=1).tolist() == [1.0, 1.0]
    assert t.transpose().shape == (3, 2) and t.transpose((0, 1)).shape == (3, 2)
    assert t.broadcast_to((4, 2, 3)).shape == (4, 2, 3)
    assert t.matmul(t.T).tolist() == (t @ t.T).tolist() == [[5.0, 14.0], [14.0, 50.0]]
    assert abs(ndl.Tensor([-1.0])).tolist() == [1.0]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))])
@pytest.mark.parametrize("kind", [ndl.Tensor, Parameter])
def test_deepcopy_and_pickle(duplicate, kind):
    t = kind(ndl.Tensor([1.0, 2.0], dtype="float32"))
    other = duplicate(t)
    assert type(other) is kind and other.dtype == np.float32 and other.requires_grad
    assert other.tolist() == t.tolist() and not np.shares_memory(other.numpy(), t.numpy())
    constant = duplicate(ndl.Tensor([1], requires_grad=False))
    assert not constant.requires_grad
    pair = duplicate([t, t])
    assert pair[0] is pair[1]


def test_shallow_copy_shares_storage():
    t = ndl.Tensor([1.0])
    assert copy.copy(t) is not t and copy.copy(t).cached_data is t.cached_data


def test_elements_cannot_be_assigned_and_backward_needs_a_graph():
    t = ndl.Tensor([1.0, 2.0])
    with pytest.raises(TypeError, match=r"ops\.where"):
        t[0] = 3.0
    for constant in (t.detach(), t > 1, ndl.Tensor([1.0], requires_grad=False)):
        with pytest.raises(GradientError, match="constant"):
            constant.backward()


def test_unknown_numpy_functions_are_named():
    t = ndl.Tensor([1.0])
    for call, name in [
        (lambda: np.floor(t), "floor"), (lambda: np.add.reduce(t), "add"),
        (lambda: np.isnan(t), "isnan"), (lambda: np.add(t, t, out=np.ones(1)), "add"),
        (lambda: np.ones(1) // t, "floor_divide"),
    ]:  # fmt: skip
        with pytest.raises(TypeError, match=rf"numpy\.{name} on a Tensor"):
            call()


def test_an_array_is_not_changed_in_place_by_a_tensor():
    a = np.ones(2)
    with pytest.raises(TypeError, match=r"numpy\.add"):
        a += ndl.Tensor([1.0, 1.0])
    assert a.tolist() == [1.0, 1.0]


def test_numpy_subclasses_and_odd_layouts_are_plain_arrays():
    a = np.arange(6.0).reshape(2, 3)
    masked = np.ma.masked_array(a, mask=np.eye(2, 3))
    for odd in (np.asfortranarray(a), a[:, ::-1], a.T.copy().T, masked, a.astype(">f8")):
        t = ops.add(odd, ndl.Tensor(np.zeros((2, 3))))
        assert type(t.cached_data) is np.ndarray and t.tolist() == np.asarray(odd).tolist()
        assert type(ndl.Tensor(odd).cached_data) is np.ndarray
