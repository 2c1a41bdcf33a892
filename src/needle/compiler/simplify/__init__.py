"""Rewrites of the graph: algebra, views, sums, products."""
