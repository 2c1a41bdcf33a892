"""MLX on the CPU: the whole step in one `mx.compile`; `mlx-lazy` without it."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_map

from benchmarks.task import BETAS, EPS, Task, Update, images_last


class Peer:
    def __init__(self, variant: str, threads: int, exact: bool) -> None:
        self.lazy, self.exact = "lazy" in variant, exact
        self.state: dict[str, Any] = {"running": {}}
        mx.set_default_device(mx.cpu)

    def array(self, result: Any) -> np.ndarray:
        return np.array(result)

    def step(self, task: Task) -> Callable[[], Any]:
        weights = task.weights(np.transpose, lambda a: a.transpose(3, 0, 1, 2))
        params = {name: mx.array(a) for name, a in weights.items()}
        self.state["params"] = params
        data = [mx.array(images_last(array)) for array in task.data]
        if task.update is not None:
            return self._training(task, task.update, data)

        def gradient(x: Any, g: Any) -> Any:
            names = list(params)

            def function(x: Any, *values: Any) -> Any:
                return task.peers(self, dict(zip(names, values, strict=True)), x)

            return mx.vjp(function, [x, *params.values()], [g])

        def call(*data: Any) -> Any:
            return task.peers(self, params, *data)

        run = gradient if task.gradient else call
        compiled = self._compiled(run, self.state)

        def step() -> Any:
            result = compiled(*data)
            mx.eval(result, self.state)
            return result[1][0] if task.gradient else result

        return step

    def _compiled(self, run: Callable[..., Any], *state: Any) -> Callable[..., Any]:
        return run if self.lazy else mx.compile(run, inputs=state, outputs=state)

    def _training(self, task: Task, update: Update, data: list[Any]) -> Callable[[], Any]:
        opt = optimizer(update)
        opt.init(self.state["params"])
        with_grads = mx.value_and_grad(lambda params, *data: task.peers(self, params, *data))

        def train_step(*data: Any) -> Any:
            params = self.state["params"]
            loss, grads = with_grads(params, *data)
            if update.clip:
                grads, _ = optim.clip_grad_norm(grads, update.clip)
            if update.kind == "adam" and update.decay:
                grads = tree_map(lambda g, p: g + update.decay * p, grads, params)
            self.state["params"] = opt.apply_gradients(grads, params)
            return loss

        compiled = self._compiled(train_step, self.state, opt.state, mx.random.state)

        def step() -> Any:
            loss = compiled(*data)
            mx.eval(loss, self.state, opt.state)
            return loss

        return step

    relu, tanh, gelu = staticmethod(nn.relu), staticmethod(mx.tanh), staticmethod(nn.gelu)
    mse = staticmethod(nn.losses.mse_loss)

    def cross_entropy(self, logits: Any, labels: Any) -> Any:
        return nn.losses.cross_entropy(logits, labels, reduction="mean")

    def linear(self, p: Any, name: str, x: Any) -> Any:
        weight, bias = p[f"{name}.weight"], p.get(f"{name}.bias")
        return x @ weight.T if bias is None else mx.addmm(bias, x, weight.T)

    def embedding(self, p: Any, name: str, ids: Any) -> Any:
        return p[f"{name}.weight"][ids]

    def dropout(self, x: Any, rate: float) -> Any:
        if self.exact:
            return x
        return mx.random.bernoulli(1 - rate, x.shape) * x * (1 / (1 - rate))

    def layer_norm(self, p: Any, name: str, x: Any) -> Any:
        return mx.fast.layer_norm(x, p[f"{name}.weight"], p[f"{name}.bias"], 1e-5)

    def batch_norm(self, p: Any, name: str, x: Any) -> Any:
        axes = tuple(range(x.ndim - 1))
        mean, var = mx.mean(x, axes), mx.var(x, axes)
        running = self.state["running"]
        old = running.get(name) or (mx.zeros(mean.shape), mx.ones(var.shape))
        running[name] = tuple(0.9 * a + 0.1 * b for a, b in zip(old, (mean, var), strict=True))
        return (x - mean) * mx.rsqrt(var + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]

    def attention(self, joined: Any, heads: int) -> Any:
        batch, time, width = joined.shape[0], joined.shape[1], joined.shape[2] // 3
        q, k, v = (
            part.reshape(batch, time, heads, -1).transpose(0, 2, 1, 3)
            for part in mx.split(joined, 3, axis=-1)
        )
        scale = (width // heads) ** -0.5
        x = mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask="causal")
        return x.transpose(0, 2, 1, 3).reshape(batch, time, width)

    def lstm(self, p: Any, name: str, layers: int, x: Any) -> Any:
        for layer in range(layers):
            W_ih, W_hh, b_ih, b_hh = (
                p[f"{name}.{layer}.{part}"] for part in ("W_ih", "W_hh", "bias_ih", "bias_hh")
            )
            # as mlx.nn.LSTM: the products with the inputs of all steps at once
            projected = mx.addmm(b_ih + b_hh, x, W_ih.T)
            h = c = mx.zeros((x.shape[1], W_hh.shape[1]))
            outputs = []
            for a in mx.split(projected, x.shape[0]):  # its gradient is one concatenation
                i, f, g, o = mx.split(mx.addmm(a[0], h, W_hh.T), 4, axis=-1)
                c = mx.sigmoid(f) * c + mx.sigmoid(i) * mx.tanh(g)
                h = mx.sigmoid(o) * mx.tanh(c)
                outputs.append(h)
            x = mx.stack(outputs)
        return x

    def conv(self, p: Any, name: str, x: Any, stride: int) -> Any:
        weight = p[f"{name}.weight"]
        return mx.conv2d(x, weight, stride=stride, padding=weight.shape[1] // 2)

    def shortcut(self, x: Any) -> Any:
        low = x.shape[3] // 2
        return mx.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (low, low)))

    def pool(self, x: Any) -> Any:
        return x.mean((1, 2))


def optimizer(update: Update) -> Any:
    if update.kind == "sgd":
        return optim.SGD(update.lr)
    options = {"betas": list(BETAS), "eps": EPS, "bias_correction": True}
    if update.kind == "adamw":
        return optim.AdamW(update.lr, weight_decay=update.decay, **options)
    return optim.Adam(update.lr, **options)
