"""The options of `needle train`: names, defaults, ranges and help in one dataclass."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import click

from needle.errors import DataError

INVOCATION = ("out", "resume", "config", "quiet", "debug")  # they do not belong to the result


def option(default: Any, help: str, kind: click.ParamType | type | None = None) -> Any:
    """Return a field of TrainConfig with what the command line needs of it."""
    kind = type(default) if kind is None else kind
    return field(default=default, metadata={"help": help, "type": kind})


def choice(default: str, words: tuple[str, ...], help: str) -> Any:
    """Return a field that takes one of several words."""
    return option(default, help, click.Choice(words))


class Finite(click.FloatRange):
    """A float in a range; NaN, which no range excludes, and infinity are refused."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the number."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{number} is not a finite number", param, ctx)
        return number


POSITIVE = Finite(min=0, min_open=True)
NOT_NEGATIVE = Finite(min=0)
SHARE = Finite(0, 1, max_open=True)
COUNT = click.IntRange(min=1)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
NEW_FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
NAMES = ("digits", "mnist", "fashion-mnist", "cifar10")
TEXTS = ("text/tinyshakespeare",)
TEXT_MODELS = ("gpt", "lstm")
IMAGE_MODELS = ("resnet20", "resnet18")
_RESNET = {
    "epochs": 10, "batch_size": 128, "optimizer": "sgd", "lr": 1.0, "weight_decay": 0.0005,
    "val_fraction": 0.04, "augment": 4,
}  # fmt: skip
RECIPES: dict[str, dict[str, Any]] = {  # what differs from the defaults of TrainConfig
    "mlp": {},
    "resnet20": _RESNET,
    "resnet18": _RESNET,
    "gpt": {
        "epochs": 10, "batch_size": 16, "hidden": 128, "blocks": 4, "dropout": 0.0,
        "optimizer": "adamw", "lr": 0.004, "weight_decay": 0.1, "val_fraction": 0.1,
    },
    "lstm": {
        "epochs": 10, "batch_size": 32, "hidden": 256, "blocks": 2, "context": 64, "dropout": 0.0,
        "optimizer": "adamw", "lr": 0.003, "weight_decay": 0.01, "val_fraction": 0.1,
    },
}  # fmt: skip


_NOT_TEXT = {"norm", "augment"}
UNUSED = {  # what a model does not read
    "mlp": {"context"},
    **{name: {"context", "hidden", "blocks", "norm", "dropout"} for name in IMAGE_MODELS},
    "gpt": _NOT_TEXT,
    "lstm": _NOT_TEXT | {"dropout"},
}


@dataclass(frozen=True)
class TrainConfig:
    """All options of `needle train`."""

    data: str = option("digits", "A name, a folder DIR or a file TEXT; see above.")
    model: str = choice("mlp", tuple(RECIPES), "What learns; see above.")
    epochs: int = option(30, "Passes over the training part.", COUNT)
    batch_size: int = option(32, "Samples a step.", COUNT)
    hidden: int = option(100, "Width of the network.", click.IntRange(min=2))
    blocks: int = option(3, "Residual blocks, or layers.", click.IntRange(min=0))
    context: int = option(128, "Characters that a model of text learns from at once.", COUNT)
    norm: str = choice("batch", ("batch", "layer"), "Normalisation.")
    dropout: float = option(0.2, "Share of units dropped.", SHARE)
    augment: int = option(
        0,
        "Pixels that training images (C, H, W) are shifted by, some of them mirrored; 0: none.",
        click.IntRange(min=0),
    )
    optimizer: str = choice("adam", ("sgd", "adam", "adamw"), "sgd has momentum 0.9.")
    lr: float = option(0.01, "Learning rate, the largest of the schedule.", POSITIVE)
    schedule: str = choice(
        "onecycle", ("none", "step", "cosine", "onecycle"), "How the learning rate changes."
    )
    weight_decay: float = option(0.0001, "L2 penalty; decoupled for adamw.", NOT_NEGATIVE)
    l1: float = option(0.0, "L1 penalty.", NOT_NEGATIVE)
    val_fraction: float = option(
        0.2,
        "Part of the training samples that chooses the best epoch; 0: the last one is taken.",
        SHARE,
    )
    patience: int = option(
        15, "Epochs without a lower validation loss before it stops; 0: never.", click.IntRange(0)
    )
    eager: bool = option(False, "Run the steps op by op instead of compiling them.", bool)
    seed: int = option(0, "Seed of NumPy's random numbers.", click.IntRange(0, 2**32 - 1))
    out: Path | None = option(None, "Run folder  [default: runs/<data>-<number>]", NEW_FOLDER)
    resume: Path | None = option(
        None, "Continue the run in this folder; only --epochs too.", FOLDER
    )
    config: Path | None = option(None, "Repeat the run of this config.json.", FILE)
    quiet: bool = option(False, "No progress.", bool)
    debug: bool = option(False, "Show the traceback of an error.", bool)

    def options(self) -> dict[str, Any]:
        """Return what decides the result of a run, without where and how it is shown."""
        return {k: v for k, v in asdict(self).items() if k not in INVOCATION}


