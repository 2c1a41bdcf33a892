"""Reference values computed with PyTorch in float64, one module per file of tests/reference."""
