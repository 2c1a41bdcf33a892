"""Recurrent layers: one step (cells) and whole sequences, (seq, batch, features)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import DTypeLike

from needle import init, ops
from needle.autograd import Tensor
from needle.backend.device import Device
from needle.errors import ArgumentError, ShapeError, whole_number
from needle.nn.calls import check_array, check_shape, fail, warn_precision
from needle.nn.module import Module, Parameter


class _Cell(Module):
    """The weights of a step: x W_ih + bias_ih + h W_hh + bias_hh, for `gates` parts at once."""

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Device | None = None,
        dtype: DTypeLike = "float32",
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.input_size = whole_number(f"{name}: expected input_size", input_size, 1)
        self.hidden_size = whole_number(f"{name}: expected hidden_size", hidden_size, 1)
        bound = self.hidden_size**-0.5
        columns = self.gates * self.hidden_size

        def draw(*shape: int) -> Parameter:
            return Parameter(init.rand(*shape, low=-bound, high=bound, device=device, dtype=dtype))

        self.W_ih = draw(self.input_size, columns)
        self.W_hh = draw(self.hidden_size, columns)
        self.bias_ih = draw(columns) if bias else None
        self.bias_hh = draw(columns) if bias else None

    def _preactivation(self, x: Any, h: Any) -> Tensor:
        check_shape(self, x, f"x (batch, {self.input_size})")
        check_shape(self, h, f"a state for x ({x.shape[0]}, {self.hidden_size})")
        warn_precision(self, x, self.W_ih)
        a = x @ self.W_ih + h @ self.W_hh
        return a if self.bias_ih is None else a + self.bias_ih + self.bias_hh

    def _zeros(self, x: Any) -> Tensor:
        check_array(self, x)
        return init.zeros(*x.shape[:1], self.hidden_size, dtype=self.W_hh.dtype)

    def extra_repr(self) -> str:
        return f"{self.input_size} -> {self.hidden_size}"


class RNNCell(_Cell):
    """One step of a plain recurrent network: h' = f(x W_ih + bias_ih + h W_hh + bias_hh).

    f is tanh, or relu for `nonlinearity="relu"`. Shapes: x (batch, input_size), h and h' (batch,
    hidden_size), zeros where h is None; W_ih (input_size, hidden_size), W_hh (hidden_size,
    hidden_size), biases (hidden_size,), None for `bias=False`. All are drawn in this order from
    [-1/sqrt(hidden_size), 1/sqrt(hidden_size)).

    Errors: ArgumentError for another nonlinearity, ShapeError where x or h do not fit.

    Source: Elman, "Finding Structure in Time", 1990.

    >>> nn.RNNCell(3, 4)(ndl.zeros(2, 3)).shape
    (2, 4)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Device | None = None,
        dtype: DTypeLike = "float32",
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ArgumentError(
                f'RNNCell: expected nonlinearity "tanh" or "relu", got {nonlinearity!r}'
            )
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, x: Any, h: Any = None) -> Tensor:
        a = self._preactivation(x, self._zeros(x) if h is None else h)
        return ops.tanh(a) if self.nonlinearity == "tanh" else ops.relu(a)


class LSTMCell(_Cell):
    """One step of a long short-term memory.

    (i, f, g, o) = x W_ih + bias_ih + h W_hh + bias_hh
    c' = sigmoid(f) c + sigmoid(i) tanh(g)
    h' = sigmoid(o) tanh(c')

    Shapes: x (batch, input_size); the state (h, c) and the result (h', c'), each (batch,
    hidden_size), zeros where the state is None; W_ih (input_size, 4 hidden_size), W_hh
    (hidden_size, 4 hidden_size), biases (4 hidden_size,), the gates side by side in this order.
    Draws as in `RNNCell`.

    Source: Hochreiter and Schmidhuber, "Long Short-Term Memory", 1997; with forget gates: Gers et
    al., "Learning to Forget", 2000.

    >>> h, c = nn.LSTMCell(3, 4)(ndl.zeros(2, 3))
    >>> h.shape, c.shape
    ((2, 4), (2, 4))
    """

    gates = 4

    def forward(self, x: Any, h: Any = None) -> tuple[Tensor, Tensor]:
        hidden, c = (self._zeros(x), self._zeros(x)) if h is None else h
        gates = self._preactivation(x, hidden).reshape((-1, 4, self.hidden_size))
        i, f, g, o = ops.split(gates, axis=1)
        c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
        return ops.sigmoid(o) * ops.tanh(c), c


