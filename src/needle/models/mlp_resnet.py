"""The MLP with residual blocks that the course builds: a normalised multi-layer perceptron."""

from __future__ import annotations

from collections.abc import Callable

from needle import nn


def ResidualBlock(  # noqa: N802  the course's name: it reads as a layer
    dim: int,
    hidden_dim: int,
    norm: Callable[[int], nn.Module] = nn.BatchNorm1d,
    drop_prob: float = 0.1,
) -> nn.Sequential:
    """Make ReLU(x + f(x)), f = Linear, norm, ReLU, Dropout, Linear, norm; (N, dim) -> (N, dim).

    `norm` makes a normalisation from a dimension: `nn.BatchNorm1d` or `nn.LayerNorm1d`.

    >>> ndl.models.ResidualBlock(8, 4)(ndl.zeros(2, 8)).shape
    (2, 8)
    """
    fn = nn.Sequential(
        nn.Linear(dim, hidden_dim),
        norm(hidden_dim),
        nn.ReLU(),
        nn.Dropout(drop_prob),
        nn.Linear(hidden_dim, dim),
        norm(dim),
    )
    return nn.Sequential(nn.Residual(fn), nn.ReLU())


def MLPResNet(  # noqa: N802
    dim: int,
    hidden_dim: int = 100,
    num_blocks: int = 3,
    num_classes: int = 10,
    norm: Callable[[int], nn.Module] = nn.BatchNorm1d,
    drop_prob: float = 0.1,
) -> nn.Sequential:
    """Make Linear(dim, hidden_dim), ReLU, blocks (hidden_dim, hidden_dim // 2), Linear to classes.

    Shapes: (N, dim) -> (N, num_classes).

    >>> ndl.models.MLPResNet(64, hidden_dim=32)(ndl.zeros(2, 64)).shape
    (2, 10)
    """
    return nn.Sequential(  # in this order: it is also the order of the random draws
        nn.Linear(dim, hidden_dim),
        nn.ReLU(),
        *[ResidualBlock(hidden_dim, hidden_dim // 2, norm, drop_prob) for _ in range(num_blocks)],
        nn.Linear(hidden_dim, num_classes),
    )
