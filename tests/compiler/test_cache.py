import os
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from needle import settings
from needle.compiler.program import Program
from needle.compiler.run import cache
from needle.compiler.run.native import compile_module
from needle.compiler.run.run import BoundProgram, load
from needle.compiler.target import named
from tests.compiler.handwritten import SAXPY, block_sums, saxpy_program, sum_program
from tests.compiler.test_run import index_program

NAME = cache.key(["a graph"], named("haswell"))


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "programs"
    with settings.override(cache=str(path)):
        yield path


def equal(a: Program, b: Program) -> bool:
    fields = [field for field in Program.__dataclass_fields__ if field != "constants"]
    return all(getattr(a, field) == getattr(b, field) for field in fields) and all(
        x.dtype == y.dtype and np.array_equal(x, y)
        for x, y in zip(a.constants, b.constants, strict=True)
    )


@pytest.mark.parametrize("program", [saxpy_program(3, 2), sum_program(5), index_program(True)])
def test_a_program_comes_back_as_it_was(folder, program):
    assert cache.load(NAME) is None
    assert cache.store(NAME, program, [b"one", b"", b"three"])
    found, objects = cache.load(NAME)
    assert equal(found, program)
    assert objects == [b"one", b"", b"three"]


def test_results_do_not_depend_on_the_cache(folder):
    program = sum_program(9)
    data = compile_module(program.llvm_ir)
    cache.store(NAME, program, [data])
    found, objects = cache.load(NAME)
    x = np.random.default_rng(0).standard_normal(9 * 64).astype("float32")
    bound = load(found, objects)
    assert isinstance(bound, BoundProgram)
    assert bound.call([x])[0] == load(program).call([x])[0] == block_sums(x)


def test_the_key_depends_on_every_part(monkeypatch):
    names = {
        NAME,
        cache.key(["another graph"], named("haswell")),
        cache.key(["a graph"], named("skylake-avx512")),
        cache.key(["a graph", b""], named("haswell")),
        cache.key(["a ", "graph"], named("haswell")),
    }
    monkeypatch.setattr(cache, "_generator", lambda: b"another compiler")
    names.add(cache.key(["a graph"], named("haswell")))
    assert len(names) == 6
    assert cache.key(["a graph"]) == cache.key([b"a graph"])


def test_a_changed_byte_anywhere_is_found(folder):
    cache.store(NAME, index_program(True), [bytes(500)])
    path = folder / (NAME + ".program")
    data = path.read_bytes()
    for at in [*range(0, 120, 7), *range(120, len(data), 97), len(data) - 1]:
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert cache.load(NAME) is None, at
    for size in (0, 7, 39, 41, 100, len(data) - 1):
        path.write_bytes(data[:size])
        assert cache.load(NAME) is None, size
    path.write_bytes(data)
    assert cache.load(NAME) is not None


def test_an_entry_under_another_name_is_refused(folder):
    cache.store(NAME, saxpy_program(1), [])
    other = cache.key(["another graph"])
    (folder / (NAME + ".program")).rename(folder / (other + ".program"))
    assert cache.load(other) is None
    cache.store(other, saxpy_program(2), [])
    assert equal(cache.load(other)[0], saxpy_program(2)), "it is replaced"


