"""What a compiled function can reach, slot by slot, and whether it is still as it was.

Reachable is what its closure, defaults, bound self and the globals named by it and by the user's
functions it calls hold: through attributes of modules, optimizers and schedules, and through lists,
tuples and dicts. Each holder becomes a `Holder`: a dict, list or cells whose items are slots. A
snapshot of each is compared at every call, in C: what was rebound or changed is seen.
"""

from __future__ import annotations

import dis
import functools
import operator
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from needle.autograd.tensor import Tensor
from needle.compiler.graph.primitives_base import DTYPES
from needle.compiler.jit.state_holders import Cells, ClassSpace, Holder, Members, attributes

_PLAIN = (int, float, complex, str, bytes, bool, type(None), np.generic)
_LIBRARIES = tuple(
    str(Path(p)) for p in (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
)
_NEEDLE = str(Path(__file__).resolve().parents[2])
MANY_SLOTS = 200
"""Slots of a holder above which a C loop compares them, at 20 ns each."""


@dataclass(eq=False)
class State:
    """All that is reachable: holders, the Tensors and arrays in their slots, the lifted numbers.

    `fingerprint` is equal for states that a trace cannot tell apart; it holds every guarded value.
    `holds()` is whether every slot holds what it held: the same objects, or the same small numbers.
    """

    holders: list[Holder] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)  # of the Tensors
    arrays: list[tuple[int, Any]] = field(default_factory=list)
    numbers: list[tuple[int, Any]] = field(default_factory=list)
    iterators: list[tuple[int, Any]] = field(default_factory=list)
    fingerprint: tuple[Any, ...] = ()
    described: list[tuple[str, Any]] = field(default_factory=list)
    index: dict[int, int] = field(default_factory=dict)  # of a Tensor by id
    others: list[tuple[str, Any]] = field(default_factory=list)  # objects not looked into
    switched: set[int] = field(default_factory=set)  # Tensors whose requires_grad may change
    roots: tuple[int, ...] = ()  # ids of the arguments that are looked into
    holds: Callable[[], bool] = bool

    def watch(self) -> None:
        """Take the snapshot that `holds` compares with."""
        self.targets = [holder.target for holder in self.holders]
        self.flags = self._flags()
        before = [[x for _, x in holder.compared()] for holder in self.holders]
        keys = [holder.is_whole and holder.all_keys() for holder in self.holders]
        self.holds = _compiled(_comparison(self.holders))(self.targets, before, keys)

    def forget(self) -> None:
        """Have the state discovered anew at the next call."""
        self.holds = bool  # bool() is False

    def holds_flags(self) -> bool:
        """Whether each Tensor's `requires_grad` is as it was; programs look at it themselves."""
        return self._flags() == self.flags

    def _flags(self) -> list[bool]:
        return [self.tensors[i].requires_grad for i in sorted(self.switched)]


def _comparison(holders: list[Holder]) -> str:
    """Return the text of a function that takes what holders are of and their snapshots, and returns
    one that compares all slots by identity, at 6 to 16 ns a slot.

    Equality is not enough: 1, True and 1.0 are equal. Where an equal object took a slot, looking at
    the whole state again says that nothing changed.
    """
    lines: list[str] = []
    snapshots: list[str] = []
    for i, holder in enumerate(holders):
        slots = holder.compared()
        if isinstance(holder.target, dict) and holder.style == "item":
            lines.append(f"if [*now{i}] != keys[{i}]: return False")
        olds = [f"old{i}_{n}" for n in range(len(slots))]
        if holder.is_whole:
            values = f"now{i}{holder.values}"
            if len(slots) > MANY_SLOTS and not holder.apart:
                snapshots.append(f"old{i}")
                same = f"all(map(is_, {values}, old{i}))"
                lines.append(f"if len({values}) != {len(slots)} or not {same}: return False")
                continue
            names = {key: f"x{n}" for n, (key, _) in enumerate(slots)}
            all_names = ", ".join(names.get(key, "_") for key in holder.all_keys())
            lines.append(f"[{all_names}] = {values}")
            places = [*names.values()]
        else:
            places = [f"now{i}{holder.place(key)}" for key, _ in slots]
        snapshots.append(f"[{', '.join(olds)}]")
        if slots:
            same = " and ".join(map("{} is {}".format, places, olds))
            lines.append(f"if not ({same}): return False")
    now = ", ".join(f"now{i}" for i in range(len(holders)))
    body = "".join(f"            {line}\n" for line in lines)
    return f"""
def watch(targets, before, keys):
    [{now}], [{", ".join(snapshots)}] = targets, before
    def holds():
        try:
{body}            return True
        except (LookupError, ValueError, TypeError, AttributeError):  # a slot is empty, or another
            return False
    return holds
"""


