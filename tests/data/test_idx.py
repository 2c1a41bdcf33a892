"""The IDX reader: what it reads, and what it says about files that are not whole."""

import gzip
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from needle.data.idx import idx_bytes, parse_idx, read_idx
from needle.errors import DataError

IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
# Written out by hand, not by idx_bytes: two zero bytes, 08 for uint8, rank 3, sizes 2, 3, 4.
BYTES = bytes.fromhex("00000803 00000002 00000003 00000004") + bytes(range(24))


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_reads_plain_and_gzipped_files(tmp_path, compress):
    path = tmp_path / "images"
    path.write_bytes(compress(BYTES))
    array = read_idx(path)
    assert array.dtype == np.uint8
    np.testing.assert_array_equal(array, IMAGES)
    np.testing.assert_array_equal(read_idx(str(path)), IMAGES)


def test_idx_bytes_writes_the_format():
    assert idx_bytes(IMAGES) == BYTES


@given(arrays.arrays(np.uint8, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0)))
def test_what_is_written_is_read(array):
    read = parse_idx(idx_bytes(array))
    assert read.shape == array.shape
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize(
    ("code", "letter", "dtype"),
    [(9, "b", "i1"), (11, "h", "i2"), (12, "i", "i4"), (13, "f", "f4"), (14, "d", "f8")],
)
def test_other_dtypes_come_in_the_byte_order_of_the_machine(code, letter, dtype):
    array = parse_idx(struct.pack(f">HBBI3{letter}", 0, code, 1, 3, -1, 0, 100))
    assert array.dtype == np.dtype(dtype)
    assert array.dtype.isnative
    assert array.tolist() == [-1, 0, 100]


def test_each_way_to_cut_a_file_short_is_an_error():
    for length in range(len(BYTES)):
        with pytest.raises(DataError, match=r"images: (truncated|expected an IDX file)"):
            parse_idx(BYTES[:length], where="images")


@given(st.integers(min_value=0, max_value=10_000))
def test_each_way_to_cut_a_gzip_file_short_is_an_error(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("idx") / "images.gz"
    packed = gzip.compress(BYTES, mtime=0)
    path.write_bytes(packed[: cut % len(packed)])
    with pytest.raises(DataError, match=r"images\.gz: "):
        read_idx(path)


def test_truncated_and_too_long_files_say_what_was_expected():
    text = r"truncated: uint8 of shape \(2, 3, 4\) takes 40 bytes, got 39"
    with pytest.raises(DataError, match=text):
        parse_idx(BYTES[:-1])
    with pytest.raises(DataError, match=r"too long: .* takes 40 bytes, got 41"):
        parse_idx(BYTES + b"\0")


def test_sizes_beyond_all_memory_are_refused_without_allocating():
    header = struct.pack(">HBBIII", 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1)
    with pytest.raises(DataError, match="takes 79228162458924105385300197391 bytes, got 16"):
        parse_idx(header)


@pytest.mark.parametrize(
    "start", [b"\x89PNG\r\n", b"\0\1\x08\3", b"\0\0\x0a\1", b"<html><body>404"]
)
def test_another_kind_of_file_is_named_by_its_first_bytes(start):
    with pytest.raises(DataError, match=f"expected an IDX file .*, got {start[:4].hex(' ')}"):
        parse_idx(start + bytes(40))


def test_a_gzip_file_with_a_changed_byte_is_corrupt(tmp_path):
    path = tmp_path / "images.gz"
    packed = bytearray(gzip.compress(bytes(range(256)) * 40))
    for position in (10, len(packed) // 2, len(packed) - 8):
        broken = packed.copy()
        broken[position] ^= 0xFF
        path.write_bytes(broken)
        with pytest.raises(DataError, match="the gzip file is truncated or corrupt"):
            read_idx(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="train-images"):
        read_idx(tmp_path / "train-images")
