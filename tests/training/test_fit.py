"""The training loop: the same numbers as one written by hand, and what it tells and restores."""

import inspect
import math

import numpy as np
import pytest

import needle as ndl
from needle import nn
from needle.data import DataLoader, NDArrayDataset
from needle.errors import ArgumentError, DataError, DtypeError, ShapeError
from needle.optim import lr_scheduler
from needle.training import Callback, EarlyStopping, accuracy, evaluate
from tests.training.problems import arrays, classification, network, trained


def by_hand(epochs):
    """Return what `trained` returns, by the loop that a user would write; history as losses."""
    model, loss_fn, losses = network(), nn.SoftmaxLoss(), []
    optimizer = ndl.optim.Adam(model.parameters(), lr=0.01)
    X, y = classification()
    np.random.seed(2)
    for _ in range(epochs):
        order, total = np.random.permutation(len(X)), 0.0
        for start in range(0, len(X), 16):
            part = order[start : start + 16]
            optimizer.reset_grad()
            loss = loss_fn(model(ndl.Tensor(X[part])), ndl.Tensor(y[part]))
            loss.backward()
            optimizer.step()
            total += loss.item() * len(part)
        losses.append(total / len(X))
    return model, optimizer, losses


def test_gives_the_numbers_of_a_loop_written_by_hand():
    model, optimizer, losses = by_hand(3)
    mine, my_optimizer, history = trained(3, compile=False)
    assert arrays(mine, my_optimizer) == arrays(model, optimizer)
    assert history["loss"] == pytest.approx(losses, rel=1e-12)


def test_arrays_a_data_set_and_a_loader_give_the_same():
    X, y = classification()
    expected = arrays(trained()[0])
    assert arrays(trained(data=[X, y])[0]) == expected
    assert arrays(trained(data=NDArrayDataset(X, y))[0]) == expected
    loader = DataLoader(NDArrayDataset(X, y), batch_size=16, shuffle=True)
    assert arrays(trained(data=loader, batch_size=3)[0]) == expected


def test_a_loader_that_does_not_shuffle_is_not_shuffled():
    loader = DataLoader(NDArrayDataset(*classification()), batch_size=40)
    model = nn.Linear(5, 3)  # no random numbers of its own
    trained(model=model, data=loader)
    drawn_after = np.random.rand()
    np.random.seed(2)  # as `trained` does before it fits
    assert np.random.rand() == drawn_after


def test_float64_data_is_converted_to_the_models_dtype():
    X, y = classification()
    model, _, history = trained(data=(X.astype("float64"), y), val=(X.astype("float64"), y))
    assert arrays(model) == arrays(trained()[0])  # no warning either: they are errors here
    assert {p.dtype.name for p in model.parameters()} == {"float32"}
    assert history["val_loss"][0] > 0


def test_a_float64_model_computes_in_float64():
    X, y = classification()
    kinds = set()

    class Probe(nn.Linear):
        def forward(self, x):
            kinds.add(x.dtype.name)
            return super().forward(x)

    trained(model=Probe(5, 3, dtype="float64"), data=(X, y))
    assert kinds == {"float64"}


def test_regression_targets_are_converted_and_have_no_accuracy():
    X, _ = classification()
    target = X[:, :1].astype("float64") * 3
    model = nn.Linear(5, 1)
    optimizer = ndl.optim.Adam(model.parameters(), lr=0.1)
    _, _, history = trained(
        30, model=model, optimizer=optimizer, data=(X, target), loss=nn.MSELoss(), val=(X, target)
    )
    assert history.columns == ["epoch", "loss", "val_loss", "seconds", "lr"]
    assert history["val_loss"][-1] < 0.1 * history["val_loss"][0]


def test_a_target_that_would_broadcast_is_an_error_with_the_cure():
    X, _ = classification()
    with pytest.raises(ShapeError, match=r"y\[:, None\]"):
        trained(model=nn.Linear(5, 1), data=(X, X[:, 0]), loss=nn.MSELoss())


