"""Models made of needle's layers."""

from needle.models.gpt import gpt
from needle.models.language_model import LanguageModel
from needle.models.mlp_resnet import MLPResNet, ResidualBlock
from needle.models.resnet import (
    resnet18, resnet20, resnet32, resnet34, resnet44, resnet50, resnet56, resnet101,
)  # fmt: skip
from needle.models.resnet9 import ResNet9

__all__ = [
    "LanguageModel", "MLPResNet", "ResNet9", "ResidualBlock", "gpt", "resnet18", "resnet20",
    "resnet32", "resnet34", "resnet44", "resnet50", "resnet56", "resnet101",
]  # fmt: skip
