"""Sequence layers and the GPT: results and all gradients, weights in needle's names and layout."""

from collections.abc import Callable

import torch
from torch.func import functional_call
from torch.nn import functional as F  # noqa: N812  its usual name

from references.record import Arrays, draws, named, with_gradients
from tests.reference.packed import pack

Tensors = dict[str, torch.Tensor]


def arrays() -> Arrays:
    """Return all cases of this file, packed: hundreds of small arrays."""
    return pack({
        **recurrent(), **embedding(), **layer_norm(), **attention(), **attention_layer(),
        **transformer(), **gpt(),
    })  # fmt: skip


def recurrent() -> Arrays:
    """RNN and LSTM of two layers, 4 steps of 3 sequences: outputs and last states, end to end."""
    result: Arrays = {}
    kinds: dict[str, tuple[Callable[..., torch.nn.Module], int]] = {
        "rnn_tanh": (torch.nn.RNN, 1),
        "rnn_relu": (lambda *a, **k: torch.nn.RNN(*a, nonlinearity="relu", **k), 1),
        "lstm": (torch.nn.LSTM, 4),
    }
    for seed, (name, (kind, gates)) in enumerate(kinds.items()):
        draw, cells = draws(seed), "lstm_cells" if gates == 4 else "rnn_cells"
        x, h, c = draw(4, 3, 5), draw(2, 3, 2), draw(2, 3, 2)
        ours, theirs = {}, {}
        for layer in range(2):
            shapes = {"W_ih": (2 if layer else 5, 2 * gates), "W_hh": (2, 2 * gates)}
            shapes |= {"bias_ih": (2 * gates,), "bias_hh": (2 * gates,)}
            for weight, shape in shapes.items():
                value = ours[f"{cells}.{layer}.{weight}"] = draw(*shape)
                theirs[f"{weight.replace('W', 'weight')}_l{layer}"] = (
                    value.T if value.ndim == 2 else value
                )
        module = kind(5, 2, num_layers=2, dtype=torch.float64)
        states = {"h": h, "c": c} if gates == 4 else {"h": h}
        given = (h, c) if gates == 4 else h
        out, last = functional_call(module, theirs, (x, given))
        parts = [out, *last] if gates == 4 else [out, last]
        joined = torch.cat([part.reshape(-1) for part in parts])
        result |= with_gradients(name, joined, x=x, **states, **ours)
    return result


def embedding() -> Arrays:
    """Rows of a table, one of them three times, one never."""
    weight, ids = draws(3)(5, 3), torch.tensor([[0, 2], [2, 4], [2, 1]])
    out = F.embedding(ids, weight)
    return {**with_gradients("embedding", out, weight=weight), **named("embedding", ids=ids)}


def layer_norm() -> Arrays:
    """LayerNorm over the last two of three axes."""
    draw = draws(4)
    x, weight, bias = draw(3, 2, 4), draw(2, 4), draw(2, 4)
    out = F.layer_norm(x, (2, 4), weight, bias, eps=1e-5)
    return with_gradients("layer_norm_2", out, x=x, weight=weight, bias=bias)


def attention() -> Arrays:
    """Attention of four queries to four keys, causal and not, and to six keys."""
    result: Arrays = {}
    for name, keys, causal in [("full", 4, False), ("causal", 4, True), ("keys", 6, False)]:
        draw = draws(5)
        q, k, v = draw(2, 3, 4, 5), draw(2, 3, keys, 5), draw(2, 3, keys, 2)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        result |= with_gradients(f"attention_{name}", out, q=q, k=k, v=v)
    return result


def _layer_norm(x: torch.Tensor, p: Tensors, name: str) -> torch.Tensor:
    return F.layer_norm(x, x.shape[-1:], p[f"{name}.weight"], p[f"{name}.bias"])


def _heads(x: torch.Tensor, count: int) -> torch.Tensor:
    return x.reshape(*x.shape[:2], count, -1).transpose(1, 2)


def _attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, causal: bool
) -> torch.Tensor:
    parts = [_heads(x, heads) for x in (q, k, v)]
    out = F.scaled_dot_product_attention(*parts, is_causal=causal)
    return out.transpose(1, 2).reshape(*q.shape[:2], -1)


def _attention_layer(
    p: Tensors, inputs: list[torch.Tensor], heads: int, causal: bool, prefix: str = ""
) -> torch.Tensor:
    parts = [
        _layer_norm(x, p, f"{prefix}prenorm_{letter}") @ p[f"{prefix}{letter}_projection.weight"]
        for letter, x in zip("qkv", inputs, strict=True)
    ]
    return _attend(*parts, heads, causal) @ p[f"{prefix}out_projection.weight"]


