"""`needle.jit`: a Python function as one native program per signature.

The function is traced once with arrays that record; what it read, wrote and returned becomes a
program with its bindings. At each call the signature and the reachable state are compared with the
trace; where they differ, another variant runs or is traced.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from types import MethodType
from typing import Any

import numpy as np

from needle import settings
from needle.autograd.mode import mode
from needle.autograd.tensor import Tensor
from needle.compiler.graph.graph import Graph
from needle.compiler.jit import check as jit_check
from needle.compiler.jit import native as jit_native
from needle.compiler.jit import signature
from needle.compiler.jit.call import GuardError, Variant
from needle.compiler.jit.history import History
from needle.compiler.jit.state import State, discover
from needle.compiler.jit.state_holders import OWN
from needle.compiler.jit.trace import trace
from needle.compiler.jit.tracer import StepTracer
from needle.compiler.run import pool
from needle.compiler.trace.trace import TracedArray
from needle.errors import ArgumentError

MOST_VARIANTS = 32
"""Programs that one function keeps; the one not used for longest is dropped."""

_ARRAYS = (Tensor, np.ndarray)
_SUSPENDS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


class JitFunction:
    """A compiled function; see `jit`."""

    def __init__(
        self, function: Callable[..., Any], static: Iterable[str] = (), random: str = "philox"
    ) -> None:
        if random not in ("philox", "numpy"):
            raise ArgumentError(f'jit: expected random "philox" or "numpy", got {random!r}')
        self.function = self.__needle_compiled__ = function
        self.static, self.random = frozenset(static), random
        self._python = inspect.signature(function) if self.static else None
        self.variants: OrderedDict[Any, list[Variant]] = OrderedDict()  # by state and arguments
        self.history = History(getattr(function, "__name__", type(function).__name__))
        self._state: State | None = None
        self._states: dict[Any, State] = {}  # those for other objects as arguments
        self._last: tuple[Any, Any, Any] = (self, None, None)  # state, key and variant of a call
        self._settings: settings.Settings | None = None
        self._eager, self._check = False, 0
        self._own_name = f"{OWN}{self.history.name}"
        functools.update_wrapper(self, function, updated=())
        self.compile = jit_native.compile_graph  # what makes an executable of a graph

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the compiled function: inlined inside another one, eager under NEEDLE_JIT=0."""
        chosen = settings.current()
        if chosen is not self._settings:
            self._settings, self._check = chosen, chosen.check
            self._eager = not chosen.jit or not jit_native.available()
        if self._eager or mode.tracer is not None:
            return self.function(*args, **kwargs)
        with pool.lock:
            if self.static:
                kwargs, args = self._named(args, kwargs)
            found = leaves, key, state = self._signature(args, kwargs)
            call, failed = (self.function, args, kwargs), None
            last_state, last_key, variant = self._last
            if state is last_state and key == last_key and not self._check:  # as in the last call
                try:
                    return variant.run(state, leaves, call)
                except GuardError as guard:
                    failed = (variant, guard.index)
                except IndexError as error:
                    jit_check.raise_as_eager(state, leaves, call, error)
            return self._other(call, found, failed)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """Return the method of an instance, compiled for it alone."""
        if instance is None:
            return self
        if mode.tracer is not None:
            return self.function.__get__(instance, owner)
        own = getattr(instance, "__dict__", None)  # kept there, so that both die together
        if type(own) is not dict:  # a class, or an object with slots
            return MethodType(self, instance)
        bound = own.get(self._own_name)
        if bound is None or bound.function.__self__ is not instance:  # of what this is a copy of
            method = self.function.__get__(instance, owner)
            bound = own[self._own_name] = JitFunction(method, self.static, self.random)
        return bound

    def __reduce__(self) -> Any:
        """Copy and pickle the function; programs are compiled again."""
        place: Any = sys.modules.get(getattr(self, "__module__", ""))
        name = getattr(self, "__qualname__", "")
        with contextlib.suppress(AttributeError):
            place = functools.reduce(getattr, name.split("."), place)
        if place is self:
            return name
        again = functools.partial(jit, static=tuple(self.static), random=self.random)
        return again, (self.function,)

    # ---- a call

    def _other(self, call: Any, found: Any, failed: Any = None, run: bool = True) -> Any:
        """Call for other arguments or another state than last time, or where a guard failed."""
        leaves, key, state = found
        roots = tuple(map(id, signature.objects(key[0])))
        if roots != state.roots or not state.holds_flags():
            self._state = self._other_state(state, roots)
            failed = None
            leaves, key, state = self._signature(*call[1:])
        return self._look(state, leaves, key, call, failed, run)

    def _look(
        self, state: State, leaves: list[Any], key: Any, call: Any, failed: Any, run: bool
    ) -> Any:
        """Run the variant whose guards hold, or trace another."""
        place = (state.fingerprint, key)
        variants = self.variants.setdefault(place, [])
        self.variants.move_to_end(place)
        others = [v for v in variants if failed is None or v is not failed[0]]
        for variant in others if run else ():
            try:
                result = self._run(variant, state, leaves, call)
            except GuardError as guard:
                failed = failed or (variant, guard.index)
                continue
            variants.remove(variant)
            variants.insert(0, variant)
            self._last = (state, key, variant)
            return result
        if not run and variants:
            return None
        variant = self._trace(state, leaves, key, call, failed)
        if not variant.trace.made_inside:
            variants.insert(0, variant)
            self._last = (state, key, variant)
            self._drop()
        return self._run(variant, state, leaves, call) if run else None

    def _signature(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[list[Any], Any, State]:
        """Return input leaves, the key of everything else, and the state as it is now."""
        leaves, parts = signature.flatten(args, kwargs, self.static)
        state = self._state
        if state is None or not state.holds():
            state = self._state = discover(self.function, signature.objects(parts))
        known, shared = state.index, None
        if len(leaves) == 1:  # most often; the sets take 0.2 us
            plain = id(leaves[0]) not in known
        else:
            ids = {*map(id, leaves)}
            plain = len(ids) == len(leaves) and known.keys().isdisjoint(ids)
        if not plain:
            arrays = [id(x) for x in leaves if isinstance(x, _ARRAYS)]  # floats may be one object
            places = [(known.get(x), arrays.index(x)) for x in arrays]
            shared = tuple(places) if places != [(None, i) for i in range(len(arrays))] else None
        return leaves, (parts, shared, mode.grad_enabled), state

    def _other_state(self, state: State, roots: tuple[int, ...]) -> State | None:
        """Return the state known for other objects as arguments, and keep this one."""
        if len(self._states) >= MOST_VARIANTS:
            self._states.clear()
        self._states[state.roots] = state
        found = self._states.get(roots)
        return found if found is not None and found.holds_flags() else None

    def _named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, tuple[Any, ...]]:
        """Give every argument its name, so that static ones are found."""
        assert self._python is not None
        bound = self._python.bind(*args, **kwargs)
        bound.apply_defaults()
        unknown = self.static - self._python.parameters.keys()
        if unknown:
            raise ArgumentError(f"jit: no argument named {', '.join(sorted(unknown))}")
        named: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            kind = self._python.parameters[name].kind
            if kind is inspect.Parameter.VAR_KEYWORD:
                named.update(value)
            elif kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL):
                raise ArgumentError(f"jit: with static=, arguments have names; `{name}` has none")
            else:
                named[name] = value
        return named, ()

    def _trace(self, state: State, leaves: list[Any], key: Any, call: Any, failed: Any) -> Variant:
        self.history.tracing(state, key, failed)
        function, args, kwargs = call
        done = trace(function, args, kwargs, self.static, state, leaves, self.random)
        # a program that serves one call is not worth compiling
        variant = Variant(done, state, jit_native.interpret if done.made_inside else self.compile)
        self.history.traced(variant)
        return variant

    def _run(self, variant: Variant, state: State, leaves: list[Any], call: Any) -> Any:
        try:
            if self._check:
                return jit_check.run(variant, state, leaves, call, self._check)
            return variant.run(state, leaves, call)
        except IndexError as error:
            jit_check.raise_as_eager(state, leaves, call, error)
        finally:
            if variant.trace.made_inside:
                state.forget()

    def _drop(self) -> None:
        """Keep at most `MOST_VARIANTS` programs."""
        while sum(map(len, self.variants.values())) > MOST_VARIANTS:
            place = next(iter(self.variants))
            self.variants[place][-1:] = []
            if not self.variants[place]:
                del self.variants[place]

    # ---- looking at it

    def warmup(self, *args: Any, **kwargs: Any) -> None:
        """Compile for these arguments without running: no state changes."""
        if settings.current().jit and jit_native.available():
            with pool.lock:
                if self.static:
                    kwargs, args = self._named(args, kwargs)
                call = (self.function, args, kwargs)
                self._other(call, self._signature(args, kwargs), run=False)

    @property
    def latest(self) -> Variant:
        """The variant traced last."""
        if self.history.latest is None:
            raise ArgumentError(
                f"jit: {self.history.name} was not called yet; call it or warmup(...)"
            )
        return self.history.latest

    @property
    def graph(self) -> Graph:
        """The graph of the latest trace, before any pass."""
        return self.latest.graph

    @property
    def llvm_ir(self) -> str:
        """The LLVM IR of the latest program."""
        program = getattr(self.latest.executable, "program", None)
        return "" if program is None else program.llvm_ir

    def explain(self) -> str:
        """Return what was compiled, what it costs, and why it was compiled again."""
        return self.history.report([v for group in self.variants.values() for v in group])

    def __repr__(self) -> str:
        count = sum(map(len, self.variants.values()))
        return f"<needle.jit {self.history.name}, {count} programs>"


