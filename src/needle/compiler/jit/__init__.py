"""The decorator: signatures, state in and out, what happens at a call."""
