"""Tiled products as loop nests, convolution among them."""
