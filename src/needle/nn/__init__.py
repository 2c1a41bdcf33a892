"""Layers, containers and losses."""

from typing import NoReturn

from needle.names import unknown
from needle.nn.activation import GELU, ReLU, Sigmoid, Tanh
from needle.nn.containers import Residual, Sequential
from needle.nn.dropout import Dropout
from needle.nn.linear import Flatten, Identity, Linear
from needle.nn.loss import MSELoss, SoftmaxLoss, l1_penalty, l2_penalty
from needle.nn.module import Module, Parameter
from needle.nn.norm import BatchNorm1d, BatchNorm2d, LayerNorm1d

__all__ = [
    "GELU", "BatchNorm1d", "BatchNorm2d", "Dropout", "Flatten", "Identity", "LayerNorm1d",
    "Linear", "MSELoss", "Module", "Parameter", "ReLU", "Residual", "Sequential", "Sigmoid",
    "SoftmaxLoss", "Tanh", "l1_penalty", "l2_penalty",
]  # fmt: skip


def __getattr__(name: str) -> NoReturn:
    raise unknown(__name__, name)
