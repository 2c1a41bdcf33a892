"""Every op on every sample, compiled, forward and backward: as right as eager, by one measure.

With f64 the eager run in float64 on the same inputs: max|compiled - f64| is at most
max(4 max|eager - f64|, 16 eps A), A the largest value that the same op gives for absolute inputs
where it sums, else max|f64|.
"""

import numpy as np
import pytest

import needle as ndl
from needle.autograd import TensorTuple
from tests.ops.samples import SAMPLES
from tests.reference.packed import weight_of

SUMS = {
    "summation", "mean", "var", "matmul", "logsumexp", "normalize", "normalize_gradient", "conv",
    "conv_weight", "fold", "avg_pool", "adaptive_avg_pool",
}  # fmt: skip


def run(samples, arrays, compiled):
    """Return outputs and gradients of all samples; compiled as one program, as users' steps are."""

    def step(tensors):
        results = []
        for sample, inputs in zip(samples, tensors, strict=True):
            y = sample.apply(inputs)
            ys = list(y) if isinstance(y, TensorTuple) else [y]
            results += ys
            if sample.differentiable:
                loss = sum((one * weight_of(one.shape).astype(one.dtype)).sum() for one in ys)
                loss.backward()
                results += [x.grad.detach() for x in inputs if x.dtype.kind == "f"]
        return results

    tensors = [[ndl.Tensor(x) for x in inputs] for inputs in arrays]
    with np.errstate(all="ignore"):
        results = (ndl.jit(step) if compiled else step)(tensors)
    return [r.numpy() for r in results]


def inputs_of(samples, dtype, magnitudes=False):
    def convert(x):
        x = np.abs(x) if magnitudes and x.dtype.kind == "f" else x
        return x.astype("float32").astype(dtype) if x.dtype.kind == "f" else x

    return [[convert(x) for x in s.make_inputs(0)] for s in samples]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("op", sorted(SAMPLES))
def test_as_right_as_eager(op, dtype):
    samples = [s for s in SAMPLES[op] if not s.special]
    compiled = run(samples, inputs_of(samples, dtype), True)
    eager = run(samples, inputs_of(samples, dtype), False)
    exact = run(samples, inputs_of(samples, "float64"), False)
    sums = run(samples, inputs_of(samples, "float64", True), False) if op in SUMS else exact
    assert len(compiled) == len(eager) >= len(samples)
    for i, (c, e, f, a) in enumerate(zip(compiled, eager, exact, sums, strict=True)):
        assert c.dtype == e.dtype and c.shape == e.shape, f"{op}: result {i}"
        if c.size == 0 or c.dtype.kind != "f":
            np.testing.assert_array_equal(c, e, err_msg=f"{op}: result {i}")
            continue
        size = max(np.abs(f).max(), np.abs(a).max())
        bound = max(4 * np.abs(e - f).max(), 16 * np.finfo(dtype).eps * size)
        assert np.abs(c - f).max() <= bound, f"{op}: result {i} of {len(compiled)}"


@pytest.mark.parametrize("op", sorted(op for op in SAMPLES if any(s.special for s in SAMPLES[op])))
def test_special_values_come_out_as_in_eager(op):
    samples = [s for s in SAMPLES[op] if s.special]
    arrays = inputs_of(samples, "float32")
    with np.errstate(all="ignore"):
        eager = [
            s.apply([ndl.Tensor(x) for x in xs]) for s, xs in zip(samples, arrays, strict=True)
        ]
        compiled = ndl.jit(
            lambda tensors: [s.apply(xs) for s, xs in zip(samples, tensors, strict=True)]
        )([[ndl.Tensor(x) for x in xs] for xs in arrays])
    for c, e in zip(compiled, eager, strict=True):
        pairs = zip(
            *(list(r) if isinstance(r, TensorTuple | tuple) else [r] for r in (c, e)), strict=True
        )
        for mine, other in pairs:
            np.testing.assert_allclose(mine.numpy(), other.numpy(), rtol=1e-5, err_msg=op)


@pytest.mark.parametrize(
    ("shape", "axes"), [((1_000_000,), None), ((5, 400_000), 1), ((300_000, 12), 0)]
)
def test_long_sums_are_made_in_blocks(shape, axes):
    x = np.full(shape, 0.1, "float32")  # equal terms: all round the same way
    total = ndl.jit(lambda t: t.sum(axes))(ndl.Tensor(x)).numpy()
    exact = x.astype("float64").sum(axis=axes)
    assert np.abs(total - exact).max() <= 16 * np.finfo("float32").eps * exact.max()
