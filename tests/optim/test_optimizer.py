"""Optimizers: what they keep, what they leave alone, saving, bad input."""

import gc

import numpy as np
import pytest

import needle as ndl
from needle import init, nn, optim
from needle.errors import ArgumentError, DtypeError, StateDictError

MAKE = {
    "SGD": lambda p: optim.SGD(p, lr=0.1),
    "SGD momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    "Adam": lambda p: optim.Adam(p, lr=0.1, weight_decay=0.1),
    "AdamW": lambda p: optim.AdamW(p, lr=0.1),
}
every = pytest.mark.parametrize("name", MAKE)


def constant(array, dtype=None):
    return ndl.Tensor(array, dtype=dtype, requires_grad=False)


def run(opt, params, steps=3, seed=0):
    state = np.random.RandomState(seed)
    for _ in range(steps):
        for p in params:
            p.grad = constant(state.randn(*p.shape), p.dtype)
        opt.step()


@every
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(3, 2), (1,), (), (0, 2)])
def test_dtype_and_shape_stay(name, dtype, shape):
    p = nn.Parameter(init.ones(*shape, dtype=dtype))
    opt = MAKE[name]([p])
    run(opt, [p])
    arrays = [p.cached_data, *(v for v in opt.state_dict().values() if isinstance(v, np.ndarray))]
    assert all(type(a) is np.ndarray and a.dtype == dtype and a.shape == shape for a in arrays)
    assert p.size == 0 or not np.array_equal(p.numpy(), np.ones(shape))


@every
def test_a_wider_gradient_or_rate_does_not_widen_the_parameter(name):
    p = nn.Parameter(init.ones(2))
    opt = MAKE[name]([p])
    opt.lr = np.float64(0.1)
    p.grad = constant([1.0, 2.0])
    opt.step()
    assert p.dtype == np.float32
    assert p.grad.dtype == np.float64


@every
def test_gradients_and_earlier_values_are_left_alone(name):
    p = nn.Parameter(init.ones(2))
    opt = MAKE[name]([p])
    p.grad = gradient = constant([1.0, 2.0], "float32")
    held, snapshot = gradient.cached_data, p.data
    for _ in range(3):
        opt.step()
    assert p.grad is gradient
    assert gradient.cached_data is held
    assert held.tolist() == [1.0, 2.0]
    assert snapshot.tolist() == [1.0, 1.0]
    state = {key: v for key, v in opt.state_dict().items() if isinstance(v, np.ndarray)}
    copies = {key: v.copy() for key, v in state.items()}
    opt.step()
    assert all(np.array_equal(v, copies[key]) for key, v in state.items())


@every
def test_a_parameter_without_gradient_is_skipped(name):
    used, unused = nn.Parameter(init.ones(2)), nn.Parameter(init.ones(2))
    opt = MAKE[name]([used, unused])
    run(opt, [used])
    assert unused.numpy().tolist() == [1.0, 1.0]
    assert used.numpy().tolist() != [1.0, 1.0]
    assert not any(v.any() for key, v in opt.state_dict().items() if key.endswith(".1"))


@every
def test_no_graph_is_held_and_nothing_grows(name):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.1), nn.Linear(4, 2))
    opt, x = MAKE[name](model.parameters()), init.ones(5, 3)
    counts = []
    gc.disable()
    try:
        for _ in range(30):
            opt.reset_grad()
            nn.SoftmaxLoss()(model(x), np.zeros(5, int)).backward()
            opt.step()
            counts.append(ndl.autograd.TENSOR_COUNTER)
    finally:
        gc.enable()
    assert len(set(counts[5:])) == 1
    assert all(p.op is None and p.requires_grad for p in opt.params)


@every
def test_a_shared_parameter_is_updated_once(name):
    one, twice = nn.Parameter(init.ones(2)), nn.Parameter(init.ones(2))
    run(MAKE[name]([one]), [one])
    run(MAKE[name]([twice, twice]), [twice])
    assert one.numpy().tolist() == twice.numpy().tolist()


def test_reset_grad_and_zero_grad():
    params = [nn.Parameter(init.ones(2)) for _ in range(2)]
    opt = optim.SGD(iter(params))
    assert opt.params == params
    for clear in (opt.reset_grad, opt.zero_grad):
        for p in params:
            p.grad = constant([1.0, 2.0])
        clear()
        assert [p.grad for p in params] == [None, None]


def test_gradients_of_a_lazy_graph_are_computed():
    ndl.autograd.LAZY_MODE = True
    try:
        p = nn.Parameter(init.ones(2))
        (p * 3).sum().backward()
        optim.SGD([p], lr=0.5).step()
    finally:
        ndl.autograd.LAZY_MODE = False
    assert p.numpy().tolist() == [-0.5, -0.5]


