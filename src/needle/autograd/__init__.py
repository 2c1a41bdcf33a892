"""The graph of values: Op, Value, Tensor, TensorTuple; topological sort; reverse mode.

`LAZY_MODE = True` defers `compute` until `realize_cached_data()`; `TENSOR_COUNTER` is the number of
Values alive. Both are attributes of this module; the second is counted as it is read.
"""

from typing import Any

from needle.autograd.gradient import (
    compute_gradient_of_variables, find_topo_sort, sum_node_list, topo_sort_dfs,
)  # fmt: skip
from needle.autograd.mode import mode, no_grad
from needle.autograd.tensor import Tensor, TensorOp
from needle.autograd.value import Op, TensorTuple, TensorTupleOp, Value, count_values
from needle.backend.device import Device, NDArray, all_devices, cpu
from needle.names import unknown

LAZY_MODE = False
TENSOR_COUNTER: int

__all__ = [
    "LAZY_MODE", "TENSOR_COUNTER", "Device", "NDArray", "Op", "Tensor", "TensorOp", "TensorTuple",
    "TensorTupleOp", "Value", "all_devices", "compute_gradient_of_variables", "cpu",
    "find_topo_sort", "mode", "no_grad", "sum_node_list", "topo_sort_dfs",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "TENSOR_COUNTER":
        return count_values()
    raise unknown("needle.autograd", name)
