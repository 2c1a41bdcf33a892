"""The course's four functions, on a small data set in MNIST's format."""

import gzip
import importlib.util
import struct
from pathlib import Path

import numpy as np
import pytest

import needle as ndl
from needle import nn, optim

PATH = Path(__file__).parents[2] / "examples" / "mlp_resnet.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("example_mlp_resnet", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write 30 training and 20 test images: a bright row for each class."""
    path, state = tmp_path_factory.mktemp("mnist"), np.random.RandomState(0)
    for part, n in (("train", 30), ("t10k", 20)):
        labels = state.randint(10, size=n).astype(np.uint8)
        images = state.randint(60, size=(n, 28, 28)).astype(np.uint8)
        images[np.arange(n), 2 * labels] = 255
        for kind, magic, array in (("images-idx3", 2051, images), ("labels-idx1", 2049, labels)):
            header = struct.pack(f">{1 + array.ndim}i", magic, *array.shape)
            (path / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes()))
    return path


class Fixed(nn.Module):
    """Logits that are the input; notes whether it ran in training mode."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(ndl.ones(1))
        self.modes = []

    def forward(self, x):
        self.modes.append(self.training)
        return x * self.scale


def loader(batch_size=2):
    logits = np.array([[9, 0], [0, 9], [9, 0], [9, 0], [0, 0]], "float32")
    return ndl.data.DataLoader(
        ndl.data.NDArrayDataset(logits, np.array([0, 1, 1, 0, 0])), batch_size
    )


def test_epoch_averages_over_samples_and_switches_the_mode(example):
    model = Fixed()
    error, loss = example.epoch(loader(), model)
    small = np.log1p(np.exp(-9))
    assert error == 1 / 5
    np.testing.assert_allclose(loss, (3 * small + 9 + small + np.log(2)) / 5, rtol=1e-6)
    assert model.modes == [False] * 3
    assert model.scale.grad is None
    example.epoch(loader(), model, optim.SGD(model.parameters(), lr=0.1))
    assert model.modes == [False] * 3 + [True] * 3
    assert model.scale.item() != 1


def test_epoch_seeds_numpy_with_4_first(example):
    example.epoch(loader(), Fixed())
    first = np.random.rand()
    np.random.seed(4)
    assert first == np.random.rand()


def test_epoch_differs_from_a_plain_loop_in_nothing(example):
    np.random.seed(0)
    model, same = (example.MLPResNet(3, 4, num_classes=2) for _ in range(2))
    same.load_state_dict(model.state_dict())
    data = ndl.data.NDArrayDataset(
        np.random.rand(10, 3).astype("float32"), np.random.randint(2, size=10)
    )
    opt = optim.Adam(model.parameters())
    example.epoch(ndl.data.DataLoader(data, 4, shuffle=True), model, opt)
    opt = optim.Adam(same.parameters())
    np.random.seed(4)
    for x, y in ndl.data.DataLoader(data, 4, shuffle=True):
        nn.SoftmaxLoss()(same(x), y).backward()
        opt.step()
        opt.reset_grad()
    for name, array in same.state_dict().items():
        np.testing.assert_array_equal(array, model.state_dict()[name])


def test_train_mnist_learns_and_repeats_itself(example, folder, capsys):
    def run(**options):
        return example.train_mnist(
            batch_size=10, lr=0.01, weight_decay=0.0, hidden_dim=16, data_dir=folder, **options
        )

    results = [run(epochs=8) for _ in range(2)]
    assert results[0] == results[1]
    train_error, train_loss, test_error, _ = results[0]
    assert train_error < 0.3
    assert test_error < 0.5
    assert train_loss < 1.5
    assert run(epochs=1, optimizer=optim.SGD)[1] > 2 * train_loss
    assert capsys.readouterr().out.count("epoch 8: error") == 2
