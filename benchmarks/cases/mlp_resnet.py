"""A training step of MLPResNet: 784 inputs, 3 blocks, BatchNorm, dropout, Adam with decay."""

from typing import Any

import numpy as np

from benchmarks.task import Task, Update

SIZES = ("100x100", "256x512", "1024x1024")  # batch x hidden
SYSTEMS = (
    "needle-jit",
    "needle-eager",
    "torch",
    "torch-plain",
    "torch-compile",
    "jax",
    "mlx",
    "mlx-lazy",
    "mlx-wheel",
    "tinygrad",
)
DROPOUT = 0.1


def task(size: str) -> Task:
    from needle import models, nn

    batch, hidden = map(int, size.split("x"))
    rng = np.random.default_rng(0)
    return Task(
        data=(rng.random((batch, 784), "float32"), rng.integers(0, 10, batch)),
        model=lambda: models.MLPResNet(784, hidden, drop_prob=DROPOUT),
        needle=lambda model, x, y: nn.SoftmaxLoss()(model(x), y),
        peers=loss,
        update=Update("adam", lr=1e-3, decay=1e-3),
        random=True,
    )


def loss(peer: Any, p: Any, x: Any, y: Any) -> Any:
    h = peer.relu(peer.linear(p, "0", x))
    for i in (2, 3, 4):
        name = f"{i}.0.fn"
        f = peer.batch_norm(p, f"{name}.1", peer.linear(p, f"{name}.0", h))
        f = peer.dropout(peer.relu(f), DROPOUT)
        f = peer.batch_norm(p, f"{name}.5", peer.linear(p, f"{name}.4", f))
        h = peer.relu(h + f)
    return peer.cross_entropy(peer.linear(p, "5", h), y)
