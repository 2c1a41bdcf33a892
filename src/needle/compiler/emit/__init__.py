"""Building LLVM IR: values, vectors, memory, elementary functions."""
