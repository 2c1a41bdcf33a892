"""Text as words: a dictionary, a corpus of ids, and batches of them by columns."""

from __future__ import annotations

import os
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from needle.autograd import Tensor
from needle.backend.device import Device
from needle.errors import ArgumentError, DataError, ShapeError

END = "<eos>"


class Dictionary:
    """Words and their ids, 0, 1, 2, ... in the order in which they were added.

    >>> words = ndl.data.Dictionary()
    >>> [words.add_word(word) for word in ("to", "be", "or", "not", "to", "be")]
    [0, 1, 2, 3, 0, 1]
    >>> words.idx2word, words.word2idx["or"], len(words)
    (['to', 'be', 'or', 'not'], 2, 4)
    """

    def __init__(self) -> None:
        self.word2idx: dict[str, int] = {}
        self.idx2word: list[str] = []

    def add_word(self, word: str) -> int:
        """Return the word's id, a new one where it has none."""
        index = self.word2idx.setdefault(word, len(self.idx2word))
        if index == len(self.idx2word):
            self.idx2word.append(word)
        return index

    def __len__(self) -> int:
        return len(self.idx2word)


class Corpus:
    """The words of `train.txt` and `test.txt` in a folder as ids of one dictionary.

    `train` and `test` are lists of ids; each line ends with `<eos>`. `max_lines` reads the first
    lines of each file only.
    Raises: DataError for a file that is missing or no UTF-8.

    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "train.txt").write_text("to be or\\nnot to be\\n")
    >>> _ = (folder / "test.txt").write_text("be\\n")
    >>> corpus = ndl.data.Corpus(folder)
    >>> corpus.train, corpus.test, corpus.dictionary.idx2word[3]
    ([0, 1, 2, 3, 4, 0, 1, 3], [1, 3], '<eos>')
    """

    def __init__(self, base_dir: str | os.PathLike[str], max_lines: int | None = None) -> None:
        self.dictionary = Dictionary()
        self.train = self.tokenize(Path(base_dir, "train.txt"), max_lines)
        self.test = self.tokenize(Path(base_dir, "test.txt"), max_lines)

    def tokenize(self, path: str | os.PathLike[str], max_lines: int | None = None) -> list[int]:
        """Return the ids of a file's words, which are added to the dictionary."""
        add, ids = self.dictionary.add_word, []
        for line in islice(StringIO(read_text(path)), max_lines):
            ids += [add(word) for word in (*line.split(), END)]
        return ids


def batchify(
    data: ArrayLike, batch_size: int, device: Device | None = None, dtype: DTypeLike | None = None
) -> np.ndarray:
    """Return a sequence as columns: column b is the b-th of `batch_size` equal parts of `data`.

    Shapes: (n,) to (n // batch_size, batch_size); what is left over at the end is cut off.
    `device` is accepted as in the course: the result is a NumPy array.
    Raises: ArgumentError unless 1 <= batch_size <= n.

    >>> ndl.data.batchify(range(7), batch_size=2)
    array([[0, 3],
           [1, 4],
           [2, 5]])
    """
    array = np.asarray(data, dtype)
    if array.ndim != 1:
        raise ShapeError(f"batchify: expected a sequence (n,), got shape {array.shape}")
    if not 1 <= batch_size <= len(array):
        text = f"expected 1 <= batch_size <= {len(array)}, the length of the data, got {batch_size}"
        raise ArgumentError(f"batchify: {text}")
    steps = len(array) // batch_size
    return np.ascontiguousarray(array[: steps * batch_size].reshape(batch_size, steps).T)


def get_batch(
    batches: Any,
    i: int,
    bptt: int,
    device: Device | None = None,
    dtype: DTypeLike | None = None,
) -> tuple[Tensor, Tensor]:
    """Return rows i to i + bptt of batchified data, and the ids that come next, as Tensors.

    Shapes: batches (nbatch, B); with T = min(bptt, nbatch - 1 - i): data (T, B), target (T * B,),
    target[t * B + b] = batches[i + 1 + t, b].
    Raises: ArgumentError unless 0 <= i < nbatch - 1, for then nothing comes next.

    >>> data, target = ndl.data.get_batch(ndl.data.batchify(range(8), 2), 1, bptt=2)
    >>> data, target
    (needle.Tensor([[1 5]
     [2 6]]), needle.Tensor([2 6 3 7]))
    """
    array = np.asarray(batches, dtype)
    last = len(array) - 1
    if not 0 <= i < last or bptt < 1:
        text = f"expected 0 <= i < {last} and bptt >= 1 for batches of shape {array.shape}"
        raise ArgumentError(f"get_batch: {text}, got i = {i}, bptt = {bptt}")
    stop = min(i + bptt, last)
    parts = array[i:stop], array[i + 1 : stop + 1].reshape(-1)
    data, target = (Tensor(part, device=device, requires_grad=False) for part in parts)
    return data, target


def read_text(path: str | os.PathLike[str]) -> str:
    """Return a UTF-8 file's text; DataError where there is none."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected text in UTF-8 ({error})") from error
