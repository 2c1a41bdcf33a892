"""Where the inputs of a traced program come from, and what becomes of its outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from needle.autograd.tensor import Tensor
from needle.compiler.graph.graph import Node
from needle.compiler.trace.record import Recorder


@dataclass(frozen=True)
class Owner:
    """A Tensor that existed before: number `index` among the state's, or the arguments' leaf."""

    kind: str  # "state", "argument", "foreign"
    index: int


@dataclass(frozen=True)
class DataOf:
    """An input: the data of a Tensor."""

    owner: Owner


@dataclass(frozen=True)
class GradOf:
    """An input: the gradient that a Tensor had before the call."""

    owner: Owner


@dataclass(frozen=True)
class Leaf:
    """An input: the array, or the number, that is the arguments' leaf."""

    index: int


@dataclass(frozen=True)
class Slot:
    """An input: the array or number in a slot of holder `holder`."""

    holder: int
    key: Any


@dataclass(frozen=True)
class Key:
    """The number that random nodes are drawn with."""


@dataclass(frozen=True)
class Draw:
    """An input drawn on the host, in the order of the eager run."""

    kind: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class OutGrad:
    """An input of a gradient program: the gradient of the result."""


@dataclass(eq=False)
class Trace:
    """What one run of the function was: outputs, and for each what becomes of it."""

    recorder: Recorder
    outputs: list[Node] = field(default_factory=list)
    tied: dict[int, Any] = field(default_factory=dict)  # output: the input it may be written over
    data: list[tuple[Owner, int]] = field(default_factory=list)
    grads: list[tuple[Owner, int | None]] = field(default_factory=list)
    had_grad: dict[Owner, bool] = field(default_factory=dict)
    slots: list[tuple[int, Any, Callable[[Any], Any], int | None]] = field(default_factory=list)
    arrays: list[tuple[Any, int]] = field(default_factory=list)  # written in place: origin, output
    prints: list[tuple[str, int]] = field(default_factory=list)
    result: Callable[[Any], Any] = lambda call: None
    foreign: list[Tensor] = field(default_factory=list)
    # of results, by output: the Tensors that they have gradients for and the nodes, or an error
    gradients: dict[int, Any] = field(default_factory=dict)
    patterns: dict[Node, Node | None] = field(default_factory=dict)  # of constant arrays
    made_inside: list[str] = field(default_factory=list)
    frozen: list[str] = field(default_factory=list)  # what is the same at each call, and where

    def add(self, node: Node) -> int:
        """Add an output; return its position."""
        self.outputs.append(node)
        return len(self.outputs) - 1
