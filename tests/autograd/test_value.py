"""Value and TensorTuple: the fields, constructors and the counter that course code relies on."""

import _thread
import gc
import threading
import time

import numpy as np
import pytest

import needle as ndl
from needle import autograd, ops
from needle.autograd import Op, Tensor, TensorTuple, TensorTupleOp, Value
from needle.errors import GradientError, IndexRangeError, ShapeError
from needle.testing import assert_close, gradcheck


def test_fields_set_by_init():
    a = Tensor([1.0])
    value = Value.__new__(Value)
    value._init(None, (a,), num_outputs=2, cached_data=np.ones(1), requires_grad=True)
    assert value.op is None and value.inputs == (a,) and value.num_outputs == 2
    assert value.requires_grad and value.is_leaf() and value.realize_cached_data().tolist() == [1.0]
    for inputs, expected in [
        ((a,), True),
        ((a.detach(),), False),
        ((a.detach(), a), True),
        ((), False),
    ]:
        other = Tensor.__new__(Tensor)
        other._init(ops.Negate(), inputs)
        assert other.requires_grad is expected and other.cached_data is None
    assert other.is_leaf() is False


def test_make_const_and_make_from_op():
    data = np.ones(2)
    for kind in (Value, Tensor, TensorTuple):
        value = kind.make_const(data, requires_grad=True)
        assert type(value) is kind and value.cached_data is data and value.requires_grad
    a = Tensor([1.0, 2.0])
    node = Tensor.make_from_op(ops.Negate(), (a,))
    assert node.tolist() == [-1.0, -2.0] and node.inputs == (a,) and not node.is_leaf()
    assert Tensor.make_from_op(ops.EWiseAdd(), [a, 1.0]).tolist() == [2.0, 3.0]


def test_cached_data_can_be_set():
    a = Tensor([1.0])
    new = np.array([5.0])
    a.cached_data = new
    assert a.realize_cached_data() is new


def test_attributes_of_the_user_are_kept():
    a = Tensor([1.0])
    a.note = "mine"
    assert a.note == "mine"


def test_ctrl_c_is_never_lost_while_values_are_freed():
    """Python drops what is raised inside a `__del__`: the loop would go on."""

    def interrupt():
        time.sleep(0.002)
        _thread.interrupt_main()

    a = Tensor([1.0])
    for _ in range(40):
        thread = threading.Thread(target=interrupt)
        with pytest.raises(KeyboardInterrupt):
            thread.start()
            end = time.monotonic() + 1
            while time.monotonic() < end:
                for _ in range(50):
                    a * 2
        thread.join()


def test_the_counter_is_counted_as_it_is_read():
    assert "TENSOR_COUNTER" not in vars(autograd)
    with pytest.raises(AttributeError, match=r"module 'needle.autograd' has no attribute 'TENSOR'"):
        autograd.TENSOR


def test_the_counter_goes_up_and_down():
    gc.disable()
    try:
        start = autograd.TENSOR_COUNTER
        a = Tensor([1.0])
        assert start + 1 == autograd.TENSOR_COUNTER
        b = a * 2 + 1
        assert start + 3 == autograd.TENSOR_COUNTER
        c = b.detach()
        assert start + 4 == autograd.TENSOR_COUNTER
        del b
        assert start + 2 == autograd.TENSOR_COUNTER
        parts = ops.make_tuple(a, c)
        assert start + 3 == autograd.TENSOR_COUNTER
        del a, c, parts
        assert start == autograd.TENSOR_COUNTER
    finally:
        gc.enable()


def test_a_tuple():
    a, b = Tensor([1.0]), Tensor([2.0, 3.0])
    pair = ops.make_tuple(a, b)
    assert isinstance(pair, TensorTuple) and len(pair) == 2
    assert pair[0] is a and pair[-1] is b and pair.tuple() == (a, b) and list(pair) == [a, b]
    assert (
        repr(pair) == str(pair) == "needle.TensorTuple(needle.Tensor([1.]), needle.Tensor([2. 3.]))"
    )
    alone = pair.detach()
    assert alone.op is None and not alone.requires_grad and alone[1].tolist() == [2.0, 3.0]
    assert alone[1].cached_data is b.cached_data
    for index in (2, -3):
        with pytest.raises(IndexRangeError, match=f"index {index} of 2"):
            pair[index]


def test_the_sum_of_tuples():
    a, b = Tensor([1.0]), Tensor([2.0])
    total = ops.make_tuple(a, b) + ops.make_tuple(b, b)
    assert [t.tolist() for t in total] == [[3.0], [4.0]]
    for other in (ops.make_tuple(a), a, 3, (a, b)):
        with pytest.raises(ShapeError, match="length 2"):
            total + other


def test_gradients_through_tuples():
    def both(x):
        parts = ops.fused_add_scalars(x, 2.0, 3.0)
        again = ops.make_tuple(parts[1], parts[0] * parts[0])
        return again[0] * again[1]

    gradcheck(both, np.array([1.0, -0.5]), order=2)


class Halves(TensorTupleOp):
    def compute(self, a):
        return np.split(a, 2)

    def gradient(self, out_grad, node):
        return ops.concat(list(out_grad.tuple()))


def test_an_op_of_the_user_that_gives_a_tuple():
    x = Tensor([1.0, 2.0, 3.0, 4.0])
    first, second = Halves()(x)
    assert type(first.op) is ops.TupleGetItem and first.tolist() == [1.0, 2.0]
    (first * first).sum().backward()
    assert x.grad.tolist() == [2.0, 4.0, 0.0, 0.0]
    gradcheck(lambda x: (lambda p: p[0] * p[1])(Halves()(x)), np.arange(4.0), order=2)
    assert second.tolist() == [3.0, 4.0]
    constant = Halves()(np.arange(4.0))
    assert constant.op is None and constant[1].tolist() == [2.0, 3.0] and constant[0].op is None


def test_a_gradient_may_be_a_list():
    class Own(ndl.TensorOp):
        def compute(self, a, b):
            return a + b

        def gradient(self, out_grad, node):
            return [out_grad, out_grad]

    a, b = Tensor([1.0]), Tensor([2.0])
    node = Own()(a, b)
    assert isinstance(node.op.gradient_as_tuple(Tensor([1.0]), node), tuple)
    node.backward()
    assert_close([a.grad, b.grad], [np.ones(1), np.ones(1)])


def test_the_bases_of_ops():
    assert issubclass(ndl.TensorOp, Op) and issubclass(TensorTupleOp, Op)
    with pytest.raises(GradientError, match="sign: has no gradient"):
        ops.Sign().gradient(None, None)
    with pytest.raises(NotImplementedError):
        Op()()
