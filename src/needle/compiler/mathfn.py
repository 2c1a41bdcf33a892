"""Elementary functions in pure IR, for scalars and vectors of float32 and float64.

Each function is emitted once per module and width, as ``needle.exp.float32x16``, and inlined.
float32 results are within 2 ulp of the correctly rounded value (pow: 4), float64 within 4.
"""

from __future__ import annotations

from collections.abc import Callable

from needle.compiler import mathfn_exp, mathfn_log, mathfn_mod, mathfn_trig
from needle.compiler.emit import Builder
from needle.compiler.emit_values import Value

FUNCTIONS: dict[str, Callable[..., Value]] = {
    "exp": mathfn_exp.exp,
    "expm1": mathfn_exp.expm1,
    "sigmoid": mathfn_exp.sigmoid,
    "tanh": mathfn_exp.tanh,
    "erf": mathfn_exp.erf,
    "log": mathfn_log.log,
    "log1p": mathfn_log.log1p,
    "pow": mathfn_log.power,
    "sin": mathfn_trig.sin,
    "cos": mathfn_trig.cos,
    "atan2": mathfn_trig.atan2,
    "fmod": mathfn_mod.fmod,
}


def call(b: Builder, fn: str, *operands: Value) -> Value:
    """``fn`` of floats of one dtype and width.

    >>> from needle.compiler.emit import Module
    >>> from needle.compiler.target import named
    >>> b = Module(named("haswell")).function("f", [("x", "float32", 8)])
    >>> call(b, "exp", *b.arguments).type
    '<8 x float>'
    """
    options = {"attributes": "alwaysinline", "contract": False}
    x = operands[0]
    return b.shared(fn, operands, x.dtype, x.width, FUNCTIONS[fn], **options)