@every
def test_numbers_may_be_changed_between_steps(name):
    p, q = nn.Parameter(init.ones(2)), nn.Parameter(init.ones(2))
    opt, other = MAKE[name]([p]), MAKE[name]([q])
    other.lr = opt.lr = 0.01
    other.weight_decay = opt.weight_decay = 0.0
    run(opt, [p])
    other.lr = 0.0
    run(other, [q])
    assert q.numpy().tolist() == [1.0, 1.0]
    assert p.numpy().tolist() != [1.0, 1.0]


@every
def test_restored_state_goes_on_bit_for_bit(name):
    p = nn.Parameter(init.ones(3, 2))
    opt = MAKE[name]([p])
    run(opt, [p])
    opt.lr = 0.03
    q = nn.Parameter(p.numpy().copy())
    restored = MAKE[name]([q])
    restored.load_state_dict(opt.state_dict())
    assert restored.lr == 0.03
    run(opt, [p], seed=1)
    run(restored, [q], seed=1)
    np.testing.assert_array_equal(p.numpy(), q.numpy())


def test_state_dict_is_flat_and_holds_copies():
    params = [nn.Parameter(init.ones(2)), nn.Parameter(init.ones(3))]
    opt = optim.Adam(params)
    state = opt.state_dict()
    numbers = ["lr", "beta1", "beta2", "eps", "weight_decay", "t"]
    assert list(state) == [*numbers, "m.0", "m.1", "v.0", "v.1"]
    run(opt, params)
    assert not state["m.0"].any()
    state = opt.state_dict()
    opt.m[params[0]].cached_data[:] = 7
    assert not (state["m.0"] == 7).any()


def test_numbers_come_back_from_arrays_as_python_numbers():
    p = nn.Parameter(init.ones(2))
    opt = optim.Adam([p])
    state = {key: np.asarray(value) for key, value in opt.state_dict().items()}
    state["t"] = np.asarray(5)
    opt.load_state_dict(state)
    assert (opt.t, type(opt.t), type(opt.lr)) == (5, int, float)


def test_a_state_that_does_not_fit_changes_nothing():
    opt = optim.Adam([nn.Parameter(init.ones(2))])
    state = opt.state_dict()
    del state["v.0"]
    state |= {"lr": 5.0, "m.0": np.ones(3), "u.0": np.ones(2)}
    with pytest.raises(StateDictError) as caught:
        opt.load_state_dict(state)
    assert str(caught.value) == (
        "load_state_dict: Adam: wrong: m.0 of shape (3,), expected (2,); "
        "missing: v.0; unexpected: u.0"
    )
    assert opt.lr == 0.01
    assert not opt.m[opt.params[0]].numpy().any()


def test_bad_arguments():
    p = nn.Parameter(init.ones(1))
    with pytest.raises(ArgumentError, match="at least one parameter"):
        optim.SGD([])
    with pytest.raises(DtypeError, match=r"pass model\.parameters\(\)"):
        optim.SGD(nn.Linear(1, 1))
    with pytest.raises(DtypeError, match="expected Tensors, got str 'weight'"):
        optim.Adam({"weight": p})
    with pytest.raises(ArgumentError, match="SGD lr: expected a number from 0, got -1"):
        optim.SGD([p], lr=-1)
    with pytest.raises(ArgumentError, match="AdamW beta1: expected a number from 0 to below 1"):
        optim.AdamW([p], beta1=1.0)
    with pytest.raises(ArgumentError, match=r"SGD momentum: .* got nan"):
        optim.SGD([p], momentum=float("nan"))


def test_what_would_train_nothing_is_refused():
    p = nn.Parameter(ndl.zeros(3))
    for params, text in (
        (p, r"got a Tensor; pass \[tensor\]"),
        ([p * 2], r"result of mul_scalar; .* nn.Parameter"),
        ([{"params": [p]}], "expected Tensors, got dict"),
    ):
        with pytest.raises(DtypeError, match=text):
            optim.Adam(params)


def test_an_optimizer_of_the_user():
    class SignDescent(optim.Optimizer):
        numbers = ("lr",)

        def __init__(self, params, lr):
            super().__init__(params)
            self.lr = lr

        def step(self):
            for p in self.params:
                if p.grad is not None:
                    p.data = p.data - self.lr * ndl.ops.sign(p.grad)

    p = nn.Parameter(init.ones(2))
    opt = SignDescent([p], lr=0.5)
    p.grad = constant([3.0, -2.0], "float32")
    opt.step()
    assert p.numpy().tolist() == [0.5, 1.5]
    assert opt.state_dict() == {"lr": 0.5}
    assert repr(opt) == "SignDescent(1 parameters, lr=0.5)"
