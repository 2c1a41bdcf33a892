"""A training step of an LSTM language model: embedding, two layers, scores of the next word.

`words` clips the gradient at 0.25 and updates by SGD, `characters` updates by Adam.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.cases import common

SIZES = ("words", "characters")
SYSTEMS = ("needle-jit", "torch", "jax")
ROUNDS = 11
SHAPES = {  # vocabulary, units, steps, batch
    "words": (10_000, 200, 35, 20),
    "characters": (65, 256, 64, 32),
}
CLIP, LR = 0.25, {"words": 1.0, "characters": 1e-3}


def data(size: str) -> tuple[np.ndarray, np.ndarray]:
    vocabulary, _, steps, batch = SHAPES[size]
    rng = np.random.default_rng(0)
    ids = rng.integers(0, vocabulary, (steps + 1, batch))
    return ids[:-1], ids[1:].reshape(-1)


def model_of(size: str) -> Any:
    """Return needle's model, whose weights all systems start from."""
    from needle import models

    np.random.seed(0)
    vocabulary, units, _, _ = SHAPES[size]
    return models.LanguageModel(units, vocabulary, units, num_layers=2, seq_model="lstm")


def losses(system: str, size: str, threads: int) -> list[float]:
    step = build(system, size, threads)
    return [float(step()) for _ in range(5)]


def build(system: str, size: str, threads: int) -> Callable[[], Any]:
    maker = {"needle": build_needle, "torch": build_torch, "jax": build_jax}
    return maker[system.split("-")[0]](system, size, *data(size), threads)


def build_needle(system: str, size: str, x: np.ndarray, y: np.ndarray, threads: int) -> Any:
    import needle as ndl

    model, loss_fn = model_of(size), ndl.nn.SoftmaxLoss()
    if size == "characters":
        opt: Any = ndl.optim.Adam(model.parameters(), lr=LR[size])
    else:
        opt = ClippedSGD(ndl.optim, model.parameters(), LR[size])
    return common.on_needle(system, model, opt, lambda m, x, y: loss_fn(m(x)[0], y), x, y)


class ClippedSGD:
    """SGD behind a limit on the gradient's norm, as one optimizer."""

    def __init__(self, optim: Any, params: list[Any], lr: float) -> None:
        self.sgd, self.clip = optim.SGD(params, lr=lr), optim.clip_grad_norm
        self.zero_grad = self.sgd.zero_grad

    def step(self) -> None:
        self.clip(self.sgd.params, CLIP)
        self.sgd.step()


def build_torch(system: str, size: str, x: np.ndarray, y: np.ndarray, threads: int) -> Any:
    import torch
    from torch import nn
    from torch.nn import functional as F  # noqa: N812

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            vocabulary, units, _, _ = SHAPES[size]
            self.embedding = nn.Embedding(vocabulary, units)
            self.seq_model = nn.LSTM(units, units, 2)
            self.linear = nn.Linear(units, vocabulary)

        def forward(self, x: Any) -> Any:
            return self.linear(self.seq_model(self.embedding(x))[0].flatten(0, 1))

    class Clipped(torch.optim.SGD):
        def step(self) -> None:
            nn.utils.clip_grad_norm_(net.parameters(), CLIP)
            super().step()

    torch.set_num_threads(threads)
    net = Net()
    names = {"W_ih": "weight_ih", "W_hh": "weight_hh"}
    state = {}
    for name, array in model_of(size).state_dict().items():
        if ".lstm_cells." in name:
            _, _, layer, part = name.split(".")
            name = f"seq_model.{names.get(part, part)}_l{layer}"
        state[name] = array
    ends = ("linear.weight", "linear.bias", "_l0", "_l1")
    net.load_state_dict(common.torch_state(state, ends))
    kind = torch.optim.Adam if size == "characters" else Clipped
    opt = kind(net.parameters(), lr=LR[size], fused=True)
    data = torch.from_numpy(x), torch.from_numpy(y)
    return common.on_torch(net, opt, lambda m, x, y: F.cross_entropy(m(x), y), *data)


def build_jax(system: str, size: str, x: np.ndarray, y: np.ndarray, threads: int) -> Any:
    import jax
    import jax.numpy as jnp

    params = {name: jnp.asarray(a) for name, a in model_of(size).state_dict().items()}

    def layer(p: Any, x: Any) -> Any:
        projected = x @ p["W_ih"] + p["bias_ih"] + p["bias_hh"]  # all steps at once

        def cell(state: Any, a: Any) -> Any:
            h, c = state
            i, f, g, o = jnp.split(a + h @ p["W_hh"], 4, axis=1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zeros = jnp.zeros((x.shape[1], p["W_hh"].shape[0]))
        return jax.lax.scan(cell, (zeros, zeros), projected)[1]

    def loss_of(p: Any, x: Any, y: Any) -> Any:
        h = p["embedding.weight"][x]
        for k in range(2):
            start = f"seq_model.lstm_cells.{k}."
            h = layer({n.removeprefix(start): a for n, a in p.items() if n.startswith(start)}, h)
        logits = h.reshape(-1, h.shape[-1]) @ p["linear.weight"] + p["linear.bias"][0]
        return common.jax_cross_entropy(logits, y)

    def clipped_sgd(state: Any, grads: Any) -> Any:
        params, *rest = state
        norm = jnp.sqrt(sum((g * g).sum() for g in jax.tree_util.tree_leaves(grads)))
        factor = LR[size] * jnp.minimum(CLIP / (norm + 1e-6), 1.0)
        return (jax.tree_util.tree_map(lambda p, g: p - factor * g, params, grads), *rest)

    update = common.jax_adam(LR[size]) if size == "characters" else clipped_sgd
    return common.on_jax(params, update, loss_of, x, y)
