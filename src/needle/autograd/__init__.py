"""The graph of values: Op, Value, Tensor, TensorTuple; topological sort; reverse mode.

`LAZY_MODE = True` defers `compute` until `realize_cached_data()`; `TENSOR_COUNTER` is the number of
Values alive. Both are attributes of this module; the second is counted as it is read.
"""

from typing import Any

LAZY_MODE = False
TENSOR_COUNTER: int

from needle.autograd.gradient import (  # noqa: E402  the setting must exist first
    compute_gradient_of_variables,
    find_topo_sort,
    sum_node_list,
    topo_sort_dfs,
)
from needle.autograd.mode import mode, no_grad  # noqa: E402
from needle.autograd.tensor import Tensor, TensorOp  # noqa: E402
from needle.autograd.value import (  # noqa: E402
    Op,
    TensorTuple,
    TensorTupleOp,
    Value,
    count_values,
)
from needle.backend.device import Device, NDArray, all_devices, cpu  # noqa: E402
from needle.names import unknown  # noqa: E402

__all__ = [
    "LAZY_MODE", "TENSOR_COUNTER", "Device", "NDArray", "Op", "Tensor", "TensorOp", "TensorTuple",
    "TensorTupleOp", "Value", "all_devices", "compute_gradient_of_variables", "cpu",
    "find_topo_sort", "mode", "no_grad", "sum_node_list", "topo_sort_dfs",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "TENSOR_COUNTER":
        return count_values()
    raise unknown("needle.autograd", name)
