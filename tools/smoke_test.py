"""Train, save, load and predict: run in an environment with the lowest versions allowed."""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import needle as ndl
from needle import nn


def main() -> None:
    """Run each part once; any failure ends with a traceback and exit code 1."""
    np.random.seed(0)
    train, test = ndl.data.digits()
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10)
    )
    history = ndl.fit(
        model,
        train,
        loss=nn.SoftmaxLoss(),
        optimizer=ndl.optim.Adam(model.parameters()),
        epochs=3,
        progress=False,
    )
    accuracy = float((ndl.predict(model, test.X).argmax(axis=1) == test.y).mean())
    assert accuracy > 0.9, (accuracy, history)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        ndl.save(path, model, note="smoke")
        assert ndl.load(path, model) == {"note": "smoke"}
        options = ["--epochs", "1", "--quiet", "--out", str(Path(folder) / "run")]
        command = [sys.executable, "-W", "error", "-m", "needle"]
        done = subprocess.run(
            [*command, "train", *options], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0 and "test accuracy 0." in done.stdout, done
        assert "eagerly" not in done.stderr, done  # llvmlite is there and the step compiles
    print(f"smoke test: numpy {np.__version__}, accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
