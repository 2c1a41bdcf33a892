"""Accuracy and confusion matrix."""

import numpy as np
import pytest

import needle as ndl
from needle.errors import DtypeError, IndexRangeError, ShapeError
from needle.training import accuracy, confusion_matrix


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.float32])
def test_accuracy_counts_rows_whose_largest_logit_is_the_labels(kind):
    logits = np.array([[1.0, 2.0, 0.0], [5.0, 1.0, 1.0], [0.0, 0.0, 1.0], [3.0, 4.0, 5.0]])
    assert accuracy(logits, np.array([1, 0, 2, 0], kind)) == 0.75
    assert accuracy(ndl.Tensor(logits), ndl.Tensor(np.array([0, 1, 0, 2], kind))) == 0.25


@pytest.mark.parametrize(
    ("logits", "labels"), [((3,), (3,)), ((3, 2), (2,)), ((3, 2), (3, 1)), ((0, 2), (0,))]
)
def test_accuracy_names_shapes_that_do_not_fit(logits, labels):
    with pytest.raises(ShapeError, match=r"accuracy: expected logits \(N, k\) and labels \(N,\)"):
        accuracy(np.zeros(logits), np.zeros(labels, int))


def test_confusion_rows_are_true_labels():
    labels = np.array([0, 0, 0, 1, 2], np.uint8)
    predicted = np.array([0, 2, 2, 1, 0])
    expected = [[1, 0, 2], [0, 1, 0], [1, 0, 0]]
    assert confusion_matrix(labels, predicted).tolist() == expected


def test_confusion_has_rows_for_classes_not_seen():
    assert confusion_matrix([1], [0], classes=3).tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert confusion_matrix(np.zeros(0, int), np.zeros(0, int), classes=2).sum() == 0


def test_confusion_of_many_small_labels_does_not_overflow():
    labels = np.full(300, 200, np.uint8)
    assert confusion_matrix(labels, labels, classes=256)[200, 200] == 300


def test_confusion_refuses_what_does_not_fit():
    with pytest.raises(ShapeError, match=r"equal lengths, got \(2,\) and \(3,\)"):
        confusion_matrix([0, 1], [0, 1, 1])
    with pytest.raises(DtypeError, match="expected integer labels, got int64 and float64"):
        confusion_matrix([0, 1], [0.0, 1.0])
    with pytest.raises(IndexRangeError, match=r"label 3 is outside 0\.\.1"):
        confusion_matrix([0, 3], [0, 1], classes=2)
    with pytest.raises(IndexRangeError, match=r"label -1 is outside"):
        confusion_matrix([0, 1], [0, -1])
