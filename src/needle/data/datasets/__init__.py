"""The course's paths to the data sets."""

from needle.data.cifar10_batches import CIFAR10Dataset
from needle.data.corpus import Corpus, Dictionary, batchify, get_batch
from needle.data.dataset import NDArrayDataset
from needle.data.images import MNISTDataset

__all__ = [
    "CIFAR10Dataset", "Corpus", "Dictionary", "MNISTDataset", "NDArrayDataset", "batchify",
    "get_batch",
]  # fmt: skip
