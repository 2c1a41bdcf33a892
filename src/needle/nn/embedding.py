"""Embedding: a learned vector for each of n things."""

from __future__ import annotations

from typing import Any

from numpy.typing import DTypeLike

from needle import init, ops
from needle.autograd import Tensor
from needle.backend.device import Device
from needle.errors import whole_number
from needle.nn.module import Module, Parameter


class Embedding(Module):
    """The rows of a table by number: weight[ids], the product of one-hot vectors and the table.

    Shapes: ids of any shape, (seq, batch) in the course, of ints or whole floats, to ids.shape +
    (embedding_dim,); weight (num_embeddings, embedding_dim), drawn from the normal distribution.
    The gradient adds up the rows that were taken.

    Errors: IndexRangeError for an id outside 0 .. num_embeddings - 1.

    >>> nn.Embedding(10, 4)(np.array([[1, 2, 3], [4, 5, 9]])).shape
    (2, 3, 4)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        device: Device | None = None,
        dtype: DTypeLike = "float32",
    ) -> None:
        super().__init__()
        self.num_embeddings = whole_number("Embedding: expected num_embeddings", num_embeddings, 1)
        self.embedding_dim = whole_number("Embedding: expected embedding_dim", embedding_dim, 1)
        shape = self.num_embeddings, self.embedding_dim
        self.weight = Parameter(init.randn(*shape, device=device, dtype=dtype))

    def forward(self, ids: Any) -> Tensor:
        return ops.embedding(self.weight, ids)

    def extra_repr(self) -> str:
        return f"{self.num_embeddings} -> {self.embedding_dim}"
