"""Models made of needle's layers."""

from needle.models.gpt import gpt
from needle.models.language_model import LanguageModel
from needle.models.mlp_resnet import MLPResNet, ResidualBlock

__all__ = ["LanguageModel", "MLPResNet", "ResidualBlock", "gpt"]
