"""A training step of a ResNet on 32 x 32 images: BatchNorm, cross-entropy, Adam."""

from typing import Any

import numpy as np

from benchmarks.task import Task, Update

SIZES = ("20-128", "18-32")  # layers - batch; 20 is the CIFAR one, 18 has the CIFAR stem
SYSTEMS = ("needle-jit", "torch", "torch-channels-last", "jax", "mlx")
SWEEP, ROUNDS = False, 7  # steps of a tenth of a second and more: all cores at once


def task(size: str) -> Task:
    from needle import models, nn

    layers, batch = map(int, size.split("-"))
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, 3, 32, 32), "float32")

    def model() -> nn.Module:
        return models.resnet20() if layers == 20 else models.resnet18(num_classes=10, stem="cifar")

    return Task(
        data=(x, rng.integers(0, 10, batch)),
        model=model,
        needle=lambda model, x, y: nn.SoftmaxLoss()(model(x), y),
        peers=lambda peer, p, x, y: loss(peer, p, layers, x, y),
        update=Update("adam", lr=1e-3),
    )


def loss(peer: Any, p: Any, layers: int, x: Any, y: Any) -> Any:
    stages, blocks, last = (3, 3, "linear") if layers == 20 else (4, 2, "fc")
    x = peer.relu(peer.batch_norm(p, "bn1", peer.conv(p, "conv1", x, 1)))
    for stage in range(1, stages + 1):
        for i in range(blocks):
            x = block(peer, p, f"layer{stage}.{i}", x, 2 if stage > 1 and i == 0 else 1)
    return peer.cross_entropy(peer.linear(p, last, peer.pool(x)), y)


def block(peer: Any, p: Any, name: str, x: Any, stride: int) -> Any:
    y = peer.relu(peer.batch_norm(p, f"{name}.bn1", peer.conv(p, f"{name}.conv1", x, stride)))
    y = peer.batch_norm(p, f"{name}.bn2", peer.conv(p, f"{name}.conv2", y, 1))
    if f"{name}.downsample.0.weight" in p:
        x = peer.conv(p, f"{name}.downsample.0", x, stride)
        x = peer.batch_norm(p, f"{name}.downsample.1", x)
    elif stride == 2:
        x = peer.shortcut(x)
    return peer.relu(y + x)
