"""A module of your own from plain ops: the textbook's BatchNorm equals the built-in one."""

from typing import Any

import numpy as np

import needle as ndl
from needle import init, nn, ops


class TextbookBatchNorm(nn.Module):
    """Standardise each column by its batch; remember running estimates for evaluation."""

    def __init__(self, dim: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(init.ones(dim))
        self.bias = nn.Parameter(init.zeros(dim))
        self.running_mean = init.zeros(dim)
        self.running_var = init.ones(dim)

    def forward(self, x: Any) -> ndl.Tensor:
        rows = x.shape[0]
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean = ops.divide_scalar(ops.summation(x, axes=0), rows)
            centred = x - ops.broadcast_to(mean, x.shape)
            var = ops.divide_scalar(ops.summation(ops.power_scalar(centred, 2), axes=0), rows)
            m = self.momentum
            self.running_mean = (1 - m) * self.running_mean + m * mean.data
            self.running_var = (1 - m) * self.running_var + m * var.data
        spread = ops.power_scalar(ops.add_scalar(var, self.eps), 0.5)
        return (x - mean) / spread * self.weight + self.bias


if __name__ == "__main__":
    np.random.seed(0)
    x = ndl.Tensor(np.random.randn(8, 3).astype("float32"))
    mine, built_in = TextbookBatchNorm(3), nn.BatchNorm1d(3)
    for name, bn in (("mine", mine), ("built in", built_in)):
        bn(x)
        bn.eval()
        print(f"{name:9}", bn(x).numpy()[0].round(4), bn.running_var.numpy().round(4))
