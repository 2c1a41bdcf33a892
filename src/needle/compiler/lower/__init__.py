"""From groups of nodes to kernels: loop nests in LLVM IR."""
