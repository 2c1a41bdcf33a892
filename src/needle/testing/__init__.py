"""What needle's own tests use, for yours: gradient checks, comparisons, one table of tolerances."""

from needle.testing.close import assert_close
from needle.testing.compare import compare
from needle.testing.gradient import gradcheck
from needle.testing.tolerances import LOOSER, TOLERANCES, Tolerance

__all__ = ["LOOSER", "TOLERANCES", "Tolerance", "assert_close", "compare", "gradcheck"]
