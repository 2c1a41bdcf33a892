"""The graph: order, reverse mode, gradients of gradients, accumulation, no_grad, user ops."""

import threading

import numpy as np
import pytest

import needle as ndl
from needle import autograd, ops
from needle.errors import ArgumentError, DtypeError, GradientError, ShapeError
from needle.testing import assert_close, gradcheck


def test_topological_order_is_post_order_inputs_left_to_right():
    a, b = ndl.Tensor([1.0]), ndl.Tensor([2.0])
    c = a * b
    d = b + c
    e = d * a
    order = autograd.find_topo_sort([e])
    assert [id(v) for v in order] == [id(v) for v in (b, a, c, d, e)]
    assert [id(v) for v in autograd.find_topo_sort([c, d])] == [id(v) for v in (a, b, c, d)]
    assert autograd.find_topo_sort([]) == []


def test_topo_sort_dfs_appends_what_was_not_visited():
    a = ndl.Tensor([1.0])
    b = a + a
    visited, order = set(), []
    autograd.topo_sort_dfs(b, visited, order)
    autograd.topo_sort_dfs(b, visited, order)
    assert len(order) == 2 and order[0] is a and order[1] is b


def test_sum_node_list():
    a, b, c = (ndl.Tensor([float(i)]) for i in range(3))
    assert autograd.sum_node_list([a]) is a
    assert autograd.sum_node_list([a, b, c]).tolist() == [3.0]


def test_a_value_used_many_times_gets_the_sum_of_its_gradients():
    x = ndl.Tensor([3.0])
    y = x * x + x * 2 + x
    y.backward()
    assert x.grad.tolist() == [9.0]


def test_gradients_are_overwritten_by_the_next_backward():
    x = ndl.Tensor([3.0])
    (x * 2).backward()
    (x * 5).backward()
    assert x.grad.tolist() == [5.0]


def test_gradients_accumulate_when_asked_for():
    x, w = ndl.Tensor([3.0]), ndl.Tensor([2.0])
    for _ in range(3):
        h = x * w
        (h * h).backward(accumulate=True)
    assert x.grad.tolist() == [72.0] and w.grad.tolist() == [108.0]
    assert h.grad.tolist() == [12.0]  # values in between are new in each pass
    x.grad = None
    (x * w).backward(accumulate=True)
    assert x.grad.tolist() == [2.0]


def test_backward_starts_from_ones_or_from_out_grad():
    x = ndl.Tensor([[1.0, 2.0], [3.0, 4.0]])
    (x * x).backward()
    assert x.grad.tolist() == [[2.0, 4.0], [6.0, 8.0]]
    weights = [[1.0, 0.0], [0.0, -1.0]]
    for out_grad in (
        weights,
        np.array(weights),
        ndl.Tensor(weights),
        np.array(weights, dtype="float32"),
    ):
        (x * x).backward(out_grad)
        assert x.grad.tolist() == [[2.0, 0.0], [0.0, -8.0]] and x.grad.dtype == np.float64
    with pytest.raises(ShapeError, match=r"\(2, 2\), got \(2,\)"):
        (x * x).backward([1.0, 2.0])
    leaf = ndl.Tensor([2.0])
    leaf.backward()
    assert leaf.grad.tolist() == [1.0]


def test_every_value_on_the_way_has_a_gradient():
    x = ndl.Tensor([2.0])
    h = x * 3
    y = h * h
    y.backward()
    assert y.grad.tolist() == [1.0] and h.grad.tolist() == [12.0] and x.grad.tolist() == [36.0]
    assert isinstance(h.grad, ndl.Tensor) and h.grad.data.cached_data is h.grad.cached_data


def test_constants_get_no_gradient():
    x, c = ndl.Tensor([2.0]), ndl.Tensor([3.0], requires_grad=False)
    (x * c).backward()
    assert c.grad is None and x.grad.tolist() == [3.0]


def test_compute_gradient_of_variables_is_the_engine():
    x = ndl.Tensor([2.0, 3.0])
    y = x * x
    autograd.compute_gradient_of_variables(y, ndl.Tensor([1.0, 10.0]))
    assert x.grad.tolist() == [4.0, 60.0]


def test_gradients_can_be_differentiated_again_and_again():
    x = ndl.Tensor([2.0])
    (x**4).backward()
    for expected in (32.0, 48.0, 48.0, 24.0):
        gradient = x.grad
        assert_close(gradient, np.array([expected]))
        if expected != 24.0:
            gradient.backward()


def test_second_gradient_of_a_model():
    w, x = np.array([[0.5, -1.0], [2.0, 0.3]]), np.array([[1.0, 2.0]])
    gradcheck(lambda w, x: ops.tanh(x @ w).sum() * ops.logsumexp(w), w, x, order=2)


def test_gradient_of_a_gradient_with_respect_to_another_input():
    x, y = ndl.Tensor([2.0]), ndl.Tensor([3.0])
    (x * x * y).backward()
    gx = x.grad  # 2 x y
    gx.backward()
    assert y.grad.tolist() == [4.0] and x.grad.tolist() == [6.0]


def test_how_long_a_gradient_keeps_its_graph():
    x, z = ndl.Tensor([2.0]), ndl.Tensor([5.0])
    (x**3).backward()
    assert x.grad is x.grad and x.grad.requires_grad
    held = x.grad
    (z * 2).backward()
    assert not x.grad.requires_grad and x.grad.tolist() == [12.0]  # its values stay
    held.backward()
    assert x.grad.tolist() == [12.0] and z.grad.tolist() == [2.0]
    (x**3).backward()
    z.grad = None
    assert not x.grad.requires_grad and x.grad.tolist() == [12.0] and z.grad is None
    z.grad = held
    assert z.grad is held


