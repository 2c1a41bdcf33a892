"""MLPResNet: its parts in order, its draws, its learning."""

import numpy as np
import pytest

import needle as ndl
from needle import init, nn
from needle.models import MLPResNet, ResidualBlock
from needle.testing import assert_close


def test_residual_block_is_its_formula():
    block = ResidualBlock(4, 3, drop_prob=0.0)
    first, norm1, _, drop, second, norm2 = block[0].fn
    assert drop.p == 0.0
    x = init.randn(5, 4)
    y = block(x)
    h = np.maximum(norm1(first(x)).numpy(), 0)
    expected = np.maximum(x.numpy() + norm2(second(h)).numpy(), 0)
    assert_close(y, expected)


@pytest.mark.parametrize("norm", [nn.BatchNorm1d, nn.LayerNorm1d])
def test_layers_in_order(norm):
    model = MLPResNet(6, hidden_dim=8, num_blocks=2, num_classes=3, norm=norm, drop_prob=0.3)
    leaves = [repr(m) for m in model._children() if not m.children()]
    name = norm.__name__
    block = [
        "Linear 8 -> 4: 36 parameters", f"{name} 4: 8 parameters", "ReLU", "Dropout p=0.3",
        "Linear 4 -> 8: 40 parameters", f"{name} 8: 16 parameters", "ReLU",
    ]  # fmt: skip
    ends = ["Linear 6 -> 8: 56 parameters", "ReLU"], ["Linear 8 -> 3: 27 parameters"]
    assert leaves == [*ends[0], *block, *block, *ends[1]]


def test_weights_are_drawn_layer_by_layer():
    np.random.seed(1)
    model, following = MLPResNet(6, hidden_dim=4, num_blocks=1), np.random.rand()
    np.random.seed(1)
    for layer in (m for m in model._children() if isinstance(m, nn.Linear)):
        expected = nn.Linear(layer.in_features, layer.out_features)
        np.testing.assert_array_equal(layer.weight.numpy(), expected.weight.numpy())
        np.testing.assert_array_equal(layer.bias.numpy(), expected.bias.numpy())
    assert following == np.random.rand()


def test_defaults():
    model = MLPResNet(784)
    assert len(model) == 6
    assert model(init.rand(2, 784)).shape == (2, 10)
    assert sum(p.size for p in model.parameters()) == 110_860
    assert {m.p for m in model._children() if isinstance(m, nn.Dropout)} == {0.1}


def test_it_learns():
    np.random.seed(0)
    train, test = ndl.data.digits()
    model = nn.Sequential(nn.Flatten(), MLPResNet(64, hidden_dim=32, num_blocks=2))
    opt, loss_fn = ndl.optim.Adam(model.parameters(), lr=0.01), nn.SoftmaxLoss()
    for _ in range(4):
        for x, y in ndl.data.DataLoader(train, batch_size=64, shuffle=True):
            opt.reset_grad()
            loss_fn(model(x), y).backward()
            opt.step()
    guess = model.eval()(test.X).numpy().argmax(1)
    assert (guess == test.y).mean() > 0.93
