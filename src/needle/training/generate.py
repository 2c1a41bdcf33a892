"""Let a model of sequences write: one id after another, each drawn from what the model expects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from needle.autograd import Tensor
from needle.errors import ArgumentError, whole_number


def generate(
    model: Callable[[Tensor], Tensor],
    ids: ArrayLike,
    count: int,
    *,
    context: int,
    temperature: float = 1.0,
    seed: int = 0,
) -> np.ndarray:
    """Continue a sequence: draw `count` ids, each from softmax(logits / temperature).

    `model` turns ids (1, context) into logits (1, context, k), where position t has seen the ids up
    to t: `models.gpt`, or a compiled function of it. It sees the last `context` ids. Temperature 0
    takes the likeliest id. Shapes: ids (n,), n >= 1, to the `count` new ones. Random numbers are of
    `seed`; NumPy's global ones stay as they are. Set the model to evaluation first.

    Errors: ArgumentError for an empty sequence or one of no integers, a context below 1, a count
    or a temperature below 0.

    >>> model = ndl.models.gpt(vocabulary=3, context=4, layers=1, width=8, heads=2)
    >>> ndl.training.generate(model, [0, 1], count=5, context=4).shape
    (5,)
    """
    known = np.asarray(ids).ravel()
    if not len(known) or known.dtype.kind not in "iu" or not temperature >= 0:
        text = f"{len(known)} of {known.dtype} and {temperature}"
        raise ArgumentError(f"generate: expected integer ids and a temperature >= 0, got {text}")
    context = whole_number("generate: expected an integer context", context, 1)
    count = whole_number("generate: expected an integer count", count, 0)
    random, start = np.random.RandomState(seed), len(known)
    known = np.concatenate([known, np.zeros(count, np.int64)])
    for n in range(start, start + count):
        window, last = np.zeros((1, context), np.int64), min(n, context)
        window[0, :last] = known[n - last : n]  # of one length, what follows is not seen
        logits = model(Tensor.make_const(window)).numpy()[0, last - 1]
        known[n] = _draw(logits.astype(np.float64), temperature, random)
    return known[start:]


def _draw(logits: np.ndarray, temperature: float, random: Any) -> int:
    if temperature == 0:
        return int(logits.argmax())
    weights = np.exp((logits - logits.max()) / temperature)
    return int(random.choice(len(logits), p=weights / weights.sum()))
