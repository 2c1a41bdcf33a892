"""Without Python's cyclic collector, training neither collects Values nor memory."""

import gc
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

import needle as ndl
from needle import autograd, nn, optim


@pytest.fixture
def no_collection():
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    gc.collect()


def trainer(optimizer):
    """Return one training step of a small model with everything that keeps state."""
    np.random.seed(0)
    model = nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.2),
        nn.Residual(nn.Sequential(nn.Linear(6, 6), nn.LayerNorm1d(6))), nn.Linear(6, 3),
    )  # fmt: skip
    opt, loss_fn = optimizer(model.parameters()), nn.SoftmaxLoss()
    x, y = np.random.randn(5, 4).astype("float32"), np.array([0, 1, 2, 0, 1])

    def step():
        opt.reset_grad()
        loss = loss_fn(model(ndl.Tensor(x)), ndl.Tensor(y))
        loss.backward()
        opt.step()
        return loss.item()

    return step


def bytes_of_arrays():
    """Return what NumPy has allocated since tracemalloc started, without Python's free lists."""
    only = tracemalloc.DomainFilter(inclusive=True, domain=np.lib.tracemalloc_domain)
    traces = tracemalloc.take_snapshot().filter_traces([only]).traces
    return sum(trace.size for trace in traces)


@pytest.mark.parametrize(
    "optimizer", [
    lambda p: optim.SGD(p, lr=0.01, momentum=0.9), lambda p: optim.Adam(p, weight_decay=0.01),
])  # fmt: skip
def test_a_real_model_does_not_grow(optimizer, no_collection):
    step = trainer(optimizer)
    losses = [step() for _ in range(100)]
    tracemalloc.start()
    losses.append(step())
    values, objects, arrays = autograd.TENSOR_COUNTER, len(gc.get_objects()), bytes_of_arrays()
    losses += [step() for _ in range(200)]
    grown = bytes_of_arrays() - arrays
    tracemalloc.stop()
    assert values == autograd.TENSOR_COUNTER
    assert len(gc.get_objects()) - objects < 50
    assert grown < 1000
    assert np.mean(losses[-20:]) < np.mean(losses[:20])


def test_ten_thousand_small_steps_do_not_grow(no_collection):
    w, x = ndl.Tensor([0.5, -0.5]), np.array([1.0, 2.0])

    def step():
        loss = ((w * x).sum() - 1.0) ** 2
        loss.backward()
        w.data = w.data - 0.001 * w.grad.data

    for _ in range(100):
        step()
    values, objects = autograd.TENSOR_COUNTER, len(gc.get_objects())
    for _ in range(10_000):
        step()
    assert values == autograd.TENSOR_COUNTER
    assert len(gc.get_objects()) - objects < 50
    assert abs((w.numpy() * x).sum() - 1.0) < 1e-6


EPOCHS = """
import gc, resource
from pathlib import Path
import numpy as np, needle as ndl
from needle import autograd, nn
X, y = np.random.rand(160, 12).astype("float32"), np.random.randint(0, 4, 160)
loader = ndl.data.DataLoader(ndl.data.NDArrayDataset(X, y), batch_size=16, shuffle=True)
model, loss_fn = ndl.models.MLPResNet(12, 16, 1, 4), nn.SoftmaxLoss()
opt = ndl.optim.Adam(model.parameters(), weight_decay=0.01)

def train(epochs):
    for _ in range(epochs):
        for a, b in loader:
            opt.reset_grad()
            loss = loss_fn(model(a), b) + 1e-4 * nn.l1_penalty(model.parameters())
            loss.backward()
            opt.step()
    del a, b, loss
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return autograd.TENSOR_COUNTER, pages * resource.getpagesize()

train(10)
gc.collect()
gc.disable()
(values, size), (later, grown) = train(20), train(100)
print(later - values, grown - size)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_training_process_does_not_grow():
    """A thousand steps as users write them; one array a step left behind would be 250 kB."""
    out = subprocess.run([sys.executable, "-c", EPOCHS], capture_output=True, text=True, check=True)
    values, grown = map(int, out.stdout.split())
    assert values == 0
    assert grown < 200_000


def test_a_graph_is_freed_without_the_collector(no_collection):
    x = ndl.Tensor([1.0])
    x.grad = None  # frees what the last test's backward() left
    before = autograd.TENSOR_COUNTER
    y = ndl.exp(x * 2) * x
    y.backward()
    del y
    x.grad = None
    assert before == autograd.TENSOR_COUNTER


def test_the_counter_at_the_end_of_a_program_is_silent():
    """Values that live until the interpreter ends must not complain while it is taken apart."""
    program = "import needle as ndl, sys; t = ndl.Tensor([1.0]); sys.keep = t * 2; t.backward()"
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
