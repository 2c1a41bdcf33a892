"""tinygrad on the CPU: the whole step in one `TinyJit`; `tinygrad-beam` searches for kernels."""

from collections.abc import Callable
from typing import Any

import numpy as np
from tinygrad import Context, Device, Tensor, TinyJit, nn

from benchmarks.task import BETAS, EPS, Task, Update


class Peer:
    def __init__(self, variant: str, threads: int, exact: bool) -> None:
        self.exact = exact
        self.norms: dict[str, nn.BatchNorm] = {}

    def array(self, result: Tensor) -> np.ndarray:
        return result.numpy()

    def step(self, task: Task) -> Callable[[], Tensor]:
        weights = task.weights(np.transpose, lambda a: a.transpose(3, 2, 0, 1))
        params = {name: Tensor(a).realize() for name, a in weights.items()}
        data = [Tensor(array).realize().is_param_(False) for array in task.data]
        if task.update is not None:
            run = self._training(task, params, task.update)
        elif task.gradient:
            run = self._gradient(task, params)
        else:

            def run(*data: Tensor) -> Tensor:
                return task.peers(self, params, *data).realize()

        compiled, device = TinyJit(run), Device[Device.DEFAULT]
        training = int(task.update is not None or task.gradient)

        def step() -> Tensor:
            with Context(TRAINING=training):
                result = compiled(*data)
            device.synchronize()
            return result

        return step

    def _training(self, task: Task, params: dict[str, Tensor], update: Update) -> Callable:
        opt = optimizer(list(params.values()), update)

        def run(*data: Tensor) -> Tensor:
            opt.zero_grad()
            loss = task.peers(self, params, *data).backward()
            if update.clip:
                norm = sum((p.grad.square().sum() for p in opt.params), Tensor(0.0)).sqrt()
                factor = (update.clip / (norm + 1e-6)).minimum(1.0)
                for p in opt.params:
                    p.grad = p.grad * factor
            if update.kind == "adam" and update.decay:
                for p in opt.params:
                    p.grad = p.grad + update.decay * p.detach()
            running = [a for norm in self.norms.values() for a in statistics(norm)]
            return loss.realize(*opt.schedule_step(), *running)

        return run

    def _gradient(self, task: Task, params: dict[str, Tensor]) -> Callable:
        def run(x: Tensor, g: Tensor) -> Tensor:
            y = task.peers(self, params, x)
            dx, *rest = y.gradient(x, *params.values(), gradient=g)
            running = [a for norm in self.norms.values() for a in statistics(norm)]
            return dx.realize(y, *rest, *running)

        return run

    relu, tanh = staticmethod(Tensor.relu), staticmethod(Tensor.tanh)

    def gelu(self, x: Tensor) -> Tensor:
        return x.gelu(approximate="none")

    def mse(self, x: Tensor, y: Tensor) -> Tensor:
        return (x - y).square().mean()

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return logits.sparse_categorical_crossentropy(labels)

    def linear(self, p: Any, name: str, x: Tensor) -> Tensor:
        return x.linear(p[f"{name}.weight"].T, p.get(f"{name}.bias"))

    def embedding(self, p: Any, name: str, ids: Tensor) -> Tensor:
        layer = nn.Embedding(1, 1)
        layer.weight = p[f"{name}.weight"]
        return layer(ids)

    def dropout(self, x: Tensor, rate: float) -> Tensor:
        return x if self.exact else x.dropout(rate)

    def layer_norm(self, p: Any, name: str, x: Tensor) -> Tensor:
        return x.layernorm() * p[f"{name}.weight"] + p[f"{name}.bias"]

    def batch_norm(self, p: Any, name: str, x: Tensor) -> Tensor:
        if name not in self.norms:
            self.norms[name] = nn.BatchNorm(x.shape[1])
        norm = self.norms[name]
        norm.weight, norm.bias = p[f"{name}.weight"], p[f"{name}.bias"]
        return norm(x)

    def attention(self, joined: Tensor, heads: int) -> Tensor:
        batch, time, _ = joined.shape
        # their gradients are written out: one kernel for all three makes the scores anew for each
        q, k, v = (
            part.reshape(batch, time, heads, -1).transpose(1, 2).contiguous_backward()
            for part in joined.chunk(3, dim=-1)
        )
        x = q.scaled_dot_product_attention(k, v, is_causal=True)
        return x.transpose(1, 2).reshape(batch, time, -1)

    def conv(self, p: Any, name: str, x: Tensor, stride: int) -> Tensor:
        weight = p[f"{name}.weight"]
        return x.conv2d(weight, stride=stride, padding=weight.shape[2] // 2)

    def shortcut(self, x: Tensor) -> Tensor:
        low = x.shape[1] // 2
        return x[:, :, ::2, ::2].pad(((0, 0), (low, low), (0, 0), (0, 0)))

    def pool(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def statistics(norm: nn.BatchNorm) -> tuple[Tensor, Tensor]:
    return norm.running_mean, norm.running_var


def optimizer(params: list[Tensor], update: Update) -> Any:
    if update.kind == "sgd":
        return nn.optim.SGD(params, lr=update.lr)
    decay = update.decay if update.kind == "adamw" else 0.0
    return nn.optim.AdamW(params, update.lr, *BETAS, eps=EPS, weight_decay=decay)
