"""The course's module of sequence layers: names only."""

from needle.nn.activation import Sigmoid
from needle.nn.embedding import Embedding
from needle.nn.recurrent import LSTM, RNN, LSTMCell, RNNCell

__all__ = ["LSTM", "RNN", "Embedding", "LSTMCell", "RNNCell", "Sigmoid"]
