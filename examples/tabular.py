"""A table of numbers: standardise, split, fit, judge, save and load; beside it a linear fit.

Data: Friedman's function #1 (J. Friedman, "Multivariate Adaptive Regression Splines", 1991): ten
uniform columns of which five matter, and noise of deviation 1. Columns and target are float64, as
pandas gives them. No model can explain more than the noise leaves: R2 of 0.96.
"""

import tempfile
from pathlib import Path

import numpy as np

import needle as ndl
from needle import nn


def friedman(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return columns (rows, 10) and target (rows,), float64."""
    X = np.random.rand(rows, 10)
    signal = 10 * np.sin(np.pi * X[:, 0] * X[:, 1]) + 20 * (X[:, 2] - 0.5) ** 2
    return X, signal + 10 * X[:, 3] + 5 * X[:, 4] + np.random.randn(rows)


def r2(y: np.ndarray, guess: np.ndarray) -> float:
    """Return the share of the variance that the guess explains."""
    return float(1 - ((y - guess) ** 2).sum() / ((y - y.mean()) ** 2).sum())


def make_model() -> nn.Module:
    """Return a small network: ten columns in, one number out."""
    return nn.Sequential(
        nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)
    )


def main(rows: int = 10_000, epochs: int = 20) -> tuple[float, float]:
    """Fit both models and return their R2 on the test part: (network, linear)."""
    np.random.seed(0)
    X, y = friedman(rows)
    cut = rows * 8 // 10
    center, scale = X[:cut].mean(axis=0), X[:cut].std(axis=0)
    X = (X - center) / scale
    y_center, y_scale = y[:cut].mean(), y[:cut].std()
    target = (y - y_center) / y_scale

    model = make_model()
    ndl.fit(
        model,
        (X[:cut], target[:cut, None]),  # (n, 1): a loss never broadcasts
        loss=nn.MSELoss(),
        optimizer=ndl.optim.Adam(model.parameters(), lr=0.003),
        epochs=epochs,
        batch_size=64,
        progress=False,
    )
    guess = ndl.predict(model, X[cut:])[:, 0] * y_scale + y_center

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "friedman.safetensors"
        ndl.save(path, model, center=center.tolist(), scale=scale.tolist())
        loaded = make_model()
        ndl.load(path, loaded)
    assert np.array_equal(ndl.predict(loaded, X[cut:]), ndl.predict(model, X[cut:]))

    design = np.c_[np.ones(rows), X]
    weights = np.linalg.lstsq(design[:cut], y[:cut], rcond=None)[0]
    return r2(y[cut:], guess), r2(y[cut:], design[cut:] @ weights)


if __name__ == "__main__":
    network, linear = main()
    print(f"R2 on test: network {network:.3f}, linear fit {linear:.3f}, noise ceiling 0.96")
