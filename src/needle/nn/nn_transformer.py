"""The course's module of attention layers: names only."""

from needle.nn.attention import AttentionLayer, MultiHeadAttention, Transformer, TransformerLayer

__all__ = ["AttentionLayer", "MultiHeadAttention", "Transformer", "TransformerLayer"]
