"""Losses and penalties: scalars to minimise. A loss never broadcasts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from needle import init, ops
from needle.autograd import Tensor
from needle.autograd.gradient import sum_node_list
from needle.errors import ArgumentError, ShapeError
from needle.nn.calls import check_array, fail
from needle.nn.module import Module


class SoftmaxLoss(Module):
    """Mean over the rows of logsumexp(z) - z[y]: cross-entropy of softmax(logits) and labels.

    Shapes: logits (n, k), y (n,), labels from 0 to k - 1 in any dtype; the result is a scalar.

    Errors: ShapeError for other shapes or no rows, IndexRangeError for a label out of range.

    >>> round(nn.SoftmaxLoss()(ndl.zeros(2, 4), np.array([0, 3])).item(), 4)  # log 4
    1.3863
    """

    def forward(self, logits: Any, y: Any) -> Tensor:
        check_array(self, logits)
        check_array(self, y)
        if len(logits.shape) != 2 or 0 in logits.shape:
            raise fail(self, ShapeError, f"expected logits (n, classes), got {tuple(logits.shape)}")
        n, k = logits.shape
        if tuple(y.shape) != (n,):
            hint = "; pass class indices: y.argmax(1)" if tuple(y.shape) == (n, k) and k > 1 else ""
            hint = "; pass y[:, 0]" if tuple(y.shape) == (n, 1) else hint
            raise fail(self, ShapeError, f"expected labels ({n},), got {tuple(y.shape)}{hint}")
        # Selected, not multiplied by 0 and 1: a logit of -inf for another class costs nothing.
        chosen = ops.where(init.one_hot(k, y, dtype="bool"), ops.logsoftmax(logits), 0.0)
        return ops.summation(chosen) / -n


class MSELoss(Module):
    """Mean squared error: the mean of (prediction - target)^2 over all elements.

    Shapes: both the same; the result is a scalar. The target is cast to the prediction's dtype.

    Errors: ShapeError where the shapes differ.

    >>> nn.MSELoss()(ndl.Tensor([[1.0], [2.0]]), np.array([[1.0], [4.0]]))
    needle.Tensor(2.0)
    """

    def forward(self, prediction: Any, target: Any) -> Tensor:
        check_array(self, prediction)
        check_array(self, target)
        shape, given = tuple(prediction.shape), tuple(target.shape)
        if shape != given:
            hint = "; pass y[:, None]" if (*given, 1) == shape else ""
            hint = "; pass y[:, 0]" if (*shape, 1) == given else hint
            raise fail(self, ShapeError, f"expected a target of shape {shape}, got {given}{hint}")
        if 0 in shape:
            raise fail(self, ShapeError, f"expected at least one element, got {shape}")
        if target.dtype != prediction.dtype and prediction.dtype.kind == "f":
            target = ops.cast(target, prediction.dtype)
        return ops.mean((prediction - target) ** 2)


def l1_penalty(params: Iterable[Tensor]) -> Tensor:
    """Sum the absolute values of all elements: a scalar to add to the loss, times a factor.

    Biases and the weights of norms are included; leave them out of `params` to spare them.

    >>> nn.l1_penalty([ndl.Tensor([1.0, -2.0]), ndl.Tensor([3.0])])
    needle.Tensor(6.0)
    """
    return sum_node_list([ops.abs(p).sum() for p in _some("l1_penalty", params)])


def l2_penalty(params: Iterable[Tensor]) -> Tensor:
    """Sum the squares of all elements: a scalar to add to the loss, times a factor.

    There is no factor 1/2. Biases and the weights of norms are included.

    >>> nn.l2_penalty([ndl.Tensor([1.0, -2.0]), ndl.Tensor([3.0])])
    needle.Tensor(14.0)
    """
    return sum_node_list([(p**2).sum() for p in _some("l2_penalty", params)])


def _some(name: str, params: Iterable[Tensor]) -> list[Tensor]:
    if isinstance(params, Module):
        params = params.parameters()
    listed = list(params)
    if not listed:
        raise ArgumentError(f"{name}: expected at least one parameter, got none")
    return listed
