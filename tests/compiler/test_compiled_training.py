"""Whole runs, compiled against eager: modules, optimizers, two hundred steps of MLPResNet."""

import copy

import numpy as np
import pytest

import needle as ndl
from needle import models, nn, optim, settings
from needle.optim import lr_scheduler

MODULES = {
    "Linear": lambda dtype: nn.Linear(6, 5, dtype=dtype),
    "Linear without bias": lambda dtype: nn.Linear(6, 5, bias=False, dtype=dtype),
    "LayerNorm1d": lambda dtype: nn.LayerNorm1d(6, dtype=dtype),
    "BatchNorm1d": lambda dtype: nn.BatchNorm1d(6, dtype=dtype),
    "Dropout": lambda dtype: nn.Dropout(0.3),
    "Flatten": lambda dtype: nn.Flatten(),
    "Identity": lambda dtype: nn.Identity(),
    "ReLU": lambda dtype: nn.ReLU(),
    "Sigmoid": lambda dtype: nn.Sigmoid(),
    "Tanh": lambda dtype: nn.Tanh(),
    "Residual": lambda dtype: nn.Residual(nn.Linear(6, 6, dtype=dtype)),
    "Sequential": lambda dtype: nn.Sequential(nn.Linear(6, 4, dtype=dtype), nn.ReLU()),
}
OPTIMIZERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.1),
    "SGD with momentum and decay": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    "Adam": lambda p: optim.Adam(p, lr=0.01),
    "Adam with decay": lambda p: optim.Adam(p, lr=0.01, weight_decay=0.01),
    "AdamW": lambda p: optim.AdamW(p, lr=0.01, weight_decay=0.1),
}
SCHEDULES = {
    "none": lambda opt: None,
    "StepLR": lambda opt: lr_scheduler.StepLR(opt, step_size=3),
    "CosineAnnealingLR": lambda opt: lr_scheduler.CosineAnnealingLR(opt, T_max=10),
    "OneCycleLR": lambda opt: lr_scheduler.OneCycleLR(opt, max_lr=0.05, total_steps=12),
    "LinearLR": lambda opt: lr_scheduler.LinearLR(opt),
}


@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", MODULES)
def test_modules_are_as_right_as_eager(name, train):
    def run(dtype, compiled):
        np.random.seed(3)
        module = MODULES[name](dtype).train(train)
        x = ndl.Tensor(np.random.randn(8, 6).astype("float32").astype(dtype))
        weight = np.random.randn(8, 30).astype("float32").astype(dtype)

        def step(x):
            y = module(x)
            (y * y * weight[:, : y.shape[1]]).sum().backward()
            return [y, x.grad.detach(), *[p.grad.detach() for p in module.parameters()]]

        results = (ndl.jit(step, random="numpy") if compiled else step)(x)
        return [r.numpy() for r in results] + [b.numpy() for _, b in module.named_buffers()]

    compiled, eager, exact = run("float32", True), run("float32", False), run("float64", False)
    for c, e, f in zip(compiled, eager, exact, strict=True):
        bound = max(4 * np.abs(e - f).max(), 16 * np.finfo("float32").eps * np.abs(f).max())
        assert np.abs(c - f).max() <= bound


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers_and_schedules_follow_eager_in_float64_without_retracing(optimizer, schedule):
    def run(compiled):
        np.random.seed(3)
        model = nn.Sequential(
            nn.Linear(6, 8, dtype="float64"), nn.Tanh(), nn.Linear(8, 2, dtype="float64")
        )
        opt = OPTIMIZERS[optimizer](model.parameters())
        plan = SCHEDULES[schedule](opt)
        X, y = np.random.randn(16, 6), np.random.randint(0, 2, 16)

        def step(x, y):
            opt.reset_grad()
            loss = nn.SoftmaxLoss()(model(x), y)
            loss.backward()
            opt.step()
            return loss

        run_step = ndl.jit(step) if compiled else step
        losses = []
        for _ in range(12):
            losses.append(run_step(X, y).item())
            if plan is not None:
                plan.step()
        if compiled:
            assert run_step.history.retraces == 0, run_step.explain()
        return np.array(losses), model.state_dict(), opt.state_dict()

    for mine, other in zip(run(True), run(False), strict=True):
        if isinstance(mine, dict):
            assert mine.keys() == other.keys()
            for key in mine:
                np.testing.assert_allclose(mine[key], other[key], rtol=1e-9, atol=1e-12)
        else:
            np.testing.assert_allclose(mine, other, rtol=1e-9)


