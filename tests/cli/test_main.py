"""The console script: exit codes, one-line errors, entry points."""

import errno
import os
import subprocess
import sys

import click
import pytest

import needle
from needle.cli.main import main, one_line
from needle.errors import ShapeError
from tests.cli.runs import SMALL


def fail_with(monkeypatch, error):
    def show():
        raise error

    from needle.cli import verbs

    monkeypatch.setattr(verbs, "show_info", show)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ShapeError("x: expected\n (3,)"), 1, "needle: x: expected (3,)\n"),
        (RuntimeError("odd"), 1, "needle: RuntimeError: odd (--debug shows where)\n"),
        (KeyError("k"), 1, "needle: KeyError: 'k' (--debug shows where)\n"),
        (OSError(errno.ENOSPC, "No space", "a.bin"), 1, "needle: a.bin: No space\n"),
        (OSError("plain"), 1, "needle: plain\n"),
        (ShapeError(""), 1, "needle: ShapeError:  (--debug shows where)\n"),
        (MemoryError(), 1, "needle: MemoryError:  (--debug shows where)\n"),
        (click.FileError("f", "no"), 1, "needle: Could not open file 'f': no\n"),
        (KeyboardInterrupt(), 130, "\n"),
    ],
)
def test_errors_have_a_code_and_one_line(monkeypatch, capsys, error, code, text):
    fail_with(monkeypatch, error)
    assert main(["info"]) == code
    assert capsys.readouterr().err == text


def test_debug_shows_the_traceback(monkeypatch, capsys):
    fail_with(monkeypatch, RuntimeError("odd"))
    assert main(["info", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["nope"], ["info", "--nope"], ["cache"], ["cache", "x"]])
def test_wrong_usage_is_two(arguments, capsys):
    assert main(arguments) == 2
    assert "Usage: needle" in capsys.readouterr().err


def test_version_and_help(capsys):
    assert main(["--version"]) == 0
    assert needle.__version__ in capsys.readouterr().out
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.partition("Commands:\n")[2].splitlines()
    verbs = {line.split()[0] for line in lines}
    assert verbs == {"train", "eval", "predict", "generate", "report", "info", "cache"}


def test_one_line_names_the_class_of_a_foreign_error():
    assert one_line(ZeroDivisionError("a\nb")) == "ZeroDivisionError: a b (--debug shows where)"


def test_python_m_is_the_same():
    command = [sys.executable, "-m", "needle", "info", "--nope"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "Usage: needle info" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="pipes break in another way there")
def test_a_reader_that_leaves_is_no_traceback():
    code = "import sys; from needle.cli.main import main; sys.exit(main(['info']))"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 1
    assert errors == ""


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_folder_that_the_console_cannot_show_is_no_error(here, data, encoding):
    command = [
        sys.executable,
        "-m",
        "needle",
        "train",
        "--data",
        str(data),
        "--out",
        "\N{OHM SIGN}",
    ]
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run([*command, *SMALL], capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert b"\nrun " in done.stdout
    assert b"Traceback" not in done.stderr
