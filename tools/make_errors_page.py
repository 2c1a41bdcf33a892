"""Make docs/errors.md: every error and warning that the package raises, with cause and cure.

Run `python tools/make_errors_page.py`; with `--check` nothing is written, and the exit code is 1
where the page is not current. The messages are read from the source: each call that makes an
error, with what an f-string fills in shown as `{name}`. A message reads `cause; cure`; where it has
no cure of its own, that of its class applies: the rest of its docstring in `needle/errors.py`.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import itertools
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from needle import errors

ROOT = Path(__file__).resolve().parent.parent
SOURCE, PAGE = ROOT / "src" / "needle", ROOT / "docs" / "errors.md"
HEAD = """\
# Errors and warnings

Every message reads `where: expected what, got what; what to do`. `where` is the op, the function,
or the path of the layer: `model.2 (Linear 64 -> 10): expected last axis 64, got (32, 128)`. Each
class derives from the built-in one you would expect, so that `except ValueError` works;
`except needle.errors.NeedleError` catches them all. A call that fails leaves its arguments, the
model and the random state as they were.

On the command line an error is one line on stderr, `needle: ...`, and exit code 1; `--debug` shows
the traceback. Wrong usage is exit code 2, an interrupt 130.

This page is made from the source by `python tools/make_errors_page.py`. `{...}` stands for what a
message fills in; `as above` for the cure of the class.
"""
BUILT_IN = """\
## Built-in classes

Raised where Python or NumPy would: the arrays inside a compiled function answer as ndarrays do, and
a base class says which method to define.

**Cure.** Do what you would with an ndarray, on the line that the traceback shows
(`ndl.disable_jit()` runs it eagerly); give your subclass the method that the message names. A
damaged entry of the cache is compiled again by itself; `pip install -U llvmlite` updates llvmlite.
"""


@dataclass(frozen=True, order=True)
class Message:
    """One message: its class, cause and cure as templates, the file that raises it."""

    kind: str
    place: str
    cause: str
    cure: str


class Reader(ast.NodeVisitor):
    """Collect the messages of one file."""

    def __init__(self, place: str, kinds: set[str]) -> None:
        self.place, self.kinds = place, kinds
        self.found: list[Message] = []
        self.texts: list[list[ast.Assign]] = [[]]

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Read a function, knowing the texts that it gives names to."""
        self.texts.append([n for n in ast.walk(node) if isinstance(n, ast.Assign)])
        self.generic_visit(node)
        self.texts.pop()

    def visit_Call(self, node: ast.Call) -> None:
        """Take note of a call that makes an error or gives a warning."""
        kind, text = made_by(node)
        if kind in self.kinds and text is not None:
            for template in templates(text, named_before(self.texts[-1], node.lineno)):
                self.note(kind, template)
        self.generic_visit(node)

    def note(self, kind: str, template: str) -> None:
        """Split a template into cause and cure, at the first semicolon outside of braces."""
        text = " ".join(template.split())
        parts = re.fullmatch(r"((?:{.*?}|(?!; ).)*)(?:; )?(.*)", text)
        cause, cure = parts.groups() if parts else (text, "")
        if re.search("[a-z]{4}", re.sub("{.*?}", "", cause)):  # not a text of someone else's
            self.found.append(Message(kind, self.place, cause, cure))


def made_by(node: ast.Call) -> tuple[str, ast.expr | None]:
    """Return class and text of an error that a call makes; ("", None) where it makes none."""
    name = ast.unparse(node.func).rpartition(".")[2]
    arguments = node.args
    if name == "warn":
        kind = ast.unparse(arguments[1]) if len(arguments) > 1 else "UserWarning"
        return kind, arguments[0]
    if name == "fail" and len(arguments) == 3:
        return ast.unparse(arguments[1]), around("{layer}: ", arguments[2], "")
    if name == "fail" and len(arguments) == 2:  # a primitive's: what it expects, what it got
        got = ast.unparse(arguments[1])
        return "GraphError", around("{primitive}: expected ", arguments[0], f", got {{{got}}}")
    if name == "check_shape" and len(arguments) > 2:
        text = around("{layer}: expected ", arguments[2], ", got {x.shape}")
        return "ShapeError", ast.BinOp(text, ast.Add(), (*arguments, ast.Constant(""))[3])
    if name == "refuse":  # what the compiler cannot take
        return "TraceError", arguments[0]
    if name == "whole_number":
        value, least = (brief(ast.unparse(argument)) for argument in arguments[1:])
        return "ArgumentError", around("", arguments[0], f" >= {least}, got {{{value}}}")
    return (name, arguments[0]) if arguments else ("", None)


def around(before: str, text: ast.expr, after: str) -> ast.expr:
    """Return an expression of a text between two others."""
    left = ast.BinOp(ast.Constant(before), ast.Add(), text)
    return ast.BinOp(left, ast.Add(), ast.Constant(after))


def named_before(assigned: list[ast.Assign], line: int) -> dict[str, list[str]]:
    """Return the templates of the texts that names hold at a line: what was assigned last."""
    names: dict[str, list[str]] = {}
    for node in sorted(assigned, key=lambda n: n.lineno):
        target = node.targets[0]
        if node.lineno < line and isinstance(target, ast.Name) and is_text(node.value):
            names[target.id] = templates(node.value, names)
    return names


