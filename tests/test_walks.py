"""Three persons' first hour: a student, an engineer, a teacher in a room without internet."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

import needle as ndl
from needle import nn

ROOT = Path(__file__).parents[1]
OFFLINE = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}  # nobody there

HOMEWORK = '''
"""Homework, as the course hands it out: own layers on needle's ops."""
import sys
sys.path.append("./python")
from typing import List, Callable, Any
from needle.autograd import Tensor
from needle import ops
import needle.init as init
import numpy as np
import needle as ndl
import needle.nn as nn
from needle.nn.nn_basic import Parameter, Module, Linear, ReLU, Sequential, SoftmaxLoss


class LayerNorm1d(Module):
    def __init__(self, dim, eps=1e-5, device=None, dtype="float32"):
        super().__init__()
        self.dim = dim
        self.eps = eps
        self.weight = Parameter(init.ones(self.dim, device=device, dtype=dtype, requires_grad=True))
        self.bias = Parameter(init.zeros(self.dim, device=device, dtype=dtype, requires_grad=True))

    def forward(self, x: Tensor) -> Tensor:
        batch, features = x.shape
        mean = (x.sum(axes=(1,)) / features).reshape((batch, 1)).broadcast_to(x.shape)
        var = ((x - mean) ** 2).sum(axes=(1,)) / FEATURES
        var = var.reshape((batch, 1)).broadcast_to(x.shape)
        hat = (x - mean) / (var + self.eps) ** 0.5
        weight = self.weight.reshape((1, self.dim)).broadcast_to(x.shape)
        return weight * hat + self.bias.reshape((1, self.dim)).broadcast_to(x.shape)


