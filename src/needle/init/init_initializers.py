"""The course's module of fan-based initialisers: names only."""

from needle.init.initializers import (
    kaiming_normal,
    kaiming_uniform,
    xavier_normal,
    xavier_uniform,
)

__all__ = ["kaiming_normal", "kaiming_uniform", "xavier_normal", "xavier_uniform"]
