"""The native loop that every thread runs (`walker.ll`): compiled once per process, never freed.

Three blocks of 64-bit words are shared with Python; the classes below name their words. Each line
of the *control* block has 128 bytes, so that no two threads write to one cache line: the constants,
the count of a barrier, its phase, then the *mailbox* of each thread (thread 0 is the caller).
"""

from __future__ import annotations

import enum
import platform
import re
import sys
from importlib import resources
from typing import Any

LINE = 16
"""Words in a line of the control block."""


class Control(enum.IntEnum):
    """Words of the control block: `BUSY` keeps woken workers spinning, the next are ticks.

    `SINCE` is when the first thread arrived at the barrier.
    """

    BUSY = 0
    SPIN = 1
    BARRIER_SPIN = 2
    ARRIVED = LINE
    SINCE = LINE + 1
    PHASE = 2 * LINE


#: Words of a mailbox. `STATE` is one of `State`, `BELL` the word a worker sleeps on; `LEAVE` tells
#: it that the caller goes on alone, because somebody waited longer than the program took at `BEST`.
Mail = enum.IntEnum("Mail", "POSTED TAKEN STATE PROGRAM THREADS SCRATCH WAITED BELL LEAVE", start=0)

#: What a worker does between two programs; claimed workers do not go to sleep.
State = enum.IntEnum("State", "SPINS SLEEPS WAKES CLAIMED", start=0)

#: Words of a program block, filled by `run`; from `CALLS` on the native loop writes them.
#: `STEPS` points to four words a step: kernel, table offset in bytes, blocks, `Flag`s. The table
#: `POINTERS` is filled at each call: pointer i is ``slots[relocations[2 i]]`` plus
#: ``relocations[2 i + 1]``. `TIMES`, where not null, gets the clock before each step and after all.
Word = enum.IntEnum(
    "Word",
    "STEPS STEP_COUNT POINTERS RELOCATIONS POINTER_COUNT SLOTS STATUS THREADS CALL_LIMIT WAIT_LIMIT"
    " TIMES CALLS WAITED ELAPSED ESTIMATE USED BEST SHORT RUNS",
    start=0,
)

#: Bits of a step's fourth word.
Flag = enum.IntFlag("Flag", "BARRIER COMMIT")

#: Bits of what the native call returns: an index was out of range; the counters are full.
Attention = enum.IntFlag("Attention", "STATUS REVIEW")


def mailbox(thread: int) -> int:
    """First word of a thread's mailbox in the control block."""
    return LINE * (3 + thread)


def futex_number() -> int | None:
    """The number of Linux's futex call, or None where workers sleep in a Python lock."""
    if not sys.platform.startswith("linux") or sys.byteorder != "little":
        return None
    return {"x86_64": 202, "aarch64": 98, "riscv64": 98}.get(platform.machine())


def runtime_ir(triple: str, futex: int | None) -> str:
    """The module with `needle_run` (the caller's function) and `needle_work` (the workers')."""
    names: dict[str, Any] = {
        "CONTROL": Control, "MAIL": Mail, "STATE": State, "PROGRAM": Word,
        "SYSTEM": _system(triple, futex),
    }  # fmt: skip
    text = resources.files(__package__).joinpath("walker.ll").read_text(encoding="utf-8")

    def spelled(match: re.Match[str]) -> str:
        value = names[match[1]][match[2]]
        return value if isinstance(value, str) else str(int(value))

    return re.sub(rf"\b({'|'.join(names)})\.([A-Z_]+)\b", spelled, text)


def _system(triple: str, futex: int | None) -> dict[str, str]:
    """What differs from system to system (128 and 129: wait and wake within the process)."""
    pause = "fence acquire"
    if triple.startswith(("x86_64", "i686")):
        pause = "call void @llvm.x86.sse2.pause()"
    elif triple.startswith(("aarch64", "arm64")):
        pause = "call void @llvm.aarch64.hint(i32 1)"
    declare = pause.replace("call", "declare").replace("i32 1", "i32") if "@" in pause else ""
    call = f"%r = call i64 (i64, ...) @syscall(i64 {futex}, ptr %bell, "
    return {
        "PAUSE": pause,
        "DECLARE_PAUSE": declare,
        "GIVE": "SwitchToThread" if "windows" in triple else "sched_yield",
        "CAN_SLEEP": "false" if futex is None else "true",
        "SLEEP": "" if futex is None else call + "i64 128, i64 %rings, ptr null)",
        "WAKE": "" if futex is None else call + "i64 129, i64 1, ptr null)",
    }
