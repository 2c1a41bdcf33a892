"""Run a trained model over data: predictions, loss and accuracy."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from needle.autograd import Tensor, no_grad
from needle.data import DataLoader, Dataset, NDArrayDataset
from needle.data.loader import constant
from needle.errors import ArgumentError, DataError, ShapeError
from needle.training.compiled import CompiledStep
from needle.training.metrics import accuracy

Score = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def predict(model: Any, X: Any, batch_size: int = 1024, compile: bool = False) -> np.ndarray:
    """Return the model's outputs for all rows of `X`, batch by batch, as one array.

    Shapes: X (N, ...) gives (N, ...) of the model's outputs; X may also be a Dataset or a
    DataLoader, of whose samples the first part is taken. Evaluation mode and no graph; every
    module's mode is restored afterwards. Floats are converted to the model's dtype. `compile=True`
    pays for convolutions, and where many batches follow.
    Raises: DataError where X has no rows to speak of (0-d).

    >>> ndl.predict(ndl.nn.Linear(4, 2), np.ones((5, 4))).shape
    (5, 2)
    """
    if not isinstance(X, Dataset | DataLoader):
        array = np.asarray(X)
        if array.ndim == 0 or not len(array):
            raise DataError(f"predict: expected one sample a row, got shape {array.shape}")
        X = NDArrayDataset(array)
    run, dtype = CompiledStep(model) if compile else model, model_dtype(model)
    loader = as_loader(X, batch_size)
    with evaluating(model):
        return np.concatenate([run(constant(x.numpy(), dtype)).numpy() for x, *_ in loader])


def evaluate(
    model: Any,
    data: Any,
    loss: Callable[..., Tensor],
    batch_size: int = 1024,
    compile: bool = False,
) -> dict[str, float]:
    """Return `{"loss": ..., "accuracy": ...}` over `data`, means over its samples.

    `data` is what `fit` takes. Evaluation mode, no graph, mode restored. There is an accuracy where
    outputs are (N, k) and labels are integers (N,). `compile=True` pays for convolutions, and where
    many batches follow.

    >>> data = np.ones((6, 4)), np.zeros(6, int)
    >>> sorted(ndl.training.evaluate(ndl.nn.Linear(4, 2), data, ndl.nn.SoftmaxLoss()))
    ['accuracy', 'loss']
    """
    score = scoring(model, loss)
    run = CompiledStep(score) if compile else score
    return scores(model, as_loader(data, batch_size), run)


def scoring(model: Any, loss: Callable[..., Tensor]) -> Score:
    """Return a function of a batch (x, y) that gives its loss and the model's outputs."""

    def score(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        output = model(x)
        return loss(output, y), output

    return score


def training_step(score: Score, optimizer: Any) -> Score:
    """Return a function that scores a batch and takes the optimizer's step on it."""

    def step(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        optimizer.reset_grad()
        value, output = score(x, y)
        if not isinstance(value, Tensor) or value.size != 1:
            got = f"shape {value.shape}" if isinstance(value, Tensor) else type(value).__name__
            raise ShapeError(f"fit: expected a loss that is a Tensor of one number, got {got}")
        value.backward()
        optimizer.step()
        return value, output

    return step


def scores(model: Any, loader: DataLoader, score: Callable[..., Any]) -> dict[str, float]:
    """Return the means over `loader`, where `score(x, y)` gives a batch's loss and outputs."""
    means = Means()
    with evaluating(model):
        for x, y in batches(loader, model_dtype(model)):
            value, output = score(x, y)
            means.add(value, output, y)
    return means.row()


class Means:
    """Means over samples of the batches' losses and accuracies."""

    def __init__(self) -> None:
        self.samples = 0
        self._sums: dict[str, float] = {}

    def add(self, loss: Tensor, output: Tensor, labels: Tensor) -> None:
        """Take note of one batch."""
        values = {"loss": float(loss)}
        if labels.dtype.kind in "iub" and labels.ndim == 1 and output.ndim == 2:
            values["accuracy"] = accuracy(output.numpy(), labels.numpy())
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value * len(labels)
        self.samples += len(labels)

    def row(self) -> dict[str, float]:
        """Return the means by name: `loss` and, of a classification, `accuracy`."""
        return {name: total / self.samples for name, total in self._sums.items()}


@contextlib.contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Put the model into evaluation mode without a graph, and every module's mode back after."""
    with keeping_mode(model), no_grad():
        model.eval()
        yield


@contextlib.contextmanager
def keeping_mode(model: Any) -> Iterator[None]:
    """Restore `training` of the model and all modules in it after the block."""
    before = [(module, module.training) for _, module in model.named_modules()]
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def model_dtype(model: Any) -> np.dtype | None:
    """Return the dtype of the model's first floating parameter; None without one."""
    dtypes = (parameter.dtype for parameter in model.parameters())
    return next((dtype for dtype in dtypes if dtype.kind == "f"), None)


def as_loader(data: Any, batch_size: int, shuffle: bool = False) -> DataLoader:
    """Return batches of `data`: a DataLoader as it is, else a loader of `(X, y)` or a data set."""
    if isinstance(data, DataLoader):
        return data
    if isinstance(data, tuple | list):
        if len(data) != 2:
            raise ArgumentError(f"fit: expected data as (X, y), got {len(data)} parts")
        data = NDArrayDataset(*data)
    if isinstance(data, np.ndarray | Tensor | dict) or not hasattr(data, "__getitem__"):
        kind = type(data).__name__
        raise ArgumentError(f"fit: expected (X, y), a Dataset or a DataLoader, got {kind}")
    return DataLoader(data, batch_size, shuffle)


def batches(loader: DataLoader, dtype: np.dtype | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield `(x, y)` batches with floats of the model's dtype."""
    for batch in loader:
        if len(batch) != 2:
            raise DataError(f"fit: expected samples (x, y), got {len(batch)} parts")
        x, y = (constant(t.numpy(), dtype) for t in batch)
        yield x, y
