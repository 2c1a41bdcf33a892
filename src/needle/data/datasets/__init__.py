"""The course's paths to the data sets."""

from needle.data.dataset import NDArrayDataset
from needle.data.images import MNISTDataset

__all__ = ["MNISTDataset", "NDArrayDataset"]