class Run:
    """MLPResNet on fixed data: one step at a time, eager or compiled."""

    def __init__(self, dtype, dropout, compiled, make_optimizer, random="numpy"):
        np.random.seed(4)
        self.model = models.MLPResNet(20, hidden_dim=16, num_classes=4, drop_prob=dropout)
        for _, t in [*self.model.named_parameters(), *self.model.named_buffers()]:
            t.cached_data = t.numpy().astype(dtype)
        self.opt = make_optimizer(self.model.parameters())
        self.loss_fn = nn.SoftmaxLoss()
        data = np.random.RandomState(0)
        self.batches = [
            (data.randn(24, 20).astype(dtype), data.randint(0, 4, 24)) for _ in range(8)
        ]
        self.step = ndl.jit(self.train, random=random) if compiled else self.train

    def train(self, x, y):
        self.opt.reset_grad()
        loss = self.loss_fn(self.model(x), y)
        loss.backward()
        self.opt.step()
        return loss

    def losses(self, steps):
        np.random.seed(5)
        return [self.step(*self.batches[i % 8]).item() for i in range(steps)]


def adam(parameters):
    return optim.Adam(parameters, lr=0.003, weight_decay=0.001)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_two_hundred_steps_in_float64_agree_to_nine_digits(dropout):
    compiled = Run("float64", dropout, True, adam).losses(200)
    eager = Run("float64", dropout, False, adam).losses(200)
    np.testing.assert_allclose(compiled, eager, rtol=1e-9)
    assert compiled[-1] < 0.6 * compiled[0]  # it does learn


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_two_hundred_steps_in_float32_each_from_the_state_of_eager(dropout):
    def sgd(parameters):
        return optim.SGD(parameters, lr=0.05)

    eager, compiled = (Run("float32", dropout, flag, sgd) for flag in (False, True))
    for i in range(200):
        compiled.model.load_state_dict(eager.model.state_dict())
        losses = []
        for run in (eager, compiled):
            np.random.seed(i)
            losses.append(run.step(*run.batches[i % 8]).item())
        assert losses[1] == pytest.approx(losses[0], abs=1e-5)
        pairs = zip(eager.model.parameters(), compiled.model.parameters(), strict=True)
        for p, q in pairs:
            a, b = p.grad.numpy(), q.grad.numpy()
            scale = np.abs(a).max()
            if (
                scale < 1e-6
            ):  # a bias before BatchNorm: its gradient is 0, all that is there is noise
                assert np.abs(b).max() < 1e-6, i
            else:
                assert np.abs(a - b).max() <= 1e-4 * scale, i
            assert np.abs(p.numpy() - q.numpy()).max() <= 1e-4 * np.abs(p.numpy()).max()


def test_threads_and_cache_change_no_bit(tmp_path):
    def final(threads):
        with settings.override(num_threads=threads, cache=str(tmp_path / "cache")):
            run = Run("float32", 0.3, True, adam, random="philox")
            return run.losses(5), copy.deepcopy(run.model.state_dict())

    results = [final(1), final(2), final(3), final(1)]
    assert any((tmp_path / "cache").rglob("*"))
    for losses, state in results[1:]:
        assert losses == results[0][0]
        for name, value in state.items():
            np.testing.assert_array_equal(value, results[0][1][name])
