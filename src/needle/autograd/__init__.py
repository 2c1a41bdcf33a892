"""The graph of values: Op, Value, Tensor, TensorTuple; topological sort; reverse mode.

`LAZY_MODE = True` defers `compute` until `realize_cached_data()`; `TENSOR_COUNTER` is the number of
Values alive. Both are read and written here, as attributes of this module.
"""

LAZY_MODE = False
TENSOR_COUNTER = 0

from needle.autograd.gradient import (  # noqa: E402  the two settings must exist first
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
)

__all__ = [
    "LAZY_MODE", "TENSOR_COUNTER", "Op", "Tensor", "TensorOp", "TensorTuple", "TensorTupleOp",
    "Value", "compute_gradient_of_variables", "find_topo_sort", "mode", "no_grad",
    "sum_node_list", "topo_sort_dfs",
]  # fmt: skip
