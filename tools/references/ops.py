"""Every op on every sample of tests/ops/samples.py: results and gradients."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812  its usual name

from references import vision
from references.record import Arrays
from tests.ops.samples import ALL, SAMPLES, Sample
from tests.reference.packed import pack, weight_of

SEED = 0


def arrays() -> Arrays:
    """Return all values of this file, packed: hundreds of small arrays."""
    found: Arrays = {}
    for sample in ALL:
        if not sample.special:  # those are compared with NumPy
            found |= values(sample)
    return pack(found)


def values(sample: Sample) -> Arrays:
    """Return `name/out0` ..., and `name/grad0` ... for a fixed weighting of the outputs."""
    inputs = [torch.from_numpy(np.array(x)) for x in sample.make_inputs(SEED)]
    floats = [x.requires_grad_() for x in inputs if sample.differentiable and x.is_floating_point()]
    result = FUNCTIONS[sample.name.split("/")[0]](*inputs, **sample.kwargs)
    outs = list(result) if isinstance(result, tuple | list) else [result]
    found = {f"{sample.name}/out{i}": y.detach().numpy() for i, y in enumerate(outs)}
    if floats:
        weights = [torch.tensor(weight_of(y.shape)) for y in outs]
        grads = torch.autograd.grad(outs, floats, weights, allow_unused=True)
        for i, (g, x) in enumerate(zip(grads, floats, strict=True)):
            found[f"{sample.name}/grad{i}"] = (torch.zeros_like(x) if g is None else g).numpy()
    return found


def summation(a: torch.Tensor, axes: Any = None, keepdims: bool = False) -> torch.Tensor:
    """Sum over axes; PyTorch takes an empty tuple for all axes, NumPy for none."""
    return a * 1 if axes == () else torch.sum(a, dim=over(a, axes), keepdim=keepdims)


def over(a: torch.Tensor, axes: Any) -> tuple[int, ...]:
    """Return axes as a tuple."""
    if axes is None:
        return tuple(range(a.ndim))
    return axes if isinstance(axes, tuple) else (axes,)


def reducing(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Return a reduction that takes needle's arguments, as sums of nothing for 0-d and ()."""

    def reduce(a: torch.Tensor, axes: Any = None, keepdims: bool = False) -> torch.Tensor:
        if a.ndim == 0 or axes == ():
            return function(a[..., None], dim=(-1,), keepdim=False)
        return function(a, dim=over(a, axes), keepdim=keepdims)

    return reduce


def var(a: torch.Tensor, axes: Any = None, keepdims: bool = False, correction: float = 0) -> Any:
    """Variance, by its definition."""
    if a.ndim == 0 or axes == ():
        return (a - a) ** 2
    dims = over(a, axes)
    centred = a - a.mean(dim=dims, keepdim=True)
    n = np.prod([a.shape[i] for i in dims])
    return (centred**2).sum(dim=dims, keepdim=keepdims) / (n - correction)


def normalize(a: torch.Tensor, axes: Any, eps: float = 1e-5) -> torch.Tensor:
    """Standardise over axes."""
    dims = over(a, axes)
    return (a - a.mean(dim=dims, keepdim=True)) / torch.sqrt(var(a, dims, True) + eps)


def normalize_gradient(a: torch.Tensor, g: torch.Tensor, axes: Any, eps: float) -> torch.Tensor:
    """The gradient of normalize, as PyTorch finds it."""
    (grad,) = torch.autograd.grad(normalize(a, axes, eps), a, g, create_graph=True)
    return grad


def broadcast_to(a: torch.Tensor, shape: Any) -> torch.Tensor:
    """Broadcast; torch wants -1 only for existing axes, which is needle's rule too."""
    return torch.broadcast_to(a, tuple(shape))


def reshape(a: torch.Tensor, shape: Any) -> torch.Tensor:
    """Reshape, to an int too."""
    return a.reshape(shape if isinstance(shape, tuple | list) else (shape,))


def unsqueeze(a: torch.Tensor, axes: Any) -> torch.Tensor:
    """Insert axes, numbered as in the result."""
    for axis in sorted(over(a, axes)):
        a = a.unsqueeze(axis)
    return a


def getitem(a: torch.Tensor, index: Any) -> torch.Tensor:
    """Index; torch has no negative steps."""
    if isinstance(index, slice) and index.step == -1:
        return a.flip(0)
    return a[as_torch(index)]