def test_zero_turns_it_off(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with settings.override(cache="0"):
        assert cache.folder() is None
        assert not cache.store(NAME, saxpy_program(1), [])
        assert cache.load(NAME) is None
        assert cache.info() == {"folder": None, "entries": 0, "bytes": 0}
        assert cache.clear() == 0
    assert list(tmp_path.iterdir()) == []


def test_the_default_is_the_users_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(cache, "user_cache_folder", lambda: tmp_path / "cache" / "needle")
    with settings.override(cache=""):
        assert cache.folder() == tmp_path / "cache" / "needle" / "programs"


posix = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no users here")


@posix
def test_the_folder_is_made_for_the_user_alone(folder):
    before = os.umask(0)
    try:
        assert cache.folder() == folder
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o700


@posix
@pytest.mark.parametrize("mask", [0, 0o002, 0o077])
def test_entries_are_the_users_alone_whatever_the_umask(folder, mask):
    before = os.umask(mask)
    try:
        assert cache.store(NAME, saxpy_program(3, 2), [b"one"])
    finally:
        os.umask(before)
    assert cache.load(NAME) is not None


@posix
@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_a_folder_that_others_may_write_is_refused(folder, mode, capsys):
    cache.store(NAME, saxpy_program(1), [])
    folder.chmod(mode)
    cache._say_once.cache_clear()
    assert cache.load(NAME) is None
    assert not cache.store(NAME, saxpy_program(1), [])
    assert capsys.readouterr().err.count("other users may write to it") == 1
    folder.chmod(0o755)
    assert cache.load(NAME) is not None


@posix
def test_a_folder_or_file_of_another_user_is_refused(folder, monkeypatch, capsys):
    cache.store(NAME, saxpy_program(1), [])
    cache._say_once.cache_clear()
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    assert cache.load(NAME) is None
    assert "another user owns it" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setattr(cache, "_unsafe", _unsafe_for_files(cache._unsafe))
    assert cache.load(NAME) is None, "the file's owner counts too"


def _unsafe_for_files(real):
    def unsafe(status):
        import stat

        return "planted" if stat.S_ISREG(status.st_mode) else real(status)

    return unsafe


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path, capsys):
    (tmp_path / "file").write_bytes(b"")
    with settings.override(cache=str(tmp_path / "file" / "programs")):
        cache._say_once.cache_clear()
        assert cache.folder() is None
        assert not cache.store(NAME, saxpy_program(1), [])
    assert "programs are not cached" in capsys.readouterr().err


def test_a_full_disk_is_no_error(folder, monkeypatch):
    def full(path):
        raise OSError(28, "No space left on device", str(path))

    cache.store(NAME, saxpy_program(1), [])
    monkeypatch.setattr(cache, "atomic_write", full)
    assert not cache.store(NAME, saxpy_program(2), [])
    assert equal(cache.load(NAME)[0], saxpy_program(1))


def test_info_and_clear(folder):
    names = [cache.key([str(k)]) for k in range(3)]
    for name in names:
        cache.store(name, saxpy_program(1), [bytes(1000)])
    info = cache.info()
    assert info["folder"] == folder
    assert info["entries"] == 3
    assert info["bytes"] == sum(file.stat().st_size for file in folder.iterdir())
    (folder / f".{names[0]}.program.1-ab.tmp").write_bytes(b"left by a killed process")
    (folder / "something else").write_bytes(b"not ours")
    assert cache.clear() == 4
    assert [file.name for file in folder.iterdir()] == ["something else"]


def test_the_oldest_entries_go_when_it_is_too_large(folder, monkeypatch):
    names = [cache.key([str(k)]) for k in range(6)]
    monkeypatch.setattr(cache, "LARGEST", 3 * 1_003_000)
    for k, name in enumerate(names):
        cache.store(name, saxpy_program(1), [bytes(1_000_000)])
        os.utime(folder / (name + ".program"), (k, k))
    cache._trim(folder)
    assert [cache.load(name) is not None for name in names] == [False] * 3 + [True] * 3


WRITER = """
import sys
from needle import settings
from needle.compiler.run import cache
from tests.compiler.handwritten import saxpy_program
with settings.override(cache=sys.argv[1]):
    print("ready", flush=True)
    while True:
        for k in range(1, 4):
            cache.store(sys.argv[2], saxpy_program(k), [bytes([k]) * 3_000_000])
"""


def test_readers_see_whole_entries_while_writers_are_killed(folder):
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(folder), NAME]
    seen, rng = set(), np.random.default_rng(int(time.time()))
    for _ in range(4):
        writers = [
            subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)
        ]
        for writer in writers:
            assert writer.stdout.readline() == "ready\n"
        until = time.monotonic() + 0.1 + 0.1 * rng.random()
        while time.monotonic() < until:
            seen.add(_blocks(cache.load(NAME)))
        for writer in writers:
            writer.kill()
            writer.communicate()
        assert _blocks(cache.load(NAME)) in (1, 2, 3)
    assert seen - {None} <= {1, 2, 3}
    assert seen - {None}


def _blocks(entry):
    """The k of a whole entry; what does not fit together fails here."""
    if entry is None:
        return None
    program, (data,) = entry
    k = program.steps[0].blocks
    assert data == bytes([k]) * 3_000_000
    assert program.kernels == (SAXPY,)
    return k