def train_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add one command-line option for each field of TrainConfig, its default shown in the help."""
    for item in reversed(fields(TrainConfig)):
        name = "--" + item.name.replace("_", "-")
        command = click.option(
            name,
            type=item.metadata["type"],
            is_flag=item.metadata["type"] is bool,
            default=item.default,
            show_default=item.default is not None,
            help=item.metadata["help"],
        )(command)
    return command


def from_command_line(context: click.Context) -> TrainConfig:
    """Return the options given, over those of `--config` or `--resume`, over the defaults.

    Raises: click.UsageError for options that do not go together.
    """
    given = {
        name: value
        for name, value in context.params.items()
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    }
    stored: dict[str, Any] = {}
    if "resume" in given:
        others = sorted(set(given) - {"resume", "epochs", "quiet", "debug"})
        if others:
            name = others[0].replace("_", "-")
            raise click.UsageError(f"--{name} cannot be changed in a run that is resumed")
        stored = read_options(given["resume"] / "config.json")
    elif "config" in given:
        stored = read_options(given["config"])
    options = stored | given
    if "model" not in options:
        options["model"] = usual_model(options.get("data", ""))
    model, unused = options["model"], sorted(UNUSED[options["model"]] & set(given))
    if unused and is_text(options.get("data", "")) == (model in TEXT_MODELS):
        raise click.UsageError(f"--{unused[0]} is nothing that --model {model} reads")
    return TrainConfig(**RECIPES[model] | options)


def usual_model(data: str) -> str:
    """Return the model that learns `--data` unless another is asked for."""
    if data == "cifar10":
        return "resnet20"
    return "gpt" if is_text(data) else "mlp"


def is_text(data: str) -> bool:
    """Say whether `--data` names a text: one of `TEXTS` or a file."""
    return data in TEXTS or Path(data).is_file()


def recipes() -> str:
    """Return the models' own defaults, for the help."""
    return "\n\n".join(
        f"Defaults of {model}: "
        + " ".join(f"--{name.replace('_', '-')} {value}" for name, value in options.items())
        for model, options in RECIPES.items()
        if options
    )


def read_options(path: Path) -> dict[str, Any]:
    """Return the options in a config.json, each checked as on the command line.

    Raises: DataError for a file that is no such thing, OSError where it cannot be read.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file, so no run to repeat or to resume")
    try:
        stored = dict(json.loads(path.read_text(encoding="utf-8"))["options"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not the config.json of a run ({error})") from error
    kinds = {item.name: item.metadata["type"] for item in fields(TrainConfig)}
    for name, value in stored.items():
        if name not in kinds or name in INVOCATION:
            raise DataError(f"{path}: unknown option {name!r}")
        stored[name] = _checked(path, name, kinds[name], value)
    return stored


def _checked(path: Path, name: str, kind: Any, value: Any) -> Any:
    try:
        return click.types.convert_type(kind).convert(value, None, None)
    except (click.BadParameter, AttributeError, TypeError) as error:
        reason = getattr(error, "message", error)
        raise DataError(f"{path}: {name}: {reason}") from error
