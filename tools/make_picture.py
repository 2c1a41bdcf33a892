"""Make the README's picture: learning curves on the digits, and the test images that are wrong.

Run `python tools/make_picture.py`; it writes docs/images/digits.png.
"""

from pathlib import Path

import matplotlib
import numpy as np

import needle as ndl
from needle import models, nn

matplotlib.use("Agg")
import matplotlib.pyplot as plt

TARGET = Path(__file__).parent.parent / "docs" / "images" / "digits.png"


def main() -> None:
    """Train with a validation part, then draw."""
    np.random.seed(0)
    train, test = ndl.data.digits()
    X, y = train.X, train.y
    part = np.random.permutation(len(y))
    val, rest = part[:144], part[144:]
    model = nn.Sequential(nn.Flatten(), models.MLPResNet(64, hidden_dim=100))
    history = ndl.fit(
        model,
        (X[rest], y[rest]),
        loss=nn.SoftmaxLoss(),
        optimizer=ndl.optim.Adam(model.parameters(), lr=0.003, weight_decay=1e-4),
        epochs=20,
        batch_size=64,
        val=(X[val], y[val]),
        progress=False,
    )
    guess = ndl.predict(model, test.X).argmax(axis=1)
    wrong = np.flatnonzero(guess != test.y)
    shown = wrong[:12]
    figure = plt.figure(figsize=(9, 2.8), dpi=110, layout="constrained")
    curves, images = figure.subfigures(1, 2, width_ratios=[1, 1.25])
    axes = curves.subplots()
    axes.plot(history["epoch"], history["loss"], label="training")
    axes.plot(history["epoch"], history["val_loss"], label="validation")
    axes.set(xlabel="epoch", ylabel="loss", yscale="log")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    images.suptitle(f"{len(wrong)} of {len(test.y)} test images wrong: guess, truth", fontsize=10)
    for axis, i in zip(images.subplots(2, 6).flat, shown, strict=False):
        axis.imshow(test.X[i, ..., 0], cmap="gray_r")
        axis.set_title(f"{guess[i]}, {test.y[i]}", fontsize=9)
    for axis in images.axes:
        axis.set_axis_off()
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(TARGET)
    print(f"{TARGET}: {len(wrong)} wrong")


if __name__ == "__main__":
    main()
