"""Graphs as the textbook formulas trace: nothing simplified, gradients by plain reverse mode.

`GRAPHS` maps a name to a function of sizes that returns a `Graph`; `sample(graph, seed)` returns
input arrays that suit it. The gradients come from `gradients`, whose rules are those of the ops.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

from needle.compiler.graph.graph import Graph, Node
from tests.compiler import building as g
from tests.compiler.reverse_mode import full_like, gradients, neg, power, scale, spread


class Inputs:
    """Numbers the inputs of a graph as they are asked for."""

    def __init__(self, dtype="float32"):
        self.nodes: list[Node] = []
        self.dtype = dtype

    def __call__(self, label, *shape, dtype=None) -> Node:
        node = g.input_node(len(self.nodes), label, shape, dtype or self.dtype)
        self.nodes.append(node)
        return node

    def graph(self, *outputs) -> Graph:
        graph = Graph(tuple(self.nodes), tuple(outputs))
        graph.verify()
        return graph


def mean(x: Node, axis: int) -> Node:
    total = g.reduce("sum", x, (axis,))
    return g.div(total, full_like(total, float(x.shape[axis])))


def normalize(x: Node, axis: int, eps: float = 1e-5) -> tuple[Node, Node, Node]:
    """Return (x - mean) / sqrt(var + eps) along `axis`, the mean and the variance."""
    mu = mean(x, axis)
    centred = g.add(x, neg(spread(mu, x.shape, (axis,))))
    variance = mean(power(centred, 2.0), axis)
    std = power(g.add(variance, full_like(variance, eps)), 0.5)
    return g.div(centred, spread(std, x.shape, (axis,))), mu, variance


def affine(x: Node, weight: Node, bias: Node) -> Node:
    row = (1, weight.shape[0])
    w, b = (g.broadcast(g.reshape(p, row), x.shape) for p in (weight, bias))
    return g.add(g.mul(w, x), b)


def linear(x: Node, weight: Node, bias: Node) -> Node:
    product = g.matmul(x, weight)
    return g.add(product, g.broadcast(bias, product.shape))


def relu(x: Node) -> Node:
    return g.binary("max", x, full_like(x, 0.0))


def layer_norm(n=32, d=64, axis=1, backward=True, dtype="float32") -> Graph:
    """y, and dx, dweight, dbias for a given dy."""
    make = Inputs(dtype)
    x, w, b = make("x", n, d), make("weight", d), make("bias", d)
    y = affine(normalize(x, axis)[0], w, b)
    if not backward:
        return make.graph(y)
    return make.graph(y, *gradients(y, (x, w, b), make("dy", n, d)))


def running(old: Node, new: Node, momentum: float = 0.1) -> Node:
    return g.add(scale(old, 1 - momentum), scale(new, momentum))


def batch_norm(n=32, d=64, backward=True, dtype="float32") -> Graph:
    """y, the new running mean and variance, and dx, dweight, dbias for a given dy."""
    make = Inputs(dtype)
    x, w, b = make("x", n, d), make("weight", d), make("bias", d)
    old_mean, old_var = make("running_mean", d), make("running_var", d)
    unit, mu, variance = normalize(x, 0)
    y = affine(unit, w, b)
    state = [running(old_mean, mu), running(old_var, variance)]
    if not backward:
        return make.graph(y, *state)
    return make.graph(y, *state, *gradients(y, (x, w, b), make("dy", n, d)))


def one_hot(labels: Node, k: int, dtype="float32") -> Node:
    shape = (*labels.shape, k)
    column = g.broadcast(g.reshape(g.cast(labels, "int64"), (*labels.shape, 1)), shape)
    return g.cast(g.compare("eq", column, g.iota(shape, len(shape) - 1, "int64")), dtype)


def cross_entropy(logits: Node, labels: Node) -> tuple[Node, Node]:
    """Return the mean softmax loss and its gradient, as logsumexp's own gradient rule makes it."""
    n, k = logits.shape
    top = spread(g.reduce("max", logits, (1,)), logits.shape, (1,))
    total = g.reduce("sum", g.unary("exp", g.sub(logits, top)), (1,))
    lse = g.add(g.unary("log", total), g.reshape(g.reduce("max", logits, (1,)), (n,)))
    hot = one_hot(labels, k, logits.dtype)
    chosen = g.reduce("sum", g.mul(logits, hot), (0, 1))
    summed = g.add(g.reduce("sum", lse, (0,)), neg(chosen))
    loss = g.div(summed, full_like(summed, float(n)))
    seed = g.div(full_like(loss, 1.0), full_like(loss, float(n)))
    from_lse = g.mul(
        spread(g.broadcast(seed, (n,)), (n, k), (1,)),
        g.unary("exp", g.add(logits, neg(spread(lse, (n, k), (1,))))),
    )
    from_chosen = g.mul(g.broadcast(neg(seed), (n, k)), hot)
    return loss, g.add(from_lse, from_chosen)