@functools.lru_cache(maxsize=256)
def _compiled(text: str) -> Callable[..., Callable[[], bool]]:
    space: dict[str, Any] = {"is_": operator.is_}
    exec(text, space)
    return space["watch"]


def discover(function: Callable[..., Any], roots: Sequence[Any] = ()) -> State:
    """Walk all that `function` and the objects in `roots` reach, and take a snapshot of it."""
    walk = _Walk()
    for root in roots:  # first: the function may reach them as objects not looked into
        walk.visit(root, type(root).__name__.lower(), root=True)
    walk.visit(function, getattr(function, "__name__", "self"), root=True)
    state = walk.finish()
    state.roots = tuple(map(id, roots))
    state.watch()
    return state


class _Walk:
    def __init__(self) -> None:
        self.state = State()
        self.seen: dict[int, int] = {}
        self.kept: list[Any] = []  # keeps ids valid
        self.parts: list[Any] = []
        self.names: set[tuple[int, str]] = set()  # of globals, by namespace
        self.queue: list[tuple[Holder, int]] = []
        self.words: set[str] = set()  # names of attributes in the code that was met
        self.kinds: dict[type, bool] = {}  # of objects not looked into; whether all methods count

    def finish(self) -> State:
        """Walk what was queued until nothing new is found."""
        done = 0
        while done < len(self.queue) or self._found_methods():
            for holder, number in self.queue[done:]:
                entries = [
                    (self._key(key), self._entry(holder, number, key, value))
                    for key, value in holder.items()
                ]
                self.parts.append((number, tuple(entries)))
                done += 1
        self.state.fingerprint = tuple(self.parts)
        return self.state

    def _found_methods(self) -> bool:
        """Look at methods of objects not looked into that the code may call; say if any is new."""
        before = len(self.seen)
        for kind, every in [*self.kinds.items()]:
            for function in _methods(kind, also=every):
                name = function.__name__
                if every or name in self.words or name.startswith("__"):
                    self.visit(function, f"{kind.__name__}.{name}")
        return len(self.seen) > before

    def _key(self, key: Any) -> Any:
        return ("tensor", self._tensor(key, "key")) if isinstance(key, Tensor) else key

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
        if hasattr(kind, "__next__") and not style(value):
            self.state.iterators.append((number, key))
        return self.visit(value, holder.slot(key), lifted=holder.lifted)

    def _tensor(self, value: Tensor, label: str) -> int:
        found = self.state.index.get(id(value))
        if found is None:
            found = self.state.index[id(value)] = len(self.state.tensors)
            self.state.tensors.append(value)
            if vars(value):  # attributes that the user has added
                self._add(Holder(vars(value), label, "attribute"))
            self.state.labels.append(label)
        return found

    def visit(self, value: Any, label: str, root: bool = False, lifted: bool = False) -> Any:
        """Look at a value; return its part of the fingerprint."""
        if isinstance(value, _PLAIN):
            self.state.described.append((label, value))
            return (type(value), _exact(value))
        if isinstance(value, Tensor):
            index = self._tensor(value, label)
            if value.requires_grad or not lifted:  # an optimizer's own state never is switched
                self.state.switched.add(index)
                self.state.described.append((f"{label}.requires_grad", value.requires_grad))
            data = value._data
            shape = None if data is None else (data.shape, str(data.dtype))
            return ("tensor", index, shape, value.requires_grad, value.op is None)
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
        if isinstance(value, dict | list):
            return (type(value), self._add(Holder(value, label, "item", lifted=lifted)))
        if isinstance(value, set):
            return (type(value), self._add(Holder(Members(value), label, "item")))
        if isinstance(value, FunctionType):
            if root or value.__closure__ or is_user_code(value.__code__):
                self.state.others.append((label, value))
                return ("function", value.__code__, self._function(value, label))
            return ("function", value.__code__)
        if isinstance(value, MethodType):
            owner = label.rpartition(".")[0] or "self"
            instance = self.visit(value.__self__, owner, root)
            return ("method", self.visit(value.__func__, label, root), instance)
        if isinstance(value, functools.partial):
            return ("partial", self.visit(value.func, label),
                    self.visit(value.args, label), self.visit(value.keywords, label))  # fmt: skip
        compiled = getattr(value, "__needle_compiled__", None)
        if compiled is not None:
            self.state.others.append((label, value))
            return ("compiled", self.visit(compiled, label, root=True))
        return self._attributes(value, label, root)

    def _attributes(self, value: Any, label: str, root: bool) -> Any:
        """Look into a module, an optimizer, an object that is an argument; note all others."""
        kind = type(value)
        kind_of = style(value)
        if kind_of or (root and not isinstance(value, type) and attributes(value)):
            for function in _methods(kind):
                self.visit(function, f"{label}.{function.__name__}")
            for base in kind.__mro__:
                self._class(base)
            lifted = kind_of == "lifted"
            holders = [Holder(x, label, "attribute", lifted=lifted) for x in attributes(value)]
            return (kind, *map(self._add, holders))
        self.state.others.append((label, value))
        if isinstance(value, type) or any(x.__module__.startswith("needle.") for x in kind.__mro__):
            self.kinds[value if isinstance(value, type) else kind] = True
        else:
            self.kinds.setdefault(kind, False)
        return ("object", id(value))

    def _class(self, kind: type) -> None:
        """Look at the attributes of a class of the user's."""
        if id(kind) not in self.seen and any(True for _ in _methods(kind, (kind,))):
            self.seen[id(kind)] = len(self.seen)
            space = ClassSpace(kind)
            if any(True for _ in space.items()):
                self._add(Holder(space, kind.__name__, "attribute"))

    def _function(self, function: FunctionType, label: str) -> Any:
        code = function.__code__
        words = attribute_names(code)
        self.words |= words
        if function.__closure__:
            cells = Cells(code.co_freevars, function.__closure__)
            self._add(Holder(cells, label, "name"))
        space = function.__globals__
        for name in global_names(code):
            self._named(space, name, words, Holder(space, "", "name", (name,)))
        for name in sorted(words & sys.modules.keys()):  # import statements in the function
            self._module(sys.modules[name], words)
        defaults = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
        return tuple([self.visit(x, f"default of {label}") for x in defaults])

    def _named(self, space: dict[str, Any], name: str, words: set[str], holder: Holder) -> None:
        """Look at a name of a namespace; where it is a module, at those of its names in `words`."""
        if name in space and (id(space), name) not in self.names:
            self.names.add((id(space), name))
            self._add(holder)
        self._module(space.get(name), words)

    def _module(self, value: Any, words: set[str]) -> None:
        file = getattr(value, "__file__", None) if isinstance(value, ModuleType) else None
        if file is None or not is_user_file(file):
            return
        space = vars(value)
        for name in sorted(words & space.keys()):
            if (id(space), name) not in self.names:
                holder = Holder(space, value.__name__, "attribute", (name,))
                self._named(space, name, words, holder)


