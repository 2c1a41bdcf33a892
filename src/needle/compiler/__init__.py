"""The compiler behind `needle.jit`; the stages stand in README.md, in order."""
