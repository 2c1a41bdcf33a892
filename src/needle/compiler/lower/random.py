"""Philox4x32-10 in IR: element i of a stream, bit for bit as `philox` defines it."""

from __future__ import annotations

import functools
import math

from needle.compiler.emit import like_numpy as emit_numpy
from needle.compiler.emit import mathfn
from needle.compiler.emit.emit import Builder
from needle.compiler.emit.values import Value
from needle.compiler.graph import philox


def draw(b: Builder, kind: str, key: Value, stream: Value, position: Value) -> Value:
    """Element `position` (int64, scalar or vector) of a stream; `kind` as the primitive's."""
    if kind == "normal":
        return _normal(b, key, stream, position)
    bits = _bits(b, key, stream, position)
    return bits if kind == "bits" else _uniform(b, bits)


def draw_run(
    b: Builder, kind: str, key: Value, stream: Value, first: Value, width: int, aligned: bool
) -> Value:
    """`width` elements (a multiple of 8) from `first` on: each block of four is computed once.

    `aligned`: `first` is known to be a multiple of 4.
    """
    write = functools.partial(_run, width=width, aligned=aligned)
    operands = [key, b.bitcast(stream, "uint64"), first]
    stem = "philox.run.aligned" if aligned else "philox.run"
    bits = b.shared(stem, operands, "uint32", width, write, attributes="noinline")
    return bits if kind == "bits" else _uniform(b, bits)


def _run(b: Builder, key: Value, stream: Value, first: Value, width: int, aligned: bool) -> Value:
    """The words of the blocks that begin in the run, interleaved and shifted to its start."""
    blocks = width // 4
    start = first >> 2
    words = _rounds(b, key, stream, b.splat(start, blocks) + b.lanes(blocks))
    pairs = [
        b.shuffle(x, y, [i // 2 + i % 2 * blocks for i in range(2 * blocks)])
        for x, y in ((words[0], words[2]), (words[1], words[3]))
    ]
    main = b.shuffle(pairs[0], pairs[1], [i // 2 + i % 2 * 2 * blocks for i in range(width)])
    if aligned:
        return main
    after = _rounds(b, key, stream, start + blocks)
    more = b.splat(after[0], width)
    for lane, word in enumerate(after[1:3], 1):
        more = b.select(b.compare("eq", b.lanes(width, "int32"), lane), word, more)
    result = main
    for shift in range(1, 4):
        moved = b.shuffle(main, more, range(shift, width + shift))
        result = b.select(b.compare("eq", first & 3, shift), moved, result)
    return result


def _uniform(b: Builder, bits: Value) -> Value:
    # 24 bits are exact in float32, and a signed conversion is one instruction on every CPU.
    return emit_numpy.cast(b, b.bitcast(bits >> 8, "int32"), "float32") * 2.0**-24


def _normal(b: Builder, key: Value, stream: Value, position: Value) -> Value:
    # In float64: in float32 the sine of an angle near a multiple of pi loses most of its digits.
    even = position & -2
    first, second = _bits(b, key, stream, even), _bits(b, key, stream, even + 1)
    u, v = (emit_numpy.cast(b, b.bitcast(x >> 8, "int32"), "float64") for x in (first, second))
    radius = b.intrinsic("sqrt", mathfn.call(b, "log", (u + 1.0) * 2.0**-24) * -2.0)
    angle = v * (2 * math.pi * 2.0**-24)
    odd = b.compare("ne", position & 1, 0)
    turn = b.select(odd, mathfn.call(b, "sin", angle), mathfn.call(b, "cos", angle))
    return emit_numpy.cast(b, radius * turn, "float32")


def _bits(b: Builder, key: Value, stream: Value, position: Value) -> Value:
    """The 32 bits of an element: its block of four words, and of those its own."""
    operands = [key, b.bitcast(stream, "uint64"), position]
    options = {"attributes": "noinline"}
    return b.shared("philox", operands, "uint32", position.width, _element, **options)


def _element(b: Builder, key: Value, stream: Value, at: Value) -> Value:
    w0, w1, w2, w3 = _rounds(b, key, stream, at >> 2)
    word = at & 3
    low = b.select(b.compare("eq", word, 0), w0, w1)
    high = b.select(b.compare("eq", word, 2), w2, w3)
    return b.select(word < 2, low, high)


def _rounds(b: Builder, key: Value, stream: Value, block: Value) -> tuple[Value, ...]:
    """The four words of blocks, each uint32."""
    low, width = 0xFFFFFFFF, block.width
    counter = b.bitcast(block, "uint64")
    words = counter & low, counter >> 32, b.splat(stream, width), b.zeros("uint64", width)
    with b.loop(0, philox.ROUNDS, 1, (*words, key & low, key >> 32)) as loop:
        loop.next(*philox.turn(*loop.carried))
    return tuple(emit_numpy.cast(b, c, "uint32") for c in loop.results[:4])
