"""How many threads a program runs on: all of them, or one where they would only wait."""

from __future__ import annotations

import time

import numpy as np

from needle.compiler.pool import SHORT
from needle.compiler.program import Program
from needle.compiler.walker import Word

REVIEW_CALLS = 20
"""Calls between two looks at the waiting times."""
REVIEW_WAIT = 20e-3
"""Seconds waited that make the look come earlier, but not before `FEWEST_CALLS`."""
FEWEST_CALLS = 5
WAIT_SHARE = 1 / 3
"""Share of the time in barriers above which a program drops to one thread."""
RETRY = 1.0
"""Seconds before it tries all threads again, or may drop again if one thread was slower."""
NEVER = 2**62


class ThreadPolicy:
    """The thread count of one program, from the counters that the native loop keeps.

    A program whose threads wait more than a third of the time (it is too small, or the cores are
    taken by other processes) runs on one thread for a second; where that turns out slower, it goes
    back at once.
    """

    def __init__(self, words: np.ndarray, program: Program) -> None:
        self._words = words
        self._rate = 0.0
        self._most = 1
        self._together = 0.0  # seconds a call when it dropped
        self._decided = 0.0
        self._settled = False
        self._guess = sum(kernel_seconds(program))

    @property
    def count(self) -> int:
        """Threads the next call may use."""
        return int(self._words[Word.THREADS])

    def is_long(self) -> bool:
        """Whether the program is worth waiting for sleeping workers."""
        return int(self._words[Word.ESTIMATE]) >= SHORT * self._rate

    def start(self, threads: int, ticks_per_second: float) -> None:
        """Begin on `threads` threads; until the first call, a guess says how long a call takes."""
        self._most, self._rate = threads, ticks_per_second
        self._words[Word.ESTIMATE] = self._words[Word.ESTIMATE] or int(self._guess * self._rate)
        self._settled = False
        self._set(threads)

    def fix(self) -> None:
        """Keep all threads whatever the waits are, and count every call as a long one."""
        self._set(self._most)
        self._words[Word.CALL_LIMIT] = self._words[Word.WAIT_LIMIT] = NEVER

    def review(self, now: float | None = None) -> None:
        """Look at the counters; called when they are full."""
        calls, waited, elapsed = (
            int(self._words[word]) for word in (Word.CALLS, Word.WAITED, Word.ELAPSED)
        )
        now = time.monotonic() if now is None else now
        if calls < FEWEST_CALLS:
            self._words[Word.WAIT_LIMIT] *= 2
            return
        each = elapsed / calls
        if self.count > 1:
            share = waited / max(1, elapsed * self.count)
            drop = share > WAIT_SHARE and not (self._settled and now < self._decided + RETRY)
            if drop:
                self._together, self._decided, self._settled = each, now, False
            self._set(1 if drop else self._most)
        elif not self._settled and each > self._together:  # one thread is slower after all
            self._decided, self._settled = now, True
            self._set(self._most)
        else:
            retry = self._most > 1 and now >= self._decided + RETRY
            self._settled = not retry
            self._set(self._most if retry else 1)

    def _set(self, threads: int) -> None:
        for word in (Word.CALLS, Word.WAITED, Word.ELAPSED):
            self._words[word] = 0
        self._words[Word.THREADS] = threads
        self._words[Word.CALL_LIMIT] = REVIEW_CALLS if self._most > 1 else NEVER
        wait = REVIEW_WAIT * self._rate if threads > 1 else 0
        self._words[Word.WAIT_LIMIT] = int(wait) or NEVER


def kernel_seconds(program: Program) -> list[float]:
    """A rough time of each step on one thread, from 20 GFLOP/s and 10 GB/s."""
    cost = {
        kernel.name: kernel.flops / 20e9 + kernel.bytes_moved / 10e9 for kernel in program.kernels
    }
    return [cost[step.kernel] for step in program.steps]
