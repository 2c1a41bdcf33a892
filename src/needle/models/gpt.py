"""A small decoder-only Transformer, as GPT-2 is built."""

from __future__ import annotations

from typing import Any

from needle import init, nn, ops
from needle.autograd import Tensor
from needle.errors import ArgumentError, ShapeError, whole_number
from needle.nn.calls import check_array, fail

STD = 0.02  # of all weights; the layers that end a residual branch get STD / sqrt(2 layers)


def _linear(inputs: int, outputs: int, std: float = STD, bias: bool = True) -> nn.Linear:
    """Make a Linear with normal weights and no bias at first."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    layer.weight = nn.Parameter(init.randn(inputs, outputs, std=std))
    if bias:
        layer.bias = nn.Parameter(init.zeros(1, outputs))
    return layer


class GPTBlock(nn.Module):
    """x + attention(norm1(x)), then x + mlp(norm2(x)); (B, T, width) in and out."""

    def __init__(self, width: int, heads: int, dropout: float, std: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm1d(width)
        self.qkv = _linear(width, 3 * width)
        self.attention = nn.MultiHeadAttention(dropout=dropout, causal=True)
        self.out = _linear(width, width, std)
        self.dropout = nn.Dropout(dropout)
        self.norm2 = nn.LayerNorm1d(width)
        self.mlp = nn.Sequential(
            _linear(width, 4 * width),
            nn.GELU(),
            _linear(4 * width, width, std),
            nn.Dropout(dropout),
        )

    def forward(self, x: Any) -> Tensor:
        """Return the block's result, of the shape of x."""
        x = x + self.dropout(self._attend(self.norm1(x)))
        return x + self.mlp(self.norm2(x))

    def _attend(self, x: Tensor) -> Tensor:
        batch, time, width = x.shape
        joined = self.qkv(x).reshape((batch, time, 3, self.heads, width // self.heads))
        q, k, v = ops.split(ops.permute(joined, (2, 0, 3, 1, 4)), axis=0)
        heads, _ = self.attention(q, k, v)
        return self.out(ops.transpose(heads, (1, 2)).reshape((batch, time, width)))


class GPT(nn.Module):
    """A decoder-only Transformer: pre-LN, GELU, learned positions.

    Shapes: ids (B, T), T at most `context`, to logits (B, T, vocabulary), where position t has seen
    the ids up to t. The attention has `heads` heads of width / heads, the MLP 4 width units. With
    `tied`, the last layer is the table of the ids, transposed. Weights start normal with a
    deviation of 0.02, biases zero.

    Errors: ArgumentError for a width that the heads do not divide, ShapeError for other ids.

    Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019.

    >>> model = ndl.models.gpt(vocabulary=65, context=16, layers=2, width=32)
    >>> model(np.zeros((3, 16), int)).shape
    (3, 16, 65)
    """

    def __init__(
        self,
        vocabulary: int,
        context: int = 128,
        layers: int = 4,
        width: int = 128,
        heads: int = 4,
        dropout: float = 0.0,
        tied: bool = False,
    ) -> None:
        super().__init__()
        whole_number("gpt: expected heads", heads, 1)
        if whole_number("gpt: expected width", width, 1) % heads:
            raise ArgumentError(f"gpt: expected a width that {heads} heads divide, got {width}")
        self.context = whole_number("gpt: expected context", context, 1)
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        for table in (self.tokens, self.positions):
            table.weight = nn.Parameter(STD * table.weight.data)
        self.dropout = nn.Dropout(dropout)
        std = STD / (2 * whole_number("gpt: expected layers", layers, 1)) ** 0.5
        self.blocks = [GPTBlock(width, heads, dropout, std) for _ in range(layers)]
        self.norm = nn.LayerNorm1d(width)
        self.head = None if tied else _linear(width, vocabulary, bias=False)

    def forward(self, ids: Any) -> Tensor:
        """Return the logits of the id that follows each id."""
        check_array(self, ids)
        if len(ids.shape) != 2 or ids.shape[1] > self.context:
            text = f"expected ids (batch, time <= {self.context}), got {tuple(ids.shape)}"
            raise fail(self, ShapeError, text)
        x = self.dropout(self.tokens(ids) + self.positions.weight[: ids.shape[1]])
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return x @ ops.transpose(self.tokens.weight) if self.head is None else self.head(x)


gpt = GPT  # in lower case, as the other models that are made by arguments
