"""Words, their ids, and batches of them."""

import numpy as np
import pytest

import needle as ndl
from needle.data import Corpus, Dictionary, batchify, get_batch
from needle.errors import ArgumentError, DataError, ShapeError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "train.txt").write_bytes(b" the cat  sat \n\n on the\tmat\r\nlast")
    (tmp_path / "test.txt").write_text("the dog\nsat\n", encoding="utf-8")
    return tmp_path


def words(corpus, ids):
    return " ".join(corpus.dictionary.idx2word[i] for i in ids)


def test_a_dictionary_counts_each_word_once():
    dictionary = Dictionary()
    assert [dictionary.add_word(w) for w in ["b", "a", "b", "c", "a"]] == [0, 1, 0, 2, 1]
    assert len(dictionary) == 3
    assert dictionary.word2idx == {"b": 0, "a": 1, "c": 2}
    assert dictionary.idx2word == ["b", "a", "c"]


def test_each_line_ends_with_eos_and_both_files_share_the_dictionary(folder):
    corpus = Corpus(str(folder))
    assert words(corpus, corpus.train) == "the cat sat <eos> <eos> on the mat <eos> last <eos>"
    assert words(corpus, corpus.test) == "the dog <eos> sat <eos>"
    assert corpus.train == [0, 1, 2, 3, 3, 4, 0, 5, 3, 6, 3]
    assert len(corpus.dictionary) == 8


@pytest.mark.parametrize(("lines", "count"), [(0, 0), (1, 4), (2, 5), (99, 11)])
def test_max_lines(folder, lines, count):
    assert len(Corpus(folder, max_lines=lines).train) == count


def test_tokenize_adds_to_the_dictionary(folder):
    corpus = Corpus(folder)
    (folder / "valid.txt").write_text("a new cat", encoding="utf-8")
    assert corpus.tokenize(folder / "valid.txt") == [8, 9, 1, 3]


def test_missing_and_unreadable_files_are_named(folder):
    (folder / "test.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"test\.txt: expected text in UTF-8"):
        Corpus(folder)
    with pytest.raises(DataError, match=r"train\.txt: no such file"):
        Corpus(folder / "elsewhere")


def test_batchify_puts_parts_into_columns():
    letters = batchify([ord(c) for c in "abcdefghijklmnopqrstuvwxyz"], 4, ndl.cpu(), "float32")
    assert letters.dtype == np.float32
    columns = ["".join(chr(int(i)) for i in column) for column in letters.T]
    assert columns == ["abcdef", "ghijkl", "mnopqr", "stuvwx"]


def test_batchify_checks_what_it_gets():
    for size in (0, -1, 4):
        with pytest.raises(ArgumentError, match=f"1 <= batch_size <= 3, .* got {size}"):
            batchify([1, 2, 3], size)
    with pytest.raises(ShapeError, match=r"a sequence \(n,\), got shape \(2, 2\)"):
        batchify(np.ones((2, 2)), 1)


@pytest.mark.parametrize(("i", "bptt", "steps"), [(0, 3, 3), (2, 3, 3), (4, 3, 1), (0, 99, 5)])
@pytest.mark.parametrize("dtype", [None, "float32", "int64"])
def test_get_batch(i, bptt, steps, dtype):
    batches = batchify(range(24), 4, ndl.cpu(), "int32")
    x, y = get_batch(batches, i, bptt, device=ndl.cpu(), dtype=dtype)
    assert isinstance(x, ndl.Tensor) and isinstance(y, ndl.Tensor)
    assert not x.requires_grad and x.dtype == y.dtype == np.dtype(dtype or "int32")
    assert x.shape == (steps, 4) and y.shape == (steps * 4,)
    for t in range(steps):
        for b in range(4):
            assert x.numpy()[t, b] == b * 6 + i + t
            assert y.numpy()[t * 4 + b] == b * 6 + i + t + 1


def test_get_batch_says_where_nothing_comes_next():
    batches = batchify(range(8), 2)
    for i, bptt in ((3, 1), (-1, 1), (0, 0)):
        with pytest.raises(ArgumentError, match=rf"0 <= i < 3 .* got i = {i}, bptt = {bptt}"):
            get_batch(batches, i, bptt)
