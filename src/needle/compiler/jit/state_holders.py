"""Holders of state: dicts, lists, closures, classes and namespaces; their items are slots."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import CellType, MemberDescriptorType
from typing import Any

from needle.autograd.value import Value

OWN = "__needle_jit_"
"""How attributes begin in which an instance keeps its compiled methods: no part of the state."""


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


class ClassSpace:
    """The attributes of a class that are no functions or descriptors, as items."""

    def __init__(self, kind: type) -> None:
        self.kind = kind

    def __getitem__(self, name: str) -> Any:
        return vars(self.kind)[name]

    def __setitem__(self, name: str, value: Any) -> None:
        setattr(self.kind, name, value)

    def __delitem__(self, name: str) -> None:
        delattr(self.kind, name)

    def items(self) -> Iterator[tuple[str, Any]]:
        """Yield names and values."""
        for name, value in vars(self.kind).items():
            if not (name.startswith("__") or callable(value) or hasattr(value, "__get__")):
                yield name, value


class Members:
    """The members of a set, as items."""

    def __init__(self, target: set[Any]) -> None:
        self.members = target

    def __getitem__(self, member: Any) -> Any:
        return member

    def __setitem__(self, member: Any, value: Any) -> None:
        self.members.add(member)

    def __delitem__(self, member: Any) -> None:
        self.members.discard(member)

    def items(self) -> Iterator[tuple[Any, Any]]:
        """Yield the members, each as key and value."""
        return ((member, member) for member in self.members)


class Slotted:
    """The `__slots__` of an object that are set, as items."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner

    def __getitem__(self, name: str) -> Any:
        return getattr(self.owner, name)

    def __setitem__(self, name: str, value: Any) -> None:
        object.__setattr__(self.owner, name, value)

    def __delitem__(self, name: str) -> None:
        object.__delattr__(self.owner, name)

    def items(self) -> Iterator[tuple[str, Any]]:
        """Yield names and values."""
        for base in type(self.owner).__mro__:
            for name, slot in vars(base).items():
                if isinstance(slot, MemberDescriptorType) and hasattr(self.owner, name):
                    yield name, getattr(self.owner, name)


def attributes(value: Any) -> list[Any]:
    """Return what holds an object's attributes."""
    kinds = type(value).__mro__
    slotted = any(
        isinstance(x, MemberDescriptorType) for kind in kinds for x in vars(kind).values()
    )
    spaces = [vars(value)] if hasattr(value, "__dict__") else []
    return [*spaces, Slotted(value)] if slotted else spaces


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
        if isinstance(self.target, list | deque):
            return list(enumerate(self.target))
        return [(key, x) for key, x in self.target.items() if not _is_own(key)]

    def slot(self, key: Any) -> str:
        """Return a slot's name for a message: `model.norm.running_mean`."""
        if self.style == "name":
            return str(key)
        if self.style == "attribute":
            return f"{self.label}.{key}"
        return f"{self.label}[{key!r:.30}]" if not isinstance(key, Value) else f"{self.label}[...]"

    @property
    def owner(self) -> Any:
        """What the target stands for."""
        target = self.target
        if isinstance(target, Members):
            return target.members
        if isinstance(target, Slotted):
            return target.owner
        return target.kind if isinstance(target, ClassSpace) else target

    @property
    def is_whole(self) -> bool:
        """Whether all that the target holds are slots, so that a new one counts."""
        return self.names is None and isinstance(self.target, dict | list | Members)

    @property
    def values(self) -> str:
        """Return how all values are reached from the target, for one that is whole."""
        if isinstance(self.target, Members):
            return ".members"
        return ".values()" if isinstance(self.target, dict) else ""

    def all_keys(self) -> list[Any]:
        """Return the keys of all slots that a look at the whole target shows."""
        if isinstance(self.target, Members):
            return [*self.target.members]
        return [*self.target] if isinstance(self.target, dict) else [*range(len(self.target))]

    def compared(self) -> list[tuple[Any, Any]]:
        """Return the slots that are compared at each call."""
        if self.is_whole:
            return [(key, self.target[key]) for key in self.all_keys() if key not in self.apart]
        return [(key, value) for key, value in self.items() if key not in self.apart]

    def place(self, key: Any) -> str:
        """Return how a value is reached from the target."""
        if isinstance(self.target, Cells):
            return f".cells[{key!r}].cell_contents"
        if isinstance(self.target, Slotted):
            return f".owner.{key}"
        return f"{'.kind.__dict__' if isinstance(self.target, ClassSpace) else ''}[{key!r}]"


def _is_own(key: Any) -> bool:
    return type(key) is str and key.startswith(OWN)


def slots(holders: list[Holder]) -> list[dict[Any, Any]]:
    """Return what each holder's slots hold."""
    return [dict(holder.items()) for holder in holders]


def restore(holders: list[Holder], held: list[dict[Any, Any]]) -> None:
    """Put back what slots held; what was added goes."""
    for holder, before in zip(holders, held, strict=True):
        now, target = dict(holder.items()), holder.target
        if len(now) == len(before) and all(now.get(key, now) is x for key, x in before.items()):
            continue
        if isinstance(target, list | deque):
            target.clear()
            target.extend(before.values())
            continue
        for key in now.keys() - before.keys():
            del target[key]
        for key, value in before.items():
            if now.get(key, now) is not value:
                target[key] = value
