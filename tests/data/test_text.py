"""Characters and windows of a text."""

import os
from pathlib import Path

import numpy as np
import pytest

from needle import data
from needle.data import Characters, TextDataset
from needle.errors import ArgumentError, DataError, DownloadError, IndexRangeError

TEXT = "naïve 🙂 text\nof two lines"


def test_characters_there_and_back():
    characters = Characters(TEXT)
    assert characters.text == "".join(sorted(set(TEXT)))
    ids = characters.encode(TEXT)
    assert ids.dtype == np.int32 and ids.min() == 0 and ids.max() == len(characters) - 1
    assert characters.decode(ids) == TEXT
    assert [characters.text[i] for i in ids] == list(TEXT)
    assert characters.encode("").shape == (0,)


@pytest.mark.parametrize("ids", [[0, 3], [-1]])
def test_an_id_without_a_character_is_named(ids):
    with pytest.raises(IndexRangeError, match="Characters: expected ids from 0 to 2, got"):
        Characters("abc").decode(ids)
    assert Characters("").decode([]) == ""


@pytest.mark.parametrize("known", ["abd", ""])
@pytest.mark.parametrize("unknown", ["c", "z", "A"])
def test_a_character_without_an_id_is_named(known, unknown):
    with pytest.raises(DataError, match=f"'{unknown}' is not among the {len(known)} known"):
        Characters(known).encode(known + unknown)


@pytest.mark.parametrize(("length", "stride"), [(4, None), (4, 1), (3, 5), (10, None)])
def test_windows_and_what_comes_next(length, stride):
    ids = np.arange(100, 111, dtype=np.int32)
    dataset = TextDataset(ids, length, stride)
    step = stride or length
    starts = list(range(0, len(ids) - length, step))
    assert len(dataset) == len(starts)
    for i, start in enumerate(starts):
        x, y = dataset[i]
        np.testing.assert_array_equal(x, ids[start : start + length], strict=True)
        np.testing.assert_array_equal(y, ids[start + 1 : start + 1 + length], strict=True)
    order = np.arange(len(starts))[::-1]
    x, y = dataset[order]
    assert x.shape == y.shape == (len(starts), length)
    np.testing.assert_array_equal(x[0], dataset[len(starts) - 1][0])
    np.testing.assert_array_equal(y[:, :-1], x[:, 1:])


def test_loader_gives_batches_of_ids():
    x, y = next(iter(data.DataLoader(TextDataset(np.arange(50), 5), 4)))
    assert x.shape == y.shape == (4, 5) and x.dtype == np.int64


def test_text_dataset_checks_what_it_gets():
    with pytest.raises(DataError, match=r"at least 5 ids \(n,\), got shape \(4,\)"):
        TextDataset(np.arange(4), 4)
    with pytest.raises(DataError, match=r"got shape \(2, 9\)"):
        TextDataset(np.ones((2, 9)), 1)
    for length, stride, name in ((0, 1, "length"), (1, 0, "stride"), (2.5, 1, "length")):
        with pytest.raises(ArgumentError, match=f"expected an integer {name} >= 1, got "):
            TextDataset(np.arange(4), length, stride)
    with pytest.raises(IndexRangeError, match="TextDataset of 3 samples"):
        TextDataset(np.arange(4), 1)[3]


def test_the_end_of_a_text_validates(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text("ab" * 45 + "c" * 10, encoding="utf-8")
    train, validation = data.text_file(path, length=9, stride=2)
    assert train.characters is validation.characters
    assert train.characters.decode(train.ids) == "ab" * 45
    assert validation.characters.decode(validation.ids) == "c" * 10
    assert (len(train), len(validation)) == (41, 1)
    assert len(data.text_file(path, 9, val_fraction=0.5)[1].ids) == 50


def test_text_file_names_what_is_wrong(tmp_path):
    path = tmp_path / "short.txt"
    path.write_text("a" * 50, encoding="utf-8")
    text = "45 characters to learn from and 5 to validate: TextDataset: expected at least 10 ids"
    with pytest.raises(DataError, match=text):
        data.text_file(path, length=9)
    with pytest.raises(ArgumentError, match="val_fraction between 0 and 1, got 1"):
        data.text_file(path, 3, val_fraction=1)
    with pytest.raises(DataError, match=r"none\.txt: no such file"):
        data.text_file(tmp_path / "none.txt", 3)
    with pytest.raises(DownloadError, match=r"tinyshakespeare: not found; put input\.txt"):
        data.tiny_shakespeare(3, root=tmp_path, download=False)


@pytest.mark.skipif(
    not Path(os.environ.get("NEEDLE_DATA", "-"), "tinyshakespeare").is_dir(),
    reason="NEEDLE_DATA names no folder of tiny Shakespeare",
)
def test_tiny_shakespeare_from_the_users_folder():
    train, validation = data.tiny_shakespeare(64, download=False)
    assert len(train.characters) == 65
    assert len(train.ids) + len(validation.ids) == 1_115_394
    assert train.characters.decode(train[0][0]).startswith("First Citizen:\nBefore we proceed")
