"""Programs that once gave another result than the eager run: now the same, or an error."""

import numpy as np
import pytest

import needle as ndl
from needle import nn
from needle.errors import TraceError

X = np.random.default_rng(0).standard_normal((6, 3)).astype("float32")


# ---- gradients that leave the function


def encoder_and_head():
    np.random.seed(0)
    return nn.Linear(3, 4), nn.Linear(4, 1)


def test_gradients_go_on_through_what_was_computed_before_the_call(jit):
    def run(wrap):
        encoder, head = encoder_and_head()
        f, found = wrap(head), []
        for k in (1, 2):
            (f(encoder(ndl.Tensor(X * k))) ** 2).sum().backward()
            found += [p.grad.numpy() for p in (*encoder.parameters(), *head.parameters())]
        return found

    for a, b in zip(run(jit), run(lambda f: f), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("state", [False, True])
def test_backward_inside_does_not_stop_silently_at_what_was_computed_before(jit, state):
    encoder, head = encoder_and_head()
    box = {}

    def step(h=None):
        (head(box["h"] if h is None else h) ** 2).mean().backward()

    f = jit(step)
    leaf = ndl.Tensor(encoder(X).numpy())
    f(leaf)  # without a history nothing is missing
    assert leaf.grad.shape == (6, 4)
    box["h"] = encoder(ndl.Tensor(X))
    args = () if state else (box["h"],)
    with pytest.raises(TraceError, match=r"reaches (argument 0|a Tensor), which was.*detach\(\)"):
        f(*args)
    f(box["h"].detach())