def _exact(value: Any) -> Any:
    """Return a value that is equal only for equal bits: 1 and True, 0.0 and -0.0 are told apart."""
    return repr(value) if isinstance(value, float | np.floating) else value


def style(value: Any) -> str:
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


def _methods(
    kind: type, bases: tuple[type, ...] = (), also: bool = False
) -> Iterator[FunctionType]:
    """Yield the functions of the user's classes that a class, or one of its bases, is made of.

    `also`: `__init__` too, which has not run yet.
    """
    for base in bases or kind.__mro__:
        for name, function in vars(base).items():
            if name == "__init__" and not also:
                continue
            function = getattr(function, "__func__", getattr(function, "fget", function))
            if isinstance(function, FunctionType) and is_user_code(function.__code__):
                yield function


@functools.cache
def is_user_code(code: CodeType) -> bool:
    """Whether code is the user's own: not needle's, the standard library's or an installed one."""
    return is_user_file(code.co_filename)


def is_user_file(name: str) -> bool:
    """Whether a file is the user's own."""
    installed = "site-packages" in name or "dist-packages" in name
    return not (installed or name.startswith((*_LIBRARIES, _NEEDLE, "<frozen")))


@functools.cache
def attribute_names(code: CodeType) -> set[str]:
    """Return the names that code, and the functions defined in it, use: attributes and others."""
    names = {*code.co_names}
    return names.union(*[attribute_names(x) for x in code.co_consts if isinstance(x, CodeType)])


@functools.cache
def global_names(code: CodeType) -> tuple[str, ...]:
    """Return the globals that code, and the functions defined in it, read or write."""
    operations = {"LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL", "DELETE_GLOBAL"}
    names = [i.argval for i in dis.get_instructions(code) if i.opname in operations]
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names += global_names(constant)
    return tuple(dict.fromkeys(names))
