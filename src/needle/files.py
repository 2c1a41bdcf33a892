"""Files on disk: atomic writes, and where the user's cache folder is."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Yield a binary file that becomes `path` at the end of the block, whole or not at all.

    The bytes go to a temporary name in the same folder (a rename across file systems would copy),
    are synced to the disk, and the closed file is renamed over `path`. If the block or the disk
    fails, or the process is killed, `path` is what it was before.

    Raises: OSError of the system's own kind (PermissionError, FileNotFoundError) that names `path`.

    >>> import pathlib, tempfile
    >>> from needle.files import atomic_write
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "numbers.bin"
    >>> with atomic_write(path) as file:
    ...     _ = file.write(b"123")
    >>> path.read_bytes()
    b'123'
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _replace(temporary, target)
    except OSError as error:
        if error.filename not in (None, str(temporary)):
            raise  # the block's own business with another file
        reason = f"cannot write ({error.strerror}); what stood there before is unchanged"
        raise OSError(error.errno, reason, str(target)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path` atomically; see `atomic_write`."""
    with atomic_write(path) as file:
        file.write(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8 with the line ends it has; see `atomic_write`."""
    write_bytes(path, text.encode("utf-8"))


def user_cache_folder() -> Path:
    r"""Return the folder for things that can be made or fetched again; it may not exist yet.

    Linux: `$XDG_CACHE_HOME/needle` or `~/.cache/needle`; macOS: `~/Library/Caches/needle`; Windows:
    `%LOCALAPPDATA%\needle\Cache`.

    >>> from needle.files import user_cache_folder
    >>> "needle" in user_cache_folder().parts
    True
    """
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local", "needle", "Cache")
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "needle"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache", "needle")


def _replace(temporary: Path, target: Path) -> None:
    """Rename, waiting up to 0.3 s for a reader or a virus scanner: Windows locks open files."""
    for pause in (0.01, 0.05, 0.25):
        try:
            temporary.replace(target)
            return
        except PermissionError:
            time.sleep(pause)
    temporary.replace(target)
