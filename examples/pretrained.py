"""A network that PyTorch trained, run by needle: ResNet-20's published weights on CIFAR-10.

    python examples/pretrained.py resnet20-12fca82f.th [FOLDER]

The file is that of github.com/akamaster/pytorch_resnet_cifar10, which gives it 91.73% of the
10,000 test images. It is read without PyTorch, and nothing in it is executed. FOLDER holds
CIFAR-10's python batches; without it they are looked for in $NEEDLE_DATA, then downloaded.
"""

import sys

import numpy as np

import needle as ndl

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # those of the training


def main(weights, folder=None, count=10_000, batch=250):
    """Return the accuracy on the first `count` test images."""
    model = ndl.models.resnet20()
    ndl.load_pytorch(weights, model)
    model.eval()
    run = ndl.jit(ndl.no_grad()(lambda images: model(images)))
    _, test = ndl.data.cifar10(folder)
    test.batch_transforms = [ndl.data.Normalize(MEAN, STD)]
    right = 0
    for start in range(0, count, batch):
        images, labels = test[start : min(start + batch, count)]
        logits = run(ndl.Tensor(images, requires_grad=False)).numpy()
        right += int(np.sum(logits.argmax(axis=1) == labels))
    return right / count


if __name__ == "__main__":
    print(f"test accuracy {main(*sys.argv[1:]):.4f}")
