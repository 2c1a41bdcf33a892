"""The command line: `needle train, eval, predict, generate, info`."""
