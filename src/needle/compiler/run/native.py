"""LLVM IR to machine code: a short list of passes, object code, and loading it.

LLVM is imported at the first use. Objects are position independent and are loaded by LLJIT; a
`Library` keeps its code until it is freed. Workers of the pool are inside a program's kernels only
while a call runs, and the call holds the program, so code is never freed under a thread.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from needle.compiler.target import Target, host
from needle.errors import NeedleError

PASSES = ("always_inliner", "global_dead_code_eliminate")
"""LLVM passes over each module, in order.

The lowering emits vectors in SSA form already: of sroa, instruction_combine, simplify_cfg, new_gvn
and loop_strength_reduce none made the MLPResNet step faster by more than the noise of 1%, and they
cost 10 to 40% more time to compile; the O2 pipeline cost 2.7 times as much for the same speed.
"""


class NativeUnavailable(NeedleError, ImportError):  # noqa: N818
    """llvmlite is missing or does not work here: compiled functions run eagerly instead."""


@functools.cache
def llvm() -> Any:
    """Import llvmlite and set up the host's code generator, once.

    Raises: NativeUnavailable, whose text is the one line to show.
    """
    try:
        import llvmlite.binding as binding

        if binding.llvm_version_info < (20,):  # older ones do not know the type `ptr`
            raise ImportError("version 0.45 or later is needed")
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
    except (ImportError, OSError, AttributeError, RuntimeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise NativeUnavailable(
            f"jit: llvmlite does not work here ({reason}); running eagerly"
        ) from error
    return binding


def compile_module(text: str, target: Target | None = None) -> bytes:
    """Compile LLVM IR text to an object file.

    Raises: NeedleError with LLVM's message and the offending line for IR that is not valid.
    """
    module, machine = _optimized(text, target or host())
    return machine.emit_object(module)


def assembly(text: str, target: Target | None = None) -> str:
    """Compile LLVM IR text to the target's assembly, for reading and for tests."""
    module, machine = _optimized(text, target or host())
    return machine.emit_assembly(module)


@functools.cache
def _machine(target: Target) -> Any:
    llvm()
    return target.machine()


def _optimized(text: str, target: Target) -> tuple[Any, Any]:
    binding, machine = llvm(), _machine(target)
    context = binding.create_context()
    try:
        module = binding.parse_assembly(text, context)
        module.triple = target.triple
        module.data_layout = str(machine.target_data)
        module.verify()
    except RuntimeError as error:
        raise NeedleError(f"native: LLVM refuses the generated code: {error}") from error
    options = binding.create_pipeline_tuning_options(speed_level=2)
    manager = binding.create_new_module_pass_manager()
    for name in PASSES:
        getattr(manager, f"add_{name}_pass")()
    manager.run(module, binding.create_pass_builder(machine, options))
    return module, machine


class Library:
    """Loaded object code, and the addresses of its exported functions; freed with this object."""

    def __init__(self, objects: Iterable[bytes], names: Sequence[str]) -> None:
        self._jit = _loader()
        builder = llvm().JITLibraryBuilder()
        for data in objects:
            builder.add_object_img(data)
        for name in names:
            builder.export_symbol(name)
        builder.add_current_process()
        for name, address in _system_symbols().items():
            builder.import_symbol(name, address)
        try:
            self._tracker = builder.link(self._jit, f"needle-{next(_serial)}")
        except RuntimeError as error:
            raise NeedleError(f"native: the object code cannot be loaded: {error}") from error
        self.addresses = {name: self._tracker[name] for name in names}


_serial = itertools.count()  # the name of a library cannot be used again


@functools.cache
def _loader() -> Any:
    return llvm().create_lljit_compiler()


@functools.cache
def _system_symbols() -> dict[str, int]:
    """Addresses of the C functions that generated code calls and the process may not export."""
    if not hasattr(ctypes, "windll"):
        return {}
    libraries = {"memset": "msvcrt", "memcpy": "msvcrt", "SwitchToThread": "kernel32"}
    found = {}
    for name, library in libraries.items():
        function = getattr(ctypes.CDLL(library), name)
        found[name] = ctypes.cast(function, ctypes.c_void_p).value or 0
    return found
