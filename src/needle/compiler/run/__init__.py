"""From LLVM IR to running threads: object code, cache, pool, calls."""
