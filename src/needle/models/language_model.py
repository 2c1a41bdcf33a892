"""The course's language model: embedding, a sequence model, a linear layer."""

from __future__ import annotations

from typing import Any

from numpy.typing import DTypeLike

from needle import nn
from needle.autograd import Tensor
from needle.backend.device import Device
from needle.errors import ArgumentError
from needle.nn.calls import check_shape


class LanguageModel(nn.Module):
    """Embedding, then an RNN, LSTM or Transformer, then Linear to the scores of the next word.

    Shapes: ids x (seq, batch), state h as the sequence model takes it; the result is (logits
    (seq * batch, output_size), h). `seq_model` is "rnn", "lstm" or "transformer"; for the last,
    hidden_size is the width of its feed-forward layers and seq_len its longest sequence. Draws:
    embedding, sequence model, linear.

    Errors: ArgumentError for another `seq_model`, ShapeError for other ids.

    >>> model = ndl.models.LanguageModel(8, 50, hidden_size=16, seq_model="lstm")
    >>> logits, (h, c) = model(np.zeros((5, 2), int))
    >>> logits.shape, h.shape
    ((10, 50), (1, 2, 16))
    """

    def __init__(
        self,
        embedding_size: int,
        output_size: int,
        hidden_size: int,
        num_layers: int = 1,
        seq_model: str = "rnn",
        seq_len: int = 40,
        device: Device | None = None,
        dtype: DTypeLike = "float32",
    ) -> None:
        super().__init__()
        kinds: dict[str, Any] = {"device": device, "dtype": dtype}
        sizes = embedding_size, hidden_size, num_layers
        self.output_size = output_size
        self.embedding = nn.Embedding(output_size, embedding_size, **kinds)
        if seq_model == "transformer":
            self.seq_model: nn.Module = nn.Transformer(*sizes, sequence_len=seq_len, **kinds)
        elif seq_model in ("rnn", "lstm"):
            kind = nn.RNN if seq_model == "rnn" else nn.LSTM
            self.seq_model = kind(*sizes, **kinds)
        else:
            known = '"rnn", "lstm" or "transformer"'
            raise ArgumentError(f"LanguageModel: expected seq_model {known}, got {seq_model!r}")
        width = embedding_size if seq_model == "transformer" else hidden_size
        self.linear = nn.Linear(width, output_size, **kinds)

    def forward(self, x: Any, h: Any = None) -> tuple[Tensor, Any]:
        """Return the logits and the state behind the last step."""
        check_shape(self, x, "ids (seq, batch)")
        y, h = self.seq_model(self.embedding(x), h)
        return self.linear(y.reshape((-1, y.shape[-1]))), h
