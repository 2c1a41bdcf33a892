"""Files that are fetched once: where they are looked for, and how they get there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from needle.errors import DownloadError
from needle.files import user_cache_folder, write_bytes

TIMEOUT_SECONDS = 30
CHUNK_BYTES = 1 << 16  # pooch's own 1 kB costs 10,000 turns of its loop for MNIST


@dataclass(frozen=True)
class Collection:
    """Files that belong together: a folder's name, mirrors in order, sha256 by file name.

    Where `members` are named, the one file to fetch is a tar archive that holds them under `name/`.
    """

    name: str
    mirrors: tuple[str, ...]
    sha256: dict[str, str]
    members: tuple[str, ...] = ()


def cache_folder() -> Path:
    """Return the folder for downloaded data, which need not exist: `data` in the user's cache.

    >>> ndl.data.cache_folder().name
    'data'
    """
    return user_cache_folder() / "data"


def find(
    collection: Collection, root: str | os.PathLike[str] | None = None, download: bool = True
) -> Path:
    """Return a folder that holds all files of the collection, fetching what is missing.

    Looked for in `root/name` and `root`, or without a root in `$NEEDLE_DATA/name` and
    `cache_folder()/name`; the user's own files are taken as they are. Downloads go to `root/name`
    or the cache folder, and their sha256 is checked.

    Raises: DownloadError that says which files to put where.
    """
    folders = candidates(collection.name, root)
    for folder in folders:
        if not missing(collection, folder):
            return folder
    target = folders[0] if root is not None else folders[-1]
    if not download:
        raise DownloadError(f"{collection.name}: not found; {by_hand(collection, target)}")
    if collection.members:
        fetch_archive(collection, target)
    else:
        for file_name in missing(collection, target):
            fetch(collection, file_name, target)
    return target


def candidates(name: str, root: str | os.PathLike[str] | None) -> list[Path]:
    """Return the folders in which the files of collection `name` may be, best first."""
    if root is not None:
        return [Path(root, name), Path(root)]
    own = os.environ.get("NEEDLE_DATA")
    return ([Path(own, name)] if own else []) + [cache_folder() / name]


def missing(collection: Collection, folder: Path) -> list[str]:
    """Return the names of the collection's files that the folder lacks."""
    names = collection.members or collection.sha256
    return [name for name in names if not (folder / name).is_file()]


def fetch(collection: Collection, file_name: str, folder: Path) -> None:
    """Download one file from the first mirror that has it whole, showing progress in a terminal."""
    import pooch
    from tqdm import tqdm

    reasons = []
    for mirror in collection.mirrors:
        # tqdm is false, and so no bar for pooch, while its total is 0.
        with tqdm(total=1, desc=file_name, unit="B", unit_scale=True, disable=None) as bar:
            downloader = pooch.HTTPDownloader(bar, CHUNK_BYTES, timeout=TIMEOUT_SECONDS)
            known_hash = f"sha256:{collection.sha256[file_name]}"
            try:
                pooch.retrieve(mirror + file_name, known_hash, file_name, folder, None, downloader)
                return
            except (OSError, ValueError) as error:  # the network, the disk; a wrong hash
                reasons.append(f"{mirror}: {brief(error)}")
    failures, help_text = "; ".join(reasons), by_hand(collection, folder)
    raise DownloadError(f"{collection.name}: cannot fetch {file_name} ({failures}); {help_text}")


def fetch_archive(collection: Collection, folder: Path) -> None:
    """Download the collection's archive and keep the missing members, by their own names alone."""
    import tarfile  # 4 ms that `import needle` need not take

    (archive,) = collection.sha256
    fetch(collection, archive, folder)
    try:
        with tarfile.open(folder / archive) as tar:
            for name in missing(collection, folder):
                member = tar.extractfile(f"{collection.name}/{name}")
                if member is not None:
                    write_bytes(folder / name, member.read())
    except (tarfile.TarError, KeyError) as error:
        help_text = by_hand(collection, folder)
        raise DownloadError(f"{collection.name}: {archive}: {brief(error)}; {help_text}") from error
    (folder / archive).unlink()


def by_hand(collection: Collection, folder: Path) -> str:
    """Return the text that says how to put the files in place without us."""
    names = ", ".join(collection.members or collection.sha256)
    if collection.members:
        names += f" of {', '.join(collection.sha256)}"
    elsewhere = f"or in a folder {collection.name} of a folder that NEEDLE_DATA names"
    return f"put {names} from {' or '.join(collection.mirrors)} into {folder} {elsewhere}"


def brief(error: Exception) -> str:
    """Return the kind of an error and the first 100 characters of its text, in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:97] + '...' if len(text) > 100 else text}"