def softmax_loss(n=32, k=10, dtype="float32") -> Graph:
    make = Inputs(dtype)
    logits, labels = make("logits", n, k), make("labels", n, dtype="uint8")
    return make.graph(*cross_entropy(logits, labels))


def log_softmax_loss(n=32, k=10, dtype="float32") -> Graph:
    """-mean(where(one-hot, logsoftmax, 0)) and its gradient by the op's own rule."""
    make = Inputs(dtype)
    z, labels = make("logits", n, k), make("labels", n, dtype="uint8")
    shifted = g.sub(z, spread(g.reduce("max", z, (1,)), z.shape, (1,)))
    logs = g.unary("log", g.reduce("sum", g.unary("exp", shifted), (1,)))
    y = g.sub(shifted, spread(logs, z.shape, (1,)))
    hot = one_hot(labels, k, "bool")
    total = g.reduce("sum", g.where(hot, y, full_like(y, 0.0)), (0, 1))
    loss = g.div(total, full_like(total, -float(n)))
    seed = g.broadcast(g.div(full_like(loss, 1.0), full_like(loss, -float(n))), z.shape)
    grad = g.where(hot, seed, full_like(seed, 0.0))
    down = g.mul(g.unary("exp", y), spread(g.reduce("sum", grad, (1,)), z.shape, (1,)))
    return make.graph(loss, g.add(grad, neg(down)))


def adam_update(make: Inputs, params: Sequence[Node], grads: Sequence[Node]) -> list[Node]:
    """Return new parameters and moments; lr and t are lifted numbers, the rest constants."""
    lr, t = make("lr", dtype="float64"), make("t", dtype="float64")
    b1, b2, eps, decay = 0.9, 0.999, 1e-8, 1e-3
    results = []
    for index, (p, grad) in enumerate(zip(params, grads, strict=True)):
        m, v = make(f"m{index}", *p.shape), make(f"v{index}", *p.shape)
        grad = g.add(grad, scale(p, decay))
        m = g.add(scale(m, b1), scale(grad, 1 - b1))
        v = g.add(scale(v, b2), scale(power(grad, 2.0), 1 - b2))
        fix1, fix2 = (
            g.sub(g.constant(1.0, "float64"), g.binary("pow", g.constant(b, "float64"), t))
            for b in (b1, b2)
        )
        spread_out = [g.broadcast(g.cast(s, p.dtype), p.shape) for s in (fix1, fix2, lr)]
        m_hat, v_hat = g.div(m, spread_out[0]), g.div(v, spread_out[1])
        bottom = g.add(power(v_hat, 0.5), full_like(p, eps))
        p = g.add(p, neg(g.div(g.mul(spread_out[2], m_hat), bottom)))
        results += [p, m, v]
    return results


def adam(shapes=((64, 32), (1, 32), (32, 10), (1, 10)), dtype="float32") -> Graph:
    make = Inputs(dtype)
    params = [make(f"p{i}", *shape) for i, shape in enumerate(shapes)]
    grads = [make(f"g{i}", *shape) for i, shape in enumerate(shapes)]
    return make.graph(*adam_update(make, params, grads))


def mlp_step(n=16, dims=(20, 32, 10), dtype="float32") -> Graph:
    """Linear, ReLU, ..., Linear, softmax loss, backward, Adam: loss, then the new state."""
    make = Inputs(dtype)
    x, labels = make("x", n, dims[0]), make("labels", n, dtype="uint8")
    h, params = x, []
    for i, (a, b) in enumerate(itertools.pairwise(dims)):
        params += [make(f"weight{i}", a, b), make(f"bias{i}", 1, b)]
        h = linear(h if i == 0 else relu(h), *params[-2:])
    loss, dlogits = cross_entropy(h, labels)
    return make.graph(loss, *adam_update(make, params, gradients(h, params, dlogits)))


