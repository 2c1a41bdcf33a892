"""A training step of MLPResNet: 784 inputs, 3 blocks, BatchNorm, dropout, Adam with decay."""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.cases import common

SIZES = ("100x100", "256x512", "1024x1024")  # batch x hidden
SYSTEMS = ("needle-eager", "needle-jit", "torch", "torch-fused", "torch-compile", "jax")
LR, DECAY, EPS = 1e-3, 1e-3, 1e-8


def data(size: str) -> tuple[np.ndarray, np.ndarray, int]:
    batch, hidden = map(int, size.split("x"))
    rng = np.random.default_rng(0)
    return rng.random((batch, 784), "float32"), rng.integers(0, 10, batch), hidden


def weights(hidden: int) -> list[np.ndarray]:
    """Return weight and bias of every Linear layer in order, for all systems."""
    half, rng = hidden // 2, np.random.default_rng(1)
    shapes = [(784, hidden), *[(hidden, half), (half, hidden)] * 3, (hidden, 10)]
    arrays = []
    for n, m in shapes:
        arrays += [rng.standard_normal((n, m), "float32") * np.float32((2 / n) ** 0.5)]
        arrays += [np.zeros(m, "float32")]
    return arrays


def losses(system: str, size: str, threads: int) -> list[float]:
    step = build(system, size, threads, dropout=0.0)
    return [float(step()) for _ in range(5)]


def build(system: str, size: str, threads: int, dropout: float = 0.1) -> Callable[[], Any]:
    maker = {"needle": build_needle, "torch": build_torch, "jax": build_jax}
    return maker[system.split("-")[0]](system, *data(size), threads, dropout)


def build_needle(
    system: str, x: np.ndarray, y: np.ndarray, hidden: int, threads: int, dropout: float
) -> Callable[[], Any]:
    import needle as ndl
    from needle import models, nn

    model = models.MLPResNet(784, hidden, drop_prob=dropout)
    linears = [m for _, m in model.named_modules() if isinstance(m, nn.Linear)]
    arrays = iter(weights(hidden))
    for layer in linears:
        layer.weight.data = ndl.Tensor(next(arrays))
        layer.bias.data = ndl.Tensor(next(arrays)[None])
    opt = ndl.optim.Adam(model.parameters(), lr=LR, eps=EPS, weight_decay=DECAY)
    loss_fn = nn.SoftmaxLoss()
    return common.on_needle(system, model, opt, lambda m, x, y: loss_fn(m(x), y), x, y)


def build_torch(
    system: str, x: np.ndarray, y: np.ndarray, hidden: int, threads: int, dropout: float
) -> Callable[[], Any]:
    import torch
    from torch import nn

    torch.set_num_threads(threads)

    class Residual(nn.Module):
        def __init__(self, fn: nn.Module) -> None:
            super().__init__()
            self.fn = fn

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fn(x) + x

    def block(n: int, m: int) -> nn.Module:
        parts = [nn.Linear(n, m), nn.BatchNorm1d(m), nn.ReLU(), nn.Dropout(dropout)]
        return nn.Sequential(
            Residual(nn.Sequential(*parts, nn.Linear(m, n), nn.BatchNorm1d(n))), nn.ReLU()
        )

    blocks = [block(hidden, hidden // 2) for _ in range(3)]
    model = nn.Sequential(nn.Linear(784, hidden), nn.ReLU(), *blocks, nn.Linear(hidden, 10))
    arrays = iter(weights(hidden))
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                layer.weight.copy_(torch.from_numpy(next(arrays).T.copy()))
                layer.bias.copy_(torch.from_numpy(next(arrays)))
    opt = torch.optim.Adam(
        model.parameters(), lr=LR, eps=EPS, weight_decay=DECAY, fused=system != "torch"
    )
    run = torch.compile(model) if system == "torch-compile" else model
    loss_fn, X, Y = nn.CrossEntropyLoss(), torch.from_numpy(x), torch.from_numpy(y)
    return common.on_torch(run, opt, lambda m, x, y: loss_fn(m(x), y), X, Y)


def build_jax(
    system: str, x: np.ndarray, y: np.ndarray, hidden: int, threads: int, dropout: float
) -> Callable[[], Any]:
    import jax
    import jax.numpy as jnp

    linears = [jnp.asarray(a) for a in weights(hidden)]
    ones = [jnp.ones(m) for m in (hidden // 2, hidden) * 3]
    params = (linears, ones, [jnp.zeros_like(a) for a in ones])

    def normalize(h: Any, scale: Any, shift: Any) -> Any:
        mean, var = h.mean(0), h.var(0)
        return (h - mean) / jnp.sqrt(var + 1e-5) * scale + shift, (mean, var)

    def loss_fn(params: Any, key: Any, x: Any, y: Any) -> Any:
        (w, scale, shift), stats = params, []
        h = jax.nn.relu(x @ w[0] + w[1])
        for i in range(3):
            a = h @ w[4 * i + 2] + w[4 * i + 3]
            a, seen = normalize(a, scale[2 * i], shift[2 * i])
            a, stats = jax.nn.relu(a), [*stats, seen]
            if dropout:
                key, sub = jax.random.split(key)
                a = a * jax.random.bernoulli(sub, 1 - dropout, a.shape) / (1 - dropout)
            a = a @ w[4 * i + 4] + w[4 * i + 5]
            a, seen = normalize(a, scale[2 * i + 1], shift[2 * i + 1])
            h, stats = jax.nn.relu(a + h), [*stats, seen]
        logits = h @ w[14] + w[15]
        chosen = jax.nn.log_softmax(logits)[jnp.arange(len(y)), y]
        return -chosen.mean(), stats

    @jax.jit
    def train_step(state: Any, x: Any, y: Any) -> Any:
        params, m, v, running, t, key = state
        key, sub = jax.random.split(key)
        (loss, stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(params, sub, x, y)
        t, tree = t + 1, jax.tree_util.tree_map
        grads = tree(lambda g, p: g + DECAY * p, grads, params)
        m = tree(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
        v = tree(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
        fix_m, fix_v = 1 - 0.9**t, 1 - 0.999**t
        update = lambda p, m, v: p - LR * (m / fix_m) / (jnp.sqrt(v / fix_v) + EPS)  # noqa: E731
        running = tree(lambda r, s: 0.9 * r + 0.1 * s, running, stats)
        return (tree(update, params, m, v), m, v, running, t, key), loss

    zeros = jax.tree_util.tree_map(jnp.zeros_like, params)
    running = [(jnp.zeros_like(a), jnp.ones_like(a)) for a in ones]
    state = [(params, zeros, zeros, running, jnp.asarray(0.0), jax.random.PRNGKey(0))]
    X, Y = jnp.asarray(x), jnp.asarray(y)

    def step() -> Any:
        state[0], loss = train_step(state[0], X, Y)
        return loss.block_until_ready()

    return step
