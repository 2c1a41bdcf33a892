"""LanguageModel and gpt: shapes, draws, states, causality, learning."""

import numpy as np
import pytest

import needle as ndl
from needle import models, nn, ops, optim
from needle.errors import ArgumentError, ShapeError
from needle.testing import assert_close

IDS = np.random.RandomState(0).randint(0, 7, size=(5, 2))


def make_gpt(**options):
    return models.gpt(7, context=8, layers=2, width=8, heads=2, **options)


@pytest.mark.parametrize("kind", ["rnn", "lstm", "transformer"])
def test_a_language_model_is_embedding_sequence_model_linear(kind):
    np.random.seed(3)
    model = models.LanguageModel(6, 7, 4, num_layers=2, seq_model=kind, seq_len=9)
    np.random.seed(3)
    embedding = nn.Embedding(7, 6)
    sequence = {
        "rnn": lambda: nn.RNN(6, 4, 2), "lstm": lambda: nn.LSTM(6, 4, 2),
        "transformer": lambda: nn.Transformer(6, 4, 2, sequence_len=9),
    }[kind]()  # fmt: skip
    linear = nn.Linear(6 if kind == "transformer" else 4, 7)
    logits, _ = model(IDS)
    y, _ = sequence(embedding(IDS))
    assert logits.shape == (10, 7)
    np.testing.assert_array_equal(logits.numpy(), linear(y.reshape((10, -1))).numpy())
    names = [name for name, _ in model.named_parameters()]
    assert names[0] == "embedding.weight" and names[-1] == "linear.bias"


@pytest.mark.parametrize("kind", ["rnn", "lstm"])
def test_the_state_carries_a_language_model_on(kind):
    model = models.LanguageModel(6, 7, 4, seq_model=kind)
    whole, _ = model(IDS)
    first, h = model(IDS[:2])
    second, _ = model(IDS[2:], h)
    assert_close(ops.concat([first, second]), whole)


def test_gpt_sees_the_past_only():
    model, ids = make_gpt(), IDS.T.copy()
    logits = model(ids)
    ids[:, 3:] = (ids[:, 3:] + 1) % 7
    changed = model(ids)
    assert logits.shape == (2, 5, 7)
    assert_close(changed[:, :3], logits[:, :3])
    assert np.abs((changed - logits).numpy()[:, 3:]).max() > 1e-4


def test_gpt_starts_near_equal_probabilities():
    loss = nn.SoftmaxLoss()(make_gpt()(IDS.T).reshape((-1, 7)), IDS.T.reshape(-1))
    assert abs(float(loss) - np.log(7)) < 0.05


def test_sizes_of_a_gpt():
    count = lambda model: sum(p.size for p in model.parameters())
    block = 2 * 2 * 8 + 8 * 24 + 24 + 8 * 8 + 8 + 2 * 8 * 32 + 32 + 8
    assert count(make_gpt(tied=True)) == 7 * 8 + 8 * 8 + 2 * block + 16
    assert count(make_gpt()) == count(make_gpt(tied=True)) + 7 * 8


def test_dropout_of_a_gpt_ends_with_training():
    model = make_gpt(dropout=0.5)
    assert np.abs((model(IDS.T) - model(IDS.T)).numpy()).max() > 1e-4
    model.eval()
    np.testing.assert_array_equal(model(IDS.T).numpy(), model(IDS.T).numpy())


@pytest.mark.parametrize("tied", [True, False])
def test_a_gpt_learns_to_count(tied):
    np.random.seed(0)
    model = make_gpt(tied=tied)
    opt, starts = optim.Adam(model.parameters(), lr=0.02), np.arange(7)[:, None]
    ids = (starts + np.arange(9)) % 7
    for _ in range(60):
        opt.reset_grad()
        loss = nn.SoftmaxLoss()(model(ids[:, :-1]).reshape((-1, 7)), ids[:, 1:].reshape(-1))
        loss.backward()
        opt.step()
    assert float(loss) < 0.1


def test_bad_input():
    with pytest.raises(ArgumentError, match=r'"lstm" or "transformer", got .gru'):
        models.LanguageModel(6, 7, 4, seq_model="gru")
    with pytest.raises(ShapeError, match=r"expected ids \(seq, batch\), got \(5,\)"):
        models.LanguageModel(6, 7, 4)(IDS[:, 0])
    with pytest.raises(ShapeError, match=r"time <= 8\), got \(5, 9\)"):
        make_gpt()(np.zeros((5, 9), int))
    with pytest.raises(ArgumentError, match="width that 3 heads divide, got 8"):
        models.gpt(7, width=8, heads=3)
    with pytest.raises(ArgumentError, match="layers >= 1, got 0"):
        models.gpt(7, layers=0)
    with pytest.raises(ndl.errors.IndexRangeError, match=r"tokens .*0 to 6, got 7"):
        make_gpt()(np.array([[7]]))
