"""Attention and the Transformer, batches first: (batch, time, features)."""

from __future__ import annotations

from typing import Any

from numpy.typing import DTypeLike

from needle import init, ops
from needle.autograd import Tensor
from needle.backend.device import Device
from needle.errors import ShapeError, whole_number
from needle.nn.activation import ReLU
from needle.nn.calls import check_shape, fail
from needle.nn.containers import Sequential
from needle.nn.dropout import Dropout
from needle.nn.embedding import Embedding
from needle.nn.linear import Linear
from needle.nn.module import Module
from needle.nn.norm import LayerNorm1d


class MultiHeadAttention(Module):
    """softmax(q k^T / sqrt(D)) v for each head; no weights of its own.

    Shapes: q (B, H, T, D), k (B, H, S, D), v (B, H, S, E) give the result (B, H, T, E) and the
    probabilities (B, H, T, S), after dropout. `causal` hides the keys that come after a query, see
    `ops.causal_mask`.

    Source: Vaswani et al., "Attention Is All You Need", 2017.

    >>> q = ndl.zeros(2, 4, 5, 8)
    >>> result, probabilities = nn.MultiHeadAttention(causal=True)(q, q, q)
    >>> result.shape, probabilities.shape
    ((2, 4, 5, 8), (2, 4, 5, 5))
    """

    def __init__(
        self,
        *,
        dropout: float = 0.0,
        causal: bool = False,
        device: Device | None = None,
        dtype: DTypeLike = "float32",
    ) -> None:
        super().__init__()
        self.causal = causal
        self.dropout = Dropout(dropout)

    def forward(self, q: Any, k: Any, v: Any) -> tuple[Tensor, Tensor]:
        check_shape(self, q, "q (B, H, T, D)")
        batch, heads, _, size = q.shape
        check_shape(self, k, f"k ({batch}, {heads}, S, {size})")
        check_shape(self, v, f"v ({batch}, {heads}, {k.shape[2]}, E)")
        scores = q @ ops.transpose(k) / q.shape[-1] ** 0.5
        if self.causal:
            scores = ops.causal_mask(scores)
        probabilities = self.dropout(ops.softmax(scores))
        return probabilities @ v, probabilities


class AttentionLayer(Module):
    """Attention with LayerNorms before it and projections around it.

    q, k, v = norm(x) W each; heads are parts of their features; the result is heads W_out.

    Shapes: q (B, T, q_features), k (B, S, k_features), v (B, S, v_features), each q for None; the
    result is (B, T, out_features). k_features, v_features, out_features default to q_features.

    Parts: `prenorm_q, prenorm_k, prenorm_v` (LayerNorm1d), `q_projection, k_projection,
    v_projection` (Linear to num_head * dim_head, no bias), `attn` (MultiHeadAttention) and
    `out_projection` (Linear, no bias), drawn in the order q, k, v, out.

    >>> nn.AttentionLayer(6, num_head=2, dim_head=4)(ndl.zeros(2, 5, 6)).shape
    (2, 5, 6)
    """

    def __init__(
        self,
        q_features: int,
        num_head: int,
        dim_head: int,
        *,
        k_features: int | None = None,
        v_features: int | None = None,
        out_features: int | None = None,
        dropout: float = 0.0,
        causal: bool = True,
        device: Device | None = None,
        dtype: DTypeLike = "float32",
    ) -> None:
        super().__init__()
        kinds: dict[str, Any] = {"device": device, "dtype": dtype}
        k_features, v_features = k_features or q_features, v_features or q_features
        self.num_head = whole_number("AttentionLayer: expected num_head", num_head, 1)
        self.dim_head = whole_number("AttentionLayer: expected dim_head", dim_head, 1)
        inner = num_head * dim_head
        self.prenorm_q = LayerNorm1d(q_features, **kinds)
        self.prenorm_k = LayerNorm1d(k_features, **kinds)
        self.prenorm_v = LayerNorm1d(v_features, **kinds)
        self.q_projection = Linear(q_features, inner, bias=False, **kinds)
        self.k_projection = Linear(k_features, inner, bias=False, **kinds)
        self.v_projection = Linear(v_features, inner, bias=False, **kinds)
        self.attn = MultiHeadAttention(dropout=dropout, causal=causal, **kinds)
        self.out_projection = Linear(inner, out_features or q_features, bias=False, **kinds)

    def forward(self, q: Any, k: Any = None, v: Any = None) -> Tensor:
        k, v = q if k is None else k, q if v is None else v
        for x in (q, k, v):
            check_shape(self, x, "inputs (batch, time, features)")
        heads, _ = self.attn(
            self._heads(self.q_projection(self.prenorm_q(q))),
            self._heads(self.k_projection(self.prenorm_k(k))),
            self._heads(self.v_projection(self.prenorm_v(v))),
        )
        joined = ops.transpose(heads, (1, 2)).reshape((*q.shape[:2], self.num_head * self.dim_head))
        return self.out_projection(joined)

    def _heads(self, x: Tensor) -> Tensor:
        """(B, T, H D) -> (B, H, T, D)."""
        return ops.transpose(x.reshape((*x.shape[:2], self.num_head, self.dim_head)), (1, 2))

    def extra_repr(self) -> str:
        return f"{self.num_head} heads of {self.dim_head}"


