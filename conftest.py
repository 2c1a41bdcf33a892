"""Run the examples in docstrings as tests; each starts from numpy, needle and a fixed seed."""

from doctest import ELLIPSIS
from typing import Any

import numpy as np
from sybil import Sybil
from sybil.parsers.rest import DocTestParser


def _names(namespace: dict[str, Any]) -> None:
    import needle as ndl
    from needle import ops

    np.random.seed(0)
    namespace.update(np=np, ndl=ndl, ops=ops, nn=getattr(ndl, "nn", None))


pytest_collect_file = Sybil(
    parsers=[DocTestParser(optionflags=ELLIPSIS)],
    path="src",
    patterns=["*.py"],
    setup=_names,
).pytest()
