"""The training loop."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from needle.autograd import Tensor
from needle.data import DataLoader
from needle.errors import DtypeError
from needle.nn import Module
from needle.training.callbacks import Callback, Run, telling
from needle.training.compiled import CompiledStep
from needle.training.early_stopping import EarlyStopping
from needle.training.evaluation import (
    Means,
    as_loader,
    batches,
    keeping_mode,
    model_dtype,
    scores,
    scoring,
    training_step,
)
from needle.training.history import History
from needle.training.progress import Progress


def fit(
    model: Any,
    data: Any,
    *,
    loss: Callable[[Tensor, Tensor], Tensor],
    optimizer: Any,
    epochs: int = 10,
    batch_size: int = 64,
    val: Any = None,
    early_stopping: EarlyStopping | None = None,
    schedule: Any = None,
    callbacks: Iterable[Callback] = (),
    progress: bool = True,
    compile: bool = True,
) -> History:
    """Train `model` on `data` and return its history.

    `data` and `val` are `(X, y)` arrays, a Dataset or a DataLoader; the first two are shuffled each
    epoch in batches of `batch_size`, a DataLoader keeps its own ways. Floats are converted to the
    model's dtype. `schedule` steps after each epoch, a `OneCycleLR` after each batch. With
    `early_stopping`, training may end sooner and the best epoch's state is restored. `progress`
    shows a bar on stderr in a terminal, one line an epoch elsewhere. Modes are left as found.

    Step and validation are compiled, for up to 8 shapes of a batch each (see `ndl.jit`);
    `compile=False` and `NEEDLE_JIT=0` run them eagerly.

    Raises: DtypeError for a model, callbacks or early stopping of another class, ShapeError for a
    loss that is not one number. Warns where the optimizer holds no parameter of the model.

    >>> X = np.random.rand(64, 4)
    >>> model = ndl.nn.Linear(4, 2)
    >>> optimizer = ndl.optim.Adam(model.parameters(), lr=0.01)
    >>> loss = ndl.nn.SoftmaxLoss()
    >>> data = X, (X[:, 0] > 0.5).astype(int)
    >>> history = ndl.fit(model, data, loss=loss, optimizer=optimizer, epochs=2, progress=False)
    >>> history["epoch"]
    [1, 2]
    """
    loader = as_loader(data, batch_size, shuffle=True)
    val_loader = None if val is None else as_loader(val, max(batch_size, 256))
    samples = min(len(loader.dataset), len(loader) * loader.batch_size)
    run = Run(model, optimizer, schedule, early_stopping, epochs, samples)
    listeners = [*callbacks, *([Progress()] if progress else [])]
    check(run, listeners)
    score = scoring(model, loss)
    step = training_step(score, optimizer)
    run_step, run_score = map(CompiledStep, (step, score)) if compile else (step, score)
    if early_stopping is not None:
        early_stopping.reset()
    with keeping_mode(model), telling(listeners, run):
        while run.epoch <= epochs and not run.stop:
            start = time.perf_counter()
            row = train_epoch(run, run_step, loader, listeners)
            row |= validate(model, val_loader, run_score)
            run.finish_epoch(row | {"seconds": time.perf_counter() - start})
            for listener in listeners:
                listener.after_epoch(run)
        run.finish()
    return run.history


def check(run: Run, listeners: list[Callback]) -> None:
    """Raise DtypeError for what `fit` cannot work with; warn where it would learn nothing."""
    kinds: list[tuple[str, Any, type]] = [("model", run.model, Module)]
    kinds += [("callbacks", listener, Callback) for listener in listeners]
    if run.early_stopping is not None:
        kinds.append(("early_stopping", run.early_stopping, EarlyStopping))
    for name, value, kind in kinds:
        if not isinstance(value, kind):
            text = f"fit: expected {name} of the class {kind.__name__}, got {value!r:.60}"
            raise DtypeError(f"{text}; make one, or derive from it")
    own = {id(parameter) for parameter in run.model.parameters()}
    held = getattr(run.optimizer, "params", None)
    if own and held is not None and not any(id(parameter) in own for parameter in held):
        text = "fit: the optimizer holds no parameter of the model, which learns nothing"
        warnings.warn(f"{text}; make it with model.parameters()", stacklevel=3)


def train_epoch(
    run: Run, step: Callable[..., Any], loader: DataLoader, listeners: list[Callback]
) -> dict[str, float]:
    """Train once over the data; return the epoch's numbers so far."""
    run.means = Means()
    run.model.train()
    for x, y in batches(loader, model_dtype(run.model)):
        value, output = step(x, y)
        run.finish_step(value, output, y)
        for listener in listeners:
            listener.after_step(run)
    return {"epoch": run.epoch} | run.means.row()


def validate(model: Any, loader: DataLoader | None, score: Callable[..., Any]) -> dict[str, float]:
    """Return `val_loss` and, of a classification, `val_accuracy`; nothing without data."""
    means = {} if loader is None else scores(model, loader, score)
    return {f"val_{name}": mean for name, mean in means.items()}
