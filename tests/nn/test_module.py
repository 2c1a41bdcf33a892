"""Module: finding its parts, modes, saving, loading, printing."""

import copy
import pickle

import numpy as np
import pytest

import needle as ndl
from needle import init, nn
from needle.errors import ArgumentError, DtypeError, StateDictError


class Part(nn.Module):
    def __init__(self, size=2):
        super().__init__()
        self.weight = nn.Parameter(init.ones(size))

    def forward(self, x):
        return x * self.weight


class Nested(nn.Module):
    """Parts in every place where they are looked for."""

    def __init__(self):
        super().__init__()
        self.first = nn.Parameter(init.zeros(3))
        self.parts = {"a": Part(), "b": [Part(), (Part(), nn.Parameter(init.zeros(1)))]}
        self.mean = init.zeros(4)
        self._scratch = init.zeros(5)
        self.held = {"count": init.zeros(6), "_hidden": init.zeros(7)}
        self.name = "text"
        self.array = np.zeros(8)
        self.last = Part()
        self.again = self.last


PARAMETERS = ["first", "parts.a.weight", "parts.b.0.weight", "parts.b.1.0.weight", "parts.b.1.1"]


def test_parameters_are_found_in_attribute_order_through_containers():
    model = Nested()
    named = model.named_parameters()
    assert [name for name, _ in named] == [*PARAMETERS, "last.weight"]
    assert [p for _, p in named] == model.parameters()
    assert named[3][1] is model.parts["b"][1][0].weight


def test_parameters_is_a_list_and_counts_a_shared_one_once():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model.modules[1].weight = model.modules[0].weight
    assert isinstance(model.parameters(), list)
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias", "1.bias"]
    assert list(model.state_dict()) == ["0.weight", "0.bias", "1.bias"]


def test_parts_that_hold_each_other_are_found_once():
    a, b = Part(), Part()
    a.other, b.other = b, a
    loop = [b]
    loop.append(loop)
    a.loop = loop
    assert [name for name, _ in a.named_parameters()] == ["weight", "other.weight"]
    assert a.train(False) is a
    assert not b.training


def test_buffers_are_saved_but_not_trained():
    model = Nested()
    assert [name for name, _ in model.named_buffers()] == ["mean", "held.count"]
    assert not {id(t) for _, t in model.named_buffers()} & {id(p) for p in model.parameters()}
    names = [*PARAMETERS, "mean", "held.count", "last.weight"]
    assert list(model.state_dict()) == names


def test_a_buffer_bound_anew_stays_one():
    layer = nn.BatchNorm1d(2)
    layer.running_mean = (layer.running_mean * 0.5 + 1).data
    assert list(layer.state_dict()) == ["weight", "bias", "running_mean", "running_var"]
    assert layer.state_dict()["running_mean"].tolist() == [1, 1]
    assert len(layer.parameters()) == 2


def test_buffers_of_a_private_layer_are_saved():
    model = Part()
    model._norm = nn.BatchNorm1d(1)
    assert "_norm.running_mean" in model.state_dict()


def test_modules_by_path():
    model = nn.Sequential(nn.Linear(2, 2), nn.Residual(nn.Sequential(nn.ReLU())))
    paths = [name for name, _ in model.named_modules()]
    assert paths == ["", "0", "1", "1.fn", "1.fn.0"]
    assert model._children() == [module for _, module in model.named_modules()[1:]]
    assert model.children() == list(model.modules)
    assert [name for name, _ in Nested().named_children()] == [
        "parts.a", "parts.b.0", "parts.b.1.0", "last",
    ]  # fmt: skip


def test_train_and_eval_reach_every_module():
    model = Nested()
    model.extra = [nn.Dropout(), {"deep": nn.Sequential(nn.Dropout())}]
    model.eval()
    assert not any(m.training for _, m in model.named_modules())
    assert len(model.named_modules()) == 8
    model.train()
    assert all(m.training for _, m in model.named_modules())


