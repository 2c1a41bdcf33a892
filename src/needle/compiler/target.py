"""What the code generator knows about a CPU: vector width, registers, masks, caches."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

#: Bytes of an element in memory; a bool is one byte there and one bit in a register.
ITEM_BYTES = {
    "bool": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4,
    "int64": 8, "uint64": 8, "float32": 4, "float64": 8, "ptr": 8,
}  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A CPU to generate code for.

    ``vector_bits`` is the width of a vector register, ``registers`` how many there are.
    ``masked`` is the smallest element (bytes) that a masked load or store takes in one
    instruction, 0 where there are none. Cache sizes are in bytes, for one core.

    >>> from needle.compiler.target import named
    >>> named("haswell").lanes("float32"), named("neoverse-n1").lanes("float64")
    (8, 2)
    """

    name: str
    triple: str
    cpu: str
    features: str
    vector_bits: int
    registers: int
    masked: int
    fma: bool = True
    l1: int = 32 << 10
    l2: int = 512 << 10
    l3: int = 8 << 20

    def lanes(self, dtype: str) -> int:
        """Elements of ``dtype`` in one vector register (a bool counts as one byte)."""
        return self.vector_bits // 8 // ITEM_BYTES[dtype]

    def has_mask(self, dtype: str) -> bool:
        """Whether a masked load of ``dtype`` is one instruction."""
        return bool(self.masked) and ITEM_BYTES[dtype] >= self.masked

    def machine(self) -> Any:
        """The LLVM TargetMachine, position independent, at codegen level 3."""
        llvm = _llvm()
        return llvm.Target.from_triple(self.triple).create_target_machine(
            cpu=self.cpu, features=self.features, opt=3, reloc="pic", codemodel="small"
        )


_NAMED = {
    target.name: target
    for target in (
        Target("haswell", "x86_64-unknown-linux-gnu", "haswell", "", 256, 16, 4, l2=256 << 10),
        Target("skylake-avx512", "x86_64-unknown-linux-gnu", "skylake-avx512", "", 512, 32, 1,
               l2=1 << 20),
        Target("neoverse-n1", "aarch64-unknown-linux-gnu", "neoverse-n1", "", 128, 32, 0,
               l1=64 << 10, l2=1 << 20),
        Target("apple-m1", "arm64-apple-macosx11.0.0", "apple-m1", "", 128, 32, 0,
               l1=128 << 10, l2=4 << 20),
    )
}  # fmt: skip


def named(name: str) -> Target:
    """One of the targets the suite emits assembly for, with typical cache sizes."""
    return _NAMED[name]


@functools.cache
def host() -> Target:
    """The CPU this process runs on, with its caches."""
    llvm = _llvm()
    flags = dict(llvm.get_host_cpu_features())
    features = ",".join(("+" if on else "-") + flag for flag, on in sorted(flags.items()))
    triple = llvm.get_process_triple()
    bits, registers, masked, fma = _vector_unit(triple, flags)
    target = Target("host", triple, llvm.get_host_cpu_name(), features,
                    bits, registers, masked, fma)  # fmt: skip
    sizes = _cache_sizes()
    l1, l2, l3 = (sizes.get(k, getattr(target, k)) for k in ("l1", "l2", "l3"))
    return replace(target, l1=l1, l2=l2, l3=l3)


def _vector_unit(triple: str, flags: dict[str, bool]) -> tuple[int, int, int, bool]:
    if triple.startswith(("aarch64", "arm64")):
        return 128, 32, 0, True
    if all(flags.get(f"avx512{part}") for part in ("f", "bw", "dq", "vl")):
        return 512, 32, 1, True
    if flags.get("avx2"):
        return 256, 16, 4, bool(flags.get("fma"))
    return 128, 16, 0, bool(flags.get("fma"))


@functools.cache
def _llvm() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    return llvm


def _cache_sizes() -> dict[str, int]:
    """Sizes of the data caches of the first core; unreadable levels are left out."""
    sizes: dict[str, int] = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            kind = (index / "type").read_text(encoding="ascii").strip()
            level = (index / "level").read_text(encoding="ascii").strip()
            text = (index / "size").read_text(encoding="ascii").strip()
        except OSError:
            continue
        if kind != "Instruction" and text.endswith("K"):
            sizes[f"l{level}"] = int(text[:-1]) << 10
    return sizes or _sysctl_sizes()


def _sysctl_sizes() -> dict[str, int]:
    import ctypes
    import sys

    if sys.platform != "darwin":
        return {}
    sizes = {}
    for level, key in (("l1", b"hw.perflevel0.l1dcachesize"), ("l2", b"hw.perflevel0.l2cachesize")):
        value, length = ctypes.c_int64(0), ctypes.c_size_t(8)
        failed = ctypes.CDLL(None).sysctlbyname(
            key, ctypes.byref(value), ctypes.byref(length), None, 0
        )
        if not failed:
            sizes[level] = value.value
    return sizes
