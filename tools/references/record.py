"""What the modules here share: random inputs, and results with their gradients as named arrays."""

from collections.abc import Callable

import numpy as np
import torch

Arrays = dict[str, np.ndarray]


def draws(seed: int) -> Callable[..., torch.Tensor]:
    """Return a function that draws float64 tensors of a shape, which require a gradient."""
    state = np.random.RandomState(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.tensor(state.randn(*shape), requires_grad=True)

    return draw


def with_gradients(case: str, out: torch.Tensor, **inputs: torch.Tensor) -> Arrays:
    """Return inputs, result, weights `out_grad` of its elements, and gradients, by `case/name`."""
    out_grad = torch.linspace(-1.0, 1.5, out.numel(), dtype=torch.float64).reshape(out.shape)
    differentiated = {name: x for name, x in inputs.items() if x.requires_grad}
    gradients = torch.autograd.grad(out, list(differentiated.values()), out_grad)
    arrays = {**inputs, "out": out, "out_grad": out_grad}
    arrays |= {f"grad_{name}": g for name, g in zip(differentiated, gradients, strict=True)}
    return named(case, **arrays)


def named(case: str, **arrays: torch.Tensor) -> Arrays:
    """Return tensors as arrays under `case/name`."""
    return {f"{case}/{name}": t.detach().numpy().copy() for name, t in arrays.items()}
