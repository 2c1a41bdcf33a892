"""`needle train` on images: models, augmentation, what their runs can be asked."""

from dataclasses import replace

import numpy as np
import pytest

from needle.cli.config import RECIPES, TrainConfig, usual_model
from needle.cli.main import main
from needle.cli.run_folder import load_model
from needle.cli.source import open_source
from needle.cli.train import fit_arguments
from needle.data import Augment, Augmented
from tests.cli.runs import metrics, options, outcome, resume

SMALL = ("--epochs", "2", "--batch-size", "16", "--val-fraction", "0.25", "--eager", "--quiet")


@pytest.fixture
def images(tmp_path):
    """A folder of 40 images (3, 4, 4) of three classes, brighter or darker, and 8 to test."""
    folder, state = tmp_path / "photographs", np.random.RandomState(0)
    folder.mkdir()
    for part, count in (("train", 40), ("test", 8)):
        labels = np.arange(count) % 3
        pixels = state.randint(0, 100, (count, 3, 4, 4)) + 70 * labels.reshape(-1, 1, 1, 1)
        np.save(folder / f"x_{part}.npy", pixels.astype("uint8"))
        np.save(folder / f"y_{part}.npy", labels)
    return folder


def train(folder, *arguments, code=0):
    names = ("--data", str(folder), "--model", "resnet20", *SMALL)
    assert main(["train", *names, *map(str, arguments)]) == code


def test_a_resnet_learns_images_and_predicts(here, images, capsys):
    train(images, "--out", here / "run")
    said = capsys.readouterr().out
    assert "test accuracy" in said and len(metrics(here / "run")) == 3
    stored = options(here / "run")
    assert (stored["model"], stored["augment"], stored["optimizer"]) == ("resnet20", 4, "sgd")
    trained = load_model(here / "run")
    assert trained.about == {"shape": [3, 4, 4], "classes": 3, "maximum": 255}
    assert dict(trained.model.named_parameters())["layer3.2.conv2.weight"].shape == (3, 3, 64, 64)
    assert not trained.compile  # it was learned eagerly
    assert replace(trained, options=TrainConfig(model="resnet20")).compile
    assert not replace(trained, options=TrainConfig()).compile
    assert main(["predict", str(here / "run"), str(images / "x_test.npy")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "index,label,probability" and len(lines) == 9
    assert main(["eval", str(here / "run")]) == 0
    assert "8 test samples" in capsys.readouterr().out


def test_a_resumed_run_sees_the_same_changed_images(here, images):
    steady = ("--schedule", "none", "--batch-size", 32)
    train(images, "--out", here / "whole", *steady)
    train(images, "--out", here / "cut", "--epochs", 1, *steady)
    resume(here / "cut", "--epochs", 2)
    assert outcome(here / "cut") == outcome(here / "whole")
    train(images, "--out", here / "plain", "--augment", 0, *steady)
    assert outcome(here / "plain")[0] != outcome(here / "whole")[0]


def test_only_the_training_part_is_changed(here, images, monkeypatch):
    seen = []

    def note(self, x):
        seen.append(len(x))
        return x

    monkeypatch.setattr(Augment, "__call__", note)
    train(images, "--out", here / "run")
    assert seen == [16, 14, 16, 14]  # 30 of 40 images in each of two epochs


def test_other_samples_are_refused_before_anything_is_learned(here, data, capsys):
    train(data, code=1)
    text = capsys.readouterr().err
    assert "--model resnet20: expected samples (3, H, W), got (2, 3); --model mlp takes any" in text


def test_images_with_channels_last_are_not_shifted_along_the_wrong_axes(here, capsys):
    assert main(["train", "--augment", "2", "--epochs", "1", "--quiet"]) == 1
    text = "--augment 2: expected images (C, H, W), got samples (8, 8, 1)"
    assert text in capsys.readouterr().err
    assert not (here / "runs").exists()


def test_what_fit_is_given_is_what_the_options_say(images):
    config = TrainConfig(data=str(images), augment=2, val_fraction=0.25, epochs=3, l1=0.5)
    arguments = fit_arguments(config, open_source(config))
    assert isinstance(arguments["data"], Augmented) and arguments["data"].change.padding == 2
    assert (len(arguments["data"]), len(arguments["val"])) == (30, 10)
    assert arguments["schedule"].total_steps == 3  # of 30 samples, in batches of 32
    assert (arguments["epochs"], arguments["batch_size"], arguments["loss"].l1) == (3, 32, 0.5)
    assert arguments["optimizer"].params[0] is arguments["model"].parameters()[0]


def test_the_usual_models():
    assert [usual_model(name) for name in ("cifar10", "mnist", "")] == ["resnet20", "mlp", "mlp"]
    assert set(RECIPES["resnet20"]) <= set(TrainConfig().options())
    assert TrainConfig().augment == 0 and TrainConfig().model == "mlp"
