"""A training step of a ResNet on 32 x 32 images: BatchNorm, cross-entropy, Adam."""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.cases import common

SIZES = ("20-128", "18-32")  # layers - batch; 20 is the CIFAR one, 18 has the CIFAR stem
SYSTEMS = ("needle-jit", "torch", "torch-channels-last", "jax")
SWEEP, ROUNDS = False, 7  # steps of a tenth of a second and more: all cores at once
LR = 1e-3


def data(size: str) -> tuple[int, np.ndarray, np.ndarray]:
    layers, batch = map(int, size.split("-"))
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, 3, 32, 32), "float32")
    return layers, x, rng.integers(0, 10, batch)


def model_of(layers: int) -> Any:
    """Return needle's model, whose weights all systems start from."""
    from needle import models

    np.random.seed(0)
    return models.resnet20() if layers == 20 else models.resnet18(num_classes=10, stem="cifar")


def losses(system: str, size: str, threads: int) -> list[float]:
    step = build(system, size, threads)
    return [float(step()) for _ in range(3)]


def build(system: str, size: str, threads: int) -> Callable[[], Any]:
    maker = {"needle": build_needle, "torch": build_torch, "jax": build_jax}
    return maker[system.split("-")[0]](system, *data(size), threads)


def build_needle(system: str, layers: int, x: np.ndarray, y: np.ndarray, threads: int) -> Any:
    import needle as ndl

    model, loss_fn = model_of(layers), ndl.nn.SoftmaxLoss()
    opt = ndl.optim.Adam(model.parameters(), lr=LR)
    return common.on_needle(system, model, opt, lambda m, x, y: loss_fn(m(x), y), x, y)


def build_torch(system: str, layers: int, x: np.ndarray, y: np.ndarray, threads: int) -> Any:
    import torch
    from torch import nn
    from torch.nn import functional as F  # noqa: N812

    class Shortcut(nn.Module):
        def forward(self, x: Any) -> Any:
            low = x.shape[1] // 2
            return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, low, low))

    class Block(nn.Module):
        def __init__(self, n: int, m: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(n, m, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(m)
            self.conv2 = nn.Conv2d(m, m, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(m)
            self.downsample = nn.Identity()
            if n != m:
                conv = nn.Conv2d(n, m, 1, stride, bias=False)
                projection = nn.Sequential(conv, nn.BatchNorm2d(m))
                self.downsample = Shortcut() if layers == 20 else projection

        def forward(self, x: Any) -> Any:
            y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
            return F.relu(y + self.downsample(x))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths, count = ((16, 32, 64), 3) if layers == 20 else ((64, 128, 256, 512), 2)
            self.conv1 = nn.Conv2d(3, widths[0], 3, 1, 1, bias=False)
            self.bn1, self.stages, last = nn.BatchNorm2d(widths[0]), [], widths[0]
            for i, width in enumerate(widths):
                first = Block(last, width, 2 if i else 1)
                stage = nn.Sequential(first, *[Block(width, width, 1) for _ in range(count - 1)])
                setattr(self, f"layer{i + 1}", stage)
                self.stages.append(f"layer{i + 1}")
                last = width
            setattr(self, "linear" if layers == 20 else "fc", nn.Linear(last, 10))

        def forward(self, x: Any) -> Any:
            x = F.relu(self.bn1(self.conv1(x)))
            for name in self.stages:
                x = getattr(self, name)(x)
            return (self.linear if layers == 20 else self.fc)(x.mean((2, 3)))

    torch.set_num_threads(threads)
    net = Net()
    own = common.torch_state(model_of(layers).state_dict(), ("linear.weight", "fc.weight", "bias"))
    net.load_state_dict(own, strict=False)  # but the batch counts
    X, Y = torch.from_numpy(x), torch.from_numpy(y)
    if system == "torch-channels-last":
        net, X = net.to(memory_format=torch.channels_last), X.to(memory_format=torch.channels_last)
    opt = torch.optim.Adam(net.parameters(), lr=LR, fused=True)
    return common.on_torch(net, opt, lambda m, x, y: F.cross_entropy(m(x), y), X, Y)


def build_jax(system: str, layers: int, x: np.ndarray, y: np.ndarray, threads: int) -> Any:
    import jax
    import jax.numpy as jnp

    state = model_of(layers).state_dict()
    params = {name: jnp.asarray(a) for name, a in state.items() if "running" not in name}

    def conv(p: Any, name: str, x: Any, stride: int) -> Any:
        weight = p[f"{name}.weight"]
        k = weight.shape[0] // 2
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, weight, (stride, stride), ((k, k), (k, k)), dimension_numbers=layout
        )

    def norm(p: Any, name: str, x: Any) -> Any:
        mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
        x = (x - mean) * jax.lax.rsqrt(var + 1e-5)
        return x * p[f"{name}.weight"] + p[f"{name}.bias"]

    def block(p: Any, name: str, x: Any, stride: int) -> Any:
        y = jax.nn.relu(norm(p, f"{name}.bn1", conv(p, f"{name}.conv1", x, stride)))
        y = norm(p, f"{name}.bn2", conv(p, f"{name}.conv2", y, 1))
        if f"{name}.downsample.0.weight" in p:
            x = conv(p, f"{name}.downsample.0", x, stride)
            x = norm(p, f"{name}.downsample.1", x)
        elif stride == 2:
            low = x.shape[3] // 2
            x = jnp.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (low, low)))
        return jax.nn.relu(y + x)

    def loss_of(p: Any, x: Any, y: Any) -> Any:
        x = jax.nn.relu(norm(p, "bn1", conv(p, "conv1", x, 1)))
        for stage in range(1, 4 if layers == 20 else 5):
            for i in range(3 if layers == 20 else 2):
                x = block(p, f"layer{stage}.{i}", x, 2 if stage > 1 and i == 0 else 1)
        last = "linear" if layers == 20 else "fc"
        logits = x.mean((1, 2)) @ p[f"{last}.weight"] + p[f"{last}.bias"][0]
        return common.jax_cross_entropy(logits, y)

    images = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    return common.on_jax(params, common.jax_adam(LR), loss_of, images, y)
