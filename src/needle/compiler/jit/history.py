"""What happened to a compiled function: traces with their causes, warnings, and the report."""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from typing import Any

from needle.compiler.jit import signature
from needle.compiler.jit.origins import DataOf, Leaf
from needle.compiler.jit.program import ARRAY_GUARD, GRAD_GUARD, TYPE_GUARD
from needle.compiler.trace.record import is_needles

MANY_RETRACES = 8
SAME_CAUSE = 3


class History:
    """Traces of one function and why each was needed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.latest: Any = None
        self.notes: dict[str, list[str]] = {}
        self.causes: Counter[str] = Counter()
        self._known: set[Any] = set()
        self._described: dict[str, Any] = {}
        self._fingerprint: Any = None
        self._warned: set[str] = set()

    def note(self, title: str, text: str) -> None:
        """Add a line for `explain`, once."""
        lines = self.notes.setdefault(title, [])
        if text not in lines or title == "retraced":
            lines.append(text)

    @property
    def retraces(self) -> int:
        """How often the function was traced again."""
        return sum(self.causes.values())

    def tracing(self, state: Any, key: Any, failed: Any) -> None:
        """Take note that a trace begins, and why."""
        text = signature.describe(key[0])
        if self.latest is None:
            self.note("traced", f"{self.name}({text})")
        else:
            cause, detail = self._cause(state, key, failed)
            self.causes[cause] += 1
            self.note("retraced", f"{self.name}({text}): {detail}")
            self._warn(cause, detail, failed)
        self._known.add(key)
        self._fingerprint, self._described = state.fingerprint, dict(state.described)

    def _cause(self, state: Any, key: Any, failed: Any) -> tuple[str, str]:
        """Return what to count, and how to say it."""
        if failed is not None:
            return _guard_text(*failed)
        if key not in self._known:
            return "arguments", f"new arguments {signature.describe(key[0])}"
        if state.fingerprint != self._fingerprint:
            now = dict(state.described)
            for label in (*now, *self._described):
                a, b = self._described.get(label, "nothing"), now.get(label, "nothing")
                if type(a) is not type(b) or a != b:
                    return label, f"{label} changed from {a!r} to {b!r}"
            return "state", "the reachable objects are others than before"
        return "state", "the program was dropped, or served one call only"

    def _warn(self, cause: str, detail: str, failed: Any) -> None:
        number = failed is not None and failed[1] >= 0
        if number and self.causes[cause] >= SAME_CAUSE and cause not in self._warned:
            self._warned.add(cause)
            text = (
                f"{self.causes[cause]} more times because of {detail}; compute with NumPy's "
                "functions (np.cos, np.sqrt, np.where) on the number instead"
            )
        elif self.retraces >= MANY_RETRACES and "many" not in self._warned:
            self._warned.add("many")
            most, count = self.causes.most_common(1)[0]
            text = (
                f"{self.retraces} more times, {count} of them because of {most} (last: {detail}); "
                "pass the value as a float or an array to keep one program"
            )
        else:
            return
        warnings.warn(f"jit: {self.name} was traced {text}", stacklevel=_level_of_user())

    def traced(self, variant: Any) -> None:
        """Take note of what a trace found."""
        self.latest = variant
        trace = variant.trace
        if trace.made_inside:
            made = ", ".join(trace.made_inside)
            self.note("made inside", f"{made}: this program serves one call, the next traces again")
        for text in trace.frozen:
            self.note("frozen", text)
        for guard in trace.recorder.guards.values():
            source = guard.source
            self.note("guarded", f"{guard.why} at {source.place} ({guard.expected!r})")

    def report(self, variants: list[Any]) -> str:
        """Return the text of `explain()`."""
        from needle.compiler.check.explain import explain  # importing the compiler measures nothing

        copied = sum(v.copied for v in variants)
        notes = dict(self.notes)
        if copied:
            notes["copied"] = [f"{copied} arrays were copied: they are not contiguous"]
        native = [v for v in variants if hasattr(v.executable, "program")]
        titles = [f"{self.name}({_arguments(v)})" for v in native]
        notes["fused"] = [
            f"{title}: {len(v.graph.nodes())} nodes in {len(v.executable.program.steps)} kernels"
            for title, v in zip(titles, native, strict=True)
        ]
        return explain(zip(titles, [v.executable for v in native], strict=True), notes)


def _level_of_user() -> int:
    """Return the stacklevel at which a warning points at the user's line."""
    level, frame = 2, sys._getframe(2)  # of whoever called the one that warns
    while frame.f_back is not None and is_needles(frame.f_code):
        level, frame = level + 1, frame.f_back
    return level


def _guard_text(variant: Any, index: int) -> tuple[str, str]:
    other = {
        TYPE_GUARD: "a number of another type",
        GRAD_GUARD: "a gradient from before the call is there, or not",
        ARRAY_GUARD: "an array whose values were fixed while tracing has changed",
    }
    if index in other or index < 0:
        text = other.get(index, "an array of another shape or dtype")
        return text, text
    guard = variant.trace.recorder.guards[index]
    where = guard.source.place
    return (
        f"{guard.why} {where}",
        f"{guard.why} of a number at {where}, which was {guard.expected!r}",
    )


def _arguments(variant: Any) -> str:
    return ", ".join(
        f"{node.dtype}{list(node.shape)}"
        for node, origin in zip(variant.graph.inputs, variant.wiring.origins, strict=True)
        if isinstance(origin, Leaf)
        or (isinstance(origin, DataOf) and origin.owner.kind == "argument")
    )