class TransformerLayer(Module):
    """x + drop(attention(x)), then x + drop(W2 drop(relu(W1 norm(x) + b1)) + b2).

    Norms come first ("pre-LN"); attention is an `AttentionLayer`, W1 (q_features, hidden_size), W2
    (hidden_size, q_features). Shapes: (B, T, q_features) in and out. Draws: attention, W1, W2.

    Source: Vaswani et al., 2017; Xiong et al., "On Layer Normalization in the Transformer
    Architecture", 2020.

    >>> nn.TransformerLayer(6, 2, 4, hidden_size=8)(ndl.zeros(2, 5, 6)).shape
    (2, 5, 6)
    """

    def __init__(
        self,
        q_features: int,
        num_head: int,
        dim_head: int,
        hidden_size: int,
        *,
        dropout: float = 0.0,
        causal: bool = True,
        device: Device | None = None,
        dtype: DTypeLike = "float32",
    ) -> None:
        super().__init__()
        kinds: dict[str, Any] = {"device": device, "dtype": dtype}
        self.attention = AttentionLayer(
            q_features, num_head, dim_head, dropout=dropout, causal=causal, **kinds
        )
        self.dropout = Dropout(dropout)
        self.mlp = Sequential(
            LayerNorm1d(q_features, **kinds),
            Linear(q_features, hidden_size, **kinds),
            ReLU(),
            Dropout(dropout),
            Linear(hidden_size, q_features, **kinds),
            Dropout(dropout),
        )

    def forward(self, x: Any) -> Tensor:
        x = x + self.dropout(self.attention(x))
        return x + self.mlp(x)


class Transformer(Module):
    """Learned positions added to the input, then `num_layers` of `TransformerLayer`.

    Shapes: x (seq, batch, embedding_size), or (batch, seq, embedding_size) with `batch_first`; the
    result is (y, zeros) of that shape: a recurrent layer's interface without its state. Sequences
    are at most `sequence_len` long. Draws: the positions, then the layers.

    Errors: ShapeError for another shape or a longer sequence.

    >>> y, _ = nn.Transformer(6, 8, 2, num_head=2, dim_head=4)(ndl.zeros(5, 3, 6))
    >>> y.shape
    (5, 3, 6)
    """

    def __init__(
        self,
        embedding_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        num_head: int = 8,
        dim_head: int = 32,
        dropout: float = 0.0,
        causal: bool = True,
        batch_first: bool = False,
        sequence_len: int = 2048,
        device: Device | None = None,
        dtype: DTypeLike = "float32",
    ) -> None:
        super().__init__()
        kinds: dict[str, Any] = {"device": device, "dtype": dtype}
        self.batch_first = batch_first
        self.embedding = Embedding(sequence_len, embedding_size, **kinds)
        sizes = embedding_size, num_head, dim_head, hidden_size
        kinds |= {"dropout": dropout, "causal": causal}
        self.layers = [
            TransformerLayer(*sizes, **kinds)
            for _ in range(whole_number("Transformer: expected num_layers", num_layers, 1))
        ]

    def forward(self, x: Any, h: Any = None) -> tuple[Tensor, Tensor]:
        check_shape(self, x, "inputs (batch, time, features)")
        y = x if self.batch_first else ops.transpose(x, (0, 1))
        y = y + self._positions(y.shape[1])
        for layer in self.layers:
            y = layer(y)
        y = y if self.batch_first else ops.transpose(y, (0, 1))
        return y, init.zeros_like(y)

    def _positions(self, length: int) -> Tensor:
        longest = self.embedding.num_embeddings
        if length > longest:
            text = f"expected at most {longest} time steps, got {length}; raise sequence_len"
            raise fail(self, ShapeError, text)
        return self.embedding.weight[:length]
