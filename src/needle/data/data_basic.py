"""The course's path to `Dataset` and `DataLoader`."""

from needle.data.dataset import Dataset
from needle.data.loader import DataLoader

__all__ = ["DataLoader", "Dataset"]