def is_text(value: ast.expr) -> bool:
    """Say whether an expression is put together from texts."""
    if isinstance(value, ast.IfExp):
        return is_text(value.body) or is_text(value.orelse)
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
        return is_text(value.left) or is_text(value.right)
    return isinstance(value, ast.JoinedStr) or (
        isinstance(value, ast.Constant) and isinstance(value.value, str)
    )


def templates(value: ast.expr, names: dict[str, list[str]]) -> list[str]:
    """Return what a text can be, `{expression}` for what is filled in."""
    if isinstance(value, ast.Constant):
        return [str(value.value)]
    if isinstance(value, ast.IfExp):
        return [*templates(value.body, names), *templates(value.orelse, names)]
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
        return joined([templates(value.left, names), templates(value.right, names)])
    if isinstance(value, ast.JoinedStr):
        return joined([templates(part, names) for part in value.values])
    if isinstance(value, ast.FormattedValue):
        return templates(value.value, names)
    if isinstance(value, ast.Name) and value.id in names:
        return names[value.id]
    return ["{" + brief(ast.unparse(value)) + "}"]


def brief(expression: str) -> str:
    """Return an expression as a reader of a message would name it."""
    text = re.sub(r"\bself\.", "", expression.replace("\n", " "))
    text = re.sub(r"type\((\w+)\)\.__name__", r"type of \1", text)
    return re.sub(r"\b(?:tuple|list|describe|_brief|_text|_short)\((.*)\)", r"\1", text)


def joined(parts: list[list[str]]) -> list[str]:
    """Return every way to join one of each."""
    return list(dict.fromkeys("".join(choice) for choice in itertools.product(*parts)))


def messages() -> list[Message]:
    """Return all messages of the package, each once."""
    own = {name for name, kind in vars(errors).items() if is_own(kind)}
    built_in = {
        name for name, kind in vars(builtins).items()
        if inspect.isclass(kind) and issubclass(kind, Exception) and kind is not AssertionError
    }  # fmt: skip
    found: set[Message] = set()
    for path in sorted(SOURCE.rglob("*.py")):
        reader = Reader(path.relative_to(SOURCE).as_posix(), own | built_in)
        reader.visit(ast.parse(path.read_text(encoding="utf-8")))
        found |= set(reader.found)
    return sorted(found)


def is_own(kind: object) -> bool:
    """Say whether something in `needle.errors` is a class that it defines."""
    return inspect.isclass(kind) and kind.__module__ == errors.__name__


def page() -> str:
    """Return the page."""
    found = messages()
    own = [kind for kind in vars(errors).values() if is_own(kind)]
    lines = [HEAD]
    for kind in own:
        lines += section(kind, [m for m in found if m.kind == kind.__name__])
    rest = sorted({m.kind for m in found} - {kind.__name__ for kind in own})
    lines += [BUILT_IN]
    lines += table([m for m in found if m.kind in rest], "as above", with_kind=True)
    return "\n".join(lines).rstrip() + "\n"


def section(kind: type, found: list[Message]) -> Iterator[str]:
    """Yield the part of one class."""
    meaning, _, cure = (inspect.getdoc(kind) or "").partition("\n\n")
    bases = [base.__name__ for base in kind.__bases__]
    yield from [
        f"## {kind.__name__}",
        "",
        f"{flat(meaning)} Derives from {' and '.join(bases)}.",
        "",
    ]
    if cure:
        yield from [f"**Cure.** {flat(cure)}", ""]
    if found:
        yield from table(found, "as above" if cure else "")


def table(found: list[Message], cure: str, with_kind: bool = False) -> Iterator[str]:
    """Yield one line for each cause, with its cures and the files that raise it."""
    first = "class | " if with_kind else ""
    yield f"| {first}message | cure | in |"
    yield "|---" * (4 if with_kind else 3) + "|"
    for (kind, cause), group in itertools.groupby(
        sorted(found, key=lambda m: (m.kind, m.cause)), key=lambda m: (m.kind, m.cause)
    ):
        same = list(group)
        cures = " or ".join(code(m) for m in dict.fromkeys(m.cure for m in same) if m) or cure
        places = ", ".join(f"`{place}`" for place in dict.fromkeys(m.place for m in same))
        yield f"| {f'{kind} | ' if with_kind else ''}{code(cause)} | {cures} | {places} |"
    yield ""


def code(text: str) -> str:
    """Return a text as code inside a table."""
    return "`" + text.replace("`", "'").replace("|", "\\|").strip() + "`"


def flat(text: str) -> str:
    """Return a text in one line."""
    return " ".join(text.split())


def main() -> int:
    """Write the page, or with `--check` say whether it is current; return the exit code."""
    new = page()
    if "--check" not in sys.argv:
        PAGE.write_text(new, encoding="utf-8")
        return 0
    return int(not PAGE.exists() or PAGE.read_text(encoding="utf-8") != new)


if __name__ == "__main__":
    sys.exit(main())
