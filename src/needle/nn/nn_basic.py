"""The course's module of basic layers: the names of `needle.nn`."""

from needle.nn import *  # noqa: F403
