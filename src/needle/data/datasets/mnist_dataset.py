"""The course's path to `MNISTDataset`."""

from needle.data.images import MNISTDataset

__all__ = ["MNISTDataset"]
