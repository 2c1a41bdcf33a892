"""Constant, random and fan-based initial values."""

from needle.init.basic import (
    constant, one_hot, ones, ones_like, rand, randb, randn, zeros, zeros_like,
)  # fmt: skip
from needle.init.initializers import (
    kaiming_normal, kaiming_uniform, xavier_normal, xavier_uniform,
)  # fmt: skip

__all__ = [
    "constant", "kaiming_normal", "kaiming_uniform", "one_hot", "ones", "ones_like", "rand",
    "randb", "randn", "xavier_normal", "xavier_uniform", "zeros", "zeros_like",
]  # fmt: skip
