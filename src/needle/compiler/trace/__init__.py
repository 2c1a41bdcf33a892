"""Arrays that record: what a traced function does becomes a graph."""
