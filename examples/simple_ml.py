"""The functions of the course's `apps/simple_ml.py`, on needle's own data sets and layers.

    train, test = ndl.data.cifar10()
    model = ResNet9()
    train_cifar10(model, ndl.data.DataLoader(train, 128, shuffle=True), n_epochs=10)
    print(evaluate_cifar10(model, ndl.data.DataLoader(test, 128)))

Each seeds NumPy with 4 as its first act, as the course's do, and runs op by op: `ndl.fit` trains
the same models compiled.
"""

import numpy as np

import needle as ndl
from needle import nn

__all__ = [
    "epoch_general_cifar10", "epoch_general_ptb", "evaluate_cifar10", "evaluate_ptb", "loss_err",
    "nn_epoch", "parse_mnist", "softmax_loss", "train_cifar10", "train_ptb",
]  # fmt: skip


def parse_mnist(image_filename, label_filename):
    """Return images (n, 784), float32 in [0, 1], and labels (n,), uint8, of MNIST's .gz files."""
    dataset = ndl.data.MNISTDataset(image_filename, label_filename)
    return dataset.X.reshape(len(dataset), -1), dataset.y


def softmax_loss(Z, y_one_hot):
    """Return the mean over rows of logsumexp(Z) - Z[label], labels as one-hot rows; a scalar."""
    return (ndl.logsumexp(Z, (1,)) - (Z * y_one_hot).sum((1,))).sum() / Z.shape[0]


def nn_epoch(X, y, W1, W2, lr=0.1, batch=100):
    """Train ReLU(X W1) W2 by plain SGD, once over the rows in order; return the new (W1, W2)."""
    for start in range(0, len(y), batch):
        rows = slice(start, start + batch)
        logits = ndl.relu(ndl.Tensor(X[rows]) @ W1) @ W2
        softmax_loss(logits, one_hot(y[rows], W2.shape[1], W2.dtype)).backward()
        W1, W2 = (ndl.Tensor(W.numpy() - lr * W.grad.numpy(), dtype=W.dtype) for W in (W1, W2))
    return W1, W2


def loss_err(h, y):
    """Return the mean softmax loss of logits `h` and the share of wrong predictions."""
    loss = softmax_loss(h, one_hot(y, h.shape[-1], h.dtype))
    return loss.numpy(), np.mean(h.numpy().argmax(axis=1) != y)


def one_hot(y, classes, dtype):
    """Return labels (n,) as constant rows (n, classes)."""
    return ndl.Tensor(np.eye(classes, dtype=dtype)[y], requires_grad=False)


# ---- images


def epoch_general_cifar10(dataloader, model, loss_fn=None, opt=None):
    """Run the model once over a loader, training it where an optimizer is given.

    Return (accuracy, mean loss), both over samples. Switches the model to training or evaluation.
    """
    np.random.seed(4)
    model.train() if opt is not None else model.eval()
    loss_fn, mean = made(loss_fn), Mean()
    for x, y in dataloader:
        logits = model(x)
        loss = loss_fn(logits, y)
        if opt is not None:
            opt.reset_grad()
            loss.backward()
            opt.step()
        mean.add(logits, y, loss)
    return mean.result()


def train_cifar10(
    model, dataloader, n_epochs=1, optimizer=ndl.optim.Adam, lr=0.001, weight_decay=0.001,
    loss_fn=nn.SoftmaxLoss,
):  # fmt: skip
    """Train for some epochs; return (accuracy, mean loss) of the last one."""
    np.random.seed(4)
    opt = optimizer(model.parameters(), lr=lr, weight_decay=weight_decay)
    for _ in range(n_epochs):
        result = epoch_general_cifar10(dataloader, model, loss_fn, opt)
    return result


def evaluate_cifar10(model, dataloader, loss_fn=nn.SoftmaxLoss):
    """Return (accuracy, mean loss) in evaluation mode."""
    np.random.seed(4)
    return epoch_general_cifar10(dataloader, model, loss_fn)


# ---- text


def epoch_general_ptb(
    data, model, seq_len=40, loss_fn=None, opt=None, clip=None, device=None, dtype="float32"
):
    """Run the model once over batchified text, training it where an optimizer is given.

    The hidden state is carried from chunk to chunk, without its history; `clip` bounds the norm of
    the gradient. Return (accuracy, mean loss), both over words.
    """
    np.random.seed(4)
    model.train() if opt is not None else model.eval()
    loss_fn, mean, h = made(loss_fn), Mean(), None
    for i in range(0, len(data) - 1, seq_len):
        x, y = ndl.data.get_batch(data, i, seq_len, device=device, dtype=dtype)
        logits, h = model(x, h)
        h = tuple(part.detach() for part in h) if isinstance(h, tuple) else h.detach()
        loss = loss_fn(logits, y)
        if opt is not None:
            opt.reset_grad()
            loss.backward()
            if clip is not None:
                ndl.optim.clip_grad_norm(opt.params, clip)
            opt.step()
        mean.add(logits, y, loss)
    return mean.result()


def train_ptb(
    model, data, seq_len=40, n_epochs=1, optimizer=ndl.optim.SGD, lr=4.0, weight_decay=0.0,
    loss_fn=nn.SoftmaxLoss, clip=None, device=None, dtype="float32",
):  # fmt: skip
    """Train for some epochs; return (accuracy, mean loss) of the last one."""
    np.random.seed(4)
    opt = optimizer(model.parameters(), lr=lr, weight_decay=weight_decay)
    for _ in range(n_epochs):
        result = epoch_general_ptb(data, model, seq_len, loss_fn, opt, clip, device, dtype)
    return result


def evaluate_ptb(model, data, seq_len=40, loss_fn=nn.SoftmaxLoss, device=None, dtype="float32"):
    """Return (accuracy, mean loss) in evaluation mode."""
    np.random.seed(4)
    return epoch_general_ptb(data, model, seq_len, loss_fn, device=device, dtype=dtype)


# ---- shared


def made(loss_fn):
    """Return a loss given as a class or an instance; by default the softmax loss."""
    loss_fn = nn.SoftmaxLoss if loss_fn is None else loss_fn
    return loss_fn() if isinstance(loss_fn, type) else loss_fn


class Mean:
    """Accuracy and loss over samples, batches weighted by their length."""

    def __init__(self):
        self.right, self.loss, self.count = 0, 0.0, 0

    def add(self, logits, y, loss):
        """Take note of one batch."""
        self.right += int((logits.numpy().argmax(axis=1) == y.numpy()).sum())
        self.loss += loss.item() * len(y)
        self.count += len(y)

    def result(self):
        """Return (accuracy, mean loss)."""
        return self.right / self.count, self.loss / self.count