def as_torch(index: Any) -> Any:
    """Return an index with tensors for arrays and lists."""
    if isinstance(index, tuple):
        return tuple(as_torch(part) for part in index)
    return torch.tensor(index) if isinstance(index, list | np.ndarray) else index


def scatter_add(values: torch.Tensor, shape: Any, index: Any) -> torch.Tensor:
    """Add values at an index: the gradient of getitem, as PyTorch finds it."""
    base = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    (placed,) = torch.autograd.grad(getitem(base, index), base, values, create_graph=True)
    return placed


def gather(a: torch.Tensor, index: torch.Tensor, axis: int) -> torch.Tensor:
    """torch.gather."""
    return torch.gather(a, axis, index)


def clip(a: torch.Tensor, min: Any = None, max: Any = None) -> torch.Tensor:
    """torch.clamp."""
    return torch.clamp(a, min, max)


def causal_attention(scores: torch.Tensor) -> torch.Tensor:
    """Softmax of the scores on and below the diagonal that ends in the last corner."""
    queries, keys = scores.shape[-2:]
    hidden = torch.ones(queries, keys, dtype=torch.bool).triu(keys - queries + 1)
    return torch.softmax(scores.masked_fill(hidden, -torch.inf), -1)


def number(scalar: Any) -> float:
    """Return a number or a 1-element array as a number."""
    return np.asarray(scalar).item()


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **vision.FUNCTIONS,
    "negate": torch.neg, "exp": torch.exp, "log": torch.log, "sqrt": torch.sqrt, "abs": torch.abs,
    "relu": torch.relu, "sign": torch.sign, "tanh": torch.tanh, "sigmoid": torch.sigmoid,
    "erf": torch.erf, "gelu": F.gelu, "clip": clip,
    "add_scalar": lambda a, scalar: a + number(scalar),
    "mul_scalar": lambda a, scalar: a * number(scalar),
    "divide_scalar": lambda a, scalar: a / number(scalar),
    "power_scalar": lambda a, scalar: a ** number(scalar),
    "add": torch.add, "subtract": torch.sub, "multiply": torch.mul, "divide": torch.div,
    "power": torch.pow, "maximum": torch.maximum, "minimum": torch.minimum,
    "less": torch.lt, "less_equal": torch.le, "greater": torch.gt, "greater_equal": torch.ge,
    "equal": torch.eq, "not_equal": torch.ne, "where": torch.where,
    "summation": summation, "mean": reducing(torch.mean), "var": var, "max": reducing(torch.amax),
    "min": reducing(torch.amin), "logsumexp": reducing(torch.logsumexp),
    "softmax": lambda a, axis=-1: torch.softmax(a, axis),
    "logsoftmax": lambda a, axis=1: torch.log_softmax(a, axis),
    "normalize": normalize, "normalize_gradient": normalize_gradient, "matmul": torch.matmul,
    "reshape": reshape, "broadcast_to": broadcast_to,
    "transpose": lambda a, axes=(-2, -1): torch.swapaxes(a, *axes),
    "permute": lambda a, axes: a.permute(axes), "squeeze": lambda a, axes: a.squeeze(axes),
    "unsqueeze": unsqueeze, "cast": lambda a, dtype: a.to(getattr(torch, dtype)),
    "concat": lambda *parts, axis: torch.cat(parts, axis), "getitem": getitem,
    "scatter_add": scatter_add, "gather": gather, "make_tuple": lambda *parts: parts,
    "tuple_get_item": lambda a, index: (a + 1.0, a + 2.0)[index],
    "stack": lambda *parts, axis: torch.stack(parts, axis),
    "split": lambda a, axis: torch.unbind(a, axis),
    "embedding": lambda weight, ids: weight[ids], "causal_mask": causal_attention,
    "split_and_stack": lambda a: torch.stack([a[:, 0], a[:, 0] * a[:, 1]]),
    "flip": lambda a, axes=None: torch.flip(a, over(a, axes)),
    "fused_add_scalars": lambda a, c0, c1: (a + c0, a + c1),
}  # fmt: skip
missing = set(SAMPLES) - set(FUNCTIONS)
assert not missing, f"ops without a reference: {sorted(missing)}"
