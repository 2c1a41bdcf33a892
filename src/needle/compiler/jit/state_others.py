"""What is no state, but must not be written either: objects that are not reachable.

Sets, deques, and plain objects and modules of the user's are looked into while tracing only. Random
generators of the user's are found on the way: what is drawn from them is a constant of the program.
"""

from __future__ import annotations

import pickle
import random as python_random
import sys
from collections import deque
from collections.abc import Callable
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from needle.autograd.tensor import Tensor
from needle.compiler.jit.state import State, is_user_file, style
from needle.compiler.jit.state_holders import ClassSpace, Holder, Members, attributes
from needle.compiler.trace.record import Recorder, refuse


def others(state: State) -> tuple[list[Holder], list[tuple[str, Any]]]:
    """Return holders for what is not part of the state, and the random generators met."""
    found: list[Holder] = []
    generators: list[tuple[str, Any]] = []
    seen = {id(holder.owner) for holder in state.holders}
    queue = [*state.others, *zip(state.labels, state.tensors, strict=True)]
    while queue:
        label, value = queue.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, np.random.Generator | np.random.RandomState | python_random.Random):
            generators.append((label, value))
            continue
        for holder in _holders(label, value):
            if id(holder.owner) not in seen or holder.owner is value:
                found.append(holder)
            queue += [(holder.slot(key), x) for key, x in holder.items()]
        if isinstance(value, tuple):
            queue += [(f"{label}[{i}]", x) for i, x in enumerate(value)]
    return found, generators


def _holders(label: str, value: Any) -> list[Holder]:
    if isinstance(value, set):
        return [Holder(Members(value), label, "item")]
    if isinstance(value, list | deque | dict):
        return [Holder(value, label, "item")]
    if isinstance(value, ModuleType):
        names = tuple(name for name in vars(value) if not name.startswith("__"))
        users = is_user_file(getattr(value, "__file__", None) or "<frozen")
        return [Holder(vars(value), label, "attribute", names)] if users else []
    if isinstance(value, type):
        return [Holder(ClassSpace(value), label, "attribute")] if _is_plain(value) else []
    if isinstance(value, FunctionType | Tensor):
        return [Holder(vars(value), label, "attribute")]
    if hasattr(value, "__needle_compiled__"):
        names = tuple(name for name in vars(value) if not name.startswith("_"))
        return [Holder(vars(value), label, "attribute", names)]
    if style(value) or _is_plain(type(value)):
        return [Holder(x, label, "attribute") for x in attributes(value)]
    return []


def _is_plain(kind: type) -> bool:
    """Whether objects are of a class of the user's."""
    name = kind.__module__
    if kind is SimpleNamespace or name == "__main__":
        return True
    if issubclass(kind, type) or name.partition(".")[0] in sys.stdlib_module_names:
        return False
    file = getattr(sys.modules.get(name), "__file__", None)
    return file is None or is_user_file(file)


class Generators:
    """The host's random generators and the user's own, as they are when this is made."""

    def __init__(self, own: list[tuple[str, Any]]) -> None:
        numpy: tuple[Any, ...] = ("numpy.random", np.random.get_state, np.random.set_state)
        python = ("random", python_random.getstate, python_random.setstate)
        self.known = [numpy, python, *((label, *_access(x)) for label, x in own)]
        self.states = [get() for _, get, _ in self.known]
        self.seen = [*map(pickle.dumps, self.states)]
        self.drawn: list[str] = []

    def used(self) -> list[int]:
        """Return which were drawn from since the last look."""
        now = [pickle.dumps(get()) for _, get, _ in self.known]
        changed = [i for i, (a, b) in enumerate(zip(now, self.seen, strict=True)) if a != b]
        self.seen = now
        return changed

    def check(self, recorder: Recorder, op: str = "") -> None:
        """Raise where a generator of the host was used, and list draws from the user's own."""
        for i in self.used():
            source, name = recorder.source(op), self.known[i][0]
            if i >= 2:
                self.drawn.append(f"drawn from {name}, before `{source.op}` at {source.place}")
                continue
            raise refuse(
                f"{name} was used inside a compiled function, before `{source.op}` at "
                f"{source.place}: its numbers would be the same at each call; use "
                "ndl.init.rand, ndl.init.randn or ndl.init.randb"
            )

    def restore(self) -> None:
        """Put the states back."""
        for (_, _, put), state in zip(self.known, self.states, strict=True):
            put(state)


def _access(generator: Any) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    """Return what reads and what sets a generator's state."""
    if isinstance(generator, np.random.Generator):
        bits = generator.bit_generator
        return lambda: bits.state, lambda state: setattr(bits, "state", state)
    if isinstance(generator, np.random.RandomState):
        return generator.get_state, generator.set_state
    return generator.getstate, generator.setstate
