"""Optimizers, clipping and schedules against PyTorch's values in float64, step by step."""

import numpy as np
import pytest

import needle as ndl
from needle import nn, optim
from needle.optim import lr_scheduler
from needle.testing import assert_close
from tests.reference.values import case

OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.1),
    "SGD_momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.05),
    "Adam": lambda p: optim.Adam(p, lr=0.1),
    "Adam_all": lambda p: optim.Adam(p, lr=0.1, beta1=0.8, beta2=0.95, eps=1e-3, weight_decay=0.05),
    "AdamW": lambda p: optim.AdamW(p, lr=0.1),
    "AdamW_all": lambda p: optim.AdamW(
        p, lr=0.1, beta1=0.8, beta2=0.95, eps=1e-3, weight_decay=0.2
    ),
}


def constant(array):
    return ndl.Tensor(array, requires_grad=False)


def parameters(values):
    return [nn.Parameter(values["p0"]), nn.Parameter(values["p1"])]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_six_steps(name):
    inputs, expected = case("optim", "inputs"), case("optim", name)
    params = parameters(inputs)
    opt = OPTIMIZERS[name](params)
    for i in range(6):
        params[0].grad = constant(inputs[f"g0_{i}"])
        absent = name.startswith("SGD") and i % 2 == 0
        params[1].grad = None if absent else constant(inputs[f"g1_{i}"])
        opt.step()
        for k, p in enumerate(params):
            assert_close(p, expected[f"p{k}_{i}"], name=f"parameter {k} after step {i}")


@pytest.mark.parametrize("name", ["clip_norm", "clip_norm_below"])
def test_clip_grad_norm(name):
    values = case("optim", name)
    params = parameters(values)
    for p in params:
        p.grad = constant(p.numpy() * 2)
    norm = optim.clip_grad_norm(params, values["limit"].item())
    assert type(norm) is float
    assert_close(norm, values["norm"])
    assert_close([p.grad for p in params], [values["g0"], values["g1"]])


def test_clip_grad_value():
    values = case("optim", "clip_value")
    p = nn.Parameter(values["p0"])
    p.grad = constant(p.numpy() * 2)
    optim.clip_grad_value([p], values["limit"].item())
    assert_close(p.grad, values["g0"])


SCHEDULES = {
    "StepLR": lambda o: lr_scheduler.StepLR(o, step_size=3),
    "StepLR_gamma": lambda o: lr_scheduler.StepLR(o, step_size=1, gamma=0.7),
    "LinearLR": lr_scheduler.LinearLR,
    "LinearLR_down": lambda o: lr_scheduler.LinearLR(
        o, start_factor=1.0, end_factor=0.25, total_iters=8
    ),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=8),
    "CosineAnnealingLR_min": lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=5, eta_min=0.1),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, max_lr=2.0, total_steps=12),
    "OneCycleLR_epochs": lambda o: lr_scheduler.OneCycleLR(
        o, max_lr=2.0, epochs=3, steps_per_epoch=5, pct_start=0.4, anneal_strategy="linear",
        base_momentum=0.7, max_momentum=0.9, div_factor=10.0, final_div_factor=100.0,
    ),
    "OneCycleLR_three": lambda o: lr_scheduler.OneCycleLR(
        o, max_lr=2.0, total_steps=20, three_phase=True, cycle_momentum=False
    ),
    "OneCycleLR_three_momentum": lambda o: lr_scheduler.OneCycleLR(
        o, max_lr=2.0, total_steps=20, three_phase=True
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name):
    expected = case("optim", name)["rows"]
    opt = optim.SGD([nn.Parameter(ndl.zeros(1))], lr=0.5, momentum=0.9)
    schedule = SCHEDULES[name](opt)
    rows = [(opt.lr, opt.momentum)]
    for _ in expected[1:]:
        opt.step()
        schedule.step()
        assert schedule.get_last_lr() == [opt.lr]
        rows.append((opt.lr, opt.momentum))
    assert_close(np.array(rows), expected)
    assert type(opt.lr) is float
