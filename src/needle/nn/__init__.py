"""Layers, containers and losses."""

from typing import NoReturn

from needle.names import unknown
from needle.nn.activation import GELU, ReLU, Sigmoid, Tanh
from needle.nn.attention import AttentionLayer, MultiHeadAttention, Transformer, TransformerLayer
from needle.nn.containers import Residual, Sequential
from needle.nn.conv import AdaptiveAvgPool2d, AvgPool2d, Conv, MaxPool2d
from needle.nn.dropout import Dropout
from needle.nn.embedding import Embedding
from needle.nn.linear import Flatten, Identity, Linear
from needle.nn.loss import MSELoss, SoftmaxLoss, l1_penalty, l2_penalty
from needle.nn.module import Module, Parameter
from needle.nn.norm import BatchNorm1d, BatchNorm2d, LayerNorm, LayerNorm1d
from needle.nn.recurrent import LSTM, RNN, LSTMCell, RNNCell

__all__ = [
    "GELU", "LSTM", "RNN", "AdaptiveAvgPool2d", "AttentionLayer", "AvgPool2d", "BatchNorm1d",
    "BatchNorm2d", "Conv", "Dropout", "Embedding", "Flatten", "Identity", "LSTMCell",
    "LayerNorm", "LayerNorm1d", "Linear", "MSELoss", "MaxPool2d", "Module",
    "MultiHeadAttention", "Parameter", "RNNCell", "ReLU", "Residual", "Sequential", "Sigmoid",
    "SoftmaxLoss", "Tanh", "Transformer", "TransformerLayer", "l1_penalty", "l2_penalty",
]  # fmt: skip


def __getattr__(name: str) -> NoReturn:
    raise unknown(__name__, name)
