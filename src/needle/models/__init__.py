"""Models made of needle's layers."""

from needle.models.mlp_resnet import MLPResNet, ResidualBlock

__all__ = ["MLPResNet", "ResidualBlock"]