def jit(
    function: Callable[..., Any] | None = None,
    *,
    static: Iterable[str] = (),
    random: str = "philox",
) -> Any:
    """Compile a function, a method or a module; a decorator, with or without arguments.

    The first call traces `function` and compiles one native program for the shapes and dtypes it
    was given; later calls run it. Parameters, optimizer state and running estimates are found and
    updated as in the eager run. Arguments named in `static` are part of the signature. `random`:
    "philox" draws in the program, from one key of NumPy's stream per call; "numpy" draws on the
    host, the same numbers as the eager run.

    Errors: TraceError for what a program cannot repeat; the text names the line and the way out.

    >>> w = nn.Parameter(ndl.ones(2))
    >>> opt = ndl.optim.SGD([w], lr=0.5)
    >>> @ndl.jit
    ... def step(x):
    ...     opt.reset_grad()
    ...     loss = (w * x).sum()
    ...     loss.backward()
    ...     opt.step()
    ...     return loss
    >>> step(ndl.Tensor([1.0, 2.0])).item(), w
    (3.0, needle.Tensor([0.5 0. ]))
    """
    if function is None:
        return lambda f: jit(f, static=static, random=random)
    if isinstance(function, JitFunction):
        return function
    if not callable(function) or is_generator(function):
        raise ArgumentError(
            f"jit: expected a function or a module, got {function!r:.60}; "
            "generators and async functions cannot be compiled, the function they call can"
        )
    return JitFunction(function, static, random)


def is_generator(function: Callable[..., Any]) -> bool:
    """Whether a call would give a generator or a coroutine, which a program cannot be."""
    return bool(function.__code__.co_flags & _SUSPENDS) if hasattr(function, "__code__") else False


@contextlib.contextmanager
def disable_jit() -> Iterator[None]:
    """Run compiled functions eagerly inside the block.

    >>> double = ndl.jit(lambda x: x * 2)
    >>> with ndl.disable_jit():
    ...     double(ndl.Tensor([1.0]))
    needle.Tensor([2.])
    """
    with settings.override(jit=False):
        yield


def debug_print(value: Any, label: str = "") -> None:
    """Print a value at each call, also from inside a compiled function.

    >>> ndl.debug_print(ndl.Tensor([1.0]), "x = ")
    x = [1.]
    """
    tracer = mode.tracer
    if isinstance(tracer, StepTracer):
        data = value.realize_cached_data() if isinstance(value, Tensor) else value
        if isinstance(data, TracedArray):
            tracer.trace.prints.append((label, tracer.trace.add(data.node)))
            return
    print(f"{label}{value}")
