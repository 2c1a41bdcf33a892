"""The table of a model's layers."""

import numpy as np
import pytest

import needle as ndl
from needle import nn
from needle.errors import ShapeError
from needle.models import MLPResNet
from tests.training.problems import arrays, network


def test_lists_each_layer_with_shape_parameters_and_bytes():
    found = ndl.summary(network(), np.ones((7, 5)))
    rows = [(r.path, r.kind, r.output, r.parameters, r.bytes) for r in found.layers]
    assert rows == [
        ("model", "Sequential", (7, 3), 0, 0),
        ("0", "Linear", (7, 8), 48, 192),
        ("1", "Residual", (7, 8), 0, 0),
        ("1.fn", "Sequential", (7, 8), 0, 0),
        ("1.fn.0", "Linear", (7, 8), 72, 288),
        ("1.fn.1", "BatchNorm1d", (7, 8), 16, 128),  # running estimates are bytes, no parameters
        ("1.fn.2", "ReLU", (7, 8), 0, 0),
        ("1.fn.3", "Dropout", (7, 8), 0, 0),
        ("2", "Linear", (7, 3), 27, 108),
    ]


def test_totals_are_those_of_the_model():
    model = MLPResNet(12, hidden_dim=8)
    found = ndl.summary(model, np.ones((2, 12), "float32"))
    assert found.parameters == sum(p.size for p in model.parameters())
    assert found.bytes == sum(array.nbytes for array in model.state_dict().values())
    assert str(found).splitlines()[-1].split()[0] == "total"
    assert f"{found.parameters:,}" in str(found)
    assert repr(found) == str(found)


def test_a_module_of_the_users_own_counts_its_parameters():
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.unused = nn.Linear(2, 2), nn.Linear(2, 2)
            self.scale = nn.Parameter(ndl.ones(2))

        def forward(self, x):
            return self.first(self.first(x)) * self.scale

    top, first, unused = ndl.summary(Scale(), np.ones((3, 2))).layers
    assert (top.parameters, first.parameters, unused.parameters) == (2, 6, 6)
    assert unused.output is None
    assert first.output == (3, 2)


def test_nothing_changes_and_nothing_is_left_behind():
    model = network()
    before, attributes = arrays(model), [set(vars(m)) for _, m in model.named_modules()]
    model.modules[2].training = False
    ndl.summary(model, np.ones((4, 5)))
    with pytest.raises(ShapeError):
        ndl.summary(model, np.ones((4, 6)))
    assert arrays(model) == before
    assert [set(vars(m)) for _, m in model.named_modules()] == attributes
    assert [m.training for m in model.modules] == [True, True, False]
