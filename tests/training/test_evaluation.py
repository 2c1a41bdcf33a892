"""predict and evaluate: evaluation mode, no graph, everything restored."""

import numpy as np
import pytest

import needle as ndl
from needle import nn
from needle.data import NDArrayDataset
from needle.errors import ArgumentError, DataError, ShapeError
from needle.training import evaluate, evaluation
from tests.training.problems import arrays, classification, network


def reference(model, X):
    """Return the outputs as a user would compute them."""
    model.eval()
    outputs = model(ndl.Tensor(X)).numpy()
    model.train()
    return outputs


@pytest.mark.parametrize("batch_size", [1, 7, 40, 1024])
def test_predictions_do_not_depend_on_the_batches(batch_size):
    X, model = classification()[0], network()
    outputs = ndl.predict(model, X, batch_size=batch_size)
    assert outputs.shape == (40, 3)
    np.testing.assert_allclose(outputs, reference(model, X), rtol=1e-5, atol=1e-6)


def test_predict_changes_nothing_and_draws_nothing():
    X, model = classification()[0], network()
    model.modules[1].training = False
    before = arrays(model)
    np.random.seed(3)
    ndl.predict(model, X)
    drawn_after = np.random.rand()
    np.random.seed(3)
    assert np.random.rand() == drawn_after
    assert arrays(model) == before
    assert [m.training for m in model.modules] == [True, False, True]
    assert model.training


def test_predict_keeps_no_graph_and_sees_evaluation_mode():
    seen = []

    class Probe(nn.Linear):
        def forward(self, x):
            y = super().forward(x)
            seen.append((self.training, y.requires_grad, x.dtype.name))
            return y

    ndl.predict(Probe(5, 2), np.ones((3, 5)))  # float64, as from pandas
    assert seen == [(False, False, "float32")]


def test_modes_are_restored_after_an_error():
    model = network()
    with pytest.raises(ShapeError, match=r"expected last axis 5, got \(4, 6\)"):
        ndl.predict(model, np.ones((4, 6)))
    assert all(module.training for _, module in model.named_modules())


def test_integer_inputs_stay_integers():
    class Lookup(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(ndl.Tensor([[1.0], [2.0]], dtype="float32"))

        def forward(self, x):
            assert x.dtype == np.int64
            return self.table[x.numpy()]

    assert ndl.predict(Lookup(), np.array([1, 0, 1])).tolist() == [[2.0], [1.0], [2.0]]


@pytest.mark.parametrize("X", [np.ones((0, 5)), np.float64(1.0)])
def test_predict_wants_rows(X):
    with pytest.raises(DataError, match="predict: expected one sample a row"):
        ndl.predict(network(), X)


def test_predict_takes_the_first_part_of_a_data_set_or_a_loader():
    (X, y), model = classification(), network()
    dataset = NDArrayDataset(X.astype("float64"), y)
    for data in (dataset, ndl.data.DataLoader(dataset, 7)):
        np.testing.assert_allclose(ndl.predict(model, data), reference(model, X), rtol=1e-5)


def test_predict_refuses_an_empty_batch():
    with pytest.raises(ArgumentError, match="integer batch_size >= 1, got 0"):
        ndl.predict(network(), np.ones((2, 5)), batch_size=0)


@pytest.mark.parametrize("batch_size", [1, 9, 1024])
def test_evaluate_gives_means_over_samples(batch_size):
    (X, y), model = classification(), network()
    logits = reference(model, X).astype("float64")
    chosen = logits[np.arange(40), y] - np.log(np.exp(logits).sum(axis=1))
    scores = evaluate(model, (X, y), nn.SoftmaxLoss(), batch_size)
    assert scores["loss"] == pytest.approx(-chosen.mean(), rel=1e-5)
    assert scores["accuracy"] == pytest.approx(np.mean(logits.argmax(1) == y))
    assert model.training


def test_a_compiled_evaluation_gives_the_same(monkeypatch):
    (X, y), model, made = classification(), network(), []

    class Watched(evaluation.CompiledStep):
        def __init__(self, step):
            super().__init__(step)
            made.append(self)

    monkeypatch.setattr(evaluation, "CompiledStep", Watched)
    eager = evaluate(model, (X, y), nn.SoftmaxLoss(), 9)
    outputs = ndl.predict(model, X, 9)
    assert not made
    np.testing.assert_allclose(ndl.predict(model, X, 9, compile=True), outputs, rtol=1e-5)
    assert made.pop().eager_steps == 0
    compiled = evaluate(model, (X, y), nn.SoftmaxLoss(), 9, compile=True)
    assert compiled == pytest.approx(eager, rel=1e-5)
    assert made[0].eager_steps == 0 and sorted(x[0][0] for x, _ in made[0].shapes) == [4, 9]


def test_evaluate_takes_a_data_set_in_its_order():
    X, y = classification()
    order = []

    class Watch(NDArrayDataset):
        def __getitem__(self, index):
            order.extend(np.atleast_1d(index).tolist())
            return super().__getitem__(index)

    evaluate(network(), Watch(X, y), nn.SoftmaxLoss(), batch_size=16)
    assert order == list(range(40))


def test_evaluate_of_a_regression_has_a_loss_only():
    X, _ = classification()
    scores = evaluate(nn.Linear(5, 1), (X, X[:, :1]), nn.MSELoss())
    assert list(scores) == ["loss"]
