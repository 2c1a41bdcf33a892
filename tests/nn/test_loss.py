"""Losses and penalties: they never broadcast, and say what to write."""

import numpy as np
import pytest

import needle as ndl
from needle import init, nn
from needle.errors import ArgumentError, IndexRangeError, ShapeError
from needle.testing import assert_close, gradcheck

LOGITS = np.random.RandomState(0).randn(5, 4)
LABELS = np.array([0, 3, 1, 1, 2])


def test_gradients_to_second_order():
    gradcheck(lambda z: nn.SoftmaxLoss()(z, LABELS), LOGITS, order=2)
    gradcheck(nn.MSELoss(), LOGITS, LOGITS[::-1] + 0.1, order=2)
    gradcheck(lambda a, b: nn.l2_penalty([a, b]), LOGITS, LOGITS[0], order=2)
    gradcheck(lambda a, b: nn.l1_penalty([a, b]), LOGITS, LOGITS[0])


@pytest.mark.parametrize(("scale", "shift"), [(1, 1e10), (1e10, 0), (1e-10, 0)])
def test_softmax_loss_is_stable(scale, shift):
    z = LOGITS * scale + shift
    shifted = (z - z.max(1, keepdims=True)).astype(np.longdouble)
    expected = (np.log(np.exp(shifted).sum(1)) - shifted[np.arange(5), LABELS]).mean()
    loss = nn.SoftmaxLoss()(ndl.Tensor(z), LABELS)
    assert_close(loss, np.float64(expected))
    loss.backward()


def test_softmax_loss_of_one_class_is_zero():
    assert nn.SoftmaxLoss()(init.ones(3, 1), np.zeros(3)).item() == 0


def test_impossible_classes_cost_nothing_and_a_wrong_one_everything():
    z = ndl.Tensor([[0.0, -np.inf, 0.0]])
    loss = nn.SoftmaxLoss()(z, np.array([0]))
    loss.backward()
    assert_close(loss, np.log(2.0))
    assert_close(z.grad, np.array([[-0.5, 0.0, 0.5]]))
    assert nn.SoftmaxLoss()(z, np.array([1])).item() == np.inf


def test_nan_logits_give_a_nan_loss():
    assert np.isnan(nn.SoftmaxLoss()(np.array([[np.nan, 0.0]]), np.array([0])).item())


@pytest.mark.parametrize(("logits", "labels", "text"), [
    ((5, 4), (4,), r"expected labels \(5,\), got \(4,\)"),
    ((5, 4), (5, 1), r"got \(5, 1\); pass y\[:, 0\]"),
    ((5, 4), (5, 4), r"got \(5, 4\); pass class indices: y\.argmax\(1\)"),
    ((5, 4), (), r"expected labels \(5,\), got \(\)"),
    ((1, 4), (5,), r"expected labels \(1,\), got \(5,\)"),
    ((5,), (5,), r"expected logits \(n, classes\), got \(5,\)"),
    ((5, 4, 1), (5,), r"expected logits \(n, classes\), got \(5, 4, 1\)"),
    ((0, 4), (0,), r"expected logits \(n, classes\), got \(0, 4\)"),
])  # fmt: skip
def test_softmax_loss_refuses_other_shapes(logits, labels, text):
    with pytest.raises(ShapeError, match=text):
        nn.SoftmaxLoss()(np.zeros(logits), np.zeros(labels, int))


@pytest.mark.parametrize("label", [-1, 4, 255])
def test_labels_out_of_range(label):
    with pytest.raises(IndexRangeError, match=f"labels from 0 to 3, got {label}"):
        nn.SoftmaxLoss()(LOGITS, np.array([0, 1, label, 0, 0]))


def test_labels_with_a_fraction():
    with pytest.raises(ArgumentError, match=r"integers as labels, got 0\.5"):
        nn.SoftmaxLoss()(LOGITS, np.array([0, 1, 0.5, 0, 0]))


@pytest.mark.parametrize(("prediction", "target", "text"), [
    ((5, 1), (5,), r"expected a target of shape \(5, 1\), got \(5,\); pass y\[:, None\]"),
    ((5,), (5, 1), r"got \(5, 1\); pass y\[:, 0\]"),
    ((5, 2), (5,), r"got \(5,\)$"),
    ((5, 2), (1, 2), r"got \(1, 2\)$"),
    ((0, 2), (0, 2), r"at least one element, got \(0, 2\)"),
])  # fmt: skip
def test_mse_loss_never_broadcasts(prediction, target, text):
    with pytest.raises(ShapeError, match=text):
        nn.MSELoss()(np.zeros(prediction), np.zeros(target))


def test_mse_loss_keeps_the_dtype_of_the_prediction():
    prediction = ndl.Tensor([1.0, 2.0], dtype="float32")
    loss = nn.MSELoss()(prediction, np.array([2, 4]))
    assert loss.item() == 2.5
    assert loss.dtype == np.float32
    assert nn.MSELoss()(prediction, np.array([2.0, 4.0])).dtype == np.float32


def test_penalties():
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm1d(2))
    flat = np.concatenate([p.numpy().ravel() for p in model.parameters()])
    assert_close(nn.l1_penalty(model.parameters()), np.abs(flat).sum())
    assert_close(nn.l2_penalty(iter(model.parameters())), (flat**2).sum())
    nn.l1_penalty(model.parameters()).backward()
    assert_close(model[0].weight.grad, np.sign(model[0].weight.numpy()))
    with pytest.raises(ArgumentError, match="l2_penalty: expected at least one parameter"):
        nn.l2_penalty([])
