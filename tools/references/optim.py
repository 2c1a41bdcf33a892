"""Optimizers, clipping and schedules: parameters and rates step by step."""

from collections.abc import Callable

import numpy as np
import torch
from torch.optim import lr_scheduler

from references.record import Arrays, draws, named

STEPS = 6


def arrays() -> Arrays:
    """Return all cases of this file."""
    return {**optimizers(), **clipping(), **schedules()}


def optimizers() -> Arrays:
    """Parameters after each of six steps with given gradients, the second not always there."""
    draw = draws(1)
    starts, gradients = (draw(3, 2), draw(4)), [(draw(3, 2), draw(4)) for _ in range(STEPS)]
    result = named("inputs", p0=starts[0], p1=starts[1])
    for i, (g0, g1) in enumerate(gradients):
        result |= named("inputs", **{f"g0_{i}": g0, f"g1_{i}": g1})
    for name, make in _optimizers().items():
        params = [p.detach().clone().requires_grad_() for p in starts]
        optimizer = make(params)
        for i, pair in enumerate(gradients):
            params[0].grad = pair[0].detach().clone()
            params[1].grad = pair[1].detach().clone() if _has_gradient(name, i) else None
            optimizer.step()
            result |= named(name, **{f"p0_{i}": params[0], f"p1_{i}": params[1]})
    return result


def _has_gradient(name: str, i: int) -> bool:
    # PyTorch's Adam counts the steps of each parameter, needle's those of the optimizer.
    return i % 2 == 1 or name.startswith("Adam")


def _optimizers() -> dict[str, Callable[[list[torch.Tensor]], torch.optim.Optimizer]]:
    return {
        "SGD": lambda p: torch.optim.SGD(p, lr=0.1),
        "SGD_momentum": lambda p: _sgd(p, lr=0.1, momentum=0.9, weight_decay=0.05),
        "Adam": lambda p: torch.optim.Adam(p, lr=0.1),
        "Adam_all": lambda p: torch.optim.Adam(
            p, lr=0.1, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.05
        ),
        "AdamW": lambda p: torch.optim.AdamW(p, lr=0.1),
        "AdamW_all": lambda p: torch.optim.AdamW(
            p, lr=0.1, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.2
        ),
    }


def _sgd(params: list[torch.Tensor], momentum: float, **kwargs: float) -> torch.optim.SGD:
    """Make an SGD with u = m u + (1 - m) g from u = 0; PyTorch's first step would be u = g."""
    optimizer = torch.optim.SGD(params, momentum=momentum, dampening=momentum, **kwargs)
    for p in params:
        optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)
    return optimizer


def clipping() -> Arrays:
    """Gradients clipped by their joint norm, above and below the limit, and by value."""
    result: Arrays = {}
    for name, limit in {"clip_norm": 1.5, "clip_norm_below": 1e3}.items():
        draw = draws(2)
        params = [draw(3, 2), draw(4)]
        for p in params:
            p.grad = p.detach() * 2
        norm = torch.nn.utils.clip_grad_norm_(params, limit)
        result |= named(
            name, p0=params[0], p1=params[1], limit=torch.tensor(limit).double(), norm=norm
        )
        result |= named(name, g0=params[0].grad, g1=params[1].grad)
    draw = draws(3)
    p = draw(3, 2)
    p.grad = p.detach() * 2
    torch.nn.utils.clip_grad_value_([p], 0.8)
    return {
        **result,
        **named("clip_value", p0=p, g0=p.grad, limit=torch.tensor(0.8, dtype=torch.float64)),
    }


def schedules() -> Arrays:
    """Rates (and momenta, for OneCycleLR) from the start over all steps, from a base of 0.5."""
    result: Arrays = {}
    for name, (make, steps) in _schedules().items():
        params = [torch.zeros(1, requires_grad=True)]
        optimizer = torch.optim.SGD(params, lr=0.5, momentum=0.9)
        schedule = make(optimizer)
        rows = [_row(optimizer)]
        for _ in range(steps):
            optimizer.step()
            schedule.step()
            rows.append(_row(optimizer))
        result[f"{name}/rows"] = np.array(rows)
    return result


def _row(optimizer: torch.optim.Optimizer) -> tuple[float, float]:
    group = optimizer.param_groups[0]
    return group["lr"], group["momentum"]


def _schedules() -> dict[str, tuple[Callable[[torch.optim.Optimizer], object], int]]:
    s = lr_scheduler
    return {
        "StepLR": (lambda o: s.StepLR(o, step_size=3), 10),
        "StepLR_gamma": (lambda o: s.StepLR(o, step_size=1, gamma=0.7), 10),
        "LinearLR": (lambda o: s.LinearLR(o), 10),
        "LinearLR_down": (
            lambda o: s.LinearLR(o, start_factor=1.0, end_factor=0.25, total_iters=8),
            10,
        ),
        "CosineAnnealingLR": (lambda o: s.CosineAnnealingLR(o, T_max=8), 20),
        "CosineAnnealingLR_min": (lambda o: s.CosineAnnealingLR(o, T_max=5, eta_min=0.1), 12),
        "OneCycleLR": (lambda o: s.OneCycleLR(o, max_lr=2.0, total_steps=12), 11),
        "OneCycleLR_epochs": (
            lambda o: s.OneCycleLR(
                o, max_lr=2.0, epochs=3, steps_per_epoch=5, pct_start=0.4, anneal_strategy="linear",
                base_momentum=0.7, max_momentum=0.9, div_factor=10.0, final_div_factor=100.0,
            ),
            14,
        ),
        "OneCycleLR_three": (
            lambda o: s.OneCycleLR(
                o, max_lr=2.0, total_steps=20, three_phase=True, cycle_momentum=False
            ),
            19,
        ),
        "OneCycleLR_three_momentum": (
            lambda o: s.OneCycleLR(o, max_lr=2.0, total_steps=20, three_phase=True),
            19,
        ),
    }  # fmt: skip
