"""LayerNorm and BatchNorm, forward and backward, on a matrix."""

from collections.abc import Callable
from typing import Any

import numpy as np

SIZES = ("layer-256x512", "layer-4096x1024", "batch-256x512", "batch-4096x1024")
SYSTEMS = ("needle-eager", "needle-jit", "torch", "torch-compile", "jax")


def data(size: str) -> tuple[str, np.ndarray, np.ndarray]:
    kind, shape = size.split("-")
    rows, columns = map(int, shape.split("x"))
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, columns), "float32")
    return kind, x, rng.standard_normal((rows, columns), "float32")


def losses(system: str, size: str, threads: int) -> list[float]:
    """Return sizes of parts of the gradient in place of a loss."""
    grad = np.asarray(build(system, size, threads)())
    return [float(np.abs(part).mean()) for part in (grad, grad[:1], grad[:, :1], grad * (grad > 0))]


def build(system: str, size: str, threads: int) -> Callable[[], Any]:
    maker = {"needle": build_needle, "torch": build_torch, "jax": build_jax}
    return maker[system.split("-")[0]](system, *data(size), threads)


def build_needle(
    system: str, kind: str, x: np.ndarray, g: np.ndarray, threads: int
) -> Callable[[], Any]:
    import needle as ndl
    from needle import nn

    norm = (nn.LayerNorm1d if kind == "layer" else nn.BatchNorm1d)(x.shape[1])
    G = ndl.Tensor(g, requires_grad=False)

    def run(x: Any, g: Any) -> Any:
        x = ndl.Tensor(x)
        y = norm(x)
        y.backward(g)
        return x.grad.detach()

    X = ndl.Tensor(x)
    step = ndl.jit(run) if system == "needle-jit" else run
    return lambda: step(X, G).numpy()


def build_torch(
    system: str, kind: str, x: np.ndarray, g: np.ndarray, threads: int
) -> Callable[[], Any]:
    import torch

    torch.set_num_threads(threads)
    norm = (torch.nn.LayerNorm if kind == "layer" else torch.nn.BatchNorm1d)(x.shape[1])
    run = torch.compile(norm) if system == "torch-compile" else norm
    X, G = torch.from_numpy(x).requires_grad_(), torch.from_numpy(g)

    def step() -> Any:
        X.grad = norm.weight.grad = norm.bias.grad = None
        run(X).backward(G)
        return X.grad

    return step


def build_jax(
    system: str, kind: str, x: np.ndarray, g: np.ndarray, threads: int
) -> Callable[[], Any]:
    import jax
    import jax.numpy as jnp

    axis = -1 if kind == "layer" else 0

    def norm(x: Any, w: Any, b: Any) -> Any:
        mean, var = x.mean(axis, keepdims=True), x.var(axis, keepdims=True)
        return (x - mean) / jnp.sqrt(var + 1e-5) * w + b

    @jax.jit
    def run(x: Any, w: Any, b: Any, g: Any) -> Any:
        y, back = jax.vjp(norm, x, w, b)
        return y, back(g)

    X, G, w, b = jnp.asarray(x), jnp.asarray(g), jnp.ones(x.shape[1]), jnp.zeros(x.shape[1])

    def step() -> Any:
        y, (dx, _, _) = run(X, w, b, G)
        y.block_until_ready()
        return dx.block_until_ready()

    return step
