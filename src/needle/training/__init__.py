"""Training: the loop, its history, metrics, early stopping, checkpoints, files, summaries."""

from needle.training.callbacks import Callback, Run
from needle.training.checkpoint import Checkpoint
from needle.training.early_stopping import EarlyStopping
from needle.training.evaluation import evaluate, predict
from needle.training.fit import fit
from needle.training.from_pytorch import load_pytorch
from needle.training.generate import generate
from needle.training.history import History
from needle.training.metrics import accuracy, confusion_matrix
from needle.training.model_file import load, save
from needle.training.progress import Progress
from needle.training.summary import Summary, summary
from needle.training.torch_file import read_weights

__all__ = [
    "Callback", "Checkpoint", "EarlyStopping", "History", "Progress", "Run", "Summary",
    "accuracy", "confusion_matrix", "evaluate", "fit", "generate", "load", "load_pytorch",
    "predict", "read_weights", "save", "summary",
]  # fmt: skip
