"""A small policy network, 8-64-64-2 tanh: a training step (MSE, Adam), and a call of one row."""

from typing import Any

import numpy as np

from benchmarks.task import Task, Update

SIZES = ("train-64", "infer-1")
SYSTEMS = (
    "needle-jit",
    "needle-eager",
    "torch",
    "torch-plain",
    "torch-compile",
    "jax",
    "mlx",
    "mlx-lazy",
    "tinygrad",
)


def task(size: str) -> Task:
    from needle import nn

    kind, batch = size.split("-")
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((int(batch), n), "float32") for n in (8, 2))

    def model() -> nn.Module:
        tanh = nn.Tanh()
        return nn.Sequential(nn.Linear(8, 64), tanh, nn.Linear(64, 64), tanh, nn.Linear(64, 2))

    if kind == "infer":
        return Task(data=(x,), model=model, needle=lambda model, x: model(x), peers=forward)
    return Task(
        data=(x, y),
        model=model,
        needle=lambda model, x, y: nn.MSELoss()(model(x), y),
        peers=lambda peer, p, x, y: peer.mse(forward(peer, p, x), y),
        update=Update("adam", lr=1e-3),
    )


def forward(peer: Any, p: Any, x: Any) -> Any:
    h = peer.tanh(peer.linear(p, "0", x))
    return peer.linear(p, "4", peer.tanh(peer.linear(p, "2", h)))
