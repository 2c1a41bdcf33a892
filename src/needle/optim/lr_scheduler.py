"""Learning-rate schedules under PyTorch's names, with its values step by step.

Each schedule is a formula for the rate after `last_epoch` calls of `step()`; it starts from the
rate that the optimizer has when the schedule is made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from needle.errors import ArgumentError, DtypeError, whole_number
from needle.nn.calls import check_state
from needle.optim.optimizer import Optimizer


class LRScheduler:
    """Base of the schedules: `lr_at(i)` is the learning rate after i steps.

    Making one sets `optimizer.lr` to `lr_at(last_epoch + 1)`; call `step()` after
    `optimizer.step()`.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not hasattr(optimizer, "lr"):
            raise DtypeError(
                f"{type(self).__name__}: expected an optimizer with a number `lr`, "
                f"got {type(optimizer).__name__}"
            )
        self.optimizer: Any = optimizer
        self.base_lr = self.optimizer.lr
        self.last_epoch = last_epoch
        self.step()

    def lr_at(self, i: int) -> float:
        """Return the learning rate after i steps."""
        raise NotImplementedError(f"{type(self).__name__} has no lr_at(self, i)")

    def step(self) -> None:
        """Advance by one and set the optimizer's learning rate."""
        self.last_epoch += 1
        self.optimizer.lr = self.lr_at(self.last_epoch)

    def get_last_lr(self) -> list[float]:
        """Return the current learning rate, in a list as PyTorch does."""
        return [self.optimizer.lr]

    def state_dict(self) -> dict[str, float | int]:
        """Return all numbers of the schedule by name."""
        return {name: value for name, value in vars(self).items() if name != "optimizer"}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned; the optimizer's own state holds its current rate.

        Errors: StateDictError where names are missing or unexpected.
        """
        check_state(self, self.state_dict(), state_dict)
        vars(self).update(state_dict)


class StepLR(LRScheduler):
    """lr = base gamma^floor(i / step_size).

    >>> opt = ndl.optim.SGD([nn.Parameter(ndl.zeros(1))], lr=1.0)
    >>> schedule = ndl.optim.lr_scheduler.StepLR(opt, step_size=2)
    >>> for _ in range(2):
    ...     schedule.step()
    >>> opt.lr
    0.1
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.step_size = whole_number("StepLR: expected step_size", step_size, 1)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def lr_at(self, i: int) -> float:
        """Return the learning rate after i steps."""
        return self.base_lr * self.gamma ** (i // self.step_size)


class LinearLR(LRScheduler):
    """lr = base f, f from start_factor to end_factor in total_iters equal steps, then constant.

    >>> opt = ndl.optim.SGD([nn.Parameter(ndl.zeros(1))], lr=1.0)
    >>> schedule = ndl.optim.lr_scheduler.LinearLR(opt, start_factor=0.5, total_iters=2)
    >>> schedule.step()
    >>> opt.lr
    0.75
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0 < start_factor <= 1 or not 0 <= end_factor <= 1:
            raise ArgumentError(
                "LinearLR: expected 0 < start_factor <= 1 and 0 <= end_factor <= 1, "
                f"got {start_factor} and {end_factor}"
            )
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = whole_number("LinearLR: expected total_iters", total_iters, 1)
        super().__init__(optimizer, last_epoch)

    def lr_at(self, i: int) -> float:
        """Return the learning rate after i steps."""
        if i >= self.total_iters:
            return self.base_lr * self.end_factor
        rise = (self.end_factor - self.start_factor) * i / self.total_iters
        return self.base_lr * (self.start_factor + rise)


class CosineAnnealingLR(LRScheduler):
    """lr = eta_min + (base - eta_min) (1 + cos(pi i / T_max)) / 2.

    Source: Loshchilov and Hutter, "SGDR: Stochastic gradient descent with warm restarts", 2017.

    >>> opt = ndl.optim.SGD([nn.Parameter(ndl.zeros(1))], lr=1.0)
    >>> schedule = ndl.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=2)
    >>> schedule.step()
    >>> opt.lr
    0.5
    """

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        self.T_max = whole_number("CosineAnnealingLR: expected T_max", T_max, 1)
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def lr_at(self, i: int) -> float:
        """Return the learning rate after i steps."""
        return _anneal_cos(self.base_lr, self.eta_min, i / self.T_max)


class OneCycleLR(LRScheduler):
    """Up from max_lr / div_factor to max_lr, then down to that start / final_div_factor.

    The way up takes the share pct_start of total_steps (or epochs * steps_per_epoch). With
    `three_phase` the way down first takes as long as the way up, to the start. With
    `cycle_momentum` the optimizer's momentum (`beta1` of Adam) moves against the rate, between
    max_momentum and base_momentum. `anneal_strategy` is "cos" or "linear". A step past the last is
    an error.

    Source: Smith and Topin, "Super-convergence", 2018.

    >>> opt = ndl.optim.SGD([nn.Parameter(ndl.zeros(1))])
    >>> schedule = ndl.optim.lr_scheduler.OneCycleLR(opt, max_lr=1.0, total_steps=10)
    >>> round(opt.lr, 6)
    0.04
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float,
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ArgumentError("OneCycleLR: give total_steps, or epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        if anneal_strategy not in ("cos", "linear"):
            raise ArgumentError(
                f'OneCycleLR: expected anneal_strategy "cos" or "linear", got {anneal_strategy!r}'
            )
        if not 0 <= pct_start <= 1:
            raise ArgumentError(f"OneCycleLR: expected pct_start from 0 to 1, got {pct_start}")
        self.total_steps = whole_number("OneCycleLR: expected total_steps", total_steps, 1)
        self.max_lr, self.pct_start = max_lr, pct_start
        self.initial_lr = max_lr / div_factor
        self.min_lr = self.initial_lr / final_div_factor
        self.anneal_strategy, self.three_phase = anneal_strategy, three_phase
        self.cycle_momentum = cycle_momentum
        self.base_momentum, self.max_momentum = base_momentum, max_momentum
        super().__init__(optimizer, last_epoch)

    def _at(self, i: int, column: int) -> float:
        """Interpolate between the corners (step, rate, momentum): the rate is column 1."""
        up = self.pct_start * self.total_steps - 1
        low, last = (self.initial_lr, self.max_momentum), (self.min_lr, self.max_momentum)
        middle = [(2 * up, *low)] if self.three_phase else []
        top = (up, self.max_lr, self.base_momentum)
        corners = [(0.0, *low), top, *middle, (self.total_steps - 1, *last)]
        anneal = _anneal_cos if self.anneal_strategy == "cos" else _anneal_linear
        for begin, end in pairwise(corners):  # noqa: B007  the last pair also serves what follows
            if i <= end[0]:
                break
        return anneal(begin[column], end[column], (i - begin[0]) / (end[0] - begin[0]))

    def lr_at(self, i: int) -> float:
        """Return the learning rate after i steps; ArgumentError past the last."""
        if i > self.total_steps:
            raise ArgumentError(f"OneCycleLR: step {i} of {self.total_steps}; make a new schedule")
        return self._at(i, 1)

    def momentum_at(self, i: int) -> float:
        """Return the momentum after i steps."""
        return self._at(i, 2)

    def step(self) -> None:
        """Advance by one and set the optimizer's learning rate and momentum."""
        super().step()
        if self.cycle_momentum:
            name = "momentum" if hasattr(self.optimizer, "momentum") else "beta1"
            setattr(self.optimizer, name, self.momentum_at(self.last_epoch))


def _anneal_cos(start: float, end: float, share: float) -> float:
    cos = np.cos(math.pi * share)  # NumPy's: a number that a tracer has lifted stays traced
    result = end + (start - end) / 2 * (1 + cos)
    return result.item() if isinstance(result, np.generic) else result


def _anneal_linear(start: float, end: float, share: float) -> float:
    return start + (end - start) * share
