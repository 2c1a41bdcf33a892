"""Atomic writes: whole or not at all, whatever fails."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from needle import files
from needle.files import atomic_write, user_cache_folder, write_bytes, write_text


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_writes_a_new_file_and_replaces_an_old_one(tmp_path):
    path = tmp_path / "model.bin"
    write_bytes(path, b"first")
    assert path.read_bytes() == b"first"
    write_bytes(str(path), b"second, longer")
    assert path.read_bytes() == b"second, longer"
    assert names(tmp_path) == ["model.bin"]


def test_text_is_utf8_and_line_ends_stay(tmp_path):
    write_text(tmp_path / "a.txt", "é\nβ\n")
    assert (tmp_path / "a.txt").read_bytes() == "é\nβ\n".encode()


def test_the_old_file_stands_until_the_block_ends(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
        (temporary,) = set(names(tmp_path)) - {"model.bin"}
        assert temporary.startswith(".model.bin.")
    assert path.read_bytes() == b"new"


def test_a_block_that_raises_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["model.bin"]


def test_the_file_is_synced_and_closed_before_it_is_renamed(tmp_path, monkeypatch):
    order = []
    real_fsync, real_replace = os.fsync, os.replace
    opened = []

    def fsync(descriptor):
        order.append("fsync")
        real_fsync(descriptor)

    def replace(source, target):
        order.append("closed" if opened[0].closed else "open")
        order.append(Path(source).read_bytes())
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    with atomic_write(tmp_path / "a") as file:
        opened.append(file)
        file.write(b"abc")
    assert order == ["fsync", "closed", b"abc"]


def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "model.bin"
    path.write_bytes(b"old")

    def fsync(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left") as caught:
        write_bytes(path, b"new")
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(path)
    assert "unchanged" in str(caught.value)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["model.bin"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_really_full_device_is_reported(tmp_path, monkeypatch):
    real_open = Path.open
    monkeypatch.setattr(Path, "open", lambda self, mode: real_open(Path("/dev/full"), "wb"))
    with pytest.raises(OSError, match=r"cannot write \(No space left on device\)"):
        write_bytes(tmp_path / "a", b"x" * 100_000)
    assert names(tmp_path) == []


def test_a_missing_folder_is_named(tmp_path):
    path = tmp_path / "runs" / "model.bin"
    with pytest.raises(FileNotFoundError, match="cannot write") as caught:
        write_bytes(path, b"x")
    assert caught.value.filename == str(path)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder_is_named(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError, match="cannot write"):
            write_bytes(tmp_path / "a", b"x")
    finally:
        tmp_path.chmod(0o700)


def test_an_error_about_another_file_is_not_taken_for_ours(tmp_path):
    missing = tmp_path / "source"
    with pytest.raises(FileNotFoundError) as caught, atomic_write(tmp_path / "a"):
        missing.read_bytes()
    assert caught.value.filename == str(missing)


def test_a_rename_refused_for_a_moment_is_tried_again(tmp_path, monkeypatch):
    real_replace, refusals = os.replace, [1, 2]

    def replace(source, target):
        if refusals:
            refusals.pop()
            raise PermissionError(errno.EACCES, "in use", str(source))
        real_replace(source, target)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(files.time, "sleep", lambda seconds: None)
    write_bytes(tmp_path / "a", b"x")
    assert (tmp_path / "a").read_bytes() == b"x"


def test_a_rename_refused_for_good_is_an_error_that_names_the_file(tmp_path, monkeypatch):
    def replace(source, target):
        raise PermissionError(errno.EACCES, "in use", str(source))

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(files.time, "sleep", lambda seconds: None)
    with pytest.raises(PermissionError) as caught:
        write_bytes(tmp_path / "a", b"x")
    assert caught.value.filename == str(tmp_path / "a")
    assert names(tmp_path) == []


WRITER = """
import sys
from needle.files import write_bytes
number = 0
while True:
    number += 1
    write_bytes(sys.argv[1], bytes([number % 256]) * 2_000_000)
    print(number, flush=True)
"""


def test_a_killed_writer_never_leaves_a_half_written_file(tmp_path):
    path = tmp_path / "model.bin"
    for delay in (0.0, 0.001, 0.002, 0.003, 0.005, 0.008):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        writer.stdout.readline()
        time.sleep(delay)
        writer.kill()
        writer.communicate()
        data = path.read_bytes()
        assert len(data) == 2_000_000
        assert len(set(data)) == 1


def test_cache_folder_follows_the_platform(monkeypatch, tmp_path):
    monkeypatch.setattr(Path, "home", classmethod(lambda cls: tmp_path))
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    folders = {"linux": ".cache/needle", "darwin": "Library/Caches/needle"}
    folders["win32"] = "AppData/Local/needle/Cache"
    for platform, folder in folders.items():
        monkeypatch.setattr(sys, "platform", platform)
        assert user_cache_folder() == tmp_path / folder
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert user_cache_folder() == tmp_path / "local" / "needle" / "Cache"
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert user_cache_folder() == tmp_path / "xdg" / "needle"
