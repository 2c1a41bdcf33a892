"""Schedules: saving, restarting, and bad arguments (their values: test_reference.py)."""

import numpy as np
import pytest

from needle import init, nn, optim
from needle.errors import ArgumentError, DtypeError, StateDictError
from needle.optim import lr_scheduler

MAKE = {
    "StepLR": lambda o: lr_scheduler.StepLR(o, step_size=2),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o, total_iters=7),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=9),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, max_lr=2.0, total_steps=10),
}


def sgd(lr=0.5):
    return optim.SGD([nn.Parameter(init.zeros(1))], lr=lr)


def rates(opt, schedule, steps):
    result = []
    for _ in range(steps):
        schedule.step()
        result.append((opt.lr, opt.momentum))
    return result


@pytest.mark.parametrize("name", MAKE)
def test_restored_state_goes_on_as_before(name):
    opt, other = sgd(), sgd(lr=0.9)
    schedule, restored = MAKE[name](opt), MAKE[name](other)
    rates(opt, schedule, 4)
    state = schedule.state_dict()
    assert state["last_epoch"] == 4
    restored.load_state_dict(state)
    other.load_state_dict(opt.state_dict())
    assert rates(opt, schedule, 5) == rates(other, restored, 5)
    assert state["last_epoch"] == 4


@pytest.mark.parametrize("name", MAKE)
def test_state_is_made_of_plain_values(name):
    state = MAKE[name](sgd()).state_dict()
    assert all(isinstance(v, int | float | str) for v in state.values())


def test_last_epoch_continues_from_there():
    opt = sgd(lr=1.0)
    schedule = lr_scheduler.StepLR(opt, step_size=2, gamma=0.5, last_epoch=4)
    assert schedule.last_epoch == 5
    assert opt.lr == 0.25


def test_one_cycle_moves_beta1_of_adam():
    opt = optim.Adam([nn.Parameter(init.zeros(1))])
    schedule = lr_scheduler.OneCycleLR(opt, max_lr=1.0, total_steps=10, pct_start=0.5)
    assert opt.beta1 == 0.95
    for _ in range(4):
        schedule.step()
    np.testing.assert_allclose((opt.lr, opt.beta1), (1.0, 0.85))


def test_one_cycle_ends():
    opt = sgd()
    schedule = lr_scheduler.OneCycleLR(opt, max_lr=1.0, total_steps=3)
    rates(opt, schedule, 3)
    with pytest.raises(ArgumentError, match="step 4 of 3"):
        schedule.step()


def test_a_state_that_does_not_fit():
    schedule = MAKE["StepLR"](sgd())
    with pytest.raises(StateDictError, match=r"missing: gamma, .*; unexpected: T_max"):
        schedule.load_state_dict({"step_size": 2, "T_max": 3, "base_lr": 1.0})
    assert schedule.last_epoch == 0


@pytest.mark.parametrize(("make", "text"), [
    (lambda o: lr_scheduler.StepLR(o, step_size=0), "step_size >= 1, got 0"),
    (lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=0), "T_max >= 1"),
    (lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=2.5), r"T_max >= 1, got 2\.5"),
    (lambda o: lr_scheduler.LinearLR(o, start_factor=0.0), "0 < start_factor <= 1"),
    (lambda o: lr_scheduler.LinearLR(o, end_factor=2.0), "0 <= end_factor <= 1"),
    (lambda o: lr_scheduler.OneCycleLR(o, max_lr=1.0), "give total_steps, or epochs"),
    (lambda o: lr_scheduler.OneCycleLR(o, max_lr=1.0, total_steps=-1), "total_steps >= 1, got -1"),
    (lambda o: lr_scheduler.OneCycleLR(o, 1.0, 5, pct_start=1.5), "pct_start from 0 to 1"),
    (lambda o: lr_scheduler.OneCycleLR(o, 1.0, 5, anneal_strategy="exp"), '"cos" or "linear"'),
])  # fmt: skip
def test_bad_arguments(make, text):
    with pytest.raises(ArgumentError, match=text):
        make(sgd())


def test_a_schedule_needs_an_optimizer():
    with pytest.raises(DtypeError, match=r"StepLR: expected an optimizer .* got Linear"):
        lr_scheduler.StepLR(nn.Linear(1, 1), step_size=1)
