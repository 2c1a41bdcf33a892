"""Make the figures of docs/layers. Run `python tools/make_layer_figures.py` (needs matplotlib)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import needle as ndl
from needle import nn

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "images" / "layers"


def running_mean(axes: Any) -> None:
    """The running mean over equal batches of mean 10, and (1 - (1 - m)^k) 10 as crosses."""
    steps = np.arange(41)
    for momentum in (0.1, 0.9):
        norm, seen = nn.BatchNorm1d(1, momentum=momentum, dtype="float64"), [0.0]
        for _ in steps[1:]:
            norm(np.full((3, 1), 10.0))
            seen.append(norm.running_mean.item())
        axes.plot(steps, seen, label=f"m = {momentum}")
        formula = (1 - (1 - momentum) ** steps) * 10
        axes.plot(steps[::4], formula[::4], "kx", markersize=4)
    axes.set(xlabel="batches", ylabel="running_mean")


def gradient_at_input(depth: int, residual: bool) -> float:
    """The norm of the gradient at the input of `depth` layers, as on the page."""
    np.random.seed(0)
    layers = [nn.Sequential(nn.Linear(32, 32, dtype="float64"), nn.Sigmoid()) for _ in range(depth)]
    model = nn.Sequential(*(nn.Residual(layer) if residual else layer for layer in layers))
    x = ndl.init.randn(8, 32, dtype="float64", requires_grad=True)
    model(x).sum().backward()
    return float(np.linalg.norm(x.grad.numpy()))


def residual_gradients(axes: Any) -> None:
    """The gradient at the input over the number of layers."""
    depths = [1, 2, 5, *range(10, 101, 10)]
    for residual, label in ((True, "residual"), (False, "plain")):
        norms = [gradient_at_input(depth, residual) for depth in depths]
        axes.semilogy(depths, norms, ".-", label=label)
    axes.set(xlabel="layers of Linear and Sigmoid", ylabel="norm of the gradient at the input")


def penalties(axes: Any) -> None:
    """The weights of a regression on 2 of 20 inputs, under each penalty."""
    np.random.seed(0)
    X = np.random.randn(200, 20)
    target = X[:, :1] * 2 - X[:, 1:2] + 0.5 * np.random.randn(200, 1)
    kinds: dict[str, Callable[[Any], Any]] = {
        "no penalty": lambda parameters: 0.0,
        "0.3 L1": lambda parameters: 0.3 * nn.l1_penalty(parameters),
        "0.3 L2": lambda parameters: 0.3 * nn.l2_penalty(parameters),
    }
    for number, (label, penalty) in enumerate(kinds.items()):
        np.random.seed(1)
        model = nn.Linear(20, 1, bias=False, dtype="float64")
        opt = ndl.optim.SGD(model.parameters(), lr=0.01)
        for _ in range(600):
            opt.reset_grad()
            (nn.MSELoss()(model(X), target) + penalty(model.parameters())).backward()
            opt.step()
        places = np.arange(20) + 0.27 * (number - 1)
        axes.bar(places, model.weight.numpy()[:, 0], width=0.27, label=label)
    axes.axhline(0, color="black", linewidth=0.6)
    axes.set(xlabel="input", ylabel="weight", xticks=range(20))


def main() -> None:
    """Draw all figures."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for draw in (running_mean, residual_gradients, penalties):
        figure = Figure(figsize=(6, 3), dpi=100, layout="constrained")
        axes = figure.subplots()
        draw(axes)
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
        path = FOLDER / f"{draw.__name__}.png"
        figure.savefig(path, metadata={"Software": None})
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
