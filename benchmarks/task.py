"""What a case hands to every system: data, a model, and how it is trained."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

BETAS, EPS = (0.9, 0.999), 1e-8
TABLES = ("tokens.weight", "positions.weight", "embedding.weight")  # rows that are looked up


@dataclass(frozen=True)
class Update:
    """The optimizer: `adam` adds the decay to the gradient, `adamw` shrinks the weights by it."""

    kind: str  # adam, adamw, sgd
    lr: float
    decay: float = 0.0
    clip: float = 0.0  # of the norm of all gradients; 0: none


@dataclass(frozen=True)
class Task:
    """One step: with an update of training; with `gradient` of y.backward(g); else a call."""

    data: tuple[np.ndarray, ...]  # with `gradient`: x and g
    model: Callable[[], Any]  # needle's
    needle: Callable[..., Any]  # (model, *data) -> loss or output
    peers: Callable[..., Any]  # (peer, its parameters, *data) -> the same
    update: Update | None = None
    gradient: bool = False
    random: bool = False  # has dropout, which is left out where losses are compared

    def start(self) -> Any:
        """Return needle's model with the weights that all systems start from."""
        np.random.seed(0)
        return self.model()

    def weights(
        self, matrix: Callable[[np.ndarray], Any], kernel: Callable[[np.ndarray], Any]
    ) -> dict[str, np.ndarray]:
        """Return those weights, (in, out) and (K, K, in, out), turned into a peer's layout."""
        result = {}
        for name, array in self.start().state_dict().items():
            if "running" in name:
                continue
            if name.endswith("bias"):
                array = array.ravel()
            elif array.ndim == 4:
                array = kernel(array)
            elif array.ndim == 2 and name not in TABLES:
                array = matrix(array)
            result[name] = np.array(array, order="C")  # not needle's own memory
        return result


def images_last(array: np.ndarray) -> np.ndarray:
    """Return images as (N, H, W, C), and other arrays as they are."""
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)) if array.ndim == 4 else array
