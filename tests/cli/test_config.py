"""TrainConfig is the one place of the options: defaults, help, ranges, config.json."""

import json
from dataclasses import fields

import click
import pytest

from needle.cli.config import (
    INVOCATION,
    TrainConfig,
    from_command_line,
    read_options,
    train_options,
)
from needle.cli.main import main
from needle.errors import DataError

NAMES = [
    "--data", "--model", "--epochs", "--batch-size", "--hidden", "--blocks", "--context", "--norm",
    "--dropout", "--augment", "--optimizer", "--lr", "--schedule", "--weight-decay", "--l1",
    "--val-fraction", "--patience", "--eager", "--seed", "--out", "--resume", "--config",
    "--quiet", "--debug",
]  # fmt: skip


@click.command()
@train_options
@click.pass_context
def parsed(context, /, **_):
    return from_command_line(context)


def parse(*arguments):
    return parsed.main(list(map(str, arguments)), standalone_mode=False)


def test_each_field_is_an_option_and_nothing_else():
    assert [f"--{item.name}".replace("_", "-") for item in fields(TrainConfig)] == NAMES
    assert [parameter.opts[0] for parameter in parsed.params] == NAMES


def test_without_options_the_dataclass_decides():
    assert parse() == TrainConfig()


def test_help_prints_each_default(capsys):
    assert main(["train", "--help"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    for item in fields(TrainConfig):
        name = "--" + item.name.replace("_", "-")
        after = words[words.index(f" {name} ") :]
        text = after[: after.index(" --", 3)] if " --" in after[3:] else after
        if item.metadata["type"] is not bool and item.default is not None:
            assert f"[default: {item.default}" in text.replace(" ]", "]"), name
        assert item.metadata["help"].split("[")[0].split()[0] in text
    assert "[default: runs/<data>-<number>]" in words


def test_options_given_replace_the_defaults():
    config = parse("--epochs", 3, "--norm", "layer", "--lr", "1e-4", "--quiet", "--seed", 7)
    assert config == TrainConfig(epochs=3, norm="layer", lr=1e-4, quiet=True, seed=7)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--epochs", "0"), ("--epochs", "2.5"), ("--hidden", "1"), ("--dropout", "1"),
        ("--dropout", "nan"), ("--lr", "0"), ("--lr", "nan"), ("--norm", "group"),
        ("--optimizer", "lion"), ("--schedule", "linear"), ("--val-fraction", "1"),
        ("--seed", "-1"), ("--nothing", "1"), ("surplus",),
    ],
)  # fmt: skip
def test_values_out_of_range_are_wrong_usage(arguments, capsys):
    assert main(["train", *arguments]) == 2
    assert "Error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("--context", 8), "context"),
        (("--data", "cifar10", "--dropout", 0.5), "dropout"),
        (("--data", __file__, "--norm", "layer"), "norm"),
        (("--data", __file__, "--model", "lstm", "--augment", 2), "augment"),
    ],
)
def test_an_option_that_the_model_does_not_read_is_wrong_usage(arguments, name):
    with pytest.raises(click.UsageError, match=f"--{name} is nothing that --model .* reads"):
        parse(*arguments)


def stored(path, **changes):
    path.write_text(json.dumps({"options": TrainConfig().options() | changes}), encoding="utf-8")
    return path


def test_a_config_file_gives_the_options_and_the_command_line_wins(here):
    path = stored(here / "config.json", epochs=5, lr=0.5, norm="layer")
    assert parse("--config", path, "--lr", 0.25) == TrainConfig(
        epochs=5, lr=0.25, norm="layer", config=path
    )


def test_options_say_nothing_about_where_and_how_it_is_shown():
    assert set(TrainConfig().options()) == {f.name for f in fields(TrainConfig)} - set(INVOCATION)


def test_to_resume_takes_the_options_of_the_run(here):
    stored(here / "config.json", epochs=5, seed=3)
    assert parse("--resume", here) == TrainConfig(epochs=5, seed=3, resume=here)
    assert parse("--resume", here, "--epochs", 8).epochs == 8


@pytest.mark.parametrize("option", ["--lr", "--seed", "--out", "--config"])
def test_a_run_that_is_resumed_keeps_its_other_options(here, option):
    stored(here / "config.json")
    value = here / "config.json" if option == "--config" else "1"
    with pytest.raises(click.UsageError, match=f"{option} cannot be changed"):
        parse("--resume", here, option, value)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"epochs": 0}, "epochs: 0 is not in the range"),
        ({"epochs": "many"}, "epochs: 'many' is not a valid integer"),
        ({"norm": "group"}, "norm: 'group' is not one of"),
        ({"epochs": [1]}, "epochs: "),
        ({"epochs": None}, "epochs: "),
        ({"model": None}, "model: "),
        ({"eager": None}, "eager: "),
        ({"colour": 1}, "unknown option 'colour'"),
        ({"out": "x"}, "unknown option 'out'"),
    ],
)
def test_a_config_file_is_checked_as_the_command_line_is(here, changes, text):
    with pytest.raises(DataError, match=f"config.json: {text}"):
        read_options(stored(here / "config.json", **changes))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"options": 3}', "\x00"])
def test_other_files_are_no_config(here, text):
    (here / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"not the config\.json of a run"):
        read_options(here / "config.json")
    with pytest.raises(DataError, match="no such file"):
        read_options(here / "missing.json")
