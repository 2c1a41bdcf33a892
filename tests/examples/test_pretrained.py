"""The published ResNet-20 keeps its accuracy in needle."""

import os
from pathlib import Path

import pytest

from tests.examples.test_examples import load

FOLDER = Path(os.environ.get("NEEDLE_DATA", "-"))
WEIGHTS = FOLDER / "pretrained" / "resnet20-12fca82f.th"


@pytest.mark.skipif(
    not (WEIGHTS.is_file() and (FOLDER / "cifar-10-batches-py").is_dir()),
    reason="NEEDLE_DATA names no folder of CIFAR-10 and pretrained weights",
)
def test_resnet20_from_pytorch_is_as_accurate_as_published():
    accuracy = load("pretrained").main(WEIGHTS)
    assert accuracy == pytest.approx(0.917, abs=0.003)