def test_rows_hold_means_over_samples():
    X, y = classification()
    model = nn.Linear(5, 3)
    still = ndl.optim.SGD(model.parameters(), lr=0.0)
    _, _, history = trained(1, model=model, optimizer=still, data=(X, y), val=(X[:7], y[:7]))
    logits = X @ model.weight.numpy() + model.bias.numpy()
    row = history.rows[0]
    assert row["accuracy"] == pytest.approx(accuracy(logits, y))  # 16 + 16 + 8 samples
    assert row["val_accuracy"] == pytest.approx(accuracy(logits[:7], y[:7]))
    exact = evaluate(model, (X, y), nn.SoftmaxLoss(), batch_size=40)
    assert row["loss"] == pytest.approx(exact["loss"], rel=1e-6)
    assert row["lr"] == 0.0


def test_the_loss_falls_and_the_validation_data_is_learned():
    _, _, history = trained(40, data=classification(200), val=classification(50, seed=3))
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert history["val_accuracy"][-1] > 0.8


def test_validation_does_not_change_the_training():
    assert arrays(trained(val=classification(9))[0]) == arrays(trained()[0])


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        (lambda optimizer: lr_scheduler.StepLR(optimizer, 2), [0.01, 0.01, 0.001, 0.001]),
        (
            lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 4),
            [0.005 * (1 + math.cos(math.pi * i / 4)) for i in range(4)],
        ),
    ],
)
def test_schedules_step_after_each_epoch(schedule, rates):
    assert trained(4, schedule=schedule)[2]["lr"] == pytest.approx(rates)


def test_one_cycle_steps_after_each_batch():
    def schedule(optimizer):
        return lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=12)

    model = network()
    reference = schedule(ndl.optim.Adam(model.parameters()))
    rates = [reference.lr_at(i) for i in (3, 6, 9, 12)]
    assert trained(4, schedule=schedule)[2]["lr"] == pytest.approx(rates)


def test_early_stopping_ends_the_run_and_restores_its_best_epoch():
    kept = []

    class Keep(Callback):
        def after_epoch(self, run):
            kept.append(arrays(run.model))

    stopping = EarlyStopping(patience=2)
    model, _, history = trained(
        100, val=classification(30, seed=9), early_stopping=stopping, callbacks=[Keep()]
    )
    assert history.stopped_early
    assert len(history) == history.best_epoch + 2 < 100
    assert history.best_epoch == np.argmin(history["val_loss"]) + 1
    assert arrays(model) == kept[history.best_epoch - 1] != kept[-1]


def test_early_stopping_without_validation_judges_the_training_loss():
    stopping = EarlyStopping(patience=math.inf)
    _, _, history = trained(5, early_stopping=stopping)
    assert stopping.best_loss == min(history["loss"])


def test_early_stopping_starts_anew_in_a_second_fit():
    stopping = EarlyStopping(patience=1)
    stopping.update(1, -1.0, network())
    assert len(trained(2, early_stopping=stopping)[2]) == 2


class Log(Callback):
    def __init__(self):
        self.said = []

    def begin(self, run):
        self.said.append("begin")

    def after_step(self, run):
        self.said.append(f"step {run.epoch} {run.means.samples}")

    def after_epoch(self, run):
        self.said.append(f"epoch {run.history.rows[-1]['epoch']}")

    def end(self, run):
        self.said.append("end")


def test_callbacks_are_told_in_order():
    log = Log()
    trained(2, callbacks=[log])
    steps = [[f"step {n} {seen}" for seen in (16, 32, 40)] + [f"epoch {n}"] for n in (1, 2)]
    assert log.said == ["begin", *steps[0], *steps[1], "end"]


def test_a_callback_can_stop_the_run():
    class Stop(Callback):
        def after_epoch(self, run):
            run.stop = run.epoch > 2

    assert len(trained(9, callbacks=[Stop()])[2]) == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_the_end_is_told_and_modes_restored_after_an_error(error):
    class Fail(Callback):
        def after_step(self, run):
            raise error

    model, log = network(), Log()
    model.modules[1].training = False
    with pytest.raises(error):
        trained(model=model, callbacks=[log, Fail()])
    assert log.said[-1] == "end"
    assert [m.training for m in model.modules] == [True, False, True]


def test_a_model_in_evaluation_mode_is_trained_in_training_mode_and_given_back():
    model = network().eval()
    assert arrays(trained(model=model)[0]) == arrays(trained()[0])
    assert not any(module.training for _, module in model.named_modules())