class BatchNorm1d(Module):
    def __init__(self, dim, eps=1e-5, momentum=0.1, device=None, dtype="float32"):
        super().__init__()
        self.dim = dim
        self.eps = eps
        self.momentum = momentum
        self.weight = Parameter(init.ones(dim, device=device, dtype=dtype))
        self.bias = Parameter(init.zeros(dim, device=device, dtype=dtype))
        self.running_mean = init.zeros(dim, device=device, dtype=dtype)
        self.running_var = init.ones(dim, device=device, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            mean = x.sum(axes=(0,)) / x.shape[0]
            var = ((x - mean.broadcast_to(x.shape)) ** 2).sum(axes=(0,)) / x.shape[0]
            self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * mean.data
            self.running_var = (1 - self.momentum) * self.running_var + self.momentum * var.data
        else:
            mean, var = self.running_mean, self.running_var
        hat = (x - mean.broadcast_to(x.shape)) / (var.broadcast_to(x.shape) + self.eps) ** 0.5
        return self.weight.broadcast_to(x.shape) * hat + self.bias.broadcast_to(x.shape)


class Dropout(Module):
    def __init__(self, p=0.5):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x / (1 - self.p) * init.randb(*x.shape, p=1 - self.p)


class Residual(Module):
    def __init__(self, fn: Module):
        super().__init__()
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        return self.fn(x) + x


def block(dim, hidden):
    fn = Sequential(
        Linear(dim, hidden), BatchNorm1d(hidden), ReLU(), Dropout(0.1), Linear(hidden, dim),
        LayerNorm1d(dim),
    )
    return Sequential(Residual(fn), ReLU())


if __name__ == "__main__":
    x = np.random.RandomState(0).randn(8, 5).astype("float32")
    ndl.testing.compare(BatchNorm1d(5), nn.BatchNorm1d(5), x)
    ndl.testing.compare(Dropout(0.3), nn.Dropout(0.3), x)
    ndl.testing.compare(LayerNorm1d(5), nn.LayerNorm1d(5), x)
    np.random.seed(0)
    train, test = ndl.data.digits()
    model = Sequential(nn.Flatten(), Linear(64, 32), block(32, 16), Linear(32, 10))
    opt = ndl.optim.Adam(model.parameters(), lr=0.01, weight_decay=1e-4)
    loss_fn = SoftmaxLoss()
    for epoch in range(3):
        for batch in ndl.data.DataLoader(train, batch_size=100, shuffle=True):
            X, y = batch[0], batch[1]
            opt.reset_grad()
            loss = loss_fn(model(X), y)
            loss.backward()
            opt.step()
    model.eval()
    correct = np.sum(model(Tensor(test.X)).numpy().argmax(axis=1) == test.y)
    print(correct / len(test.y))
'''


def python(*arguments, cwd, env=None, executable=sys.executable):
    """Run Python as a person does; return its exit code and what it says."""
    done = subprocess.run(
        [executable, *map(str, arguments)], cwd=cwd, env=os.environ | (env or {}),
        capture_output=True, text=True, check=False, encoding="utf-8",
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def pip(*arguments, **kwargs):
    """Run pip and return what it complained of; nothing where it worked."""
    code, _, err = python("-m", "pip", *arguments, "-q", **kwargs)
    return err or f"exit code {code}" if code else ""


def test_the_student_finds_the_mistake_and_then_trains(tmp_path):
    """A homework with a mistake in one layer: compare names it; corrected, it trains."""
    file = tmp_path / "homework.py"
    file.write_text(HOMEWORK.replace("FEATURES", "(features - 1)"), encoding="utf-8")
    code, out, err = python("-W", "error", file, cwd=tmp_path)
    last = err.splitlines()[-1]
    assert code == 1 and out == ""
    assert last.startswith("AssertionError: train, first call: output: ")
    file.write_text(HOMEWORK.replace("FEATURES", "features"), encoding="utf-8")
    code, out, err = python("-W", "error", file, cwd=tmp_path)
    assert (code, err) == (0, "")
    assert float(out) > 0.85


def table(path, rows=600):
    """Write a CSV as another program would: names, float64, one column the target."""
    state = np.random.RandomState(0)
    X = state.rand(rows, 5)
    y = 10 * np.sin(np.pi * X[:, 0] * X[:, 1]) + 20 * (X[:, 2] - 0.5) ** 2 + 10 * X[:, 3]
    np.savetxt(path, np.column_stack([X, y]), delimiter=",", header="a,b,c,d,e,y", comments="")
    return path


def test_the_engineer_brings_a_float64_table(tmp_path):
    """Every step that goes wrong at first says what to write; what it says then works."""
    values = np.loadtxt(table(tmp_path / "table.csv"), delimiter=",", skiprows=1)
    X, y = values[:, :-1], values[:, -1]
    assert X.dtype == y.dtype == np.float64
    np.random.seed(0)
    model = nn.Sequential(nn.Linear(5, 32), nn.Tanh(), nn.Linear(32, 1))
    with pytest.warns(ndl.PrecisionWarning, match=r"float64 input.*pass x.astype\(\"float32\"\)"):
        model(X)
    prediction = model(X.astype("float32"))
    with pytest.raises(
        ValueError, match=r"expected a target of shape \(600, 1\).*pass y\[:, None\]"
    ):
        nn.MSELoss()(prediction, y)
    with pytest.raises(ValueError, match=r"expected last axis 5, got \(600, 6\)"):
        model(values.astype("float32"))

    mean, std, part = X.mean(axis=0), X.std(axis=0), np.arange(600) % 5 == 0
    inputs, target = (X - mean) / std, y[:, None]  # still float64: fit converts
    opt = ndl.optim.Adam(model.parameters(), lr=0.01)
    loss = nn.MSELoss()
    history = ndl.fit(model, (inputs[~part], target[~part]), loss=loss, optimizer=opt, epochs=120,
                      batch_size=32, val=(inputs[part], target[part]), progress=False)  # fmt: skip
    guess = ndl.predict(model, inputs[part])
    assert guess.dtype == np.float32 and guess.shape == (120, 1)
    r2 = 1 - ((guess - target[part]) ** 2).mean() / target[part].var()
    assert r2 > 0.9 and history["val_loss"][-1] < history["val_loss"][0] / 5

    ndl.save(tmp_path / "model.safetensors", model, mean=mean.tolist(), std=std.tolist())
    again = nn.Sequential(nn.Linear(5, 32), nn.Tanh(), nn.Linear(32, 1))
    kept = ndl.load(tmp_path / "model.safetensors", again)
    row = (X[:1] - kept["mean"]) / kept["std"]
    np.testing.assert_array_equal(ndl.predict(again, row), ndl.predict(model, inputs[:1]))


def test_in_float64_all_the_way(tmp_path):
    values = np.loadtxt(table(tmp_path / "table.csv", 50), delimiter=",", skiprows=1)
    model = nn.Sequential(nn.Linear(5, 8, dtype="float64"), nn.BatchNorm1d(8, dtype="float64"),
                          nn.ReLU(), nn.Linear(8, 1, dtype="float64"))  # fmt: skip
    opt = ndl.optim.Adam(model.parameters(), lr=0.01)
    ndl.fit(model, (values[:, :5], values[:, 5:]), loss=nn.MSELoss(), optimizer=opt, epochs=2,
            progress=False)  # fmt: skip
    assert {str(array.dtype) for array in model.state_dict().values()} == {"float64"}
    assert ndl.predict(model, values[:, :5]).dtype == np.float64


LESSON = """
import needle as ndl, numpy as np, pathlib, sys
from needle.cli.main import main
site = pathlib.Path(sys.argv[1]).resolve()
assert site in pathlib.Path(ndl.__file__).resolve().parents, ndl.__file__
train, test = ndl.data.digits()
assert len(train) == 1437 and len(test) == 360
assert main(["train", "--quiet", "--epochs", "2", "--blocks", "1", "--out", "run"]) == 0
assert main(["eval", "run"]) == 0 and main(["report", "run"]) == 0
try:
    ndl.data.mnist(root="nothing-here", download=True)
except ndl.errors.DownloadError as error:
    print("offline:", " ".join(str(error).split()))
"""


def teach(folder, site, executable, env):
    """Run the lesson without a network, and check what it says."""
    (folder / "lesson.py").write_text(LESSON, encoding="utf-8")
    env = env | OFFLINE | {"NEEDLE_DATA": "", "NEEDLE_CACHE": str(folder / "programs")}
    code, out, err = python(
        "-W", "error", "lesson.py", site, cwd=folder, env=env, executable=executable
    )
    assert code == 0, err
    assert "test accuracy 0." in out and (folder / "run" / "report.html").exists()
    assert "train-images-idx3-ubyte" in out.partition("offline:")[2]  # what to put where by hand


def build_wheel(folder):
    pytest.importorskip("hatchling")
    options = ["--no-deps", "--no-build-isolation", "-w", folder]
    assert not pip("wheel", ROOT, *options, cwd=ROOT, env=OFFLINE)
    (wheel,) = Path(folder).glob("needle_dl-*.whl")
    return wheel


def test_the_teacher_installs_from_a_folder_of_wheels(tmp_path):
    """needle's own wheel, without an index; its dependencies are those of this environment."""
    wheels, site = tmp_path / "wheels", tmp_path / "site"
    wheel = build_wheel(wheels)
    assert wheel.name.endswith("-py3-none-any.whl") and wheel.stat().st_size < 2_000_000
    options = ["--no-index", "--find-links", wheels, "--no-deps", "--target", site]
    assert not pip("install", *options, "needle-dl", cwd=tmp_path, env=OFFLINE)
    teach(tmp_path, site, sys.executable, {"PYTHONPATH": str(site)})


@pytest.mark.slow
def test_the_teacher_prepares_all_wheels_and_installs_them_elsewhere(tmp_path):
    """Collects every wheel with a network first; skips where there is none."""
    wheels, room = tmp_path / "wheels", tmp_path / "room"
    wheel = build_wheel(wheels)
    failed = pip("download", "--only-binary", ":all:", "-d", wheels, wheel, cwd=tmp_path)
    if failed:
        pytest.skip(f"no index to collect wheels from: {failed[-200:]}")
    venv.create(room, with_pip=True)
    own = room / ("Scripts" if os.name == "nt" else "bin") / "python"
    options = ["--no-index", "--find-links", wheels, "needle-dl"]
    assert not pip("install", *options, cwd=tmp_path, env=OFFLINE, executable=own)
    teach(tmp_path, room, own, {})
