"""Many small arrays in one: their values end to end, and a JSON text of names and shapes."""

import json
from collections.abc import Mapping

import numpy as np


def pack(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return two arrays that `unpack` turns back; all values become float64."""
    index = json.dumps({name: list(np.shape(a)) for name, a in arrays.items()})
    values = [np.ravel(a).astype(np.float64) for a in arrays.values()]
    return {
        "index": np.frombuffer(index.encode("ascii"), dtype=np.uint8),
        "values": np.concatenate(values),
    }


def unpack(packed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays by name."""
    result, start, values = {}, 0, packed["values"]
    for name, shape in json.loads(bytes(packed["index"])).items():
        stop = start + int(np.prod(shape))
        result[name] = values[start:stop].reshape(shape)
        start = stop
    assert start == values.size, "the index does not fit the values"
    return result


def weight_of(shape: tuple[int, ...]) -> np.ndarray:
    """Return the fixed weights of an output's elements that gradients are taken with."""
    return np.linspace(-1.0, 1.5, int(np.prod(shape))).reshape(shape)
