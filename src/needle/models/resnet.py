"""Residual networks for images: as in the paper for ImageNet, and its smaller ones for CIFAR-10.

Source: He et al., "Deep Residual Learning for Image Recognition", 2015. Layers have the names of
torchvision's models, so that its published weights fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from needle import nn, ops
from needle.autograd import Tensor
from needle.errors import ArgumentError


class BasicBlock(nn.Module):
    """relu(f(x) + x), f two 3 x 3 convolutions: the paper's figure 5, left.

    x (N, in_channels, H, W) -> (N, channels, H / stride, W / stride). `downsample` brings x to that
    shape where it differs.
    """

    expansion = 1  # channels of the result, as a multiple of `channels`

    def __init__(
        self, in_channels: int, channels: int, stride: int = 1, downsample: Any = None
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv(in_channels, channels, 3, stride, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv(channels, channels, 3, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = downsample

    def forward(self, x: Any) -> Tensor:
        y = ops.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return ops.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """relu(f(x) + x), f 1 x 1, 3 x 3 and 1 x 1 convolutions: the paper's figure 5, right.

    The stride is that of the 3 x 3 convolution, as in torchvision ("ResNet v1.5"), not the first's.
    """

    expansion = 4

    def __init__(
        self, in_channels: int, channels: int, stride: int = 1, downsample: Any = None
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv(channels, channels, 3, stride, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv(channels, channels * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels * self.expansion)
        self.downsample = downsample

    def forward(self, x: Any) -> Tensor:
        y = ops.relu(self.bn1(self.conv1(x)))
        y = ops.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return ops.relu(y + (x if self.downsample is None else self.downsample(x)))


class PaddedShortcut(nn.Module):
    """Every stride-th row and column, with zeros for the new channels: the paper's option A."""

    def __init__(self, new_channels: int, stride: int) -> None:
        super().__init__()
        self.new_channels = new_channels
        self.stride = stride

    def forward(self, x: Any) -> Tensor:
        low = self.new_channels // 2
        widths = [(0, 0), (low, self.new_channels - low), (0, 0), (0, 0)]
        return ops.pad(x[:, :, :: self.stride, :: self.stride], widths)


def _projection(in_channels: int, channels: int, stride: int) -> nn.Module:
    """Return a 1 x 1 convolution with a norm: the paper's option B."""
    conv = nn.Conv(in_channels, channels, 1, stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels))


def _stage(block: Any, in_channels: int, channels: int, count: int, stride: int) -> nn.Sequential:
    """Return blocks of which the first strides and brings the shortcut to the new shape."""
    out, downsample = channels * block.expansion, None
    if stride != 1 or in_channels != out:
        downsample = _projection(in_channels, out, stride)
    first = block(in_channels, channels, stride, downsample)
    return nn.Sequential(first, *[block(out, channels) for _ in range(count - 1)])


class ResNet(nn.Module):
    """The paper's network of four stages (table 1): images (N, 3, H, W) -> (N, num_classes).

    `stem="imagenet"` begins with a 7 x 7 convolution of stride 2 and a max pooling, for images of
    224 x 224; `stem="cifar"` with one 3 x 3 convolution, for images of 32 x 32.
    """

    def __init__(
        self, block: Any, counts: Sequence[int], num_classes: int = 1000, stem: str = "imagenet"
    ) -> None:
        super().__init__()
        if stem not in ("imagenet", "cifar"):
            raise ArgumentError(f'resnet: expected stem "imagenet" or "cifar", got {stem!r}')
        large = stem == "imagenet"
        self.conv1 = nn.Conv(3, 64, 7 if large else 3, 2 if large else 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if large else nn.Identity()
        wide = 64 * block.expansion
        self.layer1 = _stage(block, 64, 64, counts[0], 1)
        self.layer2 = _stage(block, wide, 128, counts[1], 2)
        self.layer3 = _stage(block, 2 * wide, 256, counts[2], 2)
        self.layer4 = _stage(block, 4 * wide, 512, counts[3], 2)
        self.fc = nn.Linear(8 * wide, num_classes)

    def forward(self, x: Any) -> Tensor:
        x = self.maxpool(ops.relu(self.bn1(self.conv1(x))))
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
        return self.fc(ops.mean(x, (2, 3)))


class CifarResNet(nn.Module):
    """The paper's network of three stages for 32 x 32 images (section 4.2), 6 n + 2 layers.

    Images (N, 3, 32, 32) -> (N, num_classes). Shortcuts have no weights (option A). Layers have the
    names of the published models of github.com/akamaster/pytorch_resnet_cifar10.
    """

    def __init__(self, n: int, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv(3, 16, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, n)
        self.layer2 = self._stage(16, 32, n)
        self.layer3 = self._stage(32, 64, n)
        self.linear = nn.Linear(64, num_classes)

    @staticmethod
    def _stage(in_channels: int, channels: int, n: int) -> nn.Sequential:
        grows = channels > in_channels
        shortcut = PaddedShortcut(channels - in_channels, 2) if grows else None
        first = BasicBlock(in_channels, channels, 2 if grows else 1, shortcut)
        return nn.Sequential(first, *[BasicBlock(channels, channels) for _ in range(n - 1)])

    def forward(self, x: Any) -> Tensor:
        x = ops.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(ops.mean(x, (2, 3)))


def resnet18(num_classes: int = 1000, stem: str = "imagenet") -> ResNet:
    """Make a ResNet of 18 layers: 11,689,512 parameters for 1,000 classes.

    `stem` is "imagenet" (224 x 224) or "cifar" (32 x 32).

    >>> sum(p.size for p in ndl.models.resnet18().parameters())
    11689512
    """
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes, stem)


def resnet34(num_classes: int = 1000, stem: str = "imagenet") -> ResNet:
    """Make a ResNet of 34 layers: 21,797,672 parameters for 1,000 classes."""
    return ResNet(BasicBlock, (3, 4, 6, 3), num_classes, stem)


def resnet50(num_classes: int = 1000, stem: str = "imagenet") -> ResNet:
    """Make a ResNet of 50 layers: 25,557,032 parameters for 1,000 classes."""
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes, stem)


def resnet101(num_classes: int = 1000, stem: str = "imagenet") -> ResNet:
    """Make a ResNet of 101 layers: 44,549,160 parameters for 1,000 classes."""
    return ResNet(Bottleneck, (3, 4, 23, 3), num_classes, stem)


def resnet20(num_classes: int = 10) -> CifarResNet:
    """Make the CIFAR ResNet of 20 layers, 269,722 parameters for 10 classes.

    >>> ndl.models.resnet20()(ndl.zeros(2, 3, 32, 32)).shape
    (2, 10)
    """
    return CifarResNet(3, num_classes)


def resnet32(num_classes: int = 10) -> CifarResNet:
    """Make the CIFAR ResNet of 32 layers: 464,154 parameters for 10 classes."""
    return CifarResNet(5, num_classes)


def resnet44(num_classes: int = 10) -> CifarResNet:
    """Make the CIFAR ResNet of 44 layers: 658,586 parameters for 10 classes."""
    return CifarResNet(7, num_classes)


def resnet56(num_classes: int = 10) -> CifarResNet:
    """Make the CIFAR ResNet of 56 layers: 853,018 parameters for 10 classes."""
    return CifarResNet(9, num_classes)
