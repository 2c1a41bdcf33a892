"""Small work at the end of a kernel, done by the thread that finishes last.

A reduction over blocks leaves partial results; adding them takes less time than a barrier. Threads
count the blocks they have done, and whoever completes the count adds the parts, in the order of the
blocks, and goes on to the few scalars that follow. The result does not depend on who that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from needle.compiler.emit import Builder
from needle.compiler.emit_values import Value
from needle.compiler.lower_bundle import AnyWork


@dataclass(frozen=True)
class Tailed:
    """Work whose pointers come first, then pieces that run after it on the pointers in `slots`.

    The last pointer is the counter of finished blocks, if there are several.
    """

    main: AnyWork
    pointers: int
    tails: tuple[tuple[AnyWork, tuple[int, ...]], ...]

    @property
    def works(self) -> list[AnyWork]:
        """All that is done, in order."""
        return [self.main, *(work for work, _ in self.tails)]

    @property
    def counted(self) -> bool:
        """Whether a counter is needed."""
        return self.main.blocks > 1

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return self.main.blocks

    @property
    def scratch(self) -> int:
        """Bytes of scratch a thread needs."""
        return max(work.scratch for work in self.works)

    @property
    def fallible(self) -> bool:
        """Whether it can set the status word."""
        return any(work.fallible for work in self.works)

    @property
    def bytes_moved(self) -> int:
        """Bytes that must be read or written once."""
        return sum(work.bytes_moved for work in self.works)

    @property
    def flops(self) -> int:
        """Floating-point operations."""
        return sum(work.flops for work in self.works)

    def write(
        self,
        b: Builder,
        pointers: Sequence[Value],
        status: Value | None,
        begin: Value,
        end: Value,
        scratch: Value,
    ) -> None:
        """Write the body of the kernel."""
        self.main.write(b, pointers[: self.pointers], status, begin, end, scratch)
        last = b.compare("lt", begin, end)
        counter = pointers[-1]
        if self.counted:
            # Acquire and release: what all threads wrote before they counted is seen by the last.
            done = end - begin
            before = b.emit(f"atomicrmw add {counter.typed}, {done.typed} acq_rel", "int64")
            last = b.and_(last, b.compare("eq", before + done, self.blocks))

        def finish() -> tuple[Value, ...]:
            if self.counted:
                b.store(b.const(0, "int64"), counter, 0)
            for work, slots in self.tails:
                chosen = [pointers[slot] for slot in slots]
                zero, all_blocks = b.const(0, "int64"), b.const(work.blocks, "int64")
                work.write(b, chosen, status, zero, all_blocks, scratch)
            return ()

        b.branch(last, finish)