def test_zero_grad_clears_all_gradients():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    model(init.ones(3, 2)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_a_module_without_a_call_of_super_works():
    class Bare(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter(init.ones(1))

    assert Bare().training
    assert len(Bare().eval().parameters()) == 1


def test_forward_that_is_missing_is_named():
    class Empty(nn.Module):
        pass

    with pytest.raises(NotImplementedError, match="Empty has no forward"):
        Empty()(1)


def test_arrays_become_constant_tensors():
    seen = {}

    class Probe(nn.Module):
        def forward(self, x, n, *, mask):
            seen.update(x=x, n=n, mask=mask)

    array = np.zeros(2)
    Probe()(array, 3, mask=np.array([True]))
    assert seen["x"].cached_data is array
    assert not seen["x"].requires_grad
    assert seen["n"] == 3
    assert seen["mask"].dtype == np.bool_


# ---- Parameter


def test_a_parameter_shares_data_and_requires_a_gradient():
    constant = init.ones(2)
    parameter = nn.Parameter(constant)
    assert not constant.requires_grad
    assert parameter.requires_grad
    assert parameter.cached_data is constant.cached_data
    assert isinstance(parameter, ndl.Tensor)
    with ndl.no_grad():
        assert nn.Parameter(constant).requires_grad


def test_parameters_are_floating_and_trained():
    with pytest.raises(DtypeError, match="floating dtype, got int64"):
        nn.Parameter(np.array([1], np.int64))
    with pytest.raises(ArgumentError, match=r"p\.requires_grad = False to freeze"):
        nn.Parameter([1.0], requires_grad=False)


# ---- saving and loading


def test_state_dict_holds_copies():
    model = nn.Sequential(nn.Linear(2, 1), nn.BatchNorm1d(1))
    state = model.state_dict()
    before = {name: array.copy() for name, array in state.items()}
    model.modules[1].weight.cached_data[:] = 7  # a write into the storage itself
    opt = ndl.optim.SGD(model.parameters(), lr=1.0)
    model(np.array([[1.0, 2.0], [3.0, 5.0]], "float32")).sum().backward()
    opt.step()
    assert all(type(a) is np.ndarray for a in state.values())
    for name, array in before.items():
        np.testing.assert_array_equal(state[name], array)
    assert not np.array_equal(model.state_dict()["1.running_mean"], before["1.running_mean"])


def test_loading_restores_every_value():
    np.random.seed(0)
    source, target = ndl.models.MLPResNet(6, 4), ndl.models.MLPResNet(6, 4)
    source(init.rand(5, 6))
    assert target.load_state_dict(source.state_dict()) == ([], [])
    x = init.rand(3, 6)
    np.testing.assert_array_equal(source.eval()(x).numpy(), target.eval()(x).numpy())


def test_loading_takes_tensors_and_copies_and_keeps_dtypes():
    layer = nn.Linear(2, 1)
    weight = np.array([[1.0], [2.0]])
    layer.load_state_dict({"weight": weight, "bias": ndl.Tensor([[3]])})
    weight[:] = 9
    assert layer.weight.numpy().tolist() == [[1], [2]]
    assert layer.weight.dtype == layer.bias.dtype == np.float32


@pytest.mark.parametrize("strict", [True, False])
def test_all_misfits_are_listed_and_nothing_is_changed(strict):
    model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm1d(3))
    before = model.state_dict()
    state = {name: array + 1 for name, array in before.items()}
    state["0.weight"] = state["0.weight"].T
    state["1.bias"] = np.array(["a", "b", "c"])
    state["new"] = state.pop("0.bias")
    with pytest.raises(StateDictError) as caught:
        model.load_state_dict(state, strict=strict)
    text = str(caught.value)
    assert "0.weight of shape (3, 2), expected (2, 3)" in text
    assert "1.bias of dtype <U1, expected float32" in text
    assert ("missing: 0.bias" in text) is strict
    assert ("unexpected: new" in text) is strict
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_loading_loosely_returns_what_did_not_fit():
    layer = nn.Linear(2, 1)
    missing, unexpected = layer.load_state_dict(
        {"weight": np.ones((2, 1)), "extra": np.ones(1)}, strict=False
    )
    assert (missing, unexpected) == (["bias"], ["extra"])
    assert layer.weight.numpy().tolist() == [[1], [1]]


def test_snapshots_of_values_survive_loading():
    layer = nn.Linear(2, 1)
    snapshot = layer.weight.data
    before = snapshot.numpy().copy()
    layer.load_state_dict({"weight": np.ones((2, 1)), "bias": np.ones((1, 1))})
    np.testing.assert_array_equal(snapshot.numpy(), before)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_equal_and_independent(duplicate):
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    twin = duplicate(model)
    assert [type(p) for p in twin.parameters()] == [nn.Parameter] * 4
    for name, array in twin.state_dict().items():
        np.testing.assert_array_equal(array, model.state_dict()[name])
    before = twin.state_dict()["1.running_mean"]
    model(init.ones(4, 2))
    model[0].weight.cached_data[:] = 7
    np.testing.assert_array_equal(twin.state_dict()["1.running_mean"], before)
    assert not (twin[0].weight.numpy() == 7).any()


# ---- printing


def test_repr_is_a_tree_with_parameter_counts():
    model = nn.Sequential(
        nn.Linear(784, 64), nn.Residual(nn.Dropout(0.2)), nn.Linear(64, 10, False)
    )
    assert repr(model).splitlines() == [
        "Sequential: 50,880 parameters",
        "  0 Linear 784 -> 64: 50,240 parameters",
        "  1 Residual",
        "    fn Dropout p=0.2",
        "  2 Linear 64 -> 10, bias=False: 640 parameters",
    ]
    assert repr(nn.ReLU()) == "ReLU"
