"""A run that is cut and continued equals one that was not, bit for bit."""

import math

import numpy as np
import pytest

import needle as ndl
from needle import nn
from needle.errors import DataError, StateDictError
from needle.optim import lr_scheduler
from needle.training import Callback, Checkpoint, EarlyStopping
from needle.training.storage import read_tensors, write_tensors
from tests.training.problems import arrays, classification, network, trained

EPOCHS = 5


class Cut(Callback):
    """Raise before the step of a given number, counted from 0."""

    def __init__(self, step):
        self.left = step

    def after_step(self, run):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


def adamw(model):
    return ndl.optim.AdamW(model.parameters(), lr=0.01)


def sgd(model):
    return ndl.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)


def one_cycle(optimizer):
    return lr_scheduler.OneCycleLR(optimizer, max_lr=0.05, total_steps=3 * EPOCHS)


def step(optimizer):
    return lr_scheduler.StepLR(optimizer, 2)


def run(path, make_optimizer, schedule, *callbacks, patience=2):
    """Fit from the checkpoint or from the start; return all that is left behind."""
    model = network()
    optimizer = make_optimizer(model)
    stopping = EarlyStopping(patience, min_delta=0.001)
    _, _, history = trained(
        EPOCHS,
        model=model,
        optimizer=optimizer,
        schedule=schedule,
        val=classification(20, seed=5),
        early_stopping=stopping,
        callbacks=[Checkpoint(path), *callbacks],
    )
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in history.rows]
    state = stopping.state_dict()
    best = {name: array.tobytes() for name, array in state.pop("best_state").items()}
    ends = (history.best_epoch, history.stopped_early, np.random.rand())
    return arrays(model, optimizer), rows, state, best, ends


@pytest.mark.parametrize(
    ("make_optimizer", "schedule"), [(adamw, one_cycle), (sgd, step), (adamw, None)]
)
def test_cut_at_any_step_it_ends_as_if_never_cut(tmp_path, make_optimizer, schedule):
    expected = run(tmp_path / "whole", make_optimizer, schedule, patience=math.inf)
    for at in range(3 * EPOCHS):
        path = tmp_path / f"cut-{at}"
        with pytest.raises(KeyboardInterrupt):
            run(path, make_optimizer, schedule, Cut(at), patience=math.inf)
        assert path.exists()
        assert run(path, make_optimizer, schedule, patience=math.inf) == expected


def test_cut_again_and_again(tmp_path):
    expected = run(tmp_path / "whole", adamw, one_cycle)
    for at in (0, 3, 5, 4, 2):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "cut", adamw, one_cycle, Cut(at), patience=math.inf)
    assert run(tmp_path / "cut", adamw, one_cycle, patience=2)[0] == expected[0]


def test_a_run_that_stopped_early_stays_stopped(tmp_path):
    def stopped():
        stopping = EarlyStopping(patience=1, min_delta=10.0)
        model, optimizer, history = trained(
            9, early_stopping=stopping, callbacks=[Checkpoint(tmp_path / "c")]
        )
        return arrays(model, optimizer), history.stopped_early, history["loss"]

    first = stopped()
    assert len(first[2]) == 2
    assert stopped() == first


def test_a_finished_run_gets_its_best_epoch_back(tmp_path):
    first = run(tmp_path / "c", sgd, step)
    assert run(tmp_path / "c", sgd, step) == first


def test_the_first_checkpoint_is_written_before_the_first_step(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "c", adamw, None, Cut(0))
    state = {name: a for name, a in read_tensors(tmp_path / "c")[0].items() if name[0] != "_"}
    assert {name: a.tobytes() for name, a in state.items()} == arrays(network())


def test_it_holds_numbers_only(tmp_path):
    run(tmp_path / "c", adamw, one_cycle, patience=math.inf)
    found, info = read_tensors(tmp_path / "c")
    assert {a.dtype.kind for a in found.values()} <= set("fiu")
    assert set(info["parts"]) == {"_optimizer", "_schedule", "_early_stopping", "_random"}
    assert b"pickle" not in (tmp_path / "c").read_bytes()
    assert len(info["extra"]["history"]["rows"]) == EPOCHS


def test_load_takes_the_model_out_of_a_checkpoint(tmp_path):
    model, _, _ = trained(2, callbacks=[Checkpoint(tmp_path / "c")])
    other = network(seed=9)
    ndl.load(tmp_path / "c", other)
    assert arrays(other) == arrays(model)


def test_another_model_is_refused_and_unchanged(tmp_path):
    trained(1, callbacks=[Checkpoint(tmp_path / "c")])
    model = nn.Linear(5, 3)
    before = arrays(model)
    with pytest.raises(StateDictError, match="missing: weight, bias"):
        trained(1, model=model, callbacks=[Checkpoint(tmp_path / "c")])
    assert arrays(model) == before


def test_another_schedule_is_refused_and_nothing_changes(tmp_path):
    trained(2, schedule=step, callbacks=[Checkpoint(tmp_path / "c")])
    model = network(seed=8)
    optimizer = ndl.optim.Adam(model.parameters(), lr=0.25)
    lr_scheduler.LinearLR(optimizer)  # sets its first rate, as the one inside `trained` will
    before = arrays(model, optimizer)
    optimizer.lr = 0.25
    with pytest.raises(StateDictError, match=r"LinearLR: missing: .*step_size"):
        trained(1, model=model, optimizer=optimizer, schedule=lr_scheduler.LinearLR,
                callbacks=[Checkpoint(tmp_path / "c")])  # fmt: skip
    assert arrays(model, optimizer) == before


def test_files_that_are_no_checkpoint_are_named(tmp_path):
    ndl.save(tmp_path / "model", network())
    with pytest.raises(DataError, match="not a checkpoint of this run: no _optimizer, _random"):
        trained(1, callbacks=[Checkpoint(tmp_path / "model")])
    trained(1, callbacks=[Checkpoint(tmp_path / "c")])
    with pytest.raises(DataError, match="no _schedule"):
        trained(1, schedule=step, callbacks=[Checkpoint(tmp_path / "c")])
    found, info = read_tensors(tmp_path / "c")
    write_tensors(tmp_path / "c", found, info | {"extra": {}})
    with pytest.raises(DataError, match="no history"):
        trained(1, callbacks=[Checkpoint(tmp_path / "c")])


def test_a_damaged_checkpoint_is_refused_not_overwritten(tmp_path):
    trained(1, callbacks=[Checkpoint(tmp_path / "c")])
    damaged = (tmp_path / "c").read_bytes()[:-9]
    (tmp_path / "c").write_bytes(damaged)
    with pytest.raises(DataError, match="not a whole safetensors file"):
        trained(1, callbacks=[Checkpoint(tmp_path / "c")])
    assert (tmp_path / "c").read_bytes() == damaged
