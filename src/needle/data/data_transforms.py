"""The course's path to the transforms."""

from needle.data.transforms import RandomCrop, RandomFlipHorizontal, Transform

__all__ = ["RandomCrop", "RandomFlipHorizontal", "Transform"]