def _dropout(x: Node, key: Node, index: int, p: float = 0.1) -> Node:
    draw = g.random(key, "uniform", index, x.shape)
    keep = g.compare("le", draw, full_like(draw, 1 - p))
    return g.mul(g.div(x, full_like(x, 1 - p)), g.cast(keep, x.dtype))


def mlp_resnet_step(n=100, dim=784, hidden=100, blocks=3, classes=10) -> Graph:
    """The whole MLPResNet step with BatchNorm, Dropout and Adam with weight decay."""
    make = Inputs()
    x, labels, key = make("x", n, dim), make("y", n, dtype="uint8"), make("key", dtype="uint64")
    params, state = [], []

    def dense(h: Node, size: int) -> Node:
        params.extend((make("weight", h.shape[1], size), make("bias", 1, size)))
        return linear(h, *params[-2:])

    def norm(h: Node) -> Node:
        size = h.shape[1]
        unit, mu, variance = normalize(h, 0)
        state.append(running(make("running_mean", size), mu))
        state.append(running(make("running_var", size), variance))
        params.extend((make("norm_weight", size), make("norm_bias", size)))
        return affine(unit, *params[-2:])

    h = relu(dense(x, hidden))
    for block in range(blocks):
        inner = _dropout(relu(norm(dense(h, hidden // 2))), key, block)
        h = relu(g.add(norm(dense(inner, hidden)), h))
    logits = dense(h, classes)
    loss, dlogits = cross_entropy(logits, labels)
    return make.graph(loss, *state, *adam_update(make, params, gradients(logits, params, dlogits)))


def policy_step(n=64, dims=(8, 64, 64, 2)) -> Graph:
    """Tanh network, mean squared error, Adam: loss, then the new state."""
    make = Inputs()
    x, target = make("x", n, dims[0]), make("target", n, dims[-1])
    h, params = x, []
    for i, (a, b) in enumerate(itertools.pairwise(dims)):
        params += [make(f"weight{i}", a, b), make(f"bias{i}", 1, b)]
        h = linear(h if i == 0 else g.unary("tanh", h), *params[-2:])
    total = g.reduce("sum", power(g.add(h, neg(target)), 2.0), (0, 1))
    loss = g.div(total, full_like(total, float(n * dims[-1])))
    return make.graph(loss, *adam_update(make, params, gradients(loss, params)))


def rnn(steps=6, n=4, dim=5, hidden=7, layers=2) -> Graph:
    """Tanh cells over time, the sum of all hidden states as loss: loss and all gradients."""
    make = Inputs()
    x = make("x", steps, n, dim)
    params, series = [], x
    for layer in range(layers):
        width = series.shape[2]
        w, u, b = (
            make(f"w{layer}", width, hidden),
            make(f"u{layer}", hidden, hidden),
            make("b", hidden),
        )
        params += [w, u, b]
        h, states = make(f"h{layer}", n, hidden), []
        for t in range(steps):
            now = g.slice_(series, (t, 0, 0), (t + 1, n, width))
            inner = g.add(g.matmul(g.reshape(now, (n, width)), w), g.matmul(h, u))
            h = g.unary("tanh", g.add(inner, g.broadcast(b, (n, hidden))))
            states.append(g.reshape(h, (1, n, hidden)))
        series = g.concat(states, 0)
    loss = g.reduce("sum", g.mul(series, series), (0, 1, 2))
    return make.graph(loss, *gradients(loss, params))


GRAPHS: dict[str, Callable[..., Graph]] = {
    "layer_norm": layer_norm,
    "batch_norm": batch_norm,
    "softmax_loss": softmax_loss,
    "log_softmax_loss": log_softmax_loss,
    "adam": adam,
    "mlp_step": mlp_step,
    "mlp_resnet_step": mlp_resnet_step,
    "policy_step": policy_step,
    "rnn": rnn,
}


def sample(graph: Graph, seed: int = 0) -> list[np.ndarray]:
    """Return inputs: normal floats (positive where the label says variance), small labels."""
    rng = np.random.default_rng(seed)
    arrays = []
    for node in graph.inputs:
        label = node.primitive.label
        if node.dtype.kind == "f":
            array = rng.standard_normal(node.shape) / math.sqrt(max(node.shape[:1] or (1,)))
            array = np.abs(array) if label.startswith(("v", "running_var")) else array
            array = {"lr": np.asarray(1e-3), "t": np.asarray(3.0)}.get(label, array)
        else:
            array = rng.integers(0, 10, node.shape)
        arrays.append(np.asarray(array).astype(node.dtype))
    return arrays
