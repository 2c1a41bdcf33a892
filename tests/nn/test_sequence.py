"""Recurrent layers, Embedding, attention: draws, states, shapes, dtypes, what can go wrong."""

import numpy as np
import pytest

import needle as ndl
from needle import init, nn
from needle.errors import ArgumentError, DtypeError, IndexRangeError, ShapeError
from needle.testing import assert_close, gradcheck


def random(*shape, dtype="float64"):
    return np.random.RandomState(0).randn(*shape).astype(dtype)


# ---- draws and names


@pytest.mark.parametrize(("make", "gates"), [(nn.RNNCell, 1), (nn.LSTMCell, 4)])
def test_a_cells_weights_are_drawn_in_order_from_one_range(make, gates):
    np.random.seed(3)
    cell, following = make(3, 4), np.random.rand()
    np.random.seed(3)
    shapes = [(3, 4 * gates), (4, 4 * gates), (4 * gates,), (4 * gates,)]
    expected = [init.rand(*shape, low=-0.5, high=0.5) for shape in shapes]
    assert [name for name, _ in cell.named_parameters()] == ["W_ih", "W_hh", "bias_ih", "bias_hh"]
    for p, e in zip(cell.parameters(), expected, strict=True):
        np.testing.assert_array_equal(p.numpy(), e.numpy())
    assert following == np.random.rand()
    plain = make(3, 4, bias=False)
    assert list(plain.state_dict()) == ["W_ih", "W_hh"] and plain.bias_hh is None


def test_embedding_is_drawn_from_the_normal_distribution():
    np.random.seed(3)
    layer = nn.Embedding(7, 2)
    np.random.seed(3)
    np.testing.assert_array_equal(layer.weight.numpy(), np.random.randn(7, 2).astype("float32"))


def test_an_attention_layer_draws_q_k_v_out():
    np.random.seed(3)
    layer, following = nn.AttentionLayer(4, 2, 3, k_features=5, out_features=6), np.random.rand()
    np.random.seed(3)
    for name, sizes in [("q", (4, 6)), ("k", (5, 6)), ("v", (4, 6)), ("out", (6, 6))]:
        weight = getattr(layer, f"{name}_projection").weight
        np.testing.assert_array_equal(weight.numpy(), init.kaiming_uniform(*sizes).numpy())
    assert following == np.random.rand()


def test_a_transformer_layer_draws_attention_and_then_two_linears():
    np.random.seed(3)
    layer, following = nn.TransformerLayer(4, 2, 3, 5), np.random.rand()
    np.random.seed(3)
    nn.AttentionLayer(4, 2, 3)
    first, second = nn.Linear(4, 5), nn.Linear(5, 4)
    np.testing.assert_array_equal(layer.mlp[1].weight.numpy(), first.weight.numpy())
    np.testing.assert_array_equal(layer.mlp[4].bias.numpy(), second.bias.numpy())
    assert following == np.random.rand()


def test_a_transformer_draws_its_positions_first():
    np.random.seed(3)
    module = nn.Transformer(4, 5, 1, num_head=2, dim_head=3, sequence_len=6)
    np.random.seed(3)
    positions = np.random.randn(6, 4).astype("float32")
    np.testing.assert_array_equal(module.embedding.weight.numpy(), positions)


def test_names_of_parameters():
    names = [name for name, _ in nn.LSTM(3, 4, num_layers=2).named_parameters()]
    assert names[0] == "lstm_cells.0.W_ih" and names[-1] == "lstm_cells.1.bias_hh"
    assert next(name for name, _ in nn.RNN(3, 4).named_parameters()) == "rnn_cells.0.W_ih"


def test_dropout_in_training_draws_one_mask_for_each_of_its_four_places():
    layer = nn.TransformerLayer(4, 2, 3, 5, dropout=0.5)
    x = random(2, 6, 4, dtype="float32")
    np.random.seed(5)
    first, following = layer(x), np.random.rand()
    np.random.seed(5)
    for shape in [(2, 2, 6, 6), (2, 6, 4), (2, 6, 5), (2, 6, 4)]:
        np.random.rand(*shape)
    assert following == np.random.rand()
    layer.eval()
    np.testing.assert_array_equal(layer(x).numpy(), layer(x).numpy())
    assert np.abs(layer(x).numpy() - first.numpy()).max() > 0.1


# ---- states


