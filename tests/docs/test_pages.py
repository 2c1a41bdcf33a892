"""The documents: links lead somewhere, made parts are current, figures are small."""

import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.reference.values import file
from tools import layer_loops

ROOT = Path(__file__).parents[2]
FOLDERS = ("*", "docs/**/*", "src/**/*", "benchmarks/**/*", "examples/**/*", "tools/**/*")
PAGES = sorted(page for folder in FOLDERS for page in ROOT.glob(f"{folder}.md"))
NOTEBOOKS = sorted(ROOT.glob("examples/notebooks/*.ipynb"))
CODE = re.compile(r"```.*?```|<pre>.*?</pre>|`[^`\n]*`", re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """Return the names that GitHub gives the headings of a page."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


def text_of(page: Path) -> str:
    """Return the Markdown of a page, or of a notebook's cells."""
    text = page.read_text(encoding="utf-8")
    if page.suffix != ".ipynb":
        return text
    cells = json.loads(text)["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def broken(page: Path) -> list[str]:
    """Return the links of a page that lead nowhere in the repository."""
    found = []
    for link in LINK.findall(CODE.sub("", text_of(page))):
        if re.match(r"(https?|mailto):", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", [*PAGES, *NOTEBOOKS], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    assert broken(page) == []


def test_a_broken_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    (tmp_path / "other.md").write_text("# A b: `c`\n", encoding="utf-8")
    page.write_text(
        "[a](no.md) [b](other.md) [c](other.md#a-b-c) [d](other.md#x)", encoding="utf-8"
    )
    assert broken(page) == ["no.md", "other.md#x"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_is_run_by_the_suite(page):
    executed = re.findall(r"patterns=(\[.*?\])", (ROOT / "conftest.py").read_text(encoding="utf-8"))
    patterns = [pattern for found in executed for pattern in json.loads(found)]
    has_code = re.search(r"^ *```(python|pycon)$", text_of(page), re.MULTILINE)
    assert not has_code or any(page.match(pattern) for pattern in patterns if "md" in pattern)


def test_every_page_of_a_layer_is_complete():
    names = {path.stem for path in layer_loops.PAGES.glob("*.md")}
    assert names == {
        "layer_norm", "batch_norm", "dropout", "flatten", "residual", "detach",
        "normalization_vs_regularization",
    }  # fmt: skip
    for name in names - {"normalization_vs_regularization"}:
        text = (layer_loops.PAGES / f"{name}.md").read_text(encoding="utf-8")
        for part in ("## By hand", "## Claims to run", "## Compiled", "explain()", "lain ops"):
            assert part in text, (name, part)


def test_the_loops_are_those_the_compiler_makes():
    for path, made in layer_loops.pages().items():
        assert path.read_text(encoding="utf-8") == made, "run tools/make_compiler_page.py"


def test_figures_are_small_and_shown():
    shown = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for figure in (ROOT / "docs" / "images" / "layers").iterdir():
        assert figure.stat().st_size < 40_000 and f"images/layers/{figure.name})" in shown


def test_each_row_for_pytorch_has_code_and_each_stored_case_a_use():
    page = (ROOT / "docs" / "coming_from_pytorch.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| \[.*?\]\(#(.*?)\)", page, re.MULTILINE))
    sections = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    assert rows == {title.lower().replace(" ", "-") for title in sections}
    assert all("assert" in text for text in sections.values())
    stored = {name.partition("/")[0] for name in file("pytorch")}
    assert stored == set(re.findall(r'pytorch\("(\w+)"\)', page))


def test_the_program_in_the_readme_prints_what_the_page_says(capsys):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    program, shown = re.findall(r"```python\n(.*?)```\s+It prints `(.*?)`", text, re.DOTALL)[0]
    exec(program, {})
    assert capsys.readouterr().out.strip() == shown
