"""A training step of a small GPT: pre-LN blocks, causal attention of 4 heads, GELU, AdamW."""

from typing import Any

import numpy as np

from benchmarks.task import Task, Update

SIZES = ("4x128",)  # layers x width; context 128, batch 16, 65 characters
SYSTEMS = ("needle-jit", "torch", "jax", "mlx", "mlx-lazy", "tinygrad")
ROUNDS = 11
VOCABULARY, CONTEXT, BATCH, HEADS = 65, 128, 16, 4


def task(size: str) -> Task:
    from needle import models, nn

    layers, width = map(int, size.split("x"))
    ids = np.random.default_rng(0).integers(0, VOCABULARY, (BATCH, CONTEXT + 1))
    return Task(
        data=(ids[:, :-1].copy(), ids[:, 1:].ravel()),
        model=lambda: models.gpt(VOCABULARY, CONTEXT, layers, width, HEADS),
        needle=lambda model, x, y: nn.SoftmaxLoss()(model(x).reshape((-1, VOCABULARY)), y),
        peers=lambda peer, p, x, y: loss(peer, p, layers, x, y),
        update=Update("adamw", lr=1e-3, decay=0.1),
    )


def loss(peer: Any, p: Any, layers: int, x: Any, y: Any) -> Any:
    h = peer.embedding(p, "tokens", x) + p["positions.weight"][: x.shape[1]]
    for i in range(layers):
        name = f"blocks.{i}"
        joined = peer.linear(p, f"{name}.qkv", peer.layer_norm(p, f"{name}.norm1", h))
        h = h + peer.linear(p, f"{name}.out", peer.attention(joined, HEADS))
        a = peer.linear(p, f"{name}.mlp.0", peer.layer_norm(p, f"{name}.norm2", h))
        h = h + peer.linear(p, f"{name}.mlp.2", peer.gelu(a))
    logits = peer.linear(p, "head", peer.layer_norm(p, "norm", h))
    return peer.cross_entropy(logits.reshape((-1, VOCABULARY)), y)
