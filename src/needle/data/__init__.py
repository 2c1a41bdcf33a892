"""Data sets, transforms, and the loader that turns them into batches of Tensors."""

from needle.data.dataset import Dataset, NDArrayDataset, Subset
from needle.data.download import cache_folder
from needle.data.image_sets import digits, fashion_mnist, mnist
from needle.data.images import ImageDataset, MNISTDataset
from needle.data.loader import DataLoader
from needle.data.transforms import RandomCrop, RandomFlipHorizontal, Transform

__all__ = [
    "DataLoader", "Dataset", "ImageDataset", "MNISTDataset", "NDArrayDataset", "RandomCrop",
    "RandomFlipHorizontal", "Subset", "Transform", "cache_folder", "digits", "fashion_mnist",
    "mnist",
]  # fmt: skip
