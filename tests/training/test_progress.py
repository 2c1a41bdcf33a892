"""Progress: a bar in a terminal, lines elsewhere, nothing else, drawn by the calling thread."""

import io
import os
import re
import subprocess
import sys
import threading

import pytest

import needle as ndl
from needle import nn
from needle.training import Progress, progress
from tests.training.problems import classification, trained


class Terminal(io.StringIO):
    def __init__(self, encoding="utf-8"):
        super().__init__()
        self.chosen = encoding

    def isatty(self):
        return True

    @property
    def encoding(self):
        return self.chosen


def shown(stream, epochs=3, **options):
    trained(epochs, callbacks=[Progress(stream)], **options)
    return stream.getvalue()


def test_one_line_an_epoch_where_there_is_no_terminal():
    lines = shown(io.StringIO(), epochs=10, val=classification(9)).splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("epoch  1/10  loss ")
    words = lines[9].split()
    assert words[:2] == ["epoch", "10/10"]
    assert words[2:10:2] == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert words[11:] == ["samples/s"]
    assert float(words[3]) > 0
    assert float(words[10].replace(",", "")) > 0
    assert "\r" not in "".join(lines)


def test_a_bar_in_a_terminal_ends_full(monkeypatch):
    monkeypatch.setattr(progress, "REDRAW_SECONDS", 0)
    text = shown(Terminal())
    last = text.rstrip("\n").split("\r")[-1]
    assert last.startswith("epoch 3/3: 100%")
    assert re.search(r" [\d.]+k? samples/s, 00:00 left, loss [01]\.\d{4} accuracy 0\.\d{4}$", last)
    assert text.split("\r")[1].startswith("epoch 1/3:  13%")  # after 16 of 120 samples


def test_a_wide_bar_shows_the_validation_too(monkeypatch):
    monkeypatch.setattr(progress, "columns", lambda stream: 120)
    text = shown(Terminal(), val=classification(9)).rstrip("\n")
    assert re.search(r"accuracy 0\.\d{4} val_accuracy 0\.\d{4} *$", text.split("\r")[-1])


def test_a_bar_is_as_wide_as_the_terminal(monkeypatch):
    def width(text):
        return max(len(line) for line in text.rstrip("\n").split("\r"))

    assert width(shown(Terminal())) == 80
    size = os.terminal_size((0, 0))
    monkeypatch.setattr(Terminal, "fileno", lambda self: 2)
    monkeypatch.setattr(os, "get_terminal_size", lambda descriptor: size)
    assert width(shown(Terminal())) == 80
    size = os.terminal_size((120, 30))
    assert width(shown(Terminal())) == 120


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", None])
def test_a_bar_is_ascii_where_the_encoding_is_not_utf8(encoding):
    assert shown(Terminal(encoding)).isascii()


def test_a_bar_uses_blocks_in_utf8():
    assert not shown(Terminal("UTF-8")).isascii()


def test_the_bar_is_drawn_at_most_ten_times_a_second(monkeypatch):
    clock = iter(range(10**6))
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(clock) * 0.02)
    often = shown(Terminal(), epochs=10).count("\r")  # 30 steps, one or two looks at the clock each
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(clock) * 10.0)
    assert often <= 15
    assert shown(Terminal(), epochs=10).count("\r") >= 30


def test_no_thread_is_started():
    before = threading.active_count()
    seen = []

    class Watch(ndl.training.Callback):
        def after_step(self, run):
            seen.append(threading.active_count())

    trained(2, callbacks=[Progress(Terminal()), Watch()])
    assert set(seen) == {before}


def test_the_bar_is_closed_after_an_error():
    class Fail(ndl.training.Callback):
        def after_epoch(self, run):
            raise ZeroDivisionError

    stream = Terminal()
    with pytest.raises(ZeroDivisionError):
        trained(callbacks=[Progress(stream), Fail()])
    assert stream.getvalue().endswith("\n")


def test_progress_goes_to_stderr_unless_it_is_off(capsys):
    trained(2, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 2
    trained(2, progress=False)
    assert capsys.readouterr().err == ""


def test_a_program_without_stderr_trains_and_shows_nothing(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", None)
    trained(1, progress=True)
    assert capsys.readouterr().out == ""


def test_regressions_show_no_accuracy():
    X, _ = classification()
    stream = io.StringIO()
    optimized = nn.Linear(5, 1)
    shown(stream, epochs=1, model=optimized, data=(X, X[:, :1]), loss=nn.MSELoss())
    assert "accuracy" not in stream.getvalue()


def test_tqdm_is_not_loaded_without_a_terminal():
    code = (
        "import sys, numpy as np, needle as ndl; m = ndl.nn.Linear(2, 1);"
        "ndl.fit(m, (np.ones((4, 2)), np.ones((4, 1))), loss=ndl.nn.MSELoss(), epochs=1,"
        "optimizer=ndl.optim.SGD(m.parameters()), compile=False);"
        "print({'tqdm', 'click', 'safetensors', 'matplotlib', 'pooch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
    assert done.stderr.startswith("epoch 1/1")