@pytest.mark.parametrize("make", [nn.RNN, nn.LSTM])
def test_no_state_is_a_state_of_zeros_and_every_parameter_gets_a_gradient(make):
    module, x = make(3, 4, num_layers=2, dtype="float64"), random(1, 2, 3)
    zeros = ndl.zeros(2, 2, 4, dtype="float64")
    out, _ = module(x)
    again, _ = module(x, zeros if make is nn.RNN else (zeros, zeros))
    assert_close(out, again)
    out.sum().backward()
    assert all(p.grad is not None for p in module.parameters())


@pytest.mark.parametrize("make", [nn.RNN, nn.LSTM])
def test_a_sequence_in_two_halves_is_the_sequence(make):
    module, x = make(3, 4, num_layers=2, dtype="float64"), random(6, 2, 3)
    whole, last = module(x)
    first, state = module(x[:2])
    second, state = module(x[2:], state)
    assert_close(np.concatenate([first.numpy(), second.numpy()]), whole)
    assert_close(state[0] if make is nn.LSTM else state, last[0] if make is nn.LSTM else last)


def test_a_layer_is_its_cell_step_by_step():
    module, x, h = nn.RNN(3, 4, nonlinearity="relu", dtype="float64"), random(3, 2, 3), None
    outputs, h_n = module(x)
    for t in range(3):
        h = module.rnn_cells[0](x[t], h)
        assert_close(outputs[t], h)
    assert_close(h_n[0], h)


def test_weights_are_read_at_the_call():
    module, x = nn.LSTM(3, 4, dtype="float64"), random(2, 1, 3)
    module(x)
    for parameter in module.parameters():
        parameter.data = ndl.zeros_like(parameter)
    out, (h, c) = module(x)
    assert not out.numpy().any() and not h.numpy().any() and not c.numpy().any()


# ---- gradients


@pytest.mark.parametrize("make", [nn.RNNCell, nn.LSTMCell])
def test_gradients_of_cells_to_second_order(make):
    cell = make(2, 3, dtype="float64")
    x, h, c = random(2, 2), random(2, 3), random(2, 3) + 1

    def forward(x, h, c, *weights):
        return cell(x, h) * c if make is nn.RNNCell else ndl.stack(cell(x, (h, c)))

    gradcheck(forward, x, h, c, *cell.parameters(), order=2)


def test_gradients_of_an_lstm_of_two_layers():
    module = nn.LSTM(2, 2, num_layers=2, dtype="float64")
    gradcheck(lambda x, *w: module(x)[0], random(3, 2, 2), *module.parameters())


@pytest.mark.parametrize("causal", [True, False])
def test_gradients_of_attention_to_second_order(causal):
    module = nn.MultiHeadAttention(causal=causal)
    q, k, v = random(1, 2, 2, 3), random(1, 2, 2, 3) + 1, random(1, 2, 2, 2)
    gradcheck(lambda q, k, v: module(q, k, v)[0], q, k, v, order=2)


def test_gradients_of_layer_norm_over_two_axes():
    layer = nn.LayerNorm((2, 3), dtype="float64")
    gradcheck(lambda x, w, b: layer(x), random(2, 2, 3), layer.weight, layer.bias, order=2)


# ---- shapes, dtypes


def test_causal_attention_does_not_see_what_comes_later():
    module = nn.Transformer(4, 5, 2, num_head=2, dim_head=3, dtype="float64", batch_first=True)
    x = random(2, 6, 4)
    y, _ = module(x)
    x[:, 4:] += 1
    changed, _ = module(x)
    assert_close(changed[:, :4], y[:, :4])
    assert np.abs((changed - y).numpy()[:, 4:]).min() > 0


@pytest.mark.parametrize("make", [lambda: nn.Transformer(6, 8, 1, num_head=2, dim_head=3),
                                  lambda: nn.LSTM(6, 6), lambda: nn.RNN(6, 6)])  # fmt: skip
def test_no_sequences_give_no_results(make):
    assert make()(ndl.zeros(3, 0, 6))[0].shape == (3, 0, 6)


def test_batch_first_is_the_transpose():
    np.random.seed(0)
    module = nn.Transformer(4, 5, 1, num_head=2, dim_head=3, dtype="float64")
    x = random(6, 2, 4)
    y, state = module(x)
    module.batch_first = True
    z, _ = module(x.transpose(1, 0, 2))
    assert_close(z, y.numpy().transpose(1, 0, 2))
    assert state.shape == x.shape


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 3), (2, 3, 4)])
def test_embedding_of_ids_of_any_shape(shape):
    layer = nn.Embedding(5, 2)
    ids = np.random.RandomState(0).randint(0, 5, size=shape)
    np.testing.assert_array_equal(layer(ids).numpy(), layer.weight.numpy()[ids])


