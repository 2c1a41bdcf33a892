"""From options to objects: model, loss, optimizer, schedule, early stopping."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from needle import nn, ops, optim
from needle.autograd import Tensor
from needle.cli.config import IMAGE_MODELS, TEXT_MODELS, TrainConfig
from needle.errors import ArgumentError
from needle.models import LanguageModel, MLPResNet, gpt, resnet18, resnet20
from needle.optim import lr_scheduler
from needle.training import Callback, Run


def make_model(config: TrainConfig, about: dict[str, Any]) -> nn.Module:
    """Return the model of `--model` for what a source says about its data."""
    if config.model in TEXT_MODELS and not config.blocks:
        raise ArgumentError(f"--blocks 0: expected at least one layer for --model {config.model}")
    if config.model == "gpt":
        most = max(1, config.hidden // 32)
        heads = next(n for n in range(most, 0, -1) if config.hidden % n == 0)
        sizes = config.context, config.blocks, config.hidden, heads
        return gpt(len(about["characters"]), *sizes, dropout=config.dropout, tied=True)
    if config.model == "lstm":
        return CharacterLSTM(len(about["characters"]), config.hidden, config.blocks)
    if config.model in IMAGE_MODELS:
        return make_resnet(config, about["shape"], about["classes"])
    return make_mlp(config, math.prod(about["shape"]), about["classes"])


def make_resnet(config: TrainConfig, shape: Sequence[int], classes: int) -> nn.Module:
    """Return a residual network for small images.

    Raises: ArgumentError for samples that are not (3, H, W).
    """
    if len(shape) != 3 or shape[0] != 3:
        text = f"expected samples (3, H, W), got {tuple(shape)}"
        raise ArgumentError(f"--model {config.model}: {text}; --model mlp takes any")
    return resnet20(classes) if config.model == "resnet20" else resnet18(classes, stem="cifar")


class CharacterLSTM(nn.Module):
    """A LanguageModel of ids (batch, time), as a GPT takes them; logits (batch, time, k)."""

    def __init__(self, characters: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.model = LanguageModel(hidden, characters, hidden, layers, seq_model="lstm")

    def forward(self, ids: Tensor) -> Tensor:
        """Return the logits of the id that follows each id."""
        logits, _ = self.model(ops.transpose(ids))
        return ops.transpose(logits.reshape((*ids.shape[::-1], -1)), (0, 1))


def make_mlp(config: TrainConfig, features: int, classes: int) -> nn.Module:
    """Return an MLPResNet that takes samples of any shape."""
    norm = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm1d}[config.norm]
    network = MLPResNet(
        features, config.hidden, config.blocks, classes, norm=norm, drop_prob=config.dropout
    )
    return nn.Sequential(nn.Flatten(), network)


class Loss:
    """Softmax loss; in training mode, plus `l1` times the sum of |p| over all parameters."""

    def __init__(self, model: nn.Module, l1: float) -> None:
        self.model = model
        self.l1 = l1
        self.softmax = nn.SoftmaxLoss()

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the scalar loss of a batch: of its samples, or of a text's characters."""
        if logits.ndim == 3:
            logits, labels = logits.reshape((-1, logits.shape[-1])), labels.reshape((-1,))
        value = self.softmax(logits, labels)
        if self.l1 and self.model.training:
            value = value + self.l1 * nn.l1_penalty(self.model.parameters())
        return value


def make_optimizer(config: TrainConfig, model: nn.Module) -> Any:
    """Return the optimizer; SGD has a momentum of 0.9."""
    settings = {"lr": config.lr, "weight_decay": config.weight_decay}
    if config.optimizer == "sgd":
        return optim.SGD(model.parameters(), momentum=0.9, **settings)
    kind = {"adam": optim.Adam, "adamw": optim.AdamW}[config.optimizer]
    return kind(model.parameters(), **settings)


def make_schedule(config: TrainConfig, optimizer: Any, batches: int) -> Any:
    """Return the schedule over all epochs of `batches` steps; None for none.

    step: a tenth of the rate after each third of the epochs; cosine: down to zero; onecycle: up and
    down, batch by batch, up in 0.3 of them, in 0.1 for text.
    """
    if config.schedule == "step":
        return lr_scheduler.StepLR(optimizer, step_size=max(1, math.ceil(config.epochs / 3)))
    if config.schedule == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, T_max=config.epochs)
    if config.schedule == "onecycle":
        up, steps = 0.1 if config.model in TEXT_MODELS else 0.3, config.epochs * batches
        return lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=steps, pct_start=up)
    return None


class Plan(Callback):
    """Let the schedule of a continued run lead to that run's end, which may have moved.

    Comes after the checkpoint among the callbacks.
    """

    def __init__(self, schedule: Any) -> None:
        self.schedule = schedule
        self.planned = schedule.state_dict() if schedule is not None else {}

    def begin(self, run: Run) -> None:
        """Keep how far the schedule has come, nothing else of what the checkpoint brought."""
        if self.schedule is not None:
            done = {"last_epoch": self.schedule.last_epoch}
            self.schedule.load_state_dict(self.planned | done)
            run.optimizer.lr = self.schedule.lr_at(self.schedule.last_epoch)
