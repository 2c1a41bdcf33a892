"""Optimizers, schedules, clipping."""

from typing import NoReturn

from needle.names import unknown
from needle.optim import lr_scheduler
from needle.optim.adam import Adam, AdamW
from needle.optim.clip import clip_grad_norm, clip_grad_value
from needle.optim.optimizer import Optimizer
from needle.optim.sgd import SGD

__all__ = [
    "SGD", "Adam", "AdamW", "Optimizer", "clip_grad_norm", "clip_grad_value", "lr_scheduler",
]  # fmt: skip


def __getattr__(name: str) -> NoReturn:
    raise unknown(__name__, name)
