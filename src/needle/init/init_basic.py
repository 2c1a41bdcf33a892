"""The course's module of basic initialisers: names only."""

from needle.init.basic import (
    constant, one_hot, ones, ones_like, rand, randb, randn, zeros, zeros_like,
)  # fmt: skip

__all__ = [
    "constant", "one_hot", "ones", "ones_like", "rand", "randb", "randn", "zeros", "zeros_like",
]  # fmt: skip
