"""Sequence layers and models compiled: as right as eager, with state carried from call to call."""

import numpy as np
import pytest

import needle as ndl
from needle import models, nn, optim

MODULES = {
    "RNN": lambda dtype: nn.RNN(6, 5, num_layers=2, dtype=dtype),
    "RNN with relu": lambda dtype: nn.RNN(6, 5, nonlinearity="relu", dtype=dtype),
    "LSTM": lambda dtype: nn.LSTM(6, 5, num_layers=2, dtype=dtype),
    "LSTM without bias": lambda dtype: nn.LSTM(6, 5, bias=False, dtype=dtype),
    "AttentionLayer": lambda dtype: nn.AttentionLayer(6, 2, 4, dtype=dtype),
    "TransformerLayer": lambda dtype: nn.TransformerLayer(6, 2, 4, 8, dropout=0.3, dtype=dtype),
    "Transformer": lambda dtype: nn.Transformer(6, 8, 2, num_head=2, dim_head=4, dtype=dtype),
    "LayerNorm": lambda dtype: nn.LayerNorm((3, 6), dtype=dtype),
}

IDS = np.random.RandomState(0).randint(0, 9, (5, 6, 3))
LABELS = np.random.RandomState(1).randint(0, 9, (5, 18))


def first(y):
    return y[0] if isinstance(y, tuple) else y


@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", MODULES)
def test_modules_are_as_right_as_eager(name, train):
    def run(dtype, compiled):
        np.random.seed(3)
        module = MODULES[name](dtype).train(train)
        x = ndl.Tensor(np.random.randn(4, 3, 6).astype("float32").astype(dtype))
        weight = np.random.randn(4, 3, 8).astype("float32").astype(dtype)

        def step(x):
            y = first(module(x))
            (y * y * weight[..., : y.shape[2]]).sum().backward()
            return [y, x.grad.detach(), *[p.grad.detach() for p in module.parameters()]]

        results = (ndl.jit(step, random="numpy") if compiled else step)(x)
        return [r.numpy() for r in results]

    compiled, eager, exact = run("float32", True), run("float32", False), run("float64", False)
    for c, e, f in zip(compiled, eager, exact, strict=True):
        bound = max(4 * np.abs(e - f).max(), 16 * np.finfo("float32").eps * np.abs(f).max())
        assert c.shape == f.shape and np.abs(c - f).max() <= bound


@pytest.mark.parametrize("kind", ["rnn", "lstm", "transformer", "gpt"])
def test_steps_of_language_models_follow_eager_without_retracing(kind):
    """Hidden states go in as arguments and come out detached, as the course's loops carry them."""

    def run(compiled):
        np.random.seed(3)
        if kind == "gpt":
            model = models.gpt(9, context=6, layers=1, width=8, heads=2, tied=True)
        else:
            model = models.LanguageModel(4, 9, 5, num_layers=2, seq_model=kind)
        for parameter in model.parameters():
            parameter.cached_data = parameter.cached_data.astype("float64")
        opt = optim.SGD(model.parameters(), lr=0.5, momentum=0.9)  # Adam: keys' biases are noise

        def step(x, y, h):
            opt.reset_grad()
            logits, h = (model(x.transpose()), None) if kind == "gpt" else model(x, h)
            loss = nn.SoftmaxLoss()(logits.reshape((-1, 9)), y)
            loss.backward()
            opt.step()
            parts = h if kind == "lstm" else [part for part in [h] if part is not None]
            return loss, tuple(part.detach() for part in parts)

        step, h, losses = ndl.jit(step) if compiled else step, None, []
        for x, y in zip(IDS, LABELS, strict=True):
            loss, h = step(ndl.Tensor(x), ndl.Tensor(y), h)
            h = h if kind == "lstm" else (h[0] if h else None)
            losses.append(float(loss))
        return losses, model.state_dict()

    (mine, weights), (expected, others) = run(True), run(False)
    np.testing.assert_allclose(mine, expected, rtol=1e-12)
    for name, weight in weights.items():
        np.testing.assert_allclose(weight, others[name], rtol=1e-9, atol=1e-12, err_msg=name)
