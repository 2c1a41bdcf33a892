"""Well-known sets of images, each as `(train, test)`."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from needle.data.download import Collection, find
from needle.data.images import ImageDataset, MNISTDataset, read_uint8

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"

MNIST = Collection(
    name="mnist",
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    sha256={
        TRAIN_IMAGES: "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        TRAIN_LABELS: "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        TEST_IMAGES: "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        TEST_LABELS: "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
)
FASHION_MNIST = Collection(
    name="fashion-mnist",
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    sha256={
        TRAIN_IMAGES: "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        TRAIN_LABELS: "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        TEST_IMAGES: "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        TEST_LABELS: "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
)


def digits() -> tuple[ImageDataset, ImageDataset]:
    """Return the 1,797 handwritten digits that needle ships: 1,437 to train, 360 to test.

    Shapes: images (N, 8, 8, 1), float32 in [0, 1] in steps of 1/16; labels (N,), uint8, 0 to 9.
    Image i of the file is a test image when i % 5 == 0. Writers are shared between the two parts,
    so the test tells nothing about writers never seen.
    Reference: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine
    Learning Repository, 1998, CC BY 4.0, https://doi.org/10.24432/C50P49.

    >>> train, test = ndl.data.digits()
    >>> len(train), len(test), train[0][0].shape
    (1437, 360, (8, 8, 1))
    """
    folder = Path(__file__).parent
    images = read_uint8(folder / "digits-images-idx3-ubyte.gz", "images (N, H, W)", rank=3)
    labels = read_uint8(folder / "digits-labels-idx1-ubyte.gz", "labels (N,)", rank=1)
    for_test = np.arange(len(labels)) % 5 == 0
    train, test = (
        ImageDataset(images[part][..., np.newaxis], labels[part], maximum=16)
        for part in (~for_test, for_test)
    )
    return train, test


def mnist(
    root: str | os.PathLike[str] | None = None, download: bool = True
) -> tuple[MNISTDataset, MNISTDataset]:
    """Return MNIST: 60,000 handwritten digits to train, 10,000 to test, downloaded once (12 MB).

    Shapes: images (N, 28, 28, 1), float32 in [0, 1], kept as uint8; labels (N,), uint8, 0 to 9.
    Looked for in `root/mnist` and `root`, or without a root in `$NEEDLE_DATA/mnist` and the user's
    cache folder; `download=False` stays off the network.

    Raises: DownloadError that says which files to put where, DataError for corrupt files.
    Reference: LeCun et al., "Gradient-based learning applied to document recognition", 1998.
    """
    return load(MNIST, root, download)


def fashion_mnist(
    root: str | os.PathLike[str] | None = None, download: bool = True
) -> tuple[MNISTDataset, MNISTDataset]:
    """Return Fashion-MNIST: pictures of ten kinds of clothes, otherwise as `mnist` (31 MB).

    Classes: T-shirt, trouser, pullover, dress, coat, sandal, shirt, sneaker, bag, ankle boot. Its
    folder is `fashion-mnist`.

    Raises: DownloadError that says which files to put where, DataError for corrupt files.
    Reference: Xiao, Rasul, Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine
    learning algorithms", arXiv:1708.07747.
    """
    return load(FASHION_MNIST, root, download)


def load(
    collection: Collection, root: str | os.PathLike[str] | None, download: bool
) -> tuple[MNISTDataset, MNISTDataset]:
    """Return (train, test) of a set in MNIST's format."""
    folder = find(collection, root, download)
    train = MNISTDataset(folder / TRAIN_IMAGES, folder / TRAIN_LABELS)
    return train, MNISTDataset(folder / TEST_IMAGES, folder / TEST_LABELS)