def _attention_weights(
    draw: Callable[..., torch.Tensor], prefix: str = "", dim: int = 4
) -> Tensors:
    p = {}
    for letter in "qkv":
        p[f"{prefix}prenorm_{letter}.weight"] = draw(dim)
        p[f"{prefix}prenorm_{letter}.bias"] = draw(dim)
    for letter in "qkv":
        p[f"{prefix}{letter}_projection.weight"] = draw(dim, 6)
    return p | {f"{prefix}out_projection.weight": draw(6, dim)}


def attention_layer() -> Arrays:
    """AttentionLayer of two heads of three: self-attention, causal, and of three inputs."""
    result: Arrays = {}
    for name, causal in [("self", True), ("cross", False)]:
        draw = draws(6)
        p = _attention_weights(draw)
        q = draw(2, 5, 4)
        inputs = {"q": q} if name == "self" else {"q": q, "k": draw(2, 3, 4), "v": draw(2, 3, 4)}
        given = [*inputs.values()] if name == "cross" else [q, q, q]
        out = _attention_layer(p, given, 2, causal)
        result |= with_gradients(f"attention_layer_{name}", out, **inputs, **p)
    return result


def transformer() -> Arrays:
    """A Transformer of two layers for (seq, batch, features), without dropout."""
    draw = draws(7)
    x, p = draw(5, 2, 4), {"embedding.weight": draw(6, 4)}
    y = x.transpose(0, 1) + p["embedding.weight"][:5]
    for i in range(2):
        prefix, mlp = f"layers.{i}.attention.", f"layers.{i}.mlp."
        p |= _attention_weights(draw, prefix)
        p |= {f"{mlp}0.weight": draw(4), f"{mlp}0.bias": draw(4)}
        p |= {f"{mlp}1.weight": draw(4, 7), f"{mlp}1.bias": draw(1, 7)}
        p |= {f"{mlp}4.weight": draw(7, 4), f"{mlp}4.bias": draw(1, 4)}
        y = y + _attention_layer(p, [y, y, y], 2, True, prefix)
        hidden = F.relu(_layer_norm(y, p, f"{mlp}0") @ p[f"{mlp}1.weight"] + p[f"{mlp}1.bias"])
        y = y + hidden @ p[f"{mlp}4.weight"] + p[f"{mlp}4.bias"]
    return with_gradients("transformer", y.transpose(0, 1), x=x, **p)


def gpt() -> Arrays:
    """The GPT of one block, tied: the cross-entropy of its logits."""
    draw, ids = draws(8), torch.tensor([[0, 3, 1, 1], [2, 2, 4, 0]])
    p = {"tokens.weight": draw(5, 4), "positions.weight": draw(6, 4)}
    block = "blocks.0."
    shapes = {
        "norm1.weight": (4,), "norm1.bias": (4,), "qkv.weight": (4, 12), "qkv.bias": (1, 12),
        "out.weight": (4, 4), "out.bias": (1, 4), "norm2.weight": (4,), "norm2.bias": (4,),
        "mlp.0.weight": (4, 16), "mlp.0.bias": (1, 16), "mlp.2.weight": (16, 4),
        "mlp.2.bias": (1, 4),
    }  # fmt: skip
    p |= {block + name: draw(*shape) for name, shape in shapes.items()}
    p |= {"norm.weight": draw(4), "norm.bias": draw(4)}
    x = p["tokens.weight"][ids] + p["positions.weight"][:4]
    joined = _layer_norm(x, p, f"{block}norm1") @ p[f"{block}qkv.weight"] + p[f"{block}qkv.bias"]
    heads = _attend(*joined.split(4, -1), 2, True)
    x = x + heads @ p[f"{block}out.weight"] + p[f"{block}out.bias"]
    hidden = (
        _layer_norm(x, p, f"{block}norm2") @ p[f"{block}mlp.0.weight"] + p[f"{block}mlp.0.bias"]
    )
    x = x + F.gelu(hidden) @ p[f"{block}mlp.2.weight"] + p[f"{block}mlp.2.bias"]
    logits = _layer_norm(x, p, "norm") @ p["tokens.weight"].T
    loss = F.cross_entropy(logits.reshape(-1, 5), ids.roll(1).reshape(-1))
    return {**with_gradients("gpt", loss, **p), **named("gpt", ids=ids)}
