"""The course's module of basic initialisers: the names of `needle.init`."""

from needle.init import *  # noqa: F403
