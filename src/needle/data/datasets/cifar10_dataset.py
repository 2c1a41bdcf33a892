"""The course's path to `CIFAR10Dataset`."""

from needle.data.cifar10_batches import CIFAR10Dataset

__all__ = ["CIFAR10Dataset"]