class _Layers(Module):
    """Cells over a sequence, in layers: each takes the outputs of the one below."""

    def _sizes(self, input_size: int, hidden_size: int, num_layers: int) -> list[int]:
        """Return the input sizes of the layers."""
        layers = whole_number(f"{type(self).__name__}: expected num_layers", num_layers, 1)
        return [input_size, *[hidden_size] * (layers - 1)]

    def _states(self, state: Any, count: int) -> Sequence[Any]:
        """Take one Tensor (num_layers, batch, hidden_size) apart."""
        check_shape(self, state, f"a state ({count}, batch, hidden_size)")
        return ops.split(state, axis=0).tuple()

    def _run(self, cells: Sequence[_Cell], X: Any, states: Any) -> tuple[Tensor, list[Any]]:
        """Return the outputs of the last layer for all steps, and the last state of each layer."""
        check_array(self, X)
        size = cells[0].input_size
        if len(X.shape) != 3 or X.shape[0] == 0 or X.shape[2] != size:
            text = f"expected input (seq >= 1, batch, {size}), got {tuple(X.shape)}"
            raise fail(self, ShapeError, text)
        steps, last = ops.split(X, axis=0).tuple(), []
        for cell, state in zip(cells, states, strict=True):
            outputs = []
            for x in steps:
                state = cell(x, state)
                outputs.append(state[0] if isinstance(state, tuple) else state)
            steps = tuple(outputs)
            last.append(state)
        return ops.stack(steps, axis=0), last


class RNN(_Layers):
    """`RNNCell` over sequences, in `num_layers` layers: each takes the outputs of the one below.

    Shapes: X (seq, batch, input_size), h0 (num_layers, batch, hidden_size) or None for zeros; the
    result is (outputs of the last layer (seq, batch, hidden_size), h_n (num_layers, batch,
    hidden_size)). `.rnn_cells[k]` holds the weights of layer k.

    >>> out, h = nn.RNN(3, 4, num_layers=2)(ndl.zeros(5, 1, 3))
    >>> out.shape, h.shape
    ((5, 1, 4), (2, 1, 4))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Device | None = None,
        dtype: DTypeLike = "float32",
    ) -> None:
        super().__init__()
        sizes = self._sizes(input_size, hidden_size, num_layers)
        kinds: dict[str, Any] = {"nonlinearity": nonlinearity, "device": device, "dtype": dtype}
        self.rnn_cells = [RNNCell(size, hidden_size, bias, **kinds) for size in sizes]

    def forward(self, X: Any, h0: Any = None) -> tuple[Tensor, Tensor]:
        count = len(self.rnn_cells)
        states = [None] * count if h0 is None else self._states(h0, count)
        outputs, last = self._run(self.rnn_cells, X, states)
        return outputs, ops.stack(last, axis=0)


class LSTM(_Layers):
    """`LSTMCell` over sequences, in `num_layers` layers: each takes the outputs of the one below.

    Shapes: X (seq, batch, input_size), the state (h0, c0), each (num_layers, batch, hidden_size),
    or None for zeros; the result is (outputs of the last layer (seq, batch, hidden_size),
    (h_n, c_n)). `.lstm_cells[k]` holds the weights of layer k.

    >>> out, (h, c) = nn.LSTM(3, 4, num_layers=2)(ndl.zeros(5, 1, 3))
    >>> out.shape, h.shape, c.shape
    ((5, 1, 4), (2, 1, 4), (2, 1, 4))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        device: Device | None = None,
        dtype: DTypeLike = "float32",
    ) -> None:
        super().__init__()
        sizes = self._sizes(input_size, hidden_size, num_layers)
        self.lstm_cells = [LSTMCell(size, hidden_size, bias, device, dtype) for size in sizes]

    def forward(self, X: Any, h: Any = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        count = len(self.lstm_cells)
        states: Any = [None] * count
        if h is not None:
            states = list(zip(*[self._states(part, count) for part in h], strict=True))
        outputs, last = self._run(self.lstm_cells, X, states)
        h_n, c_n = (ops.stack(parts, axis=0) for parts in zip(*last, strict=True))
        return outputs, (h_n, c_n)
