"""The course's module of sequence layers: the names of `needle.nn`."""

from needle.nn import *  # noqa: F403
