import numpy as np
import pytest

from needle.compiler.check import check as checks
from needle.compiler.check.check import check, compare
from needle.compiler.graph.graph import Build, input_node
from needle.compiler.plan.plan import compile_graph
from needle.compiler.run.run import load
from needle.compiler.simplify.simplify import simplify
from needle.errors import CheckError
from tests.compiler import graphs
from tests.compiler.compiled import state_inputs


def prepared(graph, replace=None):
    """A program, the nodes of its steps, and arrays; `replace` changes the IR text."""
    graph = simplify(graph)
    records = []
    program = compile_graph(graph, tied=state_inputs(graph), records=records)
    if replace:
        import dataclasses

        old, new = replace
        assert old in program.llvm_ir
        kernels = tuple(
            dataclasses.replace(k, text=k.text.replace(old, new)) for k in program.kernels
        )
        program = dataclasses.replace(program, kernels=kernels)
    return load(program), records, graphs.sample(graph)


@pytest.mark.parametrize(
    "graph",
    [graphs.layer_norm(), graphs.batch_norm(), graphs.softmax_loss(), graphs.mlp_step(),
     graphs.policy_step(), graphs.mlp_resnet_step(n=20, dim=30, hidden=16)],
    ids=["layer_norm", "batch_norm", "softmax", "mlp", "policy", "resnet"],
)  # fmt: skip
def test_right_programs_pass(graph):
    bound, records, arrays = prepared(graph)
    before = [array.copy() for array in arrays]
    check(bound, records, arrays)
    for old, new in zip(before, arrays, strict=True):
        np.testing.assert_array_equal(old, new)


def test_the_steps_one_by_one_give_the_outputs():
    bound, records, arrays = prepared(graphs.mlp_step())
    expected = check(bound, records, arrays)
    for one, other in zip(bound.call(arrays), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_numbers_are_there_in_the_first_step():
    b = Build()
    x, rate = input_node(0, "x", (8,), "float64"), input_node(1, "rate", (), "float64")
    graph = graphs.Graph((x, rate), (b.binary("mul", x, b.broadcast(rate, (8,))),))
    records = []
    bound = load(compile_graph(graph, numbers=(1,), records=records))
    (found,) = check(bound, records, [np.ones(8, "float64")], (0.5,))
    np.testing.assert_array_equal(found, np.full(8, 0.5, "float64"))


def test_a_wrong_kernel_is_found():
    bound, records, arrays = prepared(graphs.layer_norm(), ("fsub", "fadd"))
    with pytest.raises(CheckError, match=r"kernel 0 .*compiled .*, interpreter .*fused wrongly"):
        check(bound, records, arrays)


def test_the_node_that_is_wrong_alone_is_named(monkeypatch):
    b = Build()
    x = input_node(0, "x", (8,), "float32")
    graph = graphs.Graph((x,), (b.unary("exp", b.binary("mul", x, x)),))
    bound, records, arrays = prepared_plain(graph)
    real = checks.evaluate

    def wrong(nodes, given, **options):
        values = real(nodes, given, **options)
        for node, value in values.items():
            if node.primitive.name == "exp":
                values[node] = value + 1
        return values

    monkeypatch.setattr(checks, "evaluate", wrong)
    with pytest.raises(CheckError, match=r"its node exp .* differs alone"):
        check(bound, records, arrays)


def prepared_plain(graph):
    records = []
    program = compile_graph(graph, records=records)
    return load(program), records, graphs.sample(graph)


def test_rounding_is_allowed_and_more_is_not():
    b = Build()
    x = input_node(0, "x", (4,), "float32")
    node = b.unary("exp", x)
    value = np.float32([0, 1, 2, 3])
    exact = np.exp(value.astype("float64"))
    assert compare(exact.astype("float32"), node, {x: value}) == ""
    assert compare((exact * (1 + 1e-6)).astype("float32"), node, {x: value}) == ""
    assert "at (3,)" in compare(np.append(exact[:3], exact[3] * 1.001), node, {x: value})
    assert "at (0,)" in compare(np.append(np.nan, exact[1:]), node, {x: value})


def test_integers_are_exact():
    b = Build()
    x = input_node(0, "x", (4,), "int64")
    node = b.binary("add", x, x)
    assert compare(np.array([0, 2, 4, 6]), node, {x: np.arange(4)}) == ""
    assert "1 of 4" in compare(np.array([0, 2, 4, 7]), node, {x: np.arange(4)})
