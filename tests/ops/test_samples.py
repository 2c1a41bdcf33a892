"""Every op on every sample: values and gradients against PyTorch, difference quotients, dtypes."""

import inspect

import numpy as np
import pytest

import needle as ndl
from needle import ops
from needle.autograd import Op, TensorOp, TensorTuple, TensorTupleOp
from needle.errors import DtypeError
from needle.ops.arithmetic import WithNumber
from needle.ops.elementwise import Elementwise
from needle.testing import assert_close, gradcheck
from tests.ops.numpy_functions import FUNCTIONS
from tests.ops.samples import ALL, SAMPLES
from tests.reference.packed import unpack, weight_of
from tests.reference.values import file

ORDINARY = [s for s in ALL if not s.special]
REFERENCE = unpack(file("ops"))


def named(samples):
    return pytest.mark.parametrize("sample", samples, ids=lambda s: s.name)


def outputs(result):
    return list(result) if isinstance(result, TensorTuple) else [result]


def tensors(sample, dtype="float64"):
    arrays = sample.make_inputs(0)
    return [ndl.Tensor(x, dtype=dtype if x.dtype.kind == "f" else None) for x in arrays]


@named(ORDINARY)
def test_values_and_gradients_are_those_of_pytorch(sample):
    inputs = tensors(sample)
    results = outputs(sample.apply(inputs))
    for i, y in enumerate(results):
        expected = REFERENCE[f"{sample.name}/out{i}"]
        assert_close(y.numpy().astype(float), expected, name=f"output {i}")
        assert y.requires_grad == sample.differentiable
    if not sample.differentiable:
        assert f"{sample.name}/grad0" not in REFERENCE
        return
    loss = sum((y * weight_of(y.shape)).sum() for y in results)
    loss.backward()
    floats = [x for x in inputs if x.dtype.kind == "f"]
    for i, x in enumerate(floats):
        assert_close(x.grad, REFERENCE[f"{sample.name}/grad{i}"], name=f"gradient {i}")
        assert x.grad.dtype == np.float64


def test_no_reference_is_left_over():
    used = {s.name for s in ORDINARY}
    assert {name.rsplit("/", 1)[0] for name in REFERENCE} == used


@named([s for s in ORDINARY if s.differentiable and not s.large])
def test_gradients_are_those_of_difference_quotients(sample):
    gradcheck(lambda *x: sample.apply(x), *sample.make_inputs(1), order=2 if sample.smooth else 1)


@named([s for s in ORDINARY if s.differentiable and not s.smooth])
def test_second_gradients_of_ops_with_kinks_can_be_asked_for(sample):
    x = tensors(sample)[0]
    (sample.apply([x, *tensors(sample)[1:]]) * 2.0).sum().backward()
    first = x.grad
    (first * x).sum().backward()
    assert_close(x.grad, first)  # the first gradient is constant around x


@named([s for s in ALL if s.special])
def test_zeros_infinities_and_nan_pass_as_in_numpy(sample):
    arrays = sample.make_inputs(0)
    with np.errstate(all="ignore"):
        expected = FUNCTIONS[sample.name.split("/")[0]](*arrays, **sample.kwargs)
        results = outputs(sample.apply([ndl.Tensor(x) for x in arrays]))
    expected = expected if isinstance(expected, tuple) else (expected,)
    for y, e in zip(results, expected, strict=True):
        assert_close(y, e)


@named(ORDINARY)
def test_float32_stays_float32(sample):
    rounded = [x.data for x in tensors(sample, "float32")]
    exact = outputs(
        sample.apply([x.astype("float64") if x.dtype.kind == "f" else x for x in rounded])
    )
    inputs = [ndl.Tensor(x, requires_grad=x.dtype.kind == "f") for x in rounded]
    for y, e in zip(outputs(sample.apply(inputs)), exact, strict=True):
        if "dtype" not in sample.kwargs and e.dtype.kind == "f":
            assert y.dtype == np.float32
        assert_close(y, e)
        if y.requires_grad:
            y.backward()
    if sample.differentiable and "dtype" not in sample.kwargs:
        assert all(
            x.grad.dtype == np.float32 for x in inputs if x.requires_grad and x.grad is not None
        )


@named(ORDINARY)
def test_numpy_arrays_are_taken_for_constants(sample):
    arrays = sample.make_inputs(0)
    result = outputs(sample.apply(arrays))
    for y, e in zip(result, outputs(sample.apply([ndl.Tensor(x) for x in arrays])), strict=True):
        assert not y.requires_grad and y.op is None
        np.testing.assert_array_equal(y.numpy(), e.numpy())


@named(ORDINARY)
def test_inputs_are_not_written_to(sample):
    inputs = tensors(sample)
    before = [x.numpy().copy() for x in inputs]
    for y in outputs(sample.apply(inputs)):
        if y.requires_grad:
            y.backward()
    for x, b in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(x.numpy(), b)


@pytest.mark.parametrize("op", sorted(SAMPLES))
def test_a_list_is_an_error_that_says_tensor(op):
    sample = SAMPLES[op][0]
    lists = [x.tolist() if x.ndim else [x.item()] for x in sample.make_inputs(0)]
    with pytest.raises(DtypeError, match=r"Tensor\(\[\.\.\.\]\)"):
        sample.apply(lists)


@named(ORDINARY)
def test_no_grad_and_constants_keep_no_graph(sample):
    with ndl.no_grad():
        results = outputs(sample.apply(tensors(sample)))
    constants = [ndl.Tensor(x, requires_grad=False) for x in sample.make_inputs(0)]
    for y in results + outputs(sample.apply(constants)):
        assert y.op is None and not y.requires_grad and not y.inputs


def public_classes():
    """All op classes that compute something, wherever in needle.ops they are."""
    found, stack = {}, [Op]
    while stack:
        cls = stack.pop()
        stack += cls.__subclasses__()
        base = cls.compute is Op.compute or cls in (Elementwise, WithNumber)
        if cls.__module__.startswith("needle.ops") and not base:
            found[cls.__name__] = cls
    return found


def test_every_op_class_has_samples():
    made = set()
    for sample in ALL:
        stack = [] if sample.special else [sample.apply(tensors(sample))]
        while stack:
            value = stack.pop()
            made.add(type(value.op).__name__)
            stack += value.inputs
    missing = {
        name
        for name, cls in public_classes().items()
        if name not in made and not (cls.name in SAMPLES and not cls.differentiable)
    }
    assert not missing, f"op classes without samples in tests/ops/samples.py: {sorted(missing)}"


def test_every_op_function_has_samples():
    functions = {name for name, f in vars(ops).items() if inspect.isfunction(f)}
    assert functions - set(SAMPLES) == set()
    assert len(public_classes()) > 40


def test_every_op_is_exported_with_its_class():
    classes = {
        name for name, cls in public_classes().items() if issubclass(cls, TensorOp | TensorTupleOp)
    }
    assert classes - set(ops.__all__) == {  # gradients only
        "ConvInput", "ConvWeight", "NormalizeGradient", "SetItem",
    }  # fmt: skip


def test_star_import_leaves_pythons_names_alone():
    assert not {"max", "min", "abs", "sum", "pow", "round"} & set(ops.__all__)
    assert ops.max and ops.min and ops.abs
