"""The course's functions for images and text, on tiny data, against plain loops and formulas."""

import gzip
import struct

import numpy as np
import pytest

import needle as ndl
from needle import nn, optim
from needle.models import LanguageModel
from tests.examples.test_examples import load


@pytest.fixture(scope="module")
def ml():
    return load("simple_ml")


# ---- the older ones


def test_parse_mnist(ml, tmp_path):
    pixels = np.arange(2 * 784).reshape(2, 28, 28).astype(np.uint8)
    images, labels = tmp_path / "images.gz", tmp_path / "labels.gz"
    images.write_bytes(gzip.compress(struct.pack(">4i", 2051, 2, 28, 28) + pixels.tobytes()))
    labels.write_bytes(gzip.compress(struct.pack(">2i", 2049, 2) + bytes([7, 9])))
    X, y = ml.parse_mnist(str(images), str(labels))
    np.testing.assert_array_equal(X, np.float32(pixels.reshape(2, 784) / 255.0), strict=True)
    assert y.tolist() == [7, 9] and y.dtype == np.uint8


def reference_loss(Z, y):
    return np.mean(np.log(np.exp(Z).sum(axis=1)) - Z[np.arange(len(y)), y])


def test_softmax_loss_and_loss_err(ml):
    Z, y = np.random.randn(7, 3), np.array([0, 2, 1, 1, 0, 2, 2])
    x = ndl.Tensor(Z)
    loss = ml.softmax_loss(x, ndl.Tensor(np.eye(3)[y]))
    np.testing.assert_allclose(loss.numpy(), reference_loss(Z, y))
    loss.backward()
    p = np.exp(Z) / np.exp(Z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(x.grad.numpy(), (p - np.eye(3)[y]) / 7)
    loss, error = ml.loss_err(ndl.Tensor(Z), y)
    np.testing.assert_allclose([loss, error], [reference_loss(Z, y), np.mean(Z.argmax(1) != y)])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nn_epoch_is_sgd_by_hand(ml, dtype):
    X, y = np.random.rand(9, 5).astype(dtype), np.random.randint(3, size=9).astype(np.uint8)
    W1, W2 = (np.random.randn(*s).astype(dtype) for s in ((5, 4), (4, 3)))
    got = ml.nn_epoch(X, y, ndl.Tensor(W1), ndl.Tensor(W2), lr=0.5, batch=4)
    W1, W2 = W1.astype("float64"), W2.astype("float64")
    for start in (0, 4, 8):
        x, labels = X[start : start + 4], y[start : start + 4]
        h = np.maximum(x @ W1, 0)
        G2 = np.exp(h @ W2) / np.exp(h @ W2).sum(axis=1, keepdims=True) - np.eye(3)[labels]
        G1 = (G2 @ W2.T) * (h > 0)
        W1, W2 = W1 - 0.5 * x.T @ G1 / len(x), W2 - 0.5 * h.T @ G2 / len(x)
    for W, expected in zip(got, (W1, W2), strict=True):
        assert W.dtype == dtype
        bound = 1e-6 if dtype == "float32" else 1e-14  # weights are around 1
        np.testing.assert_allclose(W.numpy(), expected, rtol=bound, atol=bound)


# ---- images


class Fixed(nn.Module):
    """Logits that are the input times a weight; notes whether it ran in training mode."""

    def __init__(self):
        super().__init__()
        self.scale, self.modes = nn.Parameter(ndl.ones(1)), []

    def forward(self, x):
        self.modes.append(self.training)
        return x * self.scale


def loader():
    logits = np.array([[9, 0], [0, 9], [9, 0], [9, 0], [0, 0]], "float32")
    return ndl.data.DataLoader(ndl.data.NDArrayDataset(logits, np.array([0, 1, 1, 0, 0])), 2)


@pytest.mark.parametrize("loss_fn", [None, nn.SoftmaxLoss, nn.SoftmaxLoss()])
def test_a_cifar10_epoch_averages_over_samples_and_switches_the_mode(ml, loss_fn):
    model = Fixed()
    accuracy, loss = ml.epoch_general_cifar10(loader(), model, loss_fn)
    small = np.log1p(np.exp(-9))
    assert accuracy == 4 / 5
    np.testing.assert_allclose(loss, (3 * small + 9 + small + np.log(2)) / 5, rtol=1e-6)
    assert model.modes == [False] * 3 and model.scale.grad is None
    assert ml.evaluate_cifar10(model, loader()) == (accuracy, loss)
    opt = optim.SGD(model.parameters(), lr=0.1)
    ml.epoch_general_cifar10(loader(), model, opt=opt)
    assert model.modes == [False] * 6 + [True] * 3 and model.scale.item() != 1


def images():
    state = np.random.RandomState(0)
    X, y = state.rand(24, 3, 4, 4).astype("float32"), state.randint(2, size=24)
    X[y == 1, 0] += 1
    return ndl.data.NDArrayDataset(X, y)


def network():
    np.random.seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.ReLU(), nn.Linear(8, 2))


