"""The course's module of attention layers: the names of `needle.nn`."""

from needle.nn import *  # noqa: F403
