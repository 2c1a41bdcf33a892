"""Text as characters: a vocabulary, and windows of a text with the character that comes next."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from needle.data.corpus import read_text
from needle.data.dataset import Dataset, Sample, rows
from needle.data.download import Collection, find
from needle.errors import ArgumentError, DataError, IndexRangeError, whole_number

TINY_SHAKESPEARE = Collection(
    name="tinyshakespeare",
    mirrors=("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/",),
    sha256={"input.txt": "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"},
)


class Characters:
    """The characters of a text and their ids, 0, 1, 2, ... in the order of their code points.

    >>> characters = ndl.data.Characters("abacus")
    >>> characters.encode("cab"), characters.decode([4, 2]), len(characters)
    (array([2, 0, 1], dtype=int32), 'uc', 5)
    """

    def __init__(self, text: str) -> None:
        self.text = "".join(sorted(set(text)))
        self._codes = _code_points(self.text)

    def __len__(self) -> int:
        return len(self.text)

    def encode(self, text: str) -> np.ndarray:
        """Return the ids of a text's characters, int32 (n,); DataError for one without an id."""
        codes = _code_points(text)
        ids = np.searchsorted(self._codes, codes).clip(max=max(len(self) - 1, 0))
        unknown = codes[self._codes[ids] != codes] if len(self) else codes
        if len(unknown):
            raise DataError(f"Characters: {chr(unknown[0])!r} is not among the {len(self)} known")
        return ids.astype(np.int32)

    def decode(self, ids: ArrayLike) -> str:
        """Return the text of a sequence of ids; IndexRangeError for one that is no character's."""
        ids = np.asarray(ids, np.int64).ravel()
        if len(ids) and not 0 <= ids.min() <= ids.max() < len(self):
            text = f"expected ids from 0 to {len(self) - 1}, got {ids.min()} to {ids.max()}"
            raise IndexRangeError(f"Characters: {text}")
        return "".join(self.text[i] for i in ids)


class TextDataset(Dataset):
    """Windows of a sequence of ids: sample i is `(ids[a : a + T], ids[a + 1 : a + 1 + T])`.

    T is `length` and a is i * `stride`, by default i * T: then each id is learned once an epoch.
    An index array gives batches (B, T). `characters`, where given, are those of the ids.
    Raises: ArgumentError for a length or a stride below 1, DataError for fewer than T + 1 ids.

    >>> dataset = ndl.data.TextDataset(np.arange(10), length=4)
    >>> len(dataset), dataset[1]
    (2, (array([4, 5, 6, 7]), array([5, 6, 7, 8])))
    """

    takes_index_arrays = True

    def __init__(
        self,
        ids: np.ndarray,
        length: int,
        stride: int | None = None,
        characters: Characters | None = None,
    ) -> None:
        super().__init__()
        length = whole_number("TextDataset: expected an integer length", length, 1)
        stride = length if stride is None else stride
        stride = whole_number("TextDataset: expected an integer stride", stride, 1)
        if ids.ndim != 1 or len(ids) <= length:
            text = f"expected at least {length + 1} ids (n,), got shape {ids.shape}"
            raise DataError(f"TextDataset: {text}; pass a smaller length")
        self.ids, self.characters = ids, characters
        self._windows = np.lib.stride_tricks.sliding_window_view(ids, length + 1)[::stride]

    def __getitem__(self, index: Any) -> Sample:
        (windows,) = rows(self, index, self._windows)
        return windows[..., :-1], windows[..., 1:]

    def __len__(self) -> int:
        return len(self._windows)


def text_file(
    path: str | os.PathLike[str], length: int, val_fraction: float = 0.1, stride: int | None = None
) -> tuple[TextDataset, TextDataset]:
    """Return a text as (train, validation) of characters: the last `val_fraction` validates.

    Shapes: samples (T,) and (T,) of int32 ids, T = `length`; see `TextDataset`. The characters are
    those of the whole text; `stride` is that of the training part.
    Raises: DataError for a file that is missing, no UTF-8, or too short for either part;
    ArgumentError unless 0 < val_fraction < 1.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "abc.txt"
    >>> _ = path.write_text("abc" * 100)
    >>> train, validation = ndl.data.text_file(path, length=8)
    >>> len(train), len(validation), train.characters.decode(train[0][1])
    (33, 3, 'bcabcabc')
    """
    if not 0 < val_fraction < 1:
        text = f"expected val_fraction between 0 and 1, got {val_fraction}"
        raise ArgumentError(f"text_file: {text}")
    text = read_text(path)
    characters = Characters(text)
    ids = characters.encode(text)
    cut = len(ids) - round(len(ids) * val_fraction)
    try:
        train = TextDataset(ids[:cut], length, stride, characters)
        return train, TextDataset(ids[cut:], length, None, characters)
    except DataError as error:
        parts = f"{cut} characters to learn from and {len(ids) - cut} to validate"
        raise DataError(f"{path}: {parts}: {error}") from error


def tiny_shakespeare(
    length: int,
    val_fraction: float = 0.1,
    stride: int | None = None,
    root: str | os.PathLike[str] | None = None,
    download: bool = True,
) -> tuple[TextDataset, TextDataset]:
    """Return 1.1 MB of Shakespeare's plays, 65 different characters, as `text_file` does.

    Looked for as `input.txt` in `root/tinyshakespeare` and `root`, or without a root in
    `$NEEDLE_DATA/tinyshakespeare` and the user's cache folder; `download=False` stays off the
    network.

    Raises: DownloadError that says which file to put where.
    Reference: A. Karpathy, https://github.com/karpathy/char-rnn, 2015.
    """
    folder = find(TINY_SHAKESPEARE, root, download)
    return text_file(folder / "input.txt", length, val_fraction, stride)


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
