"""Data sets, transforms, and the loader that turns them into batches of Tensors."""

from needle.data.augment import Augment, Augmented, Normalize
from needle.data.cifar10_batches import CIFAR10Dataset, cifar10
from needle.data.corpus import Corpus, Dictionary, batchify, get_batch
from needle.data.dataset import Dataset, NDArrayDataset, Subset
from needle.data.download import cache_folder
from needle.data.image_sets import digits, fashion_mnist, mnist
from needle.data.images import ImageDataset, MNISTDataset
from needle.data.loader import DataLoader
from needle.data.text import Characters, TextDataset, text_file, tiny_shakespeare
from needle.data.transforms import RandomCrop, RandomFlipHorizontal, Transform

__all__ = [
    "Augment", "Augmented", "CIFAR10Dataset", "Characters", "Corpus", "DataLoader", "Dataset",
    "Dictionary", "ImageDataset", "MNISTDataset", "NDArrayDataset", "Normalize", "RandomCrop",
    "RandomFlipHorizontal", "Subset", "TextDataset", "Transform", "batchify", "cache_folder",
    "cifar10", "digits", "fashion_mnist", "get_batch", "mnist", "text_file", "tiny_shakespeare",
]  # fmt: skip
