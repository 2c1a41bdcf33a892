"""What a compiled function can reach, slot by slot, and whether it is still as it was.

Reachable is what its closure, defaults, bound self and the globals named by it and by the user's
functions it calls hold: through attributes of modules, optimizers and schedules, and through lists,
tuples and dicts. Each holder becomes a `Holder`: a dict, list or cells whose items are slots. A
snapshot of each is compared at every call, in C: what was rebound or changed is seen.
"""

from __future__ import annotations

import dis
import functools
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any

import numpy as np

from needle.autograd.tensor import Tensor
from needle.autograd.value import Value
from needle.compiler.primitives_base import DTYPES

_PLAIN = (int, float, complex, str, bytes, bool, type(None), np.generic)
_LIBRARIES = tuple(
    str(Path(p)) for p in (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
)
OWN = "__needle_jit_"
"""How attributes begin in which an instance keeps its compiled methods: no part of the state."""
_NEEDLE = str(Path(__file__).resolve().parents[1])


class Cells:
    """The variables of a closure, as items."""

    def __init__(self, names: tuple[str, ...], cells: tuple[CellType, ...]) -> None:
        self.cells = dict(zip(names, cells, strict=True))

    def __getitem__(self, name: str) -> Any:
        return self.cells[name].cell_contents

    def __setitem__(self, name: str, value: Any) -> None:
        self.cells[name].cell_contents = value

    def __delitem__(self, name: str) -> None:
        del self.cells[name].cell_contents

    def items(self) -> Iterator[tuple[str, Any]]:
        """Yield names and values of the variables that are set."""
        for name, cell in self.cells.items():
            try:
                yield name, cell.cell_contents
            except ValueError:
                continue


@dataclass(eq=False)
class Holder:
    """Something with slots: `target[key]` reads and writes; `label` is its path in messages.

    `names` restricts a global namespace to the names that functions use. `lifted`: its numbers are
    read at each call instead of being guarded. `apart` are the keys that are not compared: lifted
    numbers and arrays, which are fetched at each call anyway.
    """

    target: Any
    label: str
    style: str  # how a slot is written in messages: "attribute", "item", "name"
    names: tuple[str, ...] | None = None
    lifted: bool = False
    apart: set[Any] = field(default_factory=set)

    def items(self) -> list[tuple[Any, Any]]:
        """Return the slots: keys and values."""
        if self.names is not None:
            return [(name, self.target[name]) for name in self.names if name in self.target]
        if isinstance(self.target, list):
            return list(enumerate(self.target))
        return [(key, x) for key, x in self.target.items() if not _is_own(key)]

    def slot(self, key: Any) -> str:
        """Return a slot's name for a message: `model.norm.running_mean`."""
        if self.style == "name":
            return str(key)
        if self.style == "attribute":
            return f"{self.label}.{key}"
        return f"{self.label}[{key!r:.30}]" if not isinstance(key, Value) else f"{self.label}[...]"

    def getter(self) -> Callable[[], Any]:
        """Return a function that gives what is compared at each call; it may raise KeyError."""
        target = self.target
        if isinstance(target, Cells):
            cells = [cell for name, cell in target.cells.items() if name not in self.apart]
            return lambda: [cell.cell_contents for cell in cells]
        if self.names is None and not self.apart:
            return lambda: target
        if isinstance(target, list):
            keep = [i for i in range(len(target)) if i not in self.apart]
            return lambda: [len(target), *[target[i] for i in keep]]
        keys = [key for key, _ in self.items() if key not in self.apart]
        if not keys:
            return (lambda: 0) if self.names is not None else (lambda: len(target))
        pick = itemgetter(*keys)
        if self.names is not None:
            return lambda: pick(target)
        return lambda: (len(target), pick(target))


@dataclass(eq=False)
class State:
    """All that is reachable: holders, the Tensors and arrays in their slots, the lifted numbers.

    `fingerprint` is equal for states that a trace cannot tell apart; it holds every guarded value.
    """

    holders: list[Holder] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    arrays: list[tuple[int, Any]] = field(default_factory=list)
    numbers: list[tuple[int, Any]] = field(default_factory=list)
    fingerprint: tuple[Any, ...] = ()
    described: list[tuple[str, Any]] = field(default_factory=list)
    index: dict[int, int] = field(default_factory=dict)  # of a Tensor by id
    stale: bool = True

    def watch(self) -> None:
        """Take the snapshot that `holds` compares with."""
        self.stale = False
        self.targets = [holder.target for holder in self.holders]
        self.plain = [h.target for h in self.holders if _whole(h)]
        self.partial = [h.getter() for h in _joined(self.holders) if not _whole(h)]
        self.plain_before = [target.copy() for target in self.plain]
        self.partial_before = [get() for get in self.partial]

    def holds(self) -> bool:
        """Whether every slot holds what it held: identity, or equality of plain values."""
        try:
            return not self.stale and (
                self.plain == self.plain_before
                and [get() for get in self.partial] == self.partial_before
            )
        except Exception:  # comparing arrays or Tensors with other things raises: they changed
            return False


def _joined(holders: list[Holder]) -> list[Holder]:
    """Return the holders, the names of one global namespace in one: they cost one look."""
    spaces: dict[int, Holder] = {}
    result = []
    for holder in holders:
        if holder.names is None:
            result.append(holder)
            continue
        space = spaces.get(id(holder.target))
        if space is None:
            space = spaces[id(holder.target)] = Holder(holder.target, holder.label, "name", ())
            result.append(space)
        space.names = (*(space.names or ()), *holder.names)
        space.apart |= holder.apart
    return result


def _is_own(key: Any) -> bool:
    return type(key) is str and key.startswith(OWN)


def _whole(holder: Holder) -> bool:
    return holder.names is None and not holder.apart and not isinstance(holder.target, Cells)


def discover(function: Callable[..., Any], roots: tuple[Any, ...] = ()) -> State:
    """Walk all that `function` and the objects in `roots` reach."""
    walk = _Walk()
    walk.visit(function, getattr(function, "__name__", "function"), root=True)
    for root in roots:
        walk.visit(root, type(root).__name__.lower(), root=True)
    return walk.finish()


class _Walk:
    def __init__(self) -> None:
        self.state = State()
        self.seen: dict[int, int] = {}
        self.kept: list[Any] = []  # keeps ids valid
        self.parts: list[Any] = []
        self.globals: dict[int, tuple[dict[str, Any], dict[str, None]]] = {}
        self.queue: list[tuple[Holder, int]] = []

    def finish(self) -> State:
        """Walk what was queued, globals last, until nothing new is found."""
        done: set[tuple[int, str]] = set()
        while True:
            self._drain()
            fresh = [
                (id_, name)
                for id_, (_, names) in self.globals.items()
                for name in names
                if (id_, name) not in done
            ]
            if not fresh:
                break
            for id_, name in fresh:
                done.add((id_, name))
                space = self.globals[id_][0]
                if name in space:
                    holder = Holder(space, space.get("__name__", ""), "name", (name,))
                    self._add(holder)
        self.state.fingerprint = tuple(self.parts)
        return self.state

    def _drain(self) -> None:
        while self.queue:
            holder, number = self.queue.pop(0)
            entries = []
            for key, value in holder.items():
                name = self._key(key)
                entries.append((name, self._entry(holder, number, key, value)))
            self.parts.append((number, tuple(entries)))

    def _key(self, key: Any) -> Any:
        return ("tensor", self._tensor(key)) if isinstance(key, Tensor) else key

    def _add(self, holder: Holder) -> int:
        number = len(self.state.holders)
        self.state.holders.append(holder)
        self.queue.append((holder, number))
        return number

    def _entry(self, holder: Holder, number: int, key: Any, value: Any) -> Any:
        """Return what the fingerprint says of a slot."""
        kind = type(value)
        if isinstance(value, np.ndarray) and value.dtype in DTYPES:
            holder.apart.add(key)
            self.state.arrays.append((number, key))
            return ("array", value.shape, str(value.dtype))
        if holder.lifted and isinstance(value, int | float | np.number) and kind is not bool:
            holder.apart.add(key)
            self.state.numbers.append((number, key))
            return ("number", kind)
        return self.visit(value, holder.slot(key), lifted=holder.lifted)

    def _tensor(self, value: Tensor) -> int:
        found = self.state.index.get(id(value))
        if found is None:
            found = self.state.index[id(value)] = len(self.state.tensors)
            self.state.tensors.append(value)
        return found

    def visit(self, value: Any, label: str, root: bool = False, lifted: bool = False) -> Any:
        """Look at a value; return its part of the fingerprint."""
        if isinstance(value, _PLAIN):
            self.state.described.append((label, value))
            return (type(value), _exact(value))
        if isinstance(value, Tensor):
            index = self._tensor(value)
            data = value._data
            shape = None if data is None else (data.shape, str(data.dtype))
            return ("tensor", index, shape, value.requires_grad)
        if id(value) in self.seen:
            return ("again", self.seen[id(value)])
        self.seen[id(value)] = len(self.seen)
        self.kept.append(value)
        return self._visit_object(value, label, root, lifted)

    def _visit_object(self, value: Any, label: str, root: bool, lifted: bool) -> Any:
        if isinstance(value, tuple):
            parts = [
                self.visit(part, f"{label}[{i}]", lifted=lifted) for i, part in enumerate(value)
            ]
            return (type(value), tuple(parts))
        if type(value) is dict or isinstance(value, dict):
            return ("dict", self._add(Holder(value, label, "item", lifted=lifted)))
        if isinstance(value, list):
            return ("list", self._add(Holder(value, label, "item", lifted=lifted)))
        if isinstance(value, FunctionType):
            if root or value.__closure__ or is_user_code(value.__code__):
                self._function(value, label)
            return ("function", value.__code__)
        if isinstance(value, MethodType):
            owner = label.rpartition(".")[0] or label
            function = self.visit(value.__func__, label, root)
            return ("method", function, self.visit(value.__self__, owner, root))
        if isinstance(value, functools.partial):
            return ("partial", self.visit(value.func, label),
                    self.visit(value.args, label), self.visit(value.keywords, label))  # fmt: skip
        compiled = getattr(value, "__needle_compiled__", None)
        if compiled is not None:
            return ("compiled", self.visit(compiled, label, root=True))
        kind = type(value)
        style = _style(value)
        if style or (root and hasattr(value, "__dict__") and not isinstance(value, type)):
            for function in _methods(kind):
                self.visit(function, f"{label}.{function.__name__}")
            holder = Holder(vars(value), label, "attribute", lifted=style == "lifted")
            return (kind, self._add(holder))
        return ("object", id(value))

    def _function(self, function: FunctionType, label: str) -> None:
        code = function.__code__
        if function.__closure__:
            cells = Cells(code.co_freevars, function.__closure__)
            self._add(Holder(cells, label, "name"))
        for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self.visit(default, f"default of {label}")
        space = function.__globals__
        names = self.globals.setdefault(id(space), (space, {}))[1]
        names.update(dict.fromkeys(global_names(code)))


def _exact(value: Any) -> Any:
    """Return a value that is equal only for equal bits: 1 and True, 0.0 and -0.0 are told apart."""
    return repr(value) if isinstance(value, float | np.floating) else value


def _style(value: Any) -> str:
    """Say how an object's attributes are treated: "" (opaque), "plain", or "lifted" numbers."""
    kind = type(value)
    if isinstance(value, type) or not hasattr(value, "__dict__"):
        return ""
    names = {base.__name__ for base in kind.__mro__ if base.__module__.startswith("needle.")}
    if names & {"Optimizer", "LRScheduler"}:
        return "lifted"
    if "Module" in names:
        return "plain"
    slots = vars(value)
    if callable(getattr(kind, "step", None)) and ("params" in slots or "optimizer" in slots):
        return "lifted"
    return "plain" if hasattr(kind, "parameters") and "training" in slots else ""


def _methods(kind: type) -> Iterator[FunctionType]:
    """Yield the functions of the user's classes that a class is made of."""
    for base in kind.__mro__:
        for name, function in vars(base).items():
            if name == "__init__":  # it ran before
                continue
            function = getattr(function, "__func__", getattr(function, "fget", function))
            if isinstance(function, FunctionType) and is_user_code(function.__code__):
                yield function


@functools.cache
def is_user_code(code: CodeType) -> bool:
    """Whether code is the user's own: not needle's, the standard library's or an installed one."""
    name = code.co_filename
    installed = "site-packages" in name or "dist-packages" in name
    return not (installed or name.startswith((*_LIBRARIES, _NEEDLE, "<frozen")))


@functools.cache
def global_names(code: CodeType) -> tuple[str, ...]:
    """Return the globals that code, and the functions defined in it, read or write."""
    operations = {"LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL", "DELETE_GLOBAL"}
    names = [i.argval for i in dis.get_instructions(code) if i.opname in operations]
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names += global_names(constant)
    return tuple(dict.fromkeys(names))


def restore(state: State, held: list[dict[Any, Any]]) -> None:
    """Put back what slots held; what was added goes."""
    for holder, before in zip(state.holders, held, strict=True):
        if isinstance(holder.target, list):
            if len(holder.target) != len(before) or any(
                a is not b for a, b in zip(holder.target, before.values(), strict=True)
            ):
                holder.target[:] = before.values()
            continue
        now = dict(holder.items())
        for key, value in before.items():
            if key not in now or now[key] is not value:
                holder.target[key] = value
        for key in now.keys() - before.keys():
            del holder.target[key]
