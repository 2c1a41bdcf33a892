"""The course's module of convolution: the names of `needle.nn`."""

from needle.nn import *  # noqa: F403
