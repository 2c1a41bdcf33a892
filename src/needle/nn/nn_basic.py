"""The course's module of basic layers: names only."""

from needle.nn.activation import GELU, ReLU, Sigmoid, Tanh
from needle.nn.containers import Residual, Sequential
from needle.nn.dropout import Dropout
from needle.nn.linear import Flatten, Identity, Linear
from needle.nn.loss import SoftmaxLoss
from needle.nn.module import Module, Parameter
from needle.nn.norm import BatchNorm1d, BatchNorm2d, LayerNorm1d

__all__ = [
    "GELU", "BatchNorm1d", "BatchNorm2d", "Dropout", "Flatten", "Identity", "LayerNorm1d",
    "Linear", "Module", "Parameter", "ReLU", "Residual", "Sequential", "Sigmoid", "SoftmaxLoss",
    "Tanh",
]  # fmt: skip