def test_a_chain_of_100_000_ops():
    x = ndl.Tensor([1.0])
    y = x
    for _ in range(100_000):
        y = y + 0.5
    assert len(autograd.find_topo_sort([y])) == 100_001
    y.backward()
    assert x.grad.tolist() == [1.0] and y.item() == 50_001.0
    before = autograd.TENSOR_COUNTER
    del y
    assert before - autograd.TENSOR_COUNTER >= 100_000


class Cube(ndl.TensorOp):
    def compute(self, a):
        return np.power(a, 3)

    def gradient(self, out_grad, node):
        return out_grad * 3 * node.inputs[0] ** 2


def test_an_op_of_the_user():
    gradcheck(Cube(), np.array([[1.0, -2.0]]), order=2)
    assert Cube()(np.array([2.0])).tolist() == [8.0] and Cube()(2).item() == 8
    assert Cube().name == "Cube"
    with pytest.raises(DtypeError, match=r"Cube: .*Tensor\(\[\.\.\.\]\)"):
        Cube()([1.0])


def user_op(compute, gradient=None):
    body = {"compute": lambda self, *a: compute(*a)}
    if gradient is not None:
        body["gradient"] = lambda self, out_grad, node: gradient(out_grad, node)
    return type("Own", (ndl.TensorOp,), body)()


@pytest.mark.parametrize(
    ("compute", "error", "text"),
    [
        (lambda a: ndl.Tensor(a), DtypeError, "Own: compute gave a Tensor"),
        (lambda a: None, DtypeError, "Own: compute gave a NoneType"),
        (lambda a: [a], DtypeError, "Own: compute gave a list"),
        (lambda a: a.reshape(7), ShapeError, r"Own: .*inputs were float64\(2,\)"),
        (lambda a: a + np.ones(3), ShapeError, r"Own: .*\(3,\).*float64\(2,\)"),
        (lambda a: int("x"), ArgumentError, "Own: invalid literal"),
        (lambda a: a[5], IndexError, "Own: index 5"),
        (lambda a: a + "b", DtypeError, "Own: "),
    ],
)
def test_what_an_op_of_the_user_may_get_wrong_in_compute(compute, error, text):
    with pytest.raises(error, match=text):
        user_op(compute)(ndl.Tensor([1.0, 2.0]))


@pytest.mark.parametrize(
    ("gradient", "error", "text"),
    [
        (None, GradientError, "Own: has no gradient; define gradient"),
        (lambda g, node: (g, g), GradientError, "Own: gradient gave 2 values for 1 inputs"),
        (lambda g, node: g.numpy(), GradientError, "Own: gradient gave array"),
        (lambda g, node: None, GradientError, "Own: gradient gave None"),
        (
            lambda g, node: g.sum(),
            ShapeError,
            r"expected a gradient of shape \(2,\), got float64\(\)",
        ),
    ],
)
def test_what_an_op_of_the_user_may_get_wrong_in_gradient(gradient, error, text):
    with pytest.raises(error, match=text):
        user_op(lambda a: a * 2, gradient)(ndl.Tensor([1.0, 2.0])).backward()


def test_a_number_from_compute_is_an_array():
    y = user_op(lambda a: float(a.sum()))(ndl.Tensor([1.0, 2.0]))
    assert type(y.cached_data) is np.ndarray and y.shape == () and y.item() == 3.0


def test_an_op_without_compute_says_so():
    with pytest.raises(NotImplementedError, match="Empty has no compute"):
        type("Empty", (ndl.TensorOp,), {})()(ndl.Tensor([1.0]))


def test_no_grad_as_a_context():
    x = ndl.Tensor([1.0])
    with ndl.no_grad():
        with ndl.no_grad():
            assert not (x * 2).requires_grad
        y = x * 2
        assert not y.requires_grad and y.op is None and ndl.Tensor([1.0]).requires_grad
    assert (x * 2).requires_grad
    with pytest.raises(ZeroDivisionError), ndl.no_grad():
        raise ZeroDivisionError
    assert (x * 2).requires_grad


def test_no_grad_as_a_decorator():
    @ndl.no_grad()
    def double(x, depth=0):
        """Double."""
        return double(x, depth - 1) if depth else x * 2

    x = ndl.Tensor([1.0])
    assert double.__name__ == "double" and double.__doc__ == "Double."
    assert not double(x, depth=3).requires_grad and (x * 2).requires_grad


def test_no_grad_belongs_to_its_thread():
    """A decorated function that two threads run at once leaves each thread as it found it."""
    x, inside, seen = ndl.Tensor([1.0]), threading.Barrier(2), {}

    @ndl.no_grad()
    def meet(leave):
        inside.wait()
        leave.wait(5)

    first_may_leave, second_may_leave = threading.Event(), threading.Event()

    def plain():
        meet(first_may_leave)
        seen["plain"] = (x * 2).requires_grad
        second_may_leave.set()

    def already_off():
        with ndl.no_grad():
            meet(second_may_leave)
            seen["off"] = (x * 2).requires_grad
        seen["after"] = (x * 2).requires_grad

    threads = [threading.Thread(target=f) for f in (plain, already_off)]
    for thread in threads:
        thread.start()
    first_may_leave.set()
    for thread in threads:
        thread.join()
    assert seen == {"plain": True, "off": False, "after": True}
    with ndl.no_grad():
        other = threading.Thread(target=lambda: seen.update(fresh=(x * 2).requires_grad))
        other.start()
        other.join()
    assert seen["fresh"] is True


def test_backward_under_no_grad_gives_constant_gradients():
    x = ndl.Tensor([2.0])
    y = x * x
    with ndl.no_grad():
        y.backward()
    assert x.grad.tolist() == [4.0] and not x.grad.requires_grad
