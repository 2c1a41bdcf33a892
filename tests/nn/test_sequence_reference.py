"""Sequence layers and models against PyTorch's values in float64: results and all gradients."""

import numpy as np
import pytest

import needle as ndl
from needle import nn, ops
from needle.testing import assert_close
from tests.reference.packed import unpack
from tests.reference.values import file

REFERENCE = unpack(file("sequence"))


def case(name):
    """Return the arrays of one case by their names in it."""
    start = f"{name}/"
    return {k.removeprefix(start): v for k, v in REFERENCE.items() if k.startswith(start)}


def load(module, values):
    """Return the module with the case's weights, in float64; each weight must be in the case."""
    for name, parameter in module.named_parameters():
        parameter.cached_data = values[name].copy()
    return module


def check(module, values, out, **inputs):
    assert_close(out, values["out"])
    out.backward(values["out_grad"].reshape(out.shape))
    for name, x in {**inputs, **dict(module.named_parameters())}.items():
        assert_close(x.grad, values[f"grad_{name}"], name=f"gradient of {name}")
    gradients = {name.removeprefix("grad_") for name in values if name.startswith("grad_")}
    assert gradients == {*inputs, *dict(module.named_parameters())}


def joined(*parts):
    return ops.concat([part.reshape(-1) for part in parts])


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_rnn(nonlinearity):
    values = case(f"rnn_{nonlinearity}")
    module = load(nn.RNN(5, 2, 2, nonlinearity=nonlinearity), values)
    x, h = ndl.Tensor(values["x"]), ndl.Tensor(values["h"])
    check(module, values, joined(*module(x, h)), x=x, h=h)


def test_lstm():
    values = case("lstm")
    module = load(nn.LSTM(5, 2, 2), values)
    x, h, c = (ndl.Tensor(values[name]) for name in ("x", "h", "c"))
    out, last = module(x, (h, c))
    check(module, values, joined(out, *last), x=x, h=h, c=c)


@pytest.mark.parametrize("dtype", ["int64", "uint8", "float32"])
def test_embedding_of_ids_of_any_dtype(dtype):
    values = case("embedding")
    module = load(nn.Embedding(5, 3), values)
    check(module, values, module(values["ids"].astype(dtype)))


def test_layer_norm_over_two_axes():
    values = case("layer_norm_2")
    module, x = load(nn.LayerNorm((2, 4)), values), ndl.Tensor(values["x"])
    check(module, values, module(x), x=x)


@pytest.mark.parametrize("name", ["full", "causal", "keys"])
def test_attention(name):
    values = case(f"attention_{name}")
    q, k, v = (ndl.Tensor(values[letter]) for letter in "qkv")
    module = nn.MultiHeadAttention(causal=name == "causal")
    out, probabilities = module(q, k, v)
    check(module, values, out, q=q, k=k, v=v)
    assert_close(probabilities.sum(-1), np.ones((2, 3, 4)))


@pytest.mark.parametrize("name", ["self", "cross"])
def test_attention_layer(name):
    values = case(f"attention_layer_{name}")
    module = load(nn.AttentionLayer(4, 2, 3, causal=name == "self"), values)
    inputs = {letter: ndl.Tensor(values[letter]) for letter in "qkv" if letter in values}
    check(module, values, module(*inputs.values()), **inputs)


def test_transformer():
    values = case("transformer")
    module = load(nn.Transformer(4, 7, 2, num_head=2, dim_head=3, sequence_len=6), values)
    x = ndl.Tensor(values["x"])
    out, state = module(x)
    check(module, values, out, x=x)
    assert state.shape == out.shape and not state.numpy().any()


def test_gpt():
    values = case("gpt")
    model = load(ndl.models.gpt(5, context=6, layers=1, width=4, heads=2, tied=True), values)
    logits = model(values["ids"].astype(int)).reshape(-1, 5)
    loss = nn.SoftmaxLoss()(logits, np.roll(values["ids"].astype(int), 1).reshape(-1))
    check(model, values, loss)
