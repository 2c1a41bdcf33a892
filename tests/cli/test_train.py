"""`needle train`: what it writes, says and repeats, and when it reads the test images."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from needle import data as ndl_data
from needle import settings
from needle.cli import train as train_module
from needle.cli.config import TrainConfig
from needle.cli.source import open_source
from needle.data import NDArrayDataset
from needle.training import Callback
from tests.cli.runs import SMALL, metrics, options, outcome, resume, train
from tests.training.test_checkpoint import Cut


def interrupt_after(monkeypatch, steps):
    """Let the next run be interrupted after so many steps."""
    real = train_module.fit

    def fit(*args, callbacks, **kwargs):
        monkeypatch.setattr(train_module, "fit", real)
        return real(*args, callbacks=[*callbacks, Cut(steps)], **kwargs)

    monkeypatch.setattr(train_module, "fit", fit)


def test_says_the_table_the_accuracy_and_the_folder(data, capsys):
    train("--data", data)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["loss", "accuracy"]
    assert [line.split()[0] for line in lines[1:4]] == ["training", "validation", "test"]
    assert lines[4].startswith("epoch ")
    assert " of 4, " in lines[4]
    assert lines[5] == f"test accuracy {float(lines[3].split()[2]):.4f}"
    assert lines[6:] == ["run runs/data-001"]


def test_writes_what_belongs_to_a_run(here, data, capsys):
    train("--data", data, "--seed", 5)
    folder = here / "runs" / "data-001"
    expected = {"config.json", "metrics.csv", "model.safetensors", "checkpoint.safetensors"}
    assert {path.name for path in folder.iterdir()} == expected
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert set(config["options"]) == set(TrainConfig().options())
    assert config["options"]["data"] == str(data)
    assert config["options"]["hidden"] == 8
    assert config["seed"] == 5
    assert config["versions"]["numpy"] == np.__version__
    assert {"cpu", "threads", "usable_cores"} <= set(config)
    rows = metrics(folder)
    assert rows[0] == ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "lr"]
    assert [row[0] for row in rows[1:]] == ["1", "2", "3", "4"]
    assert all(math.isfinite(float(cell)) for row in rows[1:] for cell in row)
    assert "needle-dl[plots]" in capsys.readouterr().err


def test_progress_is_on_stderr_and_quiet_is_quiet(data, capsys):
    train("--data", data)
    assert capsys.readouterr().err.count("\n") == 1  # about matplotlib
    from needle.cli.main import main

    assert main(["train", "--data", str(data), "--epochs", "2", "--eager"]) == 0
    captured = capsys.readouterr()
    assert [line[:10] for line in captured.err.splitlines()[:2]] == ["epoch 1/2 ", "epoch 2/2 "]
    assert "epoch 1/2" not in captured.out


def test_the_same_seed_repeats_a_run_and_another_does_not(here, data):
    for seed, name in ((3, "a"), (3, "b"), (4, "c")):
        train("--data", data, "--seed", seed, "--out", here / name)
    assert outcome(here / "a") == outcome(here / "b")
    assert outcome(here / "a")[0] != outcome(here / "c")[0]


def test_a_config_file_repeats_a_run(here, data):
    train("--data", data, "--seed", 3, "--out", here / "a")
    from needle.cli.main import main

    arguments = ["--config", str(here / "a" / "config.json"), "--out", str(here / "b"), "--quiet"]
    assert main(["train", *arguments]) == 0
    assert outcome(here / "a") == outcome(here / "b")


OTHER_WAYS = [
    ("--optimizer", "sgd", "--schedule", "step", "--norm", "layer"),
    ("--optimizer", "adamw", "--schedule", "cosine", "--l1", "0.001"),
    ("--optimizer", "adam", "--schedule", "none", "--val-fraction", "0", "--dropout", "0"),
    ("--schedule", "onecycle", "--patience", "1"),
]


def test_a_compiled_run_resumes_exactly_too(here, data, monkeypatch):
    from needle.cli.main import main

    ways = ["--data", str(data), *SMALL[:-1], "--dropout", "0.3"]  # without --eager
    with settings.override(jit=True):
        assert main(["train", *ways, "--out", "whole"]) == 0
        interrupt_after(monkeypatch, 6)
        assert main(["train", *ways, "--out", "cut"]) == 130
        resume(here / "cut")
    assert outcome(here / "cut") == outcome(here / "whole")
    train("--data", data, "--dropout", "0.3", "--out", here / "eager")
    assert outcome(here / "eager")[0] != outcome(here / "whole")[0]  # other random numbers


@pytest.mark.parametrize("ways", OTHER_WAYS)
def test_a_run_that_is_interrupted_and_resumed_equals_the_whole_one(
    here, data, ways, monkeypatch, capsys
):
    train("--data", data, "--out", here / "whole", *ways)
    for steps in (0, 6, 13):
        folder = here / f"cut {steps}"
        interrupt_after(monkeypatch, steps)
        train("--data", data, "--out", folder, *ways, code=130)
        assert f'continue with: needle train --resume "{folder}"\n' in capsys.readouterr().err
        resume(folder)
        assert outcome(folder) == outcome(here / "whole")


def test_resuming_drops_rows_past_the_checkpoint(here, data, monkeypatch):
    train("--data", data, "--out", here / "whole")
    interrupt_after(monkeypatch, 12)
    train("--data", data, "--out", here / "cut", code=130)
    with (here / "cut" / "metrics.csv").open("a", encoding="utf-8") as file:
        file.write("3,0.1,0.9,0.1,0.9,0.01,1.0\n4,0.")
    resume(here / "cut")
    assert metrics(here / "cut") == metrics(here / "whole")


def test_a_run_without_a_checkpoint_starts_again(here, data):
    train("--data", data, "--out", here / "whole")
    (here / "cut").mkdir()
    config = (here / "whole" / "config.json").read_bytes()
    (here / "cut" / "config.json").write_bytes(config)
    resume(here / "cut")
    assert outcome(here / "cut") == outcome(here / "whole")


def test_a_run_is_not_resumed_for_fewer_epochs_than_it_has(here, data, capsys):
    train("--data", data, "--out", "run")
    before = outcome(here / "run"), (here / "run" / "config.json").read_bytes()
    resume(here / "run", "--epochs", 3, code=1)
    assert "--epochs 3: " in capsys.readouterr().err
    assert before == (outcome(here / "run"), (here / "run" / "config.json").read_bytes())


def test_a_validation_part_of_all_samples_is_refused(here, data, capsys):
    train("--data", data, "--out", "run", "--val-fraction", 0.999, code=1)
    errors = capsys.readouterr().err
    assert errors == "needle: --val-fraction 0.999: leaves none of 80 to learn from\n"
    assert not (here / "run").exists()


def test_a_finished_run_resumed_says_the_same_again(here, data, capsys):
    train("--data", data, "--out", here / "run")
    before, said = outcome(here / "run"), capsys.readouterr().out
    resume(here / "run")
    assert outcome(here / "run") == before
    assert capsys.readouterr().out == said


@pytest.mark.parametrize("schedule", ["none", "step", "cosine", "onecycle"])
def test_more_epochs_continue_a_run_to_its_new_end(here, data, schedule):
    train("--data", data, "--out", here / "run", "--schedule", schedule, "--patience", 0)
    resume(here / "run", "--epochs", 7)
    assert options(here / "run")["epochs"] == 7
    rates = [float(row[5]) for row in metrics(here / "run")[1:]]
    assert len(rates) == 7
    if schedule in ("cosine", "onecycle"):
        assert rates[-1] < rates[4]  # down to the new end
    if schedule == "none":
        train("--data", data, "--out", here / "whole", "--schedule", "none", "--epochs", 7,
              "--patience", 0)  # fmt: skip
        assert metrics(here / "run") == metrics(here / "whole")


def test_the_best_epoch_is_the_model(here, data):
    train("--data", data, "--out", here / "run", "--epochs", 12, "--schedule", "none", "--lr", 0.3)
    from needle.cli.run_folder import load_model
    from needle.nn import SoftmaxLoss
    from needle.training import evaluate

    np.random.seed(0)
    _, validation = train_module.split(open_source(TrainConfig(data=str(data))).train, 0.2)
    found = evaluate(load_model(here / "run").model, validation, SoftmaxLoss())["loss"]
    losses = [float(row[3]) for row in metrics(here / "run")[1:]]
    assert found == pytest.approx(min(losses), rel=1e-6)
    assert min(losses) < losses[-1]  # else the test shows nothing


def test_early_stopping_stops_by_patience(here, data, capsys):
    train("--data", data, "--out", here / "run", "--epochs", 60, "--lr", 0.2, "--patience", 2)
    losses = [float(row[3]) for row in metrics(here / "run")[1:]]
    assert len(losses) == np.argmin(losses) + 3 < 60
    assert "stopped early" in capsys.readouterr().out


@pytest.mark.parametrize("fraction", [0, 0.001])  # of 80 samples, none validates
def test_no_validation_part_takes_the_last_epoch(here, data, capsys, fraction):
    config = TrainConfig(data=str(data), val_fraction=fraction)
    assert train_module.fit_arguments(config, open_source(config))["early_stopping"] is None
    train("--data", data, "--out", here / "run", "--val-fraction", fraction)
    assert "epoch 4 of 4" in capsys.readouterr().out
    assert metrics(here / "run")[1][3:5] == ["", ""]


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning", "ignore:invalid:RuntimeWarning")
def test_a_loss_that_is_no_number_is_said(here, data, capsys):
    train("--data", data, "--out", here / "run", "--lr", "1e30", "--optimizer", "sgd")
    assert "no longer a number; a smaller --lr may help" in capsys.readouterr().err


def test_l1_is_added_in_training_only(here, data):
    train("--data", data, "--out", here / "a", "--epochs", 1)
    train("--data", data, "--out", here / "b", "--epochs", 1, "--l1", 10)
    (first, second) = (metrics(here / name)[1] for name in "ab")
    assert float(second[1]) > float(first[1]) + 10
    assert float(second[3]) < 10


def test_split_is_random_disjoint_and_whole():
    X = np.arange(50.0)
    np.random.seed(1)
    training, validation = train_module.split(NDArrayDataset(X), 0.3)
    parts = [part[np.arange(len(part))][0].tolist() for part in (training, validation)]
    assert [len(part) for part in parts] == [35, 15]
    assert sorted(parts[0] + parts[1]) == X.tolist()
    assert parts[1] != sorted(parts[1])
    whole, nothing = train_module.split(NDArrayDataset(X), 0.0)
    assert len(whole) == 50
    assert nothing is None


class Watched(NDArrayDataset):
    """A data set that notes what is read."""

    def __init__(self, dataset, log, name):
        super().__init__(dataset.X[::10], dataset.y[::10])
        self.log, self.name, self.maximum = log, name, dataset.maximum

    def __getitem__(self, index):
        self.log += [(self.name, i) for i in np.atleast_1d(index).tolist()]
        return super().__getitem__(index)


def test_the_test_images_are_read_once_at_the_end(here, monkeypatch):
    log, parts = [], ndl_data.digits()

    class Steps(Callback):
        def after_step(self, run):
            log.append("step")

    def digits():
        return Watched(parts[0], log, "train"), Watched(parts[1], log, "test")

    real = train_module.fit

    def fit(*args, callbacks, **kwargs):
        return real(*args, callbacks=[*callbacks, Steps()], **kwargs)

    monkeypatch.setattr(ndl_data, "digits", digits)
    monkeypatch.setattr(train_module, "fit", fit)
    train("--out", here / "run", "--patience", 1)
    reads = [entry for entry in log if entry[0] == "test"]
    assert reads == [("test", i) for i in range(36)]
    assert log[-36:] == reads
    assert log.count("step") >= 8
    assert (here / "run" / "model.safetensors").exists()


def test_the_model_does_not_depend_on_the_test_images(here, data):
    train("--data", data, "--out", here / "a")
    np.save(data / "x_test.npy", np.load(data / "x_test.npy") * 1000)
    train("--data", data, "--out", here / "b")
    assert outcome(here / "a") == outcome(here / "b")


def accuracies(capsys, seeds, *arguments):
    """Return the test accuracies of runs with the defaults."""
    from needle.cli.main import main

    found = []
    for seed in seeds:
        assert main(["train", "--quiet", "--seed", str(seed), *arguments]) == 0
        found.append(float(capsys.readouterr().out.split("test accuracy ")[1].split()[0]))
    return found


def test_the_defaults_learn_the_digits(capsys):
    assert min(accuracies(capsys, [0])) >= 0.97


@pytest.mark.slow
def test_the_defaults_learn_the_digits_with_any_seed(capsys):
    found = accuracies(capsys, range(5))
    assert np.mean(found) >= 0.97
    assert min(found) >= 0.96


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process there")
def test_ctrl_c_says_how_to_go_on(here, data):
    command = [sys.executable, "-m", "needle", "train", "--data", str(data), "--epochs", "99999"]
    process = subprocess.Popen(
        [*command, "--patience", "0", "--eager"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    while "epoch" not in process.stderr.readline():
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.endswith("interrupted; continue with: needle train --resume runs/data-001\n")
    assert output == ""
    assert "Traceback" not in errors


@pytest.mark.parametrize("ways", [(), ("--debug",)])
def test_errors_are_one_line_and_debug_shows_where(here, data, ways, capsys):
    (here / "run").mkdir()
    (here / "run" / "config.json").write_text("{}", encoding="utf-8")
    train("--data", data, "--out", here / "run", *ways, code=1)
    errors = capsys.readouterr().err
    assert "holds a run; continue it with --resume" in errors
    assert ("Traceback" in errors) == bool(ways)
    assert errors.count("\n") == 1 or ways


def test_a_checkpoint_that_is_damaged_is_an_error_not_a_new_start(here, data, capsys):
    train("--data", data, "--out", here / "run")
    path = here / "run" / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    resume(here / "run", code=1)
    assert "checkpoint.safetensors: not a whole safetensors file" in capsys.readouterr().err


needs_mnist = pytest.mark.skipif(
    not Path(os.environ.get("NEEDLE_DATA") or "/nowhere", "mnist").is_dir(),
    reason="NEEDLE_DATA names no folder of MNIST",
)


@needs_mnist
@pytest.mark.slow
def test_mnist_reaches_its_accuracy_in_ten_epochs(capsys):
    assert min(accuracies(capsys, [0], "--data", "mnist", "--epochs", "10")) >= 0.975