def test_a_parameter_that_a_step_does_not_use_keeps_still_in_it():
    class Once(nn.Linear):
        def __init__(self):
            super().__init__(5, 3)
            self.extra, self.calls = nn.Parameter(ndl.zeros(3)), 0

        def forward(self, x):
            self.calls += 1
            y = super().forward(x)
            return y + self.extra if self.calls == 1 else y

    class Keep(Callback):
        def after_step(self, run):
            kept.append(run.model.extra.numpy().tolist())

    model, kept = Once(), []
    still = ndl.optim.SGD(model.parameters(), lr=0.1)
    trained(1, model=model, optimizer=still, callbacks=[Keep()])
    assert kept[0] == kept[1] == kept[2] != [0, 0, 0]


def test_no_epochs_change_nothing():
    model = network()
    before = arrays(model)
    assert len(trained(0, model=model)[2]) == 0
    assert arrays(model) == before


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        (np.ones((4, 5)), ArgumentError, "expected .X, y., a Dataset or a DataLoader, got ndarray"),
        ((np.ones((4, 5)),), ArgumentError, r"expected data as \(X, y\), got 1 parts"),
        ((np.ones((4, 5)), np.ones(3)), DataError, "same number of rows"),
        ((np.ones((0, 5)), np.ones(0)), DataError, "is empty"),
        (NDArrayDataset(np.ones((4, 5))), DataError, r"expected samples \(x, y\), got 1 parts"),
        (7, ArgumentError, "got int"),
    ],
)
def test_data_of_another_kind_is_named(data, error, text):
    with pytest.raises(error, match=text):
        trained(data=data)


@pytest.mark.parametrize("epochs", [-1, 1.5, "3"])
def test_epochs_that_are_no_count_are_refused(epochs):
    with pytest.raises(ArgumentError, match="fit: expected epochs an integer >= 0"):
        trained(epochs)


@pytest.mark.parametrize("compile", [True, False])
def test_a_loss_of_many_numbers_is_refused_before_the_step(compile):
    model = network()
    before = arrays(model)
    with pytest.raises(
        ShapeError,
        match=r"fit: expected a loss that is a Tensor of one number, got shape \(16, 3\)",
    ):
        trained(model=model, loss=lambda output, y: output**2, compile=compile)
    weights = [p.numpy().tobytes() for p in model.parameters()]
    assert weights == [before[name] for name, _ in model.named_parameters()]


@pytest.mark.parametrize("compile", [True, False])
def test_a_loss_that_is_no_tensor_is_named(compile):
    with pytest.raises(ShapeError, match="a Tensor of one number, got NoneType"):
        trained(loss=lambda output, y: None, compile=compile)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"model": nn.Linear(5, 3).forward, "optimizer": object()}, "model of the class Module"),
        ({"callbacks": [print]}, "callbacks of the class Callback, got <built-in function print>"),
        ({"early_stopping": 5}, "early_stopping of the class EarlyStopping, got 5"),
    ],
)
def test_what_fit_cannot_work_with_is_named(options, text):
    with pytest.raises(DtypeError, match=f"fit: expected {text}"):
        trained(**options)


def test_an_optimizer_of_another_model_is_warned_of():
    with pytest.warns(UserWarning, match=r"holds no parameter of the model.*model\.parameters"):
        trained(optimizer=ndl.optim.SGD(network().parameters(), lr=0.1))
    model = network()
    trained(model=model, optimizer=ndl.optim.SGD(model.parameters()[:1], lr=0.1))  # no warning


def test_samples_that_a_loader_drops_are_not_counted():
    loader, seen = DataLoader(NDArrayDataset(*classification()), 16, drop_last=True), []

    class Watch(Callback):
        def after_epoch(self, run):
            seen.append((run.samples, run.means.samples, run.means.row()["loss"]))

    history = trained(data=loader, epochs=1, callbacks=[Watch()])[2]
    assert seen == [(32, 32, history["loss"][0])]


def test_a_batch_size_of_zero_is_refused():
    with pytest.raises(ArgumentError, match="integer batch_size >= 1, got 0"):
        trained(batch_size=0)


def test_the_loop_stays_short():
    module = inspect.getmodule(ndl.fit)
    functions = [f for _, f in inspect.getmembers(module, inspect.isfunction)]
    own = [f for f in functions if f.__module__ == module.__name__]
    code = sum(len(inspect.getsource(f).splitlines()) for f in own)
    text = sum(len(inspect.getdoc(f).splitlines()) for f in own)
    assert 30 < code - text < 80
