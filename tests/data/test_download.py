"""Downloads from a server on this machine: mirrors, hashes, broken transfers, no network."""

import gzip
import hashlib
import io
import os
import pickle
import subprocess
import sys
import tarfile
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from needle import data
from needle.data import cifar10_batches, download, image_sets
from needle.data.idx import idx_bytes
from needle.errors import DownloadError

PIXELS = np.arange(3 * 784, dtype=np.uint8).reshape(3, 28, 28)
LABELS = np.array([7, 8, 9], np.uint8)
FILES = {
    image_sets.TRAIN_IMAGES: gzip.compress(idx_bytes(PIXELS)),
    image_sets.TRAIN_LABELS: gzip.compress(idx_bytes(LABELS)),
    image_sets.TEST_IMAGES: gzip.compress(idx_bytes(PIXELS[:2])),
    image_sets.TEST_LABELS: gzip.compress(idx_bytes(LABELS[:2])),
}


class Handler(BaseHTTPRequestHandler):
    """/good/ serves FILES, /wrong/ other bytes, /cut/ half of what it promises, the rest is 404."""

    def do_GET(self):
        self.server.asked.append(self.path)
        _, kind, name = self.path.split("/")
        body = (FILES | self.server.more)[name]
        self.send_response(200 if kind in ("good", "wrong", "cut") else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write({"wrong": body[::-1], "cut": body[: len(body) // 2]}.get(kind, body))

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def running_server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.more = [], {}
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def server(running_server, monkeypatch, tmp_path):
    """A fresh cache folder, no folder of the user's own, MNIST's table pointing at this machine."""
    running_server.asked.clear()
    running_server.more.clear()
    for name in ("NEEDLE_DATA", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download, "user_cache_folder", lambda: tmp_path / "cache")
    return running_server


@pytest.fixture
def mirrors(server, monkeypatch):
    """A function that makes the given kinds of mirrors MNIST's."""

    def use(*kinds):
        roots = {kind: f"http://127.0.0.1:{server.server_port}/{kind}/" for kind in kinds}
        roots["offline"] = "http://127.0.0.1:1/"  # nobody listens on port 1
        hashes = {name: hashlib.sha256(body).hexdigest() for name, body in FILES.items()}
        mine = replace(image_sets.MNIST, mirrors=tuple(roots[k] for k in kinds), sha256=hashes)
        monkeypatch.setattr(image_sets, "MNIST", mine)
        return mine

    return use


def put(folder, names=tuple(FILES)):
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_bytes(FILES[name])


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_downloads_into_the_cache_once(server, mirrors, tmp_path):
    mirrors("good", "other")
    for _ in range(2):
        train, test = data.mnist()
        assert (len(train), len(test)) == (3, 2)
        np.testing.assert_array_equal(train.images[..., 0], PIXELS)
    assert server.asked == [f"/good/{name}" for name in FILES]
    assert names(tmp_path / "cache" / "data" / "mnist") == sorted(FILES)
    assert data.cache_folder() == tmp_path / "cache" / "data"


@pytest.mark.parametrize("first", ["gone", "wrong", "cut", "offline"])
def test_the_second_mirror_stands_in_for_the_first(server, mirrors, tmp_path, first):
    mirrors(first, "good")
    train, _ = data.mnist()
    np.testing.assert_array_equal(train.images[..., 0], PIXELS)
    assert [path for path in server.asked if "/good/" in path] == [f"/good/{n}" for n in FILES]
    assert names(tmp_path / "cache" / "data" / "mnist") == sorted(FILES)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("gone", "HTTPError: 404"),
        ("wrong", "ValueError: SHA256 hash"),
        ("cut", "ChunkedEncodingError"),
        ("offline", "ConnectionError"),
    ],
)
def test_what_cannot_be_fetched_is_said_with_what_to_do(mirrors, tmp_path, kind, reason):
    mine = mirrors(kind)
    with pytest.raises(DownloadError) as caught:
        data.mnist()
    text = str(caught.value)
    assert text.startswith(f"mnist: cannot fetch {image_sets.TRAIN_IMAGES} ({mine.mirrors[0]}: ")
    assert reason in text
    assert f"put {', '.join(FILES)} from {mine.mirrors[0]}" in text
    assert f"into {tmp_path / 'cache' / 'data' / 'mnist'}" in text
    assert "NEEDLE_DATA" in text
    assert "\n" not in text
    assert names(tmp_path / "cache" / "data" / "mnist") == []


def test_each_mirror_is_listed_when_all_fail(mirrors):
    mine = mirrors("gone", "wrong", "offline")
    with pytest.raises(OSError, match="cannot fetch") as caught:
        data.mnist()
    assert all(f"{mirror}: " in str(caught.value) for mirror in mine.mirrors)


def test_no_download_when_told_so(server, mirrors, tmp_path):
    mirrors("good")
    with pytest.raises(DownloadError, match="mnist: not found; put train-images"):
        data.mnist(download=False)
    assert server.asked == []
    assert not (tmp_path / "cache").exists()


def test_only_what_is_missing_is_fetched_and_own_files_are_not_hashed(server, mirrors, tmp_path):
    mirrors("good")
    folder = tmp_path / "cache" / "data" / "mnist"
    put(folder, [name for name in FILES if name != image_sets.TEST_LABELS])
    (folder / image_sets.TRAIN_LABELS).write_bytes(idx_bytes(LABELS[::-1]))  # another hash
    train, _ = data.mnist()
    assert server.asked == [f"/good/{image_sets.TEST_LABELS}"]
    assert train.y.tolist() == [9, 8, 7]


def test_needle_data_comes_first_and_is_never_written(server, mirrors, tmp_path, monkeypatch):
    mirrors("good")
    monkeypatch.setenv("NEEDLE_DATA", str(tmp_path / "own"))
    data.mnist()
    assert len(server.asked) == 4
    assert not (tmp_path / "own").exists()
    put(tmp_path / "own" / "mnist")
    (tmp_path / "own" / "mnist" / image_sets.TRAIN_LABELS).write_bytes(idx_bytes(LABELS[::-1]))
    train, _ = data.mnist()
    assert train.y.tolist() == [9, 8, 7]
    assert len(server.asked) == 4


def test_a_root_is_looked_into_and_takes_the_download(server, mirrors, tmp_path):
    mirrors("good")
    put(tmp_path / "flat")
    assert len(data.mnist(tmp_path / "flat")[0]) == 3
    put(tmp_path / "nested" / "mnist")
    assert len(data.mnist(str(tmp_path / "nested"))[0]) == 3
    assert server.asked == []
    assert len(data.mnist(tmp_path / "new")[0]) == 3
    assert names(tmp_path / "new" / "mnist") == sorted(FILES)


def test_fashion_mnist_has_a_folder_of_its_own(server, tmp_path):
    put(tmp_path / "root" / "fashion-mnist")
    train, test = data.fashion_mnist(tmp_path / "root", download=False)
    assert (len(train), len(test)) == (3, 2)
    with pytest.raises(
        DownloadError, match=r"fashion-mnist: not found; .* from http://fashion-mnist"
    ):
        data.fashion_mnist(tmp_path / "elsewhere", download=False)


def test_a_folder_that_cannot_be_made_is_a_download_error(mirrors, tmp_path):
    mirrors("good")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DownloadError, match=r"cannot fetch train-images.*Error"):
        data.mnist(tmp_path / "file" / "below")


def test_a_terminal_shows_a_bar_and_a_pipe_does_not(mirrors, monkeypatch, tmp_path):
    mirrors("good")

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for stream, expected in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        data.mnist(tmp_path / str(expected))
        shown = stream.getvalue()
        assert ("100%" in shown and image_sets.TRAIN_IMAGES in shown) is expected


def tar(members):
    """Return a .tar.gz of files by name."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def serve_cifar10(server, monkeypatch, members, known_hash=None):
    """Let CIFAR-10's table point at an archive of these members on this machine."""
    (name,) = cifar10_batches.CIFAR10.sha256
    body = server.more[name] = tar(members)
    mirror = f"http://127.0.0.1:{server.server_port}/good/"
    sha256 = {name: known_hash or hashlib.sha256(body).hexdigest()}
    monkeypatch.setattr(
        cifar10_batches,
        "CIFAR10",
        replace(cifar10_batches.CIFAR10, mirrors=(mirror,), sha256=sha256),
    )


BATCH = pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [3, 4]}, 2)
FOLDER = "cifar-10-batches-py"
BATCHES = {f"{FOLDER}/{name}": BATCH for name in cifar10_batches.CIFAR10.members}