@pytest.mark.parametrize("number", [1, 1.0, np.float64(1.0), np.int64(1), np.array(1.0)], ids=repr)
def test_embedding_of_a_number(number):
    layer = nn.Embedding(5, 2)
    for function in (layer, ndl.jit(layer.forward)):
        np.testing.assert_array_equal(function(number).numpy(), layer.weight.numpy()[1])


def test_an_lstm_of_float32_stays_float32_and_float64_is_told():
    layer = nn.LSTM(3, 4)
    out, (h, c) = layer(random(2, 1, 3, dtype="float32"))
    assert out.dtype == h.dtype == c.dtype == np.float32
    with pytest.warns(ndl.PrecisionWarning, match=r"lstm_cells\.0"):
        layer(random(2, 1, 3))


# ---- what can go wrong

X = np.zeros((5, 2, 3), "float32")
Q = np.zeros((2, 3, 4, 5), "float32")
BAD = {
    "nonlinearity": (
        lambda: nn.RNN(3, 4, nonlinearity="sigmoid"), ArgumentError, '"tanh" or "relu", got .sigm'
    ),
    "hidden": (lambda: nn.LSTM(3, 0), ArgumentError, "LSTMCell: expected hidden_size .*got 0"),
    "layers": (lambda: nn.RNN(3, 4, 0), ArgumentError, "RNN: expected num_layers >= 1"),
    "rank": (lambda: nn.RNN(3, 4)(X[0]), ShapeError, r"\(seq >= 1, batch, 3\), got \(2, 3\)"),
    "no steps": (lambda: nn.LSTM(3, 4)(X[:0]), ShapeError, r"seq >= 1.*got \(0, 2, 3\)"),
    "features": (lambda: nn.LSTM(2, 4)(X), ShapeError, r"batch, 2\), got \(5, 2, 3\)"),
    "state": (
        lambda: nn.RNN(3, 4, 2)(X, np.zeros((1, 2, 4))), ShapeError, r"\(2, batch, .*\(1, 2, 4\)"
    ),
    "batch of the state": (
        lambda: nn.RNN(3, 4)(X, np.zeros((1, 3, 4))), ShapeError, r"for x \(2, 4\), got \(3, 4\)"
    ),
    "list": (lambda: nn.RNN(3, 4)([[[1.0, 2.0, 3.0]]]), DtypeError, r"RNN.*Tensor\(\[\.\.\.\]\)"),
    "id": (
        lambda: nn.Sequential(nn.Embedding(5, 2))(np.array([5])),
        IndexRangeError,
        r"model\.0 \(Embedding 5 -> 2\): embedding: .*0 to 4, got 5",
    ),
    "heads": (
        lambda: nn.MultiHeadAttention()(Q, Q, Q[:, :, :3]),
        ShapeError,
        r"v \(2, 3, 4, E\), got \(2, 3, 3, 5\)",
    ),
    "widths": (
        lambda: nn.MultiHeadAttention()(Q, Q[..., :4], Q),
        ShapeError,
        r"k \(2, 3, S, 5\), got \(2, 3, 4, 4\)",
    ),
    "attention rank": (
        lambda: nn.AttentionLayer(3, 2, 2)(X[0]), ShapeError, r"\(batch, time, feat.*\(2, 3\)"
    ),
    "attention features": (
        lambda: nn.AttentionLayer(3, 2, 2, k_features=4)(X),
        ShapeError,
        r"prenorm_k .*last axis 4, got \(5, 2, 3\)",
    ),
    "too long": (
        lambda: nn.Transformer(3, 4, 1, sequence_len=4)(X), ShapeError, "at most 4 .*got 5; raise"
    ),
    "norm": (lambda: nn.LayerNorm((3, 2))(X), ShapeError, r"last axes \(3, 2\), got \(5, 2, 3\)"),
    "norm of nothing": (lambda: nn.LayerNorm(()), ArgumentError, "size >= 1, got 0"),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(BAD))
def test_bad_input(case):
    call, error, text = BAD[case]
    with pytest.raises(error, match=text):
        call()
