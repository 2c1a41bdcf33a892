"""Make the digits that needle ships: `python tools/make_digits.py [--check]`.

The 1,797 images of 8 x 8 are the test part of "Optical Recognition of Handwritten Digits" by
E. Alpaydin and C. Kaynak (UCI Machine Learning Repository, 1998, CC BY 4.0,
https://doi.org/10.24432/C50P49), in the order in which scikit-learn ships them. Its wheel is
downloaded by pip, and the table of integers in it (64 pixels of 0 to 16, then the label) is written
as two gzipped IDX files. Nothing but the container changes. With --check the files are compared
with those in the tree instead of written.
"""

from __future__ import annotations

import argparse
import gzip
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from needle.data.idx import idx_bytes

FOLDER = Path(__file__).parent.parent / "src" / "needle" / "data"
TABLE = "sklearn/datasets/data/digits.csv.gz"


def table_from_wheel() -> np.ndarray:
    """Return the (1797, 65) table in scikit-learn's wheel."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
        subprocess.run([*command, "--only-binary=:all:", "-d", folder, "scikit-learn"], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            text = gzip.decompress(archive.read(TABLE))
    return np.loadtxt(io.BytesIO(text), delimiter=",")


def digit_files(table: np.ndarray) -> dict[str, bytes]:
    """Return the contents of both IDX files, before compression, by name."""
    if table.shape != (1797, 65) or table.min() != 0 or table[:, :64].max() != 16:
        raise SystemExit(f"unexpected table: shape {table.shape}, maximum {table.max()}")
    pixels, labels = table[:, :64].astype(np.uint8), table[:, 64].astype(np.uint8)
    return {
        "digits-images-idx3-ubyte.gz": idx_bytes(pixels.reshape(-1, 8, 8)),
        "digits-labels-idx1-ubyte.gz": idx_bytes(labels),
    }


def main() -> None:
    """Write the files, or compare them with those in the tree."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check = parser.parse_args().check
    for name, data in digit_files(table_from_wheel()).items():
        path = FOLDER / name
        if not check:
            path.write_bytes(gzip.compress(data, mtime=0))  # no clock: the same bytes each time
        elif gzip.decompress(path.read_bytes()) != data:
            raise SystemExit(f"{path} differs from scikit-learn's table")
        print(f"{'equal' if check else 'written'}: {path} ({path.stat().st_size:,} bytes)")


if __name__ == "__main__":
    main()
