"""Module and Parameter: what a layer holds, and how it is found, saved and loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

from needle.autograd import Tensor
from needle.backend.device import Device
from needle.errors import ArgumentError, DtypeError, NeedleError
from needle.nn.calls import calls, check_state, describe, where


class Parameter(Tensor):
    """A Tensor that is trained: a module's attribute of this class is in `parameters()`.

    It shares the data of `array` where that is a Tensor, and always requires a gradient, whatever
    the given Tensor's flag; set `p.requires_grad = False` afterwards to freeze it.

    Errors: DtypeError for a dtype that is not floating.

    >>> nn.Parameter(ndl.zeros(2)).requires_grad
    True
    """

    __slots__ = ()

    def __init__(
        self,
        array: Any,
        *,
        device: Device | None = None,
        dtype: DTypeLike | None = None,
        requires_grad: bool = True,
    ) -> None:
        if not requires_grad:
            raise ArgumentError(
                "Parameter: always requires a gradient; set p.requires_grad = False to freeze it"
            )
        super().__init__(array, device=device, dtype=dtype)
        if self.dtype.kind != "f":
            raise DtypeError(
                f'Parameter: expected a floating dtype, got {self.dtype}; pass dtype="float32"'
            )


class Module:
    """Base of all layers and models: attributes are its parts, `forward` is its formula.

    Parameters and modules are found through attributes, and through dicts, lists and tuples in
    them, in the order in which they were set. A Tensor that is not a Parameter is a buffer: saved
    with the parameters but not trained; rebinding the attribute keeps it one. A buffer whose name
    starts with `_` is not saved. Arrays given to a call become constant Tensors.

    >>> class Scale(nn.Module):
    ...     def __init__(self, dim):
    ...         super().__init__()
    ...         self.weight = nn.Parameter(ndl.ones(dim))
    ...     def forward(self, x):
    ...         return x * self.weight
    >>> Scale(2)(np.array([1.0, 2.0], "float32"))
    needle.Tensor([1. 2.])
    """

    training = True

    def __init__(self) -> None:
        self.training = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the result; each module defines its own."""
        raise NotImplementedError(f"{type(self).__name__} has no forward(self, ...)")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run `forward`; errors of needle raised inside name this module."""
        stack = calls.stack
        stack.append(self)
        try:
            if kwargs:
                kwargs = {name: _as_tensor(x) for name, x in kwargs.items()}
            return self.forward(*[_as_tensor(x) for x in args], **kwargs)
        except NeedleError as error:
            if not error.module_path:
                error.module_path = where(self)
            raise
        finally:
            stack.pop()
            if not stack:
                calls.widened = False

    # ---- parts

    def _attributes(self) -> Mapping[str, Any]:
        """Return what holds the parts, by the names they have in paths."""
        return vars(self)

    def _walk(self, prefix: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, Any]]:
        """Yield each Tensor and Module below, once, with its path, in attribute order."""
        seen = {id(self)} if seen is None else seen
        for name, part in _flatten(self._attributes(), "", seen):
            yield prefix + name, part
            if isinstance(part, Module):
                yield from part._walk(f"{prefix}{name}.", seen)

    def named_parameters(self) -> list[tuple[str, Parameter]]:
        """Return (path, parameter) pairs in attribute order; a shared one once, the first path."""
        return [(name, part) for name, part in self._walk() if isinstance(part, Parameter)]

    def parameters(self) -> list[Parameter]:
        """Return the parameters in attribute order, each once."""
        return [parameter for _, parameter in self.named_parameters()]

    def named_buffers(self) -> list[tuple[str, Tensor]]:
        """Return (path, Tensor) pairs of what is saved but not trained."""
        return [
            (name, part)
            for name, part in self._walk()
            if isinstance(part, Tensor) and not isinstance(part, Parameter)
        ]

    def named_modules(self) -> list[tuple[str, Module]]:
        """Return (path, module) pairs: this module under "", then all below, parents first."""
        return [("", self), *[(name, m) for name, m in self._walk() if isinstance(m, Module)]]

    def named_children(self) -> list[tuple[str, Module]]:
        """Return (name, module) pairs of the modules held directly."""
        parts = _flatten(self._attributes(), "", {id(self)})
        return [(name, part) for name, part in parts if isinstance(part, Module)]

    def children(self) -> list[Module]:
        """Return the modules held directly."""
        return [module for _, module in self.named_children()]

    def _children(self) -> list[Module]:
        """Return all modules below this one, parents first."""
        return [module for _, module in self.named_modules()[1:]]

    # ---- modes

    def train(self, mode: bool = True) -> Self:
        """Switch this module and all below to training; return it."""
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Switch this module and all below to evaluation; return it.

        BatchNorm then uses its running estimates and Dropout does nothing. Graphs are still built:
        see `ndl.no_grad`.
        """
        return self.train(False)

    def zero_grad(self) -> None:
        """Set `grad` of all parameters to None."""
        for parameter in self.parameters():
            parameter.grad = None

    # ---- saving

    def _state(self) -> dict[str, Tensor]:
        return {name: part for name, part in self._walk() if isinstance(part, Tensor)}

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return copies of all parameters and buffers by path: `{"0.weight": array, ...}`.

        Training on does not change them. Parts of a Sequential go by index, of a Residual under
        `fn.`.

        >>> list(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).state_dict())
        ['0.weight', '0.bias', '2.weight', '2.bias']
        """
        return {name: np.array(t.realize_cached_data()) for name, t in self._state().items()}

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True
    ) -> tuple[list[str], list[str]]:
        """Copy values into the parameters and buffers of the same paths, which keep their dtypes.

        Returns the lists (missing, unexpected), which `strict=False` allows to be non-empty.

        Errors: StateDictError that lists all that is missing, unexpected or of the wrong shape; the
        module is then unchanged.

        >>> layer = nn.Linear(2, 1)
        >>> layer.load_state_dict({"weight": np.ones((2, 1)), "bias": np.zeros((1, 1))})
        ([], [])
        """
        own = self._state()
        arrays = {name: np.asarray(state_dict[name]) for name in own if name in state_dict}
        wrong = [text for name, a in arrays.items() if (text := _misfit(name, own[name], a))]
        names = check_state(self, own, state_dict, wrong, strict)
        copies = {name: np.array(a, dtype=own[name].dtype) for name, a in arrays.items()}
        for name, copy in copies.items():
            own[name].cached_data = copy
        return names

    # ---- printing

    def extra_repr(self) -> str:
        """Return the sizes that stand after the class name in texts: `64 -> 10`."""
        return ""

    def __repr__(self) -> str:
        return "\n".join(_tree(self, "", 0))

    def _repr_html_(self) -> str:
        from needle.markup import table

        named = [(path or "model", module) for path, module in self.named_modules()]
        counts = (sum(p.size for p in module.parameters()) for _, module in named)
        rows = ((path, describe(m), f"{n:,}") for (path, m), n in zip(named, counts, strict=True))
        return table([("path", "layer", "parameters"), *rows])


def _as_tensor(x: Any) -> Any:
    """Return an array of numbers as a constant Tensor, without a copy; anything else as it is."""
    if isinstance(x, Tensor) or not hasattr(x, "__array_namespace__"):
        return x
    return Tensor.make_const(x) if x.dtype.kind in "biuf" else x


def _flatten(holder: Any, prefix: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Yield Tensors and Modules found in a dict, list or tuple and those inside it, each once."""
    items = holder.items() if isinstance(holder, Mapping) else enumerate(holder)
    for key, part in items:
        name = f"{prefix}{key}"
        kept = isinstance(part, Tensor | Module)
        if id(part) in seen or not (kept or isinstance(part, dict | list | tuple)):
            continue
        private = name.startswith("_") or "._" in name
        if isinstance(part, Tensor) and not isinstance(part, Parameter) and private:
            continue
        seen.add(id(part))
        if kept:
            yield name, part
        else:
            yield from _flatten(part, f"{name}.", seen)


def _misfit(name: str, own: Tensor, array: np.ndarray) -> str:
    """Say why an array cannot be loaded; "" where it can."""
    if array.shape != own.shape:
        return f"{name} of shape {array.shape}, expected {own.shape}"
    if array.dtype.kind not in "biuf" or not np.can_cast(array.dtype, own.dtype, "same_kind"):
        return f"{name} of dtype {array.dtype}, expected {own.dtype}"
    return ""


def _tree(module: Module, name: str, depth: int) -> Iterator[str]:
    count = sum(p.size for p in module.parameters())
    line = "  " * depth + f"{name} {describe(module)}".lstrip()
    yield f"{line}: {count:,} parameters" if count else line
    for child_name, child in module.named_children():
        yield from _tree(child, child_name, depth + 1)
