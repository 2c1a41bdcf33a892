"""The ops that NumPy has too, or that are a line of NumPy: for special values and for dtypes."""

import math

import numpy as np

_erf = np.vectorize(math.erf, otypes=[float])


def _over(function):
    def reduce(a, axes=None, keepdims=False, **kwargs):
        return function(a, axis=axes, keepdims=keepdims, **kwargs)

    return reduce


def _gelu(a, approximate="none"):
    if approximate == "none":
        return a * (_erf(a / math.sqrt(2)) + 1) / 2
    return 0.5 * a * (1 + np.tanh(math.sqrt(2 / math.pi) * (a + 0.044715 * a**3)))


def _softmax(a, axis=-1):
    z = np.exp(a - np.max(a, axis=axis, keepdims=True))
    return z / z.sum(axis=axis, keepdims=True)


def _logsoftmax(a, axis):
    shifted = a - np.max(a, axis=axis, keepdims=True)  # NaN for rows with inf, as in PyTorch
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def _scatter_add(values, shape, index):
    result = np.zeros(shape)
    np.add.at(result, index, values)
    return result


def _normalize(a, axes, eps=1e-5):
    centred = a - a.mean(axis=axes, keepdims=True)
    return centred / np.sqrt(np.var(a, axis=axes, keepdims=True) + eps)


ARITHMETIC = {
    "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide,
    "power": np.power, "maximum": np.maximum, "minimum": np.minimum, "less": np.less,
    "less_equal": np.less_equal, "greater": np.greater, "greater_equal": np.greater_equal,
    "equal": np.equal, "not_equal": np.not_equal,
}  # fmt: skip
SINGLE = {
    "negate": np.negative, "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "abs": np.abs,
    "relu": lambda a: np.maximum(a, 0), "sign": np.sign, "tanh": np.tanh,
}  # fmt: skip
REDUCTIONS = {
    "summation": _over(np.sum), "mean": _over(np.mean), "var": _over(np.var), "max": _over(np.max),
    "min": _over(np.min),
}  # fmt: skip
FUNCTIONS = {
    **ARITHMETIC, **SINGLE, **REDUCTIONS,
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)), "erf": _erf, "gelu": _gelu,
    "clip": lambda a, min=None, max=None: np.clip(a, min, max),
    "add_scalar": lambda a, scalar: a + scalar, "mul_scalar": lambda a, scalar: a * scalar,
    "divide_scalar": lambda a, scalar: a / scalar, "power_scalar": lambda a, scalar: a**scalar,
    "where": np.where,
    "logsumexp": lambda a, axes: np.logaddexp(a[:, 0], a[:, 1]),
    "softmax": _softmax, "logsoftmax": _logsoftmax,
    "normalize": _normalize, "matmul": np.matmul,
    "reshape": lambda a, shape: np.reshape(a, shape), "broadcast_to": np.broadcast_to,
    "transpose": lambda a: np.swapaxes(a, -1, -2), "permute": lambda a, axes: np.transpose(a, axes),
    "squeeze": lambda a, axes: np.squeeze(a, axes),
    "unsqueeze": lambda a, axes: np.expand_dims(a, axes), "cast": lambda a, dtype: a.astype(dtype),
    "concat": lambda *parts, axis: np.concatenate(parts, axis),
    "getitem": lambda a, index: a[index], "scatter_add": _scatter_add,
    "gather": lambda a, index, axis: np.take_along_axis(a, index, axis),
    "stack": lambda *parts, axis: np.stack(parts, axis),
    "split": lambda a, axis: tuple(np.moveaxis(a, axis, 0)),
    "embedding": lambda weight, ids: weight[ids],
    "causal_mask": lambda a: a + np.triu(np.full(a.shape, -float(np.finfo(np.float32).max)), 1),
    "conv": lambda a, b, padding: a @ b[0, 0],  # of a 1 x 1 kernel
    "pad": lambda a, widths: np.pad(a[:, 1:], [(1, 0), (0, 2)]),
    "dilate": lambda a, axes, dilation: np.stack([a, 0 * np.ones_like(a)], -1).reshape(2, -1),
    "undilate": lambda a, axes, dilation: a[:, :: dilation + 1],
    "windows": lambda a, axes, sizes: np.lib.stride_tricks.sliding_window_view(a, sizes),
    "max_pool": lambda a, size, stride: np.maximum(a[:, :, 1:], a[:, :, :-1]),
    "avg_pool": lambda a, size, stride: (a[:, :, 1:] + a[:, :, :-1]) / 2,
    "flip": lambda a, axes: np.flip(a, axes),
    "fused_add_scalars": lambda a, c0, c1: (a + c0, a + c1),
}  # fmt: skip
