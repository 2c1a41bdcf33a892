"""`needle report`: one HTML page about a run, with everything it shows inside it."""

from __future__ import annotations

import csv
import re
from html import escape
from pathlib import Path
from typing import Any

import click
import numpy as np

from needle import markup, settings
from needle.autograd import Tensor
from needle.cli import build, run_folder
from needle.cli.run_folder import Trained, open_run
from needle.errors import DataError
from needle.files import write_text
from needle.markup import Html
from needle.training import History, accuracy, confusion_matrix
from needle.training.compiled import CompiledStep
from needle.training.evaluation import scoring, training_step

REPORT = "report.html"
SHOWN = 24
"""How many of the wrong test samples are shown."""
STYLE = """
:root { color-scheme: light dark; --fg: #1c1e21; --bg: #fff; --line: #d5d9de; --soft: #f3f5f7 }
@media (prefers-color-scheme: dark) {
  :root { --fg: #e4e6e9; --bg: #16181b; --line: #3a3f45; --soft: #202327 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--fg); background: var(--bg);
  max-width: 72rem; margin: 0 auto; padding: 1rem }
.grid, .wrong { display: flex; flex-wrap: wrap; gap: 1rem } .wrong { text-align: center }
.scroll, pre { overflow-x: auto } figure { margin: 0; font-size: .85rem }
img { border: 1px solid var(--line) } pre { font-size: .8rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .85rem }
th, td { padding: .15rem .5rem; text-align: right; border-bottom: 1px solid var(--line) }
th { background: var(--soft) } td { white-space: nowrap }
th:first-child, td:first-child { text-align: left }
"""


def write_report(directory: Path | None) -> Path:
    """Write `report.html` into the folder of a finished run and return its path.

    Without a directory, of the newest run. Raises: DataError where there is no such run.
    """
    folder, trained = open_run(directory)
    options, history = trained.options, read_history(folder)
    source = trained.source()
    x, y = source.train[np.arange(min(options.batch_size, len(source.train)))]
    config = (folder / run_folder.CONFIG).read_text(encoding="utf-8")
    title = f"{folder.resolve().name}: {options.model} on {source.name}"
    sections = {"Curves": curves(history)}
    if source.test is not None:
        X, labels, logits = trained.predictions(source.test())
        title += f", test accuracy {accuracy(logits, labels):.4f}"
        matrix = confusion_matrix(labels, logits.argmax(axis=1), trained.about["classes"])
        sections |= {"Confusion matrix": confusion(matrix)}
        sections |= {"Most wrong": most_wrong(X, labels, logits)}
    sections |= {
        "Weights and gradients": parameters(trained, x, y),
        "Where the time went": times(trained, history, x, y),
        "Options and machine": f"<pre>{escape(config)}</pre>",
    }
    write_text(folder / REPORT, page(title, sections))
    click.echo(f"report {(folder / REPORT).as_posix()}")
    return folder / REPORT


def page(title: str, sections: dict[str, str]) -> str:
    """Return a whole page; sections without content are left out."""
    parts = (f"<h2>{escape(name)}</h2>\n{body}" for name, body in sections.items() if body)
    return "\n".join([
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>", *parts, "</body></html>\n",
    ])  # fmt: skip


def read_history(folder: Path) -> History:
    """Return the rows of metrics.csv."""
    path = folder / run_folder.METRICS
    with path.open(encoding="utf-8", newline="") as file:
        try:
            rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
        except (TypeError, ValueError) as error:
            raise DataError(f"{path}: expected a number in each cell ({error})") from error
    return History(rows)


def curves(history: History) -> str:
    """Return loss, accuracy and learning rate over the epochs."""
    epochs = history["epoch"] if history.rows else []
    panels = {**history.panels(), "learning rate": {"lr": history["lr"]}} if epochs else {}
    charts = "".join(markup.chart(name, epochs, lines) for name, lines in panels.items())
    return f'<div class="grid">{charts}</div>'


