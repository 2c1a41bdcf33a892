"""docs/errors.md: what its command reads from the source, and that it says all of it."""

import ast

import pytest

from needle import errors, nn
from tools import make_errors_page
from tools.make_errors_page import PAGE, Message, Reader, messages, page

SNIPPET = """
def f(a, n):
    whole_number("early: expected an integer n", self.n, 1)
    raise ShapeError(f"early: expected {n}")

def g(self, a):
    hint = "; pass y[:, 0]" if a else ""
    hint = "; pass y[:, None]" if a.ndim else hint
    text = f"expected {tuple(a.shape)}, got {self.size}"
    raise fail(self, ShapeError, f"{text}{hint}")

def h(self, a):
    text = f"load: {type(a).__name__}"
    if a:
        raise ShapeError(text)
    text = "save: nothing there"
    warnings.warn(f"{text}: " "go on; write " + "more", stacklevel=2)
    raise OtherError("not one of ours")
"""


def test_messages_are_read_from_the_source():
    reader = Reader("a.py", {"ArgumentError", "ShapeError", "UserWarning"})
    reader.visit(ast.parse(SNIPPET))
    layer = "{layer}: expected {a.shape}, got {size}"
    assert reader.found == [
        Message("ArgumentError", "a.py", "early: expected an integer n >= 1, got {n}", ""),
        Message("ShapeError", "a.py", "early: expected {n}", ""),
        Message("ShapeError", "a.py", layer, "pass y[:, None]"),
        Message("ShapeError", "a.py", layer, "pass y[:, 0]"),
        Message("ShapeError", "a.py", layer, ""),
        Message("ShapeError", "a.py", "load: {type of a}", ""),
        Message("UserWarning", "a.py", "save: nothing there: go on", "write more"),
    ]


def test_the_page_has_each_class_with_its_cure():
    text = page()
    for name, kind in vars(errors).items():
        if make_errors_page.is_own(kind):
            assert f"\n## {name}\n" in text
            assert kind is errors.NeedleError or (kind.__doc__ or "").count("\n\n") == 1, name


def test_an_error_that_was_raised_is_on_the_page():
    with pytest.raises(errors.ShapeError) as raised:
        nn.MSELoss()(nn.Linear(2, 1)(_ones(3, 2)), _ones(3))
    assert "expected a target of shape (3, 1), got (3,); pass y[:, None]" in str(raised.value)
    line = "| `{layer}: expected a target of shape {shape}, got {given}` |"
    assert f"{line} `pass y[:, 0]` or `pass y[:, None]` | `nn/loss.py` |" in page()


def test_warnings_and_built_in_errors_are_on_the_page():
    kinds = {message.kind for message in messages()}
    assert {"PrecisionWarning", "UserWarning", "KeyError", "NotImplementedError"} <= kinds
    assert not kinds & {"AssertionError", "UnfusableError"}


def test_check_tells_whether_the_page_is_current(tmp_path, monkeypatch):
    monkeypatch.setattr(make_errors_page, "PAGE", tmp_path / "errors.md")
    monkeypatch.setattr("sys.argv", ["make_errors_page.py", "--check"])
    assert make_errors_page.main() == 1
    (tmp_path / "errors.md").write_text(page(), encoding="utf-8")
    assert make_errors_page.main() == 0


def _ones(*shape):
    import needle as ndl

    return ndl.init.ones(*shape)


def test_the_page_is_what_the_source_says():
    assert PAGE.read_text(encoding="utf-8") == page(), "run tools/make_errors_page.py"
