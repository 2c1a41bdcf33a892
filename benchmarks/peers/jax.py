"""JAX: the whole step in one `jax.jit`; the old parameters and moments are donated."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.task import BETAS, EPS, Task, Update, images_last

tree = jax.tree_util.tree_map


class Peer:
    def __init__(self, variant: str, threads: int, exact: bool) -> None:
        self.exact = exact
        self.seen: dict[str, Any] = {}  # BatchNorm's statistics of the step being traced
        self.key: Any = None

    def array(self, result: Any) -> np.ndarray:
        return np.asarray(result)

    def step(self, task: Task) -> Callable[[], Any]:
        weights = task.weights(np.asarray, np.asarray)
        params = {name: jnp.asarray(a) for name, a in weights.items()}
        data = [jnp.asarray(images_last(array)) for array in task.data]
        if task.update is not None:
            return self._training(task, params, task.update, data)

        def gradient(params: Any, x: Any, g: Any) -> Any:
            out, back = jax.vjp(lambda p, x: task.peers(self, p, x), params, x)
            return out, *back(g)

        def call(params: Any, *data: Any) -> Any:
            return task.peers(self, params, *data)

        run = jax.jit(gradient if task.gradient else call)

        def step() -> Any:
            result = jax.block_until_ready(run(params, *data))
            return result[2] if task.gradient else result

        return step

    def _training(
        self, task: Task, params: Any, update: Update, data: list[Any]
    ) -> Callable[[], Any]:
        def loss_of(params: Any, key: Any, *data: Any) -> Any:
            self.seen, self.key = {}, key
            loss = task.peers(self, params, *data)
            return loss, self.seen

        def train_step(state: Any, *data: Any) -> Any:
            params, moments, running, key = state
            key, own = jax.random.split(key)
            (loss, seen), grads = jax.value_and_grad(loss_of, has_aux=True)(params, own, *data)
            params, moments = change(update, params, moments, grads)
            running = tree(lambda old, new: 0.9 * old + 0.1 * new, running, seen)
            return (params, moments, running, key), loss

        key = jax.random.PRNGKey(0)
        shapes = jax.eval_shape(loss_of, params, key, *data)[1]
        running = {k: (jnp.zeros(m.shape), jnp.ones(v.shape)) for k, (m, v) in shapes.items()}
        zeros = [tree(jnp.zeros_like, params) for _ in range(2)]
        state = [(params, (*zeros, jnp.zeros(())), running, key)]
        compiled = jax.jit(train_step, donate_argnums=0)

        def step() -> Any:
            state[0], loss = compiled(state[0], *data)
            return loss.block_until_ready()

        return step

    relu, tanh = staticmethod(jax.nn.relu), staticmethod(jnp.tanh)

    def gelu(self, x: Any) -> Any:
        return jax.nn.gelu(x, approximate=False)

    def mse(self, x: Any, y: Any) -> Any:
        return ((x - y) ** 2).mean()

    def cross_entropy(self, logits: Any, labels: Any) -> Any:
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], -1).mean()

    def linear(self, p: Any, name: str, x: Any) -> Any:
        y = x @ p[f"{name}.weight"]
        return y + p[f"{name}.bias"] if f"{name}.bias" in p else y

    def embedding(self, p: Any, name: str, ids: Any) -> Any:
        return p[f"{name}.weight"][ids]

    def dropout(self, x: Any, rate: float) -> Any:
        if self.exact:
            return x
        self.key, own = jax.random.split(self.key)
        return jnp.where(jax.random.bernoulli(own, 1 - rate, x.shape), x / (1 - rate), 0.0)

    def layer_norm(self, p: Any, name: str, x: Any) -> Any:
        mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) * jax.lax.rsqrt(var + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]

    def batch_norm(self, p: Any, name: str, x: Any) -> Any:
        axes = tuple(range(x.ndim - 1))
        mean, var = x.mean(axes), x.var(axes)
        self.seen[name] = mean, var
        return (x - mean) * jax.lax.rsqrt(var + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]

    def attention(self, joined: Any, heads: int) -> Any:
        batch, time, width = joined.shape[0], joined.shape[1], joined.shape[2] // 3
        parts = joined.reshape(batch, time, 3, heads, width // heads)
        q, k, v = (parts[:, :, i].transpose(0, 2, 1, 3) for i in range(3))
        scores = q @ k.swapaxes(2, 3) / (width // heads) ** 0.5
        seen = jnp.tril(jnp.ones((time, time), bool))
        x = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf)) @ v
        return x.transpose(0, 2, 1, 3).reshape(batch, time, width)

    def lstm(self, p: Any, name: str, layers: int, x: Any) -> Any:
        for k in range(layers):
            W_ih, W_hh, b_ih, b_hh = (
                p[f"{name}.{k}.{part}"] for part in ("W_ih", "W_hh", "bias_ih", "bias_hh")
            )

            def cell(state: Any, a: Any, W_hh: Any = W_hh) -> Any:
                h, c = state
                i, f, g, o = jnp.split(a + h @ W_hh, 4, axis=1)
                c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
                h = jax.nn.sigmoid(o) * jnp.tanh(c)
                return (h, c), h

            zeros = jnp.zeros((x.shape[1], W_hh.shape[0]))
            # the products with the inputs of all steps at once
            x = jax.lax.scan(cell, (zeros, zeros), x @ W_ih + b_ih + b_hh)[1]
        return x

    def conv(self, p: Any, name: str, x: Any, stride: int) -> Any:
        weight = p[f"{name}.weight"]
        k = weight.shape[0] // 2
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, weight, (stride, stride), ((k, k), (k, k)), dimension_numbers=layout
        )

    def shortcut(self, x: Any) -> Any:
        low = x.shape[3] // 2
        return jnp.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (low, low)))

    def pool(self, x: Any) -> Any:
        return x.mean((1, 2))


def change(update: Update, params: Any, moments: Any, grads: Any) -> tuple[Any, Any]:
    """Return the parameters and moments after an update."""
    if update.clip:
        norm = jnp.sqrt(sum((g * g).sum() for g in jax.tree_util.tree_leaves(grads)))
        grads = tree(lambda g: g * jnp.minimum(update.clip / (norm + 1e-6), 1.0), grads)
    if update.kind == "sgd":
        return tree(lambda p, g: p - update.lr * g, params, grads), moments
    added, shrunk = (update.decay, 0.0) if update.kind == "adam" else (0.0, update.decay)
    if added:
        grads = tree(lambda g, p: g + added * p, grads, params)
    m, v, t = moments
    (b1, b2), t = BETAS, t + 1
    m = tree(lambda m, g: b1 * m + (1 - b1) * g, m, grads)
    v = tree(lambda v, g: b2 * v + (1 - b2) * g * g, v, grads)
    fix_m, fix_v = 1 - b1**t, 1 - b2**t

    def adam(p: Any, m: Any, v: Any) -> Any:
        return p - update.lr * (m / fix_m / (jnp.sqrt(v / fix_v) + EPS) + shrunk * p)

    return tree(adam, params, m, v), (m, v, t)
