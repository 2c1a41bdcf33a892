"""The IR: immutable nodes of about thirty primitives, their NumPy definitions, the interpreter."""
