"""Names under the paths of the course's modules: what its code imports is there."""

import importlib

import numpy as np
import pytest

import needle as ndl

PATHS = {
    "autograd": "NDArray Device cpu all_devices Op TensorOp TensorTupleOp Value Tensor TensorTuple "
    "LAZY_MODE TENSOR_COUNTER find_topo_sort topo_sort_dfs sum_node_list "
    "compute_gradient_of_variables",
    "backend_numpy": "Device CPUDevice NDArray cpu cpu_numpy all_devices default_device",
    "backend_selection": "array_api BACKEND Device NDArray cpu cuda cpu_numpy all_devices "
    "default_device",
    "nn.nn_basic": "Parameter Module Identity Linear Flatten ReLU Sigmoid Tanh Sequential "
    "SoftmaxLoss BatchNorm1d BatchNorm2d LayerNorm1d Dropout Residual",
    "nn.nn_conv": "Conv Module Parameter",
    "nn.nn_sequence": "Sigmoid RNNCell RNN LSTMCell LSTM Embedding",
    "nn.nn_transformer": "MultiHeadAttention AttentionLayer TransformerLayer Transformer",
    "init.init_basic": "rand randn constant ones zeros randb one_hot zeros_like ones_like",
    "init.init_initializers": "xavier_uniform xavier_normal kaiming_uniform kaiming_normal",
    "data.data_basic": "Dataset DataLoader",
    "data.data_transforms": "Transform RandomFlipHorizontal RandomCrop",
    "data.datasets.mnist_dataset": "MNISTDataset",
    "data.datasets.ndarray_dataset": "NDArrayDataset",
    "data.datasets.cifar10_dataset": "CIFAR10Dataset",
    "data.datasets.ptb_dataset": "Corpus Dictionary batchify get_batch",
    "ops.ops_mathematic": "EWiseAdd add MatMul matmul Summation summation ReLU relu Tensor "
    "Stack stack Split split Flip flip",
    "ops.ops_logarithmic": "LogSoftmax logsoftmax LogSumExp logsumexp",
    "ops.ops_tuple": "MakeTensorTuple make_tuple TupleGetItem tuple_get_item FusedAddScalars "
    "fused_add_scalars",
}


@pytest.mark.parametrize(
    ("path", "name"), [(path, name) for path, names in PATHS.items() for name in names.split()]
)
def test_the_name_is_at_the_path(path, name):
    module = importlib.import_module(f"needle.{path}")
    assert getattr(module, name) is not None


def test_an_op_written_with_the_courses_array_api():
    from needle.backend_selection import BACKEND, array_api

    class Cos(ndl.autograd.TensorOp):
        def compute(self, a):
            return array_api.cos(a)

        def gradient(self, out_grad, node):
            return out_grad * -1 * ndl.Tensor(array_api.sin(node.inputs[0].cached_data))

    x = ndl.Tensor([0.5])
    y = Cos()(x)
    y.backward()
    assert BACKEND == "np" and y.numpy()[0] == np.cos(0.5) and x.grad.numpy()[0] == -np.sin(0.5)
