"""The IDX format of MNIST: a header that gives dtype and shape, then the numbers.

Bytes 0 and 1 are zero, byte 2 the dtype, byte 3 the rank; then one big-endian uint32 an axis;
then the elements, big-endian, last axis fastest. Reference: Y. LeCun, C. Cortes, C. Burges, "The
MNIST database of handwritten digits", section "File formats".
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np

from needle.errors import DataError

DTYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
GZIP_MAGIC = b"\x1f\x8b"


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Return the array in an IDX file, gzipped or plain, in the machine's byte order.

    Raises: DataError where the file is no IDX file, cut off or too long; OSError where it cannot
    be read. Reference: see the module's text.
    """
    data = Path(path).read_bytes()
    if data.startswith(GZIP_MAGIC):
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(f"{path}: the gzip file is truncated or corrupt: {error}") from None
    return parse_idx(data, where=str(path))


def parse_idx(data: bytes, where: str = "IDX data") -> np.ndarray:
    """Return the array in the bytes of an IDX file; `where` names them in errors.

    >>> from needle.data.idx import idx_bytes, parse_idx
    >>> parse_idx(idx_bytes(np.arange(6, dtype=np.uint8).reshape(2, 3)))
    array([[0, 1, 2],
           [3, 4, 5]], dtype=uint8)
    """
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in DTYPES:
        start = data[:4].hex(" ") or "no bytes"
        raise DataError(f"{where}: expected an IDX file (00 00, dtype, rank), got {start}")
    dtype, rank = np.dtype(DTYPES[data[2]]), data[3]
    begin = 4 + 4 * rank
    if len(data) < begin:
        raise DataError(f"{where}: truncated: {begin} bytes of header expected, got {len(data)}")
    shape = struct.unpack(f">{rank}I", data[4:begin])
    end = begin + math.prod(shape) * dtype.itemsize
    if len(data) != end:
        fault = "truncated" if len(data) < end else "too long"
        text = f"{fault}: {dtype.name} of shape {shape} takes {end} bytes, got {len(data)}"
        raise DataError(f"{where}: {text}")
    array = np.frombuffer(data, dtype, offset=begin).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def idx_bytes(array: np.ndarray) -> bytes:
    """Return a uint8 array as the bytes of an IDX file; see `parse_idx`."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()
