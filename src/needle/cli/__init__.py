"""The command line: `needle train, eval, predict, info`."""
