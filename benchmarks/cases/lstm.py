"""A training step of an LSTM language model: embedding, two layers, scores of the next word.

`words` clips the gradient at 0.25 and updates by SGD, `characters` updates by Adam.
"""

from typing import Any

import numpy as np

from benchmarks.task import Task, Update

SIZES = ("words", "characters")
SYSTEMS = ("needle-jit", "torch", "jax", "mlx", "mlx-lazy")
ROUNDS = 11
SHAPES = {  # vocabulary, units, steps, batch
    "words": (10_000, 200, 35, 20),
    "characters": (65, 256, 64, 32),
}
UPDATES = {"words": Update("sgd", lr=1.0, clip=0.25), "characters": Update("adam", lr=1e-3)}


def task(size: str) -> Task:
    from needle import models, nn

    vocabulary, units, steps, batch = SHAPES[size]
    ids = np.random.default_rng(0).integers(0, vocabulary, (steps + 1, batch))
    return Task(
        data=(ids[:-1], ids[1:].ravel()),
        model=lambda: models.LanguageModel(
            units, vocabulary, units, num_layers=2, seq_model="lstm"
        ),
        needle=lambda model, x, y: nn.SoftmaxLoss()(model(x)[0], y),
        peers=loss,
        update=UPDATES[size],
    )


def loss(peer: Any, p: Any, x: Any, y: Any) -> Any:
    h = peer.lstm(p, "seq_model.lstm_cells", 2, peer.embedding(p, "embedding", x))
    return peer.cross_entropy(peer.linear(p, "linear", h.reshape((-1, h.shape[-1]))), y)
