"""Counter-based random numbers: Philox4x32-10 in NumPy, the definition of the `Random` primitive.

    block(key, c) = ten rounds on the words (c0, c1, c2, c3) with the key (key mod 2^32, key >> 32)
    words of element i of stream n: block(key, c = (i // 4 mod 2^32, i // 4 >> 32, n, 0))
    bits(i)    = word i mod 4
    uniform(i) = (bits(i) >> 8) * 2^-24                           exact in float32, in [0, 1)
    normal(i)  = sqrt(-2 log u) * (cos if i is even else sin)(2 pi v)
                 u = ((bits(i - i mod 2) >> 8) + 1) * 2^-24,  v = uniform(i - i mod 2 + 1)

Native code gives the same bits for `bits` and `uniform`, and `normal` to a few ulp.
J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
_LOW = 0xFFFFFFFF


def turn(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> tuple[Any, ...]:
    """One round on the words of counters and a key, held in 64 bits: arrays, or values of IR."""
    first, second = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
    c0, c2 = (second >> 32) ^ c1 ^ k0, (first >> 32) ^ c3 ^ k1
    c1, c3 = second & _LOW, first & _LOW
    return c0, c1, c2, c3, (k0 + KEY_STEPS[0]) & _LOW, (k1 + KEY_STEPS[1]) & _LOW


def philox4x32(counter: np.ndarray, key: int) -> np.ndarray:
    """Return ten rounds on counters (N, 4), 32-bit words held as uint64, for a 64-bit key."""
    words = *np.ascontiguousarray(counter.T), key & _LOW, (key >> 32) & _LOW
    for _ in range(ROUNDS):
        words = turn(*words)
    return np.stack(words[:4], axis=1)


def blocks(key: int, stream: int, count: int) -> np.ndarray:
    """Return the first `count` blocks of a stream as uint32 (count, 4)."""
    index = np.arange(count, dtype=np.uint64)
    words = (index & _LOW, index >> 32, np.full_like(index, stream), np.zeros_like(index))
    return philox4x32(np.stack(words, axis=1), key).astype(np.uint32)


def bits(key: int, stream: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return 32 random bits an element, as uint32."""
    size = math.prod(shape)
    return blocks(key, stream, -(-size // 4)).reshape(-1)[:size].reshape(shape)


def uniform(key: int, stream: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return float32 numbers k / 2^24 in [0, 1)."""
    return (bits(key, stream, shape) >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)


def normal(key: int, stream: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return float32 standard normal numbers, in pairs by Box and Muller."""
    size = math.prod(shape)
    mantissas = (blocks(key, stream, -(-size // 4)) >> np.uint32(8)).astype(np.float64)
    radius = np.sqrt(-2 * np.log((mantissas[:, 0::2] + 1) * 2**-24))
    angle = 2 * np.pi * mantissas[:, 1::2] * 2**-24
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    return pairs.reshape(-1)[:size].reshape(shape).astype(np.float32)
