"""A training step of a small GPT: pre-LN blocks, causal attention of 4 heads, GELU, AdamW."""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.cases import common

SIZES = ("4x128",)  # layers x width; context 128, batch 16, 65 characters
SYSTEMS = ("needle-jit", "torch", "jax")
ROUNDS = 11
VOCABULARY, CONTEXT, BATCH, HEADS = 65, 128, 16, 4
LR, DECAY = 1e-3, 0.1


def data(size: str) -> tuple[np.ndarray, np.ndarray]:
    ids = np.random.default_rng(0).integers(0, VOCABULARY, (BATCH, CONTEXT + 1))
    return ids[:, :-1].copy(), ids[:, 1:].copy()


def model_of(size: str) -> Any:
    """Return needle's model, whose weights all systems start from."""
    from needle import models

    np.random.seed(0)
    layers, width = map(int, size.split("x"))
    return models.gpt(VOCABULARY, CONTEXT, layers, width, HEADS)


def losses(system: str, size: str, threads: int) -> list[float]:
    step = build(system, size, threads)
    return [float(step()) for _ in range(5)]


def build(system: str, size: str, threads: int) -> Callable[[], Any]:
    maker = {"needle": build_needle, "torch": build_torch, "jax": build_jax}
    return maker[system.split("-")[0]](system, size, *data(size), threads)


def build_needle(system: str, size: str, x: np.ndarray, y: np.ndarray, threads: int) -> Any:
    import needle as ndl

    model, softmax = model_of(size), ndl.nn.SoftmaxLoss()
    opt = ndl.optim.AdamW(model.parameters(), lr=LR, weight_decay=DECAY)

    def loss_of(model: Any, x: Any, y: Any) -> Any:
        return softmax(model(x).reshape((-1, VOCABULARY)), y)

    return common.on_needle(system, model, opt, loss_of, x, y.reshape(-1))


def build_torch(system: str, size: str, x: np.ndarray, y: np.ndarray, threads: int) -> Any:
    import torch
    from torch import nn
    from torch.nn import functional as F  # noqa: N812

    layers, width = map(int, size.split("x"))

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.mlp = nn.Sequential(
                nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
            )

        def forward(self, x: Any) -> Any:
            joined = self.qkv(self.norm1(x)).unflatten(2, (3, HEADS, -1))
            q, k, v = joined.permute(2, 0, 3, 1, 4)
            heads = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(heads.transpose(1, 2).flatten(2))
            return x + self.mlp(self.norm2(x))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.positions = (nn.Embedding(n, width) for n in (VOCABULARY, CONTEXT))
            self.blocks = nn.ModuleList([Block() for _ in range(layers)])
            self.norm = nn.LayerNorm(width)
            self.head = nn.Linear(width, VOCABULARY, bias=False)

        def forward(self, ids: Any) -> Any:
            x = self.tokens(ids) + self.positions.weight[: ids.shape[1]]
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x))

    torch.set_num_threads(threads)
    net = Net()
    linear = tuple(f"{n}.{p}" for n in ("qkv", "out", "mlp.0", "mlp.2") for p in ("weight", "bias"))
    own = common.torch_state(model_of(size).state_dict(), (*linear, "head.weight"))
    net.load_state_dict(own)
    opt = torch.optim.AdamW(net.parameters(), lr=LR, weight_decay=DECAY, fused=True)

    def loss_of(net: Any, x: Any, y: Any) -> Any:
        return F.cross_entropy(net(x).flatten(0, 1), y)

    return common.on_torch(net, opt, loss_of, torch.from_numpy(x), torch.from_numpy(y.reshape(-1)))


def build_jax(system: str, size: str, x: np.ndarray, y: np.ndarray, threads: int) -> Any:
    import jax
    import jax.numpy as jnp

    layers, width = map(int, size.split("x"))
    params = {name: jnp.asarray(a) for name, a in model_of(size).state_dict().items()}

    def norm(p: Any, name: str, x: Any) -> Any:
        mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) * jax.lax.rsqrt(var + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]

    def linear(p: Any, name: str, x: Any) -> Any:
        return x @ p[f"{name}.weight"] + p[f"{name}.bias"]

    def attend(p: Any, name: str, x: Any) -> Any:
        batch, time, _ = x.shape
        joined = linear(p, f"{name}.qkv", x).reshape(batch, time, 3, HEADS, width // HEADS)
        q, k, v = (joined[:, :, i].transpose(0, 2, 1, 3) for i in range(3))
        scores = q @ k.swapaxes(2, 3) / (width // HEADS) ** 0.5
        seen = jnp.tril(jnp.ones((time, time), bool))
        heads = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf)) @ v
        return linear(p, f"{name}.out", heads.transpose(0, 2, 1, 3).reshape(batch, time, width))

    def loss_of(p: Any, x: Any, y: Any) -> Any:
        h = p["tokens.weight"][x] + p["positions.weight"][: x.shape[1]]
        for i in range(layers):
            name = f"blocks.{i}"
            h = h + attend(p, name, norm(p, f"{name}.norm1", h))
            a = linear(p, f"{name}.mlp.0", norm(p, f"{name}.norm2", h))
            h = h + linear(p, f"{name}.mlp.2", jax.nn.gelu(a, approximate=False))
        return common.jax_cross_entropy(norm(p, "norm", h) @ p["head.weight"], y)

    return common.on_jax(params, common.jax_adam(LR, DECAY), loss_of, x, y)
