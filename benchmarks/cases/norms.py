"""LayerNorm and BatchNorm, forward and backward, on a matrix."""

import numpy as np

from benchmarks.task import Task

SIZES = ("layer-256x512", "layer-4096x1024", "batch-256x512", "batch-4096x1024")
SYSTEMS = (
    "needle-jit",
    "needle-eager",
    "torch",
    "torch-compile",
    "jax",
    "mlx",
    "mlx-lazy",
    "tinygrad",
)


def task(size: str) -> Task:
    from needle import nn

    kind, shape = size.split("-")
    rows, columns = map(int, shape.split("x"))
    rng = np.random.default_rng(0)
    layer = nn.LayerNorm1d if kind == "layer" else nn.BatchNorm1d
    return Task(
        data=tuple(rng.standard_normal((rows, columns), "float32") for _ in range(2)),
        model=lambda: nn.Sequential(layer(columns)),
        needle=lambda model, x: model(x),
        peers=lambda peer, p, x: getattr(peer, f"{kind}_norm")(p, "0", x),
        gradient=True,
    )
