"""`needle train` and `generate` of text: models, samples, what is kept and what is refused."""

import numpy as np
import pytest

import needle as ndl
from needle import settings
from needle.cli.build import make_model
from needle.cli.config import RECIPES, TrainConfig
from needle.cli.main import main
from needle.cli.run_folder import load_model
from tests.cli.runs import metrics, options, outcome, resume
from tests.cli.test_train import interrupt_after

SMALL = (
    "--hidden", "16", "--blocks", "1", "--context", "8", "--epochs", "3", "--lr", "0.01", "--eager",
)  # fmt: skip


@pytest.fixture
def text(here):
    path = here / "abc.txt"
    path.write_text("abcdefg" * 120, encoding="utf-8")
    return path


def learn(text, *arguments, code=0):
    assert main(["train", "--data", str(text), *SMALL, *map(str, arguments)]) == code


@pytest.mark.parametrize("model", ["gpt", "lstm"])
def test_learns_a_text_and_writes_it(here, text, model, capsys):
    learn(text, "--model", model, "--epochs", 15)
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0].split() == ["loss"]
    assert [line.split()[0] for line in lines[1:3]] == ["training", "validation"]
    assert float(lines[2].split()[1]) < 0.5
    assert lines[3].startswith("epoch ") and lines[4] == "run runs/abc-001"
    assert captured.err.count("--- epoch ") == 15
    sample = ["generate", "runs/abc-001", "--prompt", "cde", "--length", "9", "--temperature", "0"]
    assert main(sample) == 0
    assert capsys.readouterr().out == "cdefgabcdefg\n"


def test_a_text_is_learned_by_a_gpt_with_its_own_defaults(here, text):
    learn(text, "--quiet", "--epochs", 1)
    given = options(here / "runs" / "abc-001")
    assert given["model"] == "gpt" and given["hidden"] == 16 and given["data"] == str(text)
    for name, value in RECIPES["gpt"].items():
        if f"--{name}" not in SMALL:
            assert given[name] == value, name


@pytest.mark.parametrize(("width", "heads"), [(16, 1), (96, 3), (100, 2), (128, 4)])
def test_a_gpt_of_any_width_has_heads_that_divide_it(width, heads):
    model = make_model(TrainConfig(model="gpt", hidden=width), {"characters": "abc"})
    assert model.blocks[0].heads == heads


def test_a_refused_run_leaves_no_folder(here, text, capsys):
    learn(text, "--model", "lstm", "--blocks", 0, "--out", "run", code=1)
    assert "--blocks 0: expected at least one layer for --model lstm" in capsys.readouterr().err
    assert not (here / "run").exists()


def test_a_file_of_another_encoding_is_told_without_options(here, capsys):
    (here / "x.txt").write_bytes(b"\xff\xfe" * 2000)
    learn(here / "x.txt", code=1)
    said = capsys.readouterr().err
    assert "expected text in UTF-8" in said and "--context" not in said


def test_a_text_that_is_not_there(here, capsys):
    assert main(["train", "--data", "nowhere.txt"]) == 1
    said = capsys.readouterr().err
    assert "no such file or folder; expected digits" in said and "a file of text" in said


def test_metrics_have_losses_and_no_accuracies(here, text, capsys):
    learn(text, "--quiet")
    rows = metrics(here / "runs" / "abc-001")
    assert all(row[1] and row[3] and not row[2] and not row[4] for row in rows[1:])
    assert "--- epoch" not in capsys.readouterr().err


def test_eval_gives_the_loss_that_training_said(here, text, capsys):
    learn(text, "--quiet")
    table = capsys.readouterr().out.splitlines()
    assert main(["eval"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"run runs/abc-001: 80 characters of {text}"
    assert lines[1] == f"loss {table[2].split()[1]} nats per character"


def test_another_text_under_the_name_is_no_text_of_the_run(here, text, capsys):
    learn(text, "--quiet")
    text.write_text("stuvwxy" * 120, encoding="utf-8")
    capsys.readouterr()
    for verb in ("eval", "report"):
        assert main([verb]) == 1
        said = "has changed: expected {'characters': 'abcdefg'} as the run learned it, got {'char"
        assert said in capsys.readouterr().err


def test_samples_change_nothing_and_a_cut_run_resumes_exactly(here, text, monkeypatch):
    learn(text, "--dropout", 0.2, "--out", "whole")
    learn(text, "--dropout", 0.2, "--out", "quiet", "--quiet")
    assert outcome(here / "whole") == outcome(here / "quiet")
    interrupt_after(monkeypatch, 7)
    learn(text, "--dropout", 0.2, "--out", "cut", code=130)
    resume(here / "cut")
    assert outcome(here / "whole") == outcome(here / "cut")


def test_a_compiled_run_writes_what_the_model_writes_eagerly(here, text, capsys):
    with settings.override(jit=True):
        assert main(["train", "--data", str(text), *SMALL[:-1]]) == 0
        capsys.readouterr()
        assert main(["generate", "runs/abc-001", "--prompt", "ab", "--length", "20"]) == 0
    compiled = capsys.readouterr().out
    with ndl.disable_jit():
        assert main(["generate", "runs/abc-001", "--prompt", "ab", "--length", "20"]) == 0
    assert capsys.readouterr().out == compiled
    assert len(compiled) == 23


def test_the_model_is_rebuilt_from_its_file_alone(here, text):
    learn(text, "--quiet", "--model", "lstm")
    (here / "runs" / "abc-001" / "config.json").unlink()
    text.unlink()
    trained = load_model(here / "runs" / "abc-001")
    assert trained.about == {"characters": "abcdefg"}
    assert trained.model(np.zeros((2, 5), int)).shape == (2, 5, 7)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model", "mlp"), "is a text; choose --model gpt"),
        (("--context", "800"), "pass a smaller length (length is --context 800, "),
        (("--val-fraction", "0.001"), "val_fraction is --val-fraction 0.001)"),
        (("--hidden", "33", "--blocks", "1"), ""),
        (("--val-fraction", "0"), "val_fraction between 0 and 1"),
    ],
)
def test_what_does_not_fit_is_told(text, arguments, said, capsys):
    learn(text, "--quiet", "--epochs", 1, *arguments, code=1 if said else 0)
    assert said in capsys.readouterr().err


def test_samples_are_no_text(data, text, capsys):
    assert main(["train", "--data", str(data), "--model", "lstm"]) == 1
    assert "is samples; choose --model mlp" in capsys.readouterr().err
    assert main(["train", "--data", str(data), "--epochs", "1", "--quiet", "--eager"]) == 0
    assert main(["generate", "runs/data-001"]) == 1
    assert "learned no text; see needle predict" in capsys.readouterr().err
    learn(text, "--quiet", "--epochs", 1)
    assert main(["predict", "runs/abc-001", str(text)]) == 1
    assert "learned a text; see needle generate" in capsys.readouterr().err
    assert main(["generate", "runs/abc-001", "--prompt", "xyz"]) == 1
    assert "'x' is not among the 7 known" in capsys.readouterr().err
