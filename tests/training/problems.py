"""A small problem for the tests of training, in two forms."""

import numpy as np

import needle as ndl
from needle import nn


def classification(count=40, seed=0):
    """Return float32 samples (count, 5) and labels 0..2 that can be learned."""
    state = np.random.RandomState(seed)
    X = state.randn(count, 5).astype("float32")
    return X, X[:, :3].argmax(axis=1)


def network(seed=1):
    """Return a model with everything that has state: BatchNorm, Dropout, Residual."""
    np.random.seed(seed)
    block = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3))
    return nn.Sequential(nn.Linear(5, 8), nn.Residual(block), nn.Linear(8, 3))


def arrays(model, optimizer=None):
    """Return the bytes of everything a model and its optimizer hold."""
    state = model.state_dict() | (optimizer.state_dict() if optimizer is not None else {})
    return {name: np.asarray(value).tobytes() for name, value in state.items()}


def trained(epochs=2, model=None, data=None, **options):
    """Fit the network on the problem; return (model, optimizer, history)."""
    model = network() if model is None else model
    optimizer = options.pop("optimizer", None) or ndl.optim.Adam(model.parameters(), lr=0.01)
    schedule = options.pop("schedule", None)
    np.random.seed(2)
    history = ndl.fit(
        model,
        classification() if data is None else data,
        **{"loss": nn.SoftmaxLoss(), "batch_size": 16, "progress": False, "compile": False}
        | options,
        optimizer=optimizer,
        epochs=epochs,
        schedule=schedule and schedule(optimizer),
    )
    return model, optimizer, history
