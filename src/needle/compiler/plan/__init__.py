"""Buffers in one arena, in-place updates, barriers."""
