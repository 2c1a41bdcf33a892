"""PyTorch with the fused optimizer; `torch-plain` without it, `torch-compile` with a compiled loss.

The model calls torch.nn.functional on tensors, which spares PyTorch the cost of nn.Module's calls.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

from benchmarks.task import BETAS, EPS, Task, Update

Params = dict[str, torch.Tensor]


class Peer:
    def __init__(self, variant: str, threads: int, exact: bool) -> None:
        self.variant, self.exact = variant, exact
        self.running: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        torch.set_num_threads(threads)

    def array(self, result: torch.Tensor) -> np.ndarray:
        return result.detach().numpy()

    def step(self, task: Task) -> Callable[[], torch.Tensor]:
        weights = task.weights(np.transpose, lambda a: a.transpose(3, 2, 0, 1))
        data = [torch.from_numpy(array) for array in task.data]
        params = {name: torch.from_numpy(a) for name, a in weights.items()}
        if self.variant == "channels-last":
            params = {name: channels_last(p) for name, p in params.items()}
            data = [channels_last(d) for d in data]
        for name, p in params.items():
            p.requires_grad_()
            if p.ndim == 1:  # made here: a dictionary that grows has the model compiled again
                zeros, ones = torch.zeros(p.shape), torch.ones(p.shape)
                self.running[name.removesuffix(".weight")] = zeros, ones

        def model(*data: torch.Tensor) -> torch.Tensor:
            return task.peers(self, params, *data)

        run = torch.compile(model) if self.variant == "compile" else model
        if task.update is not None:
            return self._training(run, list(params.values()), task.update, data)
        return self._gradient(run, params, *data) if task.gradient else self._call(run, data)

    def _training(
        self, run: Callable[..., Any], params: list[Any], update: Update, data: list[Any]
    ) -> Callable[[], Any]:
        kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
        options = {} if update.kind == "sgd" else {"betas": BETAS, "eps": EPS}
        opt = kinds[update.kind](
            params,
            lr=update.lr,
            weight_decay=update.decay,
            fused=self.variant != "plain",
            **options,
        )

        def step() -> Any:
            opt.zero_grad()
            loss = run(*data)
            loss.backward()
            if update.clip:
                torch.nn.utils.clip_grad_norm_(params, update.clip)
            opt.step()
            return loss

        return step

    def _gradient(
        self, run: Callable[..., Any], params: Params, x: Any, g: Any
    ) -> Callable[[], Any]:
        x.requires_grad_()

        def step() -> Any:
            x.grad = None
            for p in params.values():
                p.grad = None
            run(x).backward(g)
            return x.grad

        return step

    def _call(self, run: Callable[..., Any], data: list[Any]) -> Callable[[], Any]:
        @torch.inference_mode()
        def step() -> Any:
            return run(*data)

        return step

    relu, tanh, gelu = staticmethod(torch.relu), staticmethod(torch.tanh), staticmethod(F.gelu)
    cross_entropy, mse = staticmethod(F.cross_entropy), staticmethod(F.mse_loss)

    def linear(self, p: Params, name: str, x: Any) -> Any:
        return F.linear(x, p[f"{name}.weight"], p.get(f"{name}.bias"))

    def embedding(self, p: Params, name: str, ids: Any) -> Any:
        return F.embedding(ids, p[f"{name}.weight"])

    def dropout(self, x: Any, rate: float) -> Any:
        return x if self.exact else F.dropout(x, rate)

    def layer_norm(self, p: Params, name: str, x: Any) -> Any:
        return F.layer_norm(x, x.shape[-1:], p[f"{name}.weight"], p[f"{name}.bias"])

    def batch_norm(self, p: Params, name: str, x: Any) -> Any:
        weight, bias = p[f"{name}.weight"], p[f"{name}.bias"]
        mean, var = self.running[name]
        return F.batch_norm(x, mean, var, weight, bias, training=True)

    def attention(self, joined: Any, heads: int) -> Any:
        q, k, v = joined.unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return x.transpose(1, 2).flatten(2)

    def lstm(self, p: Params, name: str, layers: int, x: Any) -> Any:
        parts = ("W_ih", "W_hh", "bias_ih", "bias_hh")
        weights = [p[f"{name}.{k}.{part}"] for k in range(layers) for part in parts]
        zeros = x.new_zeros(layers, x.shape[1], weights[1].shape[1])
        return torch.lstm(x, (zeros, zeros), weights, True, layers, 0.0, True, False, False)[0]

    def conv(self, p: Params, name: str, x: Any, stride: int) -> Any:
        weight = p[f"{name}.weight"]
        return F.conv2d(x, weight, stride=stride, padding=weight.shape[2] // 2)

    def shortcut(self, x: Any) -> Any:
        low = x.shape[1] // 2
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, low, low))

    def pool(self, x: Any) -> Any:
        return x.mean((2, 3))


def channels_last(x: torch.Tensor) -> torch.Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x
