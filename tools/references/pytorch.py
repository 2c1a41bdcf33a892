"""What PyTorch gives where needle differs: one case for each row of docs/coming_from_pytorch.md."""

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812  its usual name

from references.record import Arrays, draws, named


def arrays() -> Arrays:
    """Return all cases of this file."""
    return {
        **gradient(), **momentum(), **adam(), **linear(), **batch_norm(), **tensor(),
        **transpose(), **log_softmax(), **non_scalar(), **equality(), **recurrent(),
    }  # fmt: skip


def gradient() -> Arrays:
    """Two backward passes without zero_grad: the second adds to the first."""
    w = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    (w * w).sum().backward()
    (3 * w).sum().backward()
    return named("grad", added=w.grad)


def momentum() -> Arrays:
    """Three steps of SGD on w^2 with lr = 0.01 and momentum 0.9."""
    return _steps("sgd", lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9))


def adam() -> Arrays:
    """Three steps of Adam and of AdamW with the default rate of 0.001 and weight decay."""
    return {
        **_steps("adam", lambda p: torch.optim.Adam(p, weight_decay=0.1)),
        **_steps("adamw", lambda p: torch.optim.AdamW(p, weight_decay=0.1)),
    }


def _steps(case: str, make: Callable[[list[torch.Tensor]], torch.optim.Optimizer]) -> Arrays:
    w = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
    optimizer, seen = make([w]), []
    for _ in range(3):
        optimizer.zero_grad()
        (w * w).sum().backward()
        optimizer.step()
        seen.append(w.detach().clone())
    return named(case, steps=torch.stack(seen))


def linear() -> Arrays:
    """A Linear layer's own weight (out, in) and bias (out,)."""
    draw = draws(1)
    layer = torch.nn.Linear(3, 2, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(draw(2, 3))
        layer.bias.copy_(draw(2))
    x = draw(4, 3)
    return named("linear", x=x, weight=layer.weight, bias=layer.bias, out=layer(x))


def batch_norm() -> Arrays:
    """The running variance after one batch of 4: the unbiased one is blended in."""
    x = draws(2)(4, 3)
    layer = torch.nn.BatchNorm1d(3, dtype=torch.float64)
    out = layer(x)
    return named("batch_norm", x=x, out=out, var=layer.running_var, mean=layer.running_mean)


def tensor() -> Arrays:
    """What torch.tensor makes of a list of floats."""
    t = torch.tensor([1.0, 2.0])
    facts = {"requires_grad": t.requires_grad, "bits": t.element_size() * 8}
    return {f"tensor/{name}": np.array(value) for name, value in facts.items()}


def transpose() -> Arrays:
    """transpose(-2, -1) of three axes."""
    x = draws(3)(2, 3, 4)
    return named("transpose", x=x, out=x.transpose(-2, -1))


def log_softmax() -> Arrays:
    """log_softmax over the last axis, and over axis 1, of three axes."""
    x = draws(4)(2, 3, 4)
    return named("log_softmax", x=x, last=F.log_softmax(x, -1), axis_1=F.log_softmax(x, 1))


def non_scalar() -> Arrays:
    """backward() of a vector is refused; with ones it is the sum's."""
    x = draws(5)(3)
    try:
        (x**2).backward()
        refused = False
    except RuntimeError:
        refused = True
    (x**2).backward(torch.ones(3))
    return {**named("non_scalar", x=x, grad=x.grad), "non_scalar/refused": np.array(refused)}


def equality() -> Arrays:
    """== compares elements."""
    return named("equal", out=torch.tensor([1.0, 2.0]) == torch.tensor([1.0, 3.0]))


def recurrent() -> Arrays:
    """An RNN and an LSTM of two layers, (seq, batch, features): results and last states."""
    result: Arrays = {}
    for case, kind in (("rnn", torch.nn.RNN), ("lstm", torch.nn.LSTM)):
        draw = draws(6)
        layer = kind(3, 4, num_layers=2, dtype=torch.float64)
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.copy_(0.5 * draw(*parameter.shape))
        x = draw(5, 2, 3)
        out, state = layer(x)
        last = state if case == "rnn" else state[0]
        weights = dict(layer.named_parameters())
        result |= named(case, x=x, out=out, last=last, **weights)
    return result
