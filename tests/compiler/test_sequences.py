"""What becomes of recurrent nets, embeddings and attention: products, kernels, buffers."""

import functools

import numpy as np
import pytest

import needle as ndl
from needle import models, nn, optim
from needle.compiler.graph.primitives import MatMul, ScatterAdd
from needle.compiler.jit import native as jit_native
from needle.compiler.plan.plan import compile_graph
from needle.compiler.simplify.simplify import simplify

VOCABULARY, BATCH = 50, 5


def traced(step, *arguments):
    """The simplified graph of a step, and what ties its outputs to its inputs."""
    found = []
    compiled = ndl.jit(step)

    def compile(graph, tied, numbers):
        found.append((simplify(graph), tied, numbers))
        return jit_native.interpret(graph, tied, numbers)

    compiled.compile = compile
    compiled.warmup(*arguments)
    return found[0]


def training(model, optimizer, loss_of):
    def step(x, y):
        optimizer.reset_grad()
        loss = nn.SoftmaxLoss()(loss_of(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


@functools.cache
def lstm(steps, optimizer="Adam"):
    """The training step of a language model of two LSTM layers, with a state from outside."""
    np.random.seed(0)
    model = models.LanguageModel(8, VOCABULARY, 24, 2, "lstm")
    opt = getattr(optim, optimizer)(model.parameters(), lr=0.01)
    state = tuple(ndl.init.randn(2, BATCH, 24, dtype="float32") for _ in range(2))
    step = training(model, opt, lambda x: model(x, state)[0])
    ids = np.random.randint(0, VOCABULARY, (steps, BATCH))
    return traced(step, ids, ids.ravel())


@functools.cache
def gpt(layers):
    np.random.seed(0)
    model = models.gpt(VOCABULARY, context=20, layers=layers, width=48, heads=3)
    opt = optim.Adam(model.parameters(), lr=0.01)
    step = training(model, opt, lambda x: model(x).reshape((-1, VOCABULARY)))
    ids = np.random.randint(0, VOCABULARY, (6, 20))
    return traced(step, ids, ids.ravel())


def of(graph, primitive):
    return [node for node in graph.nodes() if isinstance(node.primitive, primitive)]


def program(found):
    graph, tied, numbers = found
    return compile_graph(graph, tied=tied, numbers=numbers)


@pytest.mark.parametrize("steps", [4, 10])
def test_only_the_state_passes_through_products_step_by_step(steps):
    products = of(lstm(steps)[0], MatMul)
    chained = 2 * steps + 2 * (steps - 1)  # h W_hh forward and back; h0 needs no gradient
    # x W_ih, dW_ih, dW_hh of each layer, dx of the second layer and the embedding, the last Linear
    assert len(products) == chained + 2 * 3 + 2 + 3
    rows = [n.shape[0] for n in products]
    assert rows.count(BATCH) == chained


def test_as_many_functions_for_100_steps_as_for_4():
    short, long = program(lstm(4)), program(lstm(100))
    assert len(long.kernels) == len(short.kernels)
    # a layer's step: product and gates forward, the same backward
    assert len(long.steps) - len(short.steps) == 96 * 2 * 4


def test_embedding_gradients_have_no_dense_temporaries():
    """The rows are added into the gradient itself, and the update reads it in one kernel."""
    graph, *rest = lstm(6, "SGD")
    (scattered,) = of(graph, ScatterAdd)
    assert scattered in graph.outputs
    assert not [n for n in graph.nodes() if n.size > 6 * BATCH * 24 * 4 and VOCABULARY in n.shape]
    made = program((graph, *rest))
    (step,) = [s for s in made.steps if "scatter_add" in s.ops]
    (gradient,) = [b for b in step.buffers if b.kind == "result"]
    assert [s for s in made.steps if gradient in s.buffers] == [step, made.steps[-1]]


def test_attention_moves_whole_rows():
    """Heads are split and joined by copies without a division for each element."""
    for kernel in program(gpt(2)).kernels:
        assert "sdiv <" not in kernel.text, kernel.name


def test_dropout_of_0_draws_nothing():
    assert "needle.philox" not in program(gpt(2)).llvm_ir


def test_kernels_of_a_block_of_attention():
    one, two = program(gpt(1)), program(gpt(2))
    assert len(of(gpt(2)[0], MatMul)) - len(of(gpt(1)[0], MatMul)) == 3 * 6
    assert len(two.steps) - len(one.steps) <= 33
    assert len(two.kernels) - len(one.kernels) <= 4


def test_the_causal_mask_is_no_array():
    """Neither in memory nor among the inputs; it is part of the product's kernel."""
    made = program(gpt(1))
    (masked,) = [s for s in made.steps if "causal_mask" in s.ops]
    assert "matmul" in masked.ops
    assert not [x for x in made.inputs if x.shape[-2:] == (20, 20)]
