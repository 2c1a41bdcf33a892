"""What the cases with whole models share: a step on fixed data, and weights for all systems."""

from collections.abc import Callable
from typing import Any

import numpy as np

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


class OnData:
    """A step called again and again with the same arguments; keeps the report of a compiled one."""

    def __init__(self, step: Callable[..., Any], *arguments: Any) -> None:
        self.step, self.arguments = step, arguments
        self.explain = getattr(step, "explain", None)

    def __call__(self) -> Any:
        return self.step(*self.arguments)


def training_step(model: Any, opt: Any, loss_of: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """Return a training step, as needle and PyTorch both write it."""

    def train_step(x: Any, y: Any) -> Any:
        opt.zero_grad()
        loss = loss_of(model, x, y)
        loss.backward()
        opt.step()
        return loss

    return train_step


def needle_step(system: str, model: Any, opt: Any, loss_of: Callable[..., Any]) -> Any:
    """Return a training step of needle, compiled for the system `needle-jit`."""
    import needle as ndl

    step = training_step(model, opt, loss_of)
    return ndl.jit(step) if system == "needle-jit" else step


def on_needle(system: str, model: Any, opt: Any, loss_of: Callable[..., Any], *data: Any) -> OnData:
    """Return that step on constant data."""
    import needle as ndl

    constants = [ndl.Tensor(array, requires_grad=False) for array in data]
    return OnData(needle_step(system, model, opt, loss_of), *constants)


def on_torch(model: Any, opt: Any, loss_of: Callable[..., Any], *data: Any) -> OnData:
    """Return a training step of PyTorch on constant data."""
    return OnData(training_step(model, opt, loss_of), *data)


def on_jax(params: Any, update: Callable[..., Any], loss_of: Callable[..., Any], *data: Any) -> Any:
    """Return a training step of JAX, compiled whole; old parameters and moments are donated."""
    import jax
    import jax.numpy as jnp

    zeros = jax.tree_util.tree_map(jnp.zeros_like, params)
    state = [(params, zeros, jax.tree_util.tree_map(jnp.copy, zeros), jnp.zeros(()))]

    def train_step(state: Any, x: Any, y: Any) -> Any:
        loss, grads = jax.value_and_grad(loss_of)(state[0], x, y)
        return update(state, grads), loss

    compiled = jax.jit(train_step, donate_argnums=0)
    constants = [jnp.asarray(array) for array in data]

    def step() -> Any:
        state[0], loss = compiled(state[0], *constants)
        return loss.block_until_ready()

    return step


def jax_adam(lr: float, decay: float = 0.0) -> Callable[..., Any]:
    """Return Adam, with decoupled weight decay, as a function (state, gradients) -> state."""
    import jax
    import jax.numpy as jnp

    tree = jax.tree_util.tree_map

    def update(state: Any, grads: Any) -> Any:
        params, m, v, t = state
        t = t + 1
        m = tree(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, grads)
        v = tree(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, grads)
        fix_m, fix_v = 1 - BETA1**t, 1 - BETA2**t

        def change(p: Any, m: Any, v: Any) -> Any:
            return p - lr * (m / fix_m / (jnp.sqrt(v / fix_v) + EPS) + decay * p)

        return tree(change, params, m, v), m, v, t

    return update


def jax_cross_entropy(logits: Any, labels: Any) -> Any:
    """Return the mean over all labels."""
    import jax
    import jax.numpy as jnp

    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], -1)
    return -chosen.mean()


def torch_state(state: dict[str, np.ndarray], linear: tuple[str, ...]) -> dict[str, Any]:
    """Return needle's arrays as PyTorch's: names that end as `linear` says are transposed."""
    import torch

    result = {}
    for name, array in state.items():
        if array.ndim == 4:
            array = array.transpose(3, 2, 0, 1)
        elif array.ndim == 2 and name.endswith(linear):
            array = array.T if not name.endswith("bias") else array[0]
        result[name] = torch.from_numpy(array.copy())
    return result