def test_an_archive_is_fetched_once_and_only_its_members_are_kept(server, monkeypatch, tmp_path):
    evil = {"../evil": b"x", f"{FOLDER}/../../evil": b"x", f"{FOLDER}/readme.html": b"x"}
    serve_cifar10(server, monkeypatch, evil | BATCHES)
    for _ in range(2):
        train, test = data.cifar10()
        assert (len(train), len(test)) == (10, 2)
    assert server.asked == ["/good/cifar-10-python.tar.gz"]
    assert names(tmp_path / "cache" / "data" / FOLDER) == sorted(cifar10_batches.CIFAR10.members)
    assert not list(tmp_path.rglob("evil"))


def test_own_members_of_an_archive_are_kept(server, monkeypatch, tmp_path):
    serve_cifar10(server, monkeypatch, BATCHES)
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "test_batch").write_bytes(BATCH.replace(b"K\x03K\x04", b"K\x07K\x04"))
    assert data.cifar10(tmp_path)[1].y.tolist() == [7, 4]
    assert len(server.asked) == 1


def test_an_archive_with_another_hash_or_without_the_members_is_refused(
    server, monkeypatch, tmp_path
):
    serve_cifar10(server, monkeypatch, BATCHES, known_hash="0" * 64)
    with pytest.raises(DownloadError, match="SHA256 hash"):
        data.cifar10()
    serve_cifar10(server, monkeypatch, {"other": b""})
    with pytest.raises(DownloadError, match=r"tar\.gz: KeyError: .*put data_batch_1.* of cifar-10"):
        data.cifar10()
    assert "test_batch" not in names(tmp_path / "cache" / "data" / FOLDER)


def test_pooch_is_loaded_at_the_first_download_only():
    code = "import sys, needle.data as d; d.digits(); print([m in sys.modules for m in M])"
    code = code.replace("M]", "('pooch', 'requests', 'tqdm')]")
    source = str(Path(data.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": source},
    )
    assert done.stdout.strip() == "[False, False, False]"
