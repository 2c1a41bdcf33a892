"""The course's path to `NDArrayDataset`."""

from needle.data.dataset import NDArrayDataset

__all__ = ["NDArrayDataset"]