def test_train_cifar10_is_the_plain_loop(ml):
    model, same = network(), network()
    batches = ndl.data.DataLoader(images(), 10, shuffle=True)
    result = ml.train_cifar10(model, batches, n_epochs=3, lr=0.01, weight_decay=0.1)
    opt = optim.Adam(same.parameters(), lr=0.01, weight_decay=0.1)
    for _ in range(3):
        np.random.seed(4)
        losses, right = [], 0
        for x, y in batches:
            logits = same(x)
            loss = nn.SoftmaxLoss()(logits, y)
            opt.reset_grad()
            loss.backward()
            opt.step()
            losses.append(loss.item() * len(y))
            right += (logits.numpy().argmax(axis=1) == y.numpy()).sum()
    np.testing.assert_equal(model.state_dict(), same.state_dict())
    assert result == (right / 24, sum(losses) / 24)
    accuracy, _ = ml.evaluate_cifar10(model, batches)
    assert accuracy > 0.9


# ---- text


def text(rows=23, columns=3):
    ids = np.tile(np.arange(5), 99)[: rows * columns]
    return ndl.data.batchify(ids, columns, ndl.cpu(), "float32")


def language_model(kind):
    np.random.seed(1)
    return LanguageModel(4, 5, hidden_size=6, num_layers=2, seq_model=kind)


def by_hand(model, data, seq_len, opt=None, clip=None):
    """An epoch with the state carried by hand; return (accuracy, loss) over words."""
    np.random.seed(4)
    h, right, total, count = None, 0, 0.0, 0
    for i in range(0, len(data) - 1, seq_len):
        stop = min(i + seq_len, len(data) - 1)
        x, y = data[i:stop], data[i + 1 : stop + 1].reshape(-1)
        logits, h = model(ndl.Tensor(x), h)
        loss = nn.SoftmaxLoss()(logits, ndl.Tensor(y))
        if opt is not None:
            opt.reset_grad()
            loss.backward()
            if clip is not None:
                opt.clip_grad_norm(clip)
            opt.step()
        h = tuple(p.data for p in h) if isinstance(h, tuple) else h.data
        right += (logits.numpy().argmax(axis=1) == y).sum()
        total, count = total + loss.item() * len(y), count + len(y)
    assert count == (len(data) - 1) * data.shape[1]  # every word but the first row, each once
    return right / count, total / count


@pytest.mark.parametrize("kind", ["rnn", "lstm"])
@pytest.mark.parametrize("clip", [None, 0.01])
def test_train_ptb_carries_the_state_and_detaches_it(ml, kind, clip):
    model, same, data = language_model(kind), language_model(kind), text()
    result = ml.train_ptb(model, data, seq_len=5, n_epochs=2, lr=1.0, weight_decay=0.01, clip=clip)
    opt = optim.SGD(same.parameters(), lr=1.0, weight_decay=0.01)
    for _ in range(2):
        expected = by_hand(same, data, 5, opt, clip)
    assert result == expected
    np.testing.assert_equal(model.state_dict(), same.state_dict())
    assert ml.evaluate_ptb(model, data, seq_len=5) == by_hand(same.eval(), data, 5)
    assert not model.training


def test_clipping_changes_the_training(ml):
    data, results = text(), []
    for clip in (None, 0.01):
        results.append(ml.train_ptb(language_model("rnn"), data, 5, 3, lr=1.0, clip=clip))
    assert results[0][1] < results[1][1] - 0.01


@pytest.mark.parametrize(
    "call",
    [
        lambda ml: ml.epoch_general_cifar10(loader(), Fixed()),
        lambda ml: ml.train_cifar10(Fixed(), loader()),
        lambda ml: ml.evaluate_cifar10(Fixed(), loader()),
        lambda ml: ml.epoch_general_ptb(text(), language_model("rnn").eval()),
        lambda ml: ml.train_ptb(language_model("rnn"), text()),
        lambda ml: ml.evaluate_ptb(language_model("rnn"), text()),
    ],
)
def test_each_seeds_numpy_with_4(ml, call):
    call(ml)
    drawn = np.random.rand()
    np.random.seed(4)
    assert drawn == np.random.rand()


def test_the_models_are_needles_and_the_functions_train_them(ml):
    models = load("models")
    assert (models.ResNet9, models.LanguageModel) == (ndl.models.ResNet9, LanguageModel)
    np.random.seed(0)
    X = np.random.rand(4, 3, 32, 32).astype("float32")
    batches = ndl.data.DataLoader(ndl.data.NDArrayDataset(X, np.array([1, 0, 9, 3])), 4)
    model = models.ResNet9()
    _, first = ml.train_cifar10(model, batches, n_epochs=1)
    _, later = ml.train_cifar10(model, batches, n_epochs=3)
    assert later < 0.8 * first
