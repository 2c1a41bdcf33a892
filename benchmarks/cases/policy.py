"""A small policy network, 8-64-64-2 tanh: a training step (MSE, Adam), and a call of one row."""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.cases import common

SIZES = ("train-64", "infer-1")
SYSTEMS = ("needle-jit", "needle-eager", "torch", "torch-fused", "torch-compile", "jax")
LR, EPS = 1e-3, 1e-8


def weights() -> list[np.ndarray]:
    """Return weight (in, out) and bias of the three Linear layers, for all systems."""
    rng, arrays = np.random.default_rng(1), []
    for n, m in ((8, 64), (64, 64), (64, 2)):
        arrays += [rng.standard_normal((n, m), "float32") * np.float32(n**-0.5)]
        arrays += [np.zeros(m, "float32")]
    return arrays


def data(size: str) -> tuple[str, np.ndarray, np.ndarray]:
    kind, batch = size.split("-")
    rng = np.random.default_rng(0)
    shape = (int(batch), 8), (int(batch), 2)
    return kind, *(rng.standard_normal(s, "float32") for s in shape)


def losses(system: str, size: str, threads: int) -> list[float]:
    step = build(system, size, threads)
    return [float(np.asarray(step()).ravel()[0]) for _ in range(5)]


def build(system: str, size: str, threads: int) -> Callable[[], Any]:
    maker = {"needle": build_needle, "torch": build_torch, "jax": build_jax}
    return maker[system.split("-")[0]](system, *data(size), threads)


def build_needle(
    system: str, kind: str, x: np.ndarray, y: np.ndarray, threads: int
) -> Callable[[], Any]:
    import needle as ndl
    from needle import nn

    model = nn.Sequential(
        nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2)
    )
    for p, a in zip(model.parameters(), weights(), strict=True):
        p.data = ndl.Tensor(a.reshape(p.shape))
    opt, loss_fn = ndl.optim.Adam(model.parameters(), lr=LR, eps=EPS), nn.MSELoss()
    X, Y = ndl.Tensor(x, requires_grad=False), ndl.Tensor(y, requires_grad=False)

    @ndl.no_grad()
    def infer(x: Any, y: Any) -> Any:
        return model(x)

    if kind == "train":
        step = common.needle_step(system, model, opt, lambda m, x, y: loss_fn(m(x), y))
    else:
        step = ndl.jit(infer) if system == "needle-jit" else infer
    return lambda: step(X, Y).numpy()


def build_torch(
    system: str, kind: str, x: np.ndarray, y: np.ndarray, threads: int
) -> Callable[[], Any]:
    import torch
    from torch import nn

    torch.set_num_threads(threads)
    model = nn.Sequential(
        nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2)
    )
    with torch.no_grad():
        for p, a in zip(model.parameters(), weights(), strict=True):
            p.copy_(torch.from_numpy(a.T.copy()))
    opt = torch.optim.Adam(model.parameters(), lr=LR, eps=EPS, fused=system != "torch")
    run = torch.compile(model) if system == "torch-compile" else model
    loss_fn, X, Y = nn.MSELoss(), torch.from_numpy(x), torch.from_numpy(y)

    @torch.inference_mode()
    def infer() -> Any:
        return run(X)

    train = common.on_torch(run, opt, lambda m, x, y: loss_fn(m(x), y), X, Y)
    return (lambda: train().detach()) if kind == "train" else infer


def build_jax(
    system: str, kind: str, x: np.ndarray, y: np.ndarray, threads: int
) -> Callable[[], Any]:
    import jax
    import jax.numpy as jnp

    params = [jnp.asarray(a) for a in weights()]

    def forward(p: Any, x: Any) -> Any:
        h = jnp.tanh(x @ p[0] + p[1])
        return jnp.tanh(h @ p[2] + p[3]) @ p[4] + p[5]

    @jax.jit
    def train_step(state: Any, x: Any, y: Any) -> Any:
        params, m, v, t = state
        loss_fn = lambda p: ((forward(p, x) - y) ** 2).mean()  # noqa: E731
        loss, grads = jax.value_and_grad(loss_fn)(params)
        t, tree = t + 1, jax.tree_util.tree_map
        m = tree(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
        v = tree(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
        fix_m, fix_v = 1 - 0.9**t, 1 - 0.999**t
        update = lambda p, m, v: p - LR * (m / fix_m) / (jnp.sqrt(v / fix_v) + EPS)  # noqa: E731
        return (tree(update, params, m, v), m, v, t), loss

    infer = jax.jit(forward)
    zeros = jax.tree_util.tree_map(jnp.zeros_like, params)
    state, X, Y = [(params, zeros, zeros, jnp.asarray(0.0))], jnp.asarray(x), jnp.asarray(y)

    def step() -> Any:
        if kind == "infer":
            return infer(params, X).block_until_ready()
        state[0], loss = train_step(state[0], X, Y)
        return loss.block_until_ready()

    return step