def confusion(matrix: np.ndarray) -> str:
    """Return the matrix, right ones shaded blue and wrong ones orange by their share of the row."""
    lines: list[list[Any]] = [["true \\ predicted", *range(len(matrix))]]
    for label, row in enumerate(matrix):
        shares = row / max(row.sum(), 1)
        cells = [
            _shaded(n, s, i == label) for i, (n, s) in enumerate(zip(row, shares, strict=True))
        ]
        lines.append([label, *cells])
    return f'<div class="scroll">{markup.table(lines)}</div>'


def _shaded(count: int, share: float, right: bool) -> Html:
    color = "47,127,193" if right else "217,130,43"
    strength = 0.6 * share if right else min(0.75, 6 * share)  # one in eight is bright
    return Html(f'<div style="background:rgba({color},{strength:.2f})">{count or ""}</div>')


def most_wrong(X: np.ndarray, labels: np.ndarray, logits: np.ndarray) -> str:
    """Return the wrong samples with the highest loss: as pictures where they are images."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    chances = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    rows, guess = np.arange(len(labels)), logits.argmax(axis=1)
    order = np.argsort(chances[rows, labels], kind="stable")
    shown = [i for i in order if guess[i] != labels[i]][:SHOWN]
    if not shown:
        return "<p>None: every test sample is right.</p>"
    figures = ""
    for i in shown:
        text = f"{i}: {labels[i]}, guess {guess[i]} ({chances[i, guess[i]]:.0%})"
        figures += f"<figure>{markup.picture(X[i])}<br>{text}</figure>"
    wrong = int((guess != labels).sum())
    head = f"<p>{wrong:,} of {len(labels):,} test samples are wrong; number: truth, guess.</p>"
    return f'{head}<div class="wrong">{figures}</div>'


def parameters(trained: Trained, x: np.ndarray, y: np.ndarray) -> str:
    """Return each parameter's distribution and that of its gradient over a batch."""
    model = trained.model
    model.eval()
    model.zero_grad()
    loss = build.Loss(model, trained.options.l1)
    loss(model(Tensor.make_const(x)), Tensor.make_const(y)).backward()
    lines: list[Any] = [("parameter", "shape", "std", "weights", "gradient norm", "gradient")]
    for name, parameter in model.named_parameters():
        weights, gradient = parameter.numpy(), parameter.grad.numpy()
        norm = f"{np.linalg.norm(gradient):.3g}"
        shape = " x ".join(map(str, parameter.shape))
        lines.append((name, shape, f"{weights.std():.3g}", markup.histogram(weights), norm,
                      markup.histogram(gradient)))  # fmt: skip
    head = f"<p>Gradients of the loss over a batch of {len(x)}, in evaluation mode.</p>"
    return f'{head}<div class="scroll">{markup.table(lines)}</div>'


def times(trained: Trained, history: History, x: np.ndarray, y: np.ndarray) -> str:
    """Return the seconds of each epoch, and what a compiled training step consists of."""
    if not history.rows:
        return ""
    seconds = history["seconds"]
    first = f"{sum(seconds):.1f} s in all; the first epoch, with compiling, {seconds[0]:.2f} s."
    chart = markup.chart("seconds an epoch", history["epoch"], {"seconds": seconds})
    return f"<p>{first}</p>{chart}{explained_step(trained, x, y)}"


def explained_step(trained: Trained, x: np.ndarray, y: np.ndarray) -> str:
    """Return what `explain()` says of one training step here and now."""
    if not settings.current().jit or trained.options.eager:
        return ""
    model, options = trained.model, trained.options
    model.train()
    score = scoring(model, build.Loss(model, options.l1))
    step = CompiledStep(training_step(score, build.make_optimizer(options, model)))
    step(Tensor.make_const(x), Tensor.make_const(y))
    found = re.sub(r";[^;\n]*:\d+$", "", step.explain().partition("\n\n")[0], flags=re.MULTILINE)
    text = markup.explanation(found)  # its lines of code are needle's own
    return f'<p>One training step, measured now:</p><div class="scroll">{text}</div>'
