"""Adam and AdamW: steps scaled by running moments of the gradient."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from needle.autograd import Tensor
from needle.optim.optimizer import Optimizer, assign, check_number


class Adam(Optimizer):
    """Adam with weight decay as an L2 term of the gradient.

    g = grad + weight_decay p;  m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;
    p = p - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps), t = 1 at the first step.

    Errors: ArgumentError for a number out of range.

    Source: Kingma and Ba, "Adam: A method for stochastic optimization", 2015.

    >>> p = nn.Parameter(ndl.ones(1))
    >>> opt = ndl.optim.Adam([p], lr=0.5)
    >>> (p * 3).sum().backward()
    >>> opt.step()
    >>> p
    needle.Tensor([0.5])
    """

    slots = ("m", "v")
    numbers = ("lr", "beta1", "beta2", "eps", "weight_decay", "t")

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 0.01,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params)
        name = type(self).__name__
        self.lr = check_number(f"{name} lr", lr)
        self.beta1 = check_number(f"{name} beta1", beta1, below=1.0)
        self.beta2 = check_number(f"{name} beta2", beta2, below=1.0)
        self.eps = check_number(f"{name} eps", eps)
        self.weight_decay = check_number(f"{name} weight_decay", weight_decay)
        self.t = 0
        self.m = self.zeros()
        self.v = self.zeros()

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        self.t += 1
        for param, p, g in self.updates():
            if self.weight_decay:
                g = g + self.weight_decay * p
            assign(param, p - self.change(param, g))

    def change(self, param: Tensor, g: Any) -> Any:
        """Bring the moments of `param` up to date and return what its array is lowered by."""
        m = self.beta1 * self.m[param].realize_cached_data() + (1 - self.beta1) * g
        v = self.beta2 * self.v[param].realize_cached_data() + (1 - self.beta2) * (g * g)
        assign(self.m[param], m)
        assign(self.v[param], v)
        step_size = self.lr / (1 - self.beta1**self.t)
        return step_size * m / (np.sqrt(v / (1 - self.beta2**self.t)) + self.eps)


class AdamW(Adam):
    """Adam with weight decay apart from the gradient: first p = p - lr weight_decay p.

    Errors: ArgumentError for a number out of range.

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization", 2019.

    >>> p = nn.Parameter(ndl.ones(1))
    >>> opt = ndl.optim.AdamW([p], lr=0.5, weight_decay=0.1)
    >>> (p * 3).sum().backward()
    >>> opt.step()
    >>> p
    needle.Tensor([0.45])
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 0.01,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, lr, beta1, beta2, eps, weight_decay)

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        self.t += 1
        for param, p, g in self.updates():
            change = self.change(param, g)
            assign(param, (1 - self.lr * self.weight_decay) * p - change)
