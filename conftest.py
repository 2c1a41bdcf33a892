"""Run the examples in docstrings and documents as tests; each starts from a fixed seed."""

from doctest import ELLIPSIS
from typing import Any

import numpy as np
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser
from sybil.parsers.rest import DocTestParser


def _names(namespace: dict[str, Any]) -> None:
    import needle as ndl
    from needle import ops

    np.random.seed(0)
    namespace.update(np=np, ndl=ndl, ops=ops, nn=getattr(ndl, "nn", None))


_docstrings = Sybil(
    parsers=[DocTestParser(optionflags=ELLIPSIS)], path="src", patterns=["*.py"], setup=_names
)
_documents = Sybil(
    parsers=[PythonCodeBlockParser(doctest_optionflags=ELLIPSIS)],
    patterns=["README.md", "docs/*.md", "docs/layers/*.md"],
    setup=_names,
)
pytest_collect_file = (_docstrings + _documents).pytest()
