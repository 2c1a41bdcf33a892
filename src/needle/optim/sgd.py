"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable

from needle.autograd import Tensor
from needle.optim.clip import clip_grad_norm
from needle.optim.optimizer import Optimizer, assign, check_number


class SGD(Optimizer):
    """Gradient descent with momentum, an average of the gradients.

    g = grad + weight_decay p;  u = momentum u + (1 - momentum) g;  p = p - lr u.
    (PyTorch's SGD has u = momentum u + g: its lr is smaller by 1 - momentum for the same steps.)

    Errors: ArgumentError for a number out of range.

    >>> p = nn.Parameter(ndl.ones(1))
    >>> opt = ndl.optim.SGD([p], lr=0.5)
    >>> (p * 3).sum().backward()
    >>> opt.step()
    >>> p
    needle.Tensor([-0.5])
    """

    slots = ("u",)
    numbers = ("lr", "momentum", "weight_decay")

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 0.01,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params)
        self.lr = check_number("SGD lr", lr)
        self.momentum = check_number("SGD momentum", momentum, below=1.0)
        self.weight_decay = check_number("SGD weight_decay", weight_decay)
        self.u = self.zeros()

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for param, p, g in self.updates():
            if self.weight_decay:
                g = g + self.weight_decay * p
            u = g
            if self.momentum:
                u = self.momentum * self.u[param].realize_cached_data() + (1 - self.momentum) * g
                assign(self.u[param], u)
            assign(param, p - self.lr * u)

    def clip_grad_norm(self, max_norm: float = 0.25) -> float:
        """Scale all gradients to a joint norm of at most `max_norm`; return the norm before."""
        return clip_grad_norm(self.params, max_norm)
