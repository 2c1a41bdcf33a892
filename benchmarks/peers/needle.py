"""needle: `needle-eager` runs op by op, `needle-jit` compiles the step."""

from collections.abc import Callable
from typing import Any

import numpy as np

import needle as ndl
from benchmarks.task import Task, Update


class OnData:
    """A step on the same arguments again and again; keeps the report of a compiled one."""

    def __init__(self, step: Callable[..., Any], data: list[Any]) -> None:
        self.step, self.data = step, data
        self.explain = getattr(step, "explain", None)

    def __call__(self) -> Any:
        return self.step(*self.data)


class ClippedSGD:
    """SGD behind a limit on the gradient's norm, as one optimizer."""

    def __init__(self, params: list[Any], update: Update) -> None:
        self.sgd, self.limit = ndl.optim.SGD(params, lr=update.lr), update.clip
        self.zero_grad = self.sgd.zero_grad

    def step(self) -> None:
        ndl.optim.clip_grad_norm(self.sgd.params, self.limit)
        self.sgd.step()


class Peer:
    def __init__(self, variant: str, threads: int, exact: bool) -> None:
        self.compiled, self.exact = variant == "jit", exact

    def array(self, result: Any) -> np.ndarray:
        return result.numpy()

    def step(self, task: Task) -> OnData:
        model = task.start()
        if self.exact:
            for _, module in model.named_modules():
                if isinstance(module, ndl.nn.Dropout):
                    module.p = 0.0
        run = self._run(task, model)
        data = [ndl.Tensor(array, requires_grad=False) for array in task.data]
        return OnData(ndl.jit(run) if self.compiled else run, data)

    def _run(self, task: Task, model: Any) -> Callable[..., Any]:
        if task.update is not None:
            return training_step(model, optimizer(model.parameters(), task.update), task.needle)

        def gradient(x: Any, g: Any) -> Any:
            x = ndl.Tensor(x)
            task.needle(model, x).backward(g)
            return x.grad.detach()

        @ndl.no_grad()
        def call(*data: Any) -> Any:
            return task.needle(model, *data)

        return gradient if task.gradient else call


def training_step(model: Any, opt: Any, loss_of: Callable[..., Any]) -> Callable[..., Any]:
    """Return a training step, as needle and PyTorch both write it."""

    def train_step(*data: Any) -> Any:
        opt.zero_grad()
        loss = loss_of(model, *data)
        loss.backward()
        opt.step()
        return loss

    return train_step


def optimizer(params: list[Any], update: Update) -> Any:
    if update.kind == "sgd":
        return ClippedSGD(params, update)
    kind = ndl.optim.AdamW if update.kind == "adamw" else ndl.optim.Adam
    return kind(params, lr=update.lr, weight_decay=update.decay)
