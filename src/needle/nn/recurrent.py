"""Recurrent layers: one step (cells) and whole sequences, (seq, batch, features)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import DTypeLike

from needle import init, ops
from needle.autograd import Tensor
from needle.backend.device import Device
from needle.errors import ArgumentError, ShapeError
from needle.nn.calls import check_array, check_last_axis, check_size, fail, warn_precision
from needle.nn.module import Module, Parameter


class _Cell(Module):
    """The weights of a step: x W_ih + bias_ih + h W_hh + bias_hh, for `gates` parts at once."""

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool,
        device: Device | None,
        dtype: DTypeLike,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.input_size = check_size(f"{name}: expected input_size", input_size)
        self.hidden_size = check_size(f"{name}: expected hidden_size", hidden_size)
        bound = self.hidden_size**-0.5
        columns = self.gates * self.hidden_size

        def draw(*shape: int) -> Parameter:
            return Parameter(init.rand(*shape, low=-bound, high=bound, device=device, dtype=dtype))

        self.W_ih = draw(self.input_size, columns)
        self.W_hh = draw(self.hidden_size, columns)
        self.bias_ih = draw(columns) if bias else None
        self.bias_hh = draw(columns) if bias else None

    def _preactivation(self, x: Any, h: Any) -> Tensor:
        check_last_axis(self, x, self.input_size)
        if len(x.shape) != 2 or tuple(h.shape) != (x.shape[0], self.hidden_size):
            raise fail(
                self,
                ShapeError,
                f"expected x (batch, {self.input_size}) and a state (batch, {self.hidden_size}), "
                f"got {tuple(x.shape)} and {tuple(h.shape)}",
            )
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

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Device | None = None,
        dtype: DTypeLike = "float32",
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device, dtype)

    def forward(self, x: Any, h: Any = None) -> tuple[Tensor, Tensor]:
        hidden, c = (self._zeros(x), self._zeros(x)) if h is None else h
        gates = self._preactivation(x, hidden).reshape((-1, 4, self.hidden_size))
        i, f, g, o = ops.split(gates, axis=1)
        c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
        return ops.sigmoid(o) * ops.tanh(c), c


def _run(cell: Module, inputs: Sequence[Any], state: Any) -> tuple[list[Tensor], Any]:
    """Return the outputs of a cell for all steps, and its last state."""
    outputs = []
    for x in inputs:
        state = cell(x, state)
        outputs.append(state[0] if isinstance(state, tuple) else state)
    return outputs, state


def _steps(module: Module, X: Any, input_size: int) -> Sequence[Any]:
    """Return the steps of a sequence (seq, batch, input_size)."""
    check_array(module, X)
    if len(X.shape) != 3 or X.shape[0] == 0 or X.shape[2] != input_size:
        text = f"expected input (seq >= 1, batch, {input_size}), got {tuple(X.shape)}"
        raise fail(module, ShapeError, text)
    return ops.split(X, axis=0).tuple()


def _layers(module: Module, state: Any, count: int) -> Sequence[Any]:
    """Return the states of the layers, from one Tensor (num_layers, batch, hidden_size)."""
    if state is None:
        return [None] * count
    check_array(module, state)
    if len(state.shape) != 3 or state.shape[0] != count:
        text = f"expected a state ({count}, batch, hidden_size), got {tuple(state.shape)}"
        raise fail(module, ShapeError, text)
    return ops.split(state, axis=0).tuple()


class RNN(Module):
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
        sizes = _sizes("RNN", input_size, hidden_size, num_layers)
        kinds: dict[str, Any] = {"nonlinearity": nonlinearity, "device": device, "dtype": dtype}
        self.rnn_cells = [RNNCell(size, hidden_size, bias, **kinds) for size in sizes]

    def forward(self, X: Any, h0: Any = None) -> tuple[Tensor, Tensor]:
        steps, last = _steps(self, X, self.rnn_cells[0].input_size), []
        states = _layers(self, h0, len(self.rnn_cells))
        for cell, state in zip(self.rnn_cells, states, strict=True):
            steps, h = _run(cell, steps, state)
            last.append(h)
        return ops.stack(steps, axis=0), ops.stack(last, axis=0)


class LSTM(Module):
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
        sizes = _sizes("LSTM", input_size, hidden_size, num_layers)
        self.lstm_cells = [LSTMCell(size, hidden_size, bias, device, dtype) for size in sizes]

    def forward(self, X: Any, h: Any = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        steps, last = _steps(self, X, self.lstm_cells[0].input_size), []
        count = len(self.lstm_cells)
        given = (None, None) if h is None else h
        h0, c0 = (_layers(self, state, count) for state in given)
        for cell, state in zip(self.lstm_cells, zip(h0, c0, strict=True), strict=True):
            steps, state = _run(cell, steps, None if h is None else state)
            last.append(state)
        h_n, c_n = (ops.stack(states, axis=0) for states in zip(*last, strict=True))
        return ops.stack(steps, axis=0), (h_n, c_n)


def _sizes(name: str, input_size: int, hidden_size: int, num_layers: int) -> list[int]:
    """Return the input sizes of the layers."""
    layers = check_size(f"{name}: expected num_layers", num_layers)
    return [input_size, *[hidden_size] * (layers - 1)]
