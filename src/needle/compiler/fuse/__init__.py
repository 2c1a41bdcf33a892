"""Which nodes share a loop nest."""
