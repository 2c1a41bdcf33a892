"""Sequential and Residual."""

import numpy as np
import pytest

import needle as ndl
from needle import init, nn, ops
from needle.errors import DtypeError, ShapeError


def test_sequential_runs_in_order_and_takes_functions():
    model = nn.Sequential(lambda x: x * 2, nn.ReLU(), lambda x: x + 1)
    assert model(ndl.Tensor([-3.0, 3.0])).tolist() == [1.0, 7.0]
    x = ndl.Tensor([1.0])
    assert nn.Sequential()(x) is x


def test_sequential_is_a_sequence_of_its_modules():
    first, second = nn.Linear(2, 3), nn.ReLU()
    model = nn.Sequential(first, second)
    assert model.modules == (first, second)
    assert (len(model), model[0], model[-1], list(model)) == (2, first, second, [first, second])
    assert model[:1].modules == (first,)
    assert bool(nn.Sequential())


def test_sequential_of_a_list_is_refused():
    with pytest.raises(DtypeError, match=r"got list; pass them one by one: Sequential\(\*layers\)"):
        nn.Sequential([nn.ReLU()])


def test_names_of_a_subclass_of_sequential():
    class Scaled(nn.Sequential):
        def __init__(self, *modules):
            super().__init__(*modules)
            self.scale = nn.Parameter(init.ones(1))

        def forward(self, x):
            return super().forward(x) * self.scale

    assert list(Scaled(nn.Linear(1, 1)).state_dict()) == ["0.weight", "0.bias", "scale"]


def test_nested_names():
    model = nn.Sequential(nn.ReLU(), nn.Residual(nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))))
    assert list(model.state_dict())[::2] == ["1.fn.0.weight", "1.fn.1.weight"]


def test_residual_adds_its_input():
    assert nn.Residual(ops.relu)(ndl.Tensor([-1.0, 2.0])).tolist() == [-1.0, 4.0]
    x = ndl.Tensor([[1.0, 2.0]], dtype="float32")
    layer = nn.Linear(2, 2)
    nn.Residual(layer)(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 1 + layer.weight.numpy().sum(1)[None], rtol=1e-6)


def test_residual_never_broadcasts():
    with pytest.raises(ShapeError, match=r"fn to keep the shape \(5, 3\), got \(5, 1\)"):
        nn.Residual(nn.Linear(3, 1))(init.ones(5, 3))
