"""The course's module of fan-based initialisers: the names of `needle.init`."""

from needle.init import *  # noqa: F403
