"""The course's module of convolution: names only."""

from needle.nn.conv import Conv
from needle.nn.module import Module, Parameter

__all__ = ["Conv", "Module", "Parameter"]
