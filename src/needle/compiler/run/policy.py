"""How many threads a program runs on: all of them, or one where they would only wait."""

from __future__ import annotations

import time

import numpy as np

from needle.compiler.program import Program
from needle.compiler.run.pool import SHORT
from needle.compiler.run.walker import Word

REVIEW_CALLS = 20
"""Calls between two looks at the waiting times."""
REVIEW_WAIT = 5e-3
"""Seconds waited, all threads together, that make the look come earlier."""
WAIT_SHARE = 1 / 3
"""Share of the time in barriers above which a program drops to one thread."""
RETRY = (0.125, 1.0)
"""Seconds before it tries all threads again: at first, and after that has failed some times."""
NEVER = 2**62


class ThreadPolicy:
    """The thread count of one program, from the counters that the native loop keeps.

    A program whose threads wait more than a third of the time (it is too small, or the cores are
    taken by other processes) runs on one thread for up to a second; where that turns out slower, it
    goes back at once.
    """

    def __init__(self, words: np.ndarray, program: Program) -> None:
        self._words = words
        self._words[Word.BEST] = NEVER
        self._rate = 0.0
        self._most = 1
        self._guess = sum(step_seconds(program))
        self._together = self._dropped = 0.0  # ticks a call on all threads when it dropped; when
        self._alone = self._measured = 0.0  # ticks a call on one thread; when
        self._retry = RETRY[0]

    @property
    def count(self) -> int:
        """Threads the next call may use."""
        return int(self._words[Word.THREADS])

    def is_long(self) -> bool:
        """Whether the program is worth waiting for sleeping workers."""
        return bool(self._words[Word.ESTIMATE] >= self._words[Word.SHORT])

    def start(self, threads: int, ticks_per_second: float) -> None:
        """Begin on `threads` threads; until the first call, a guess says how long a call takes."""
        self._most, self._rate = threads, ticks_per_second
        self._words[Word.ESTIMATE] = self._words[Word.ESTIMATE] or int(self._guess * self._rate)
        self._alone, self._retry = 0.0, RETRY[0]
        self._set(threads)

    def fix(self) -> None:
        """Keep all threads, however long they wait, and wait for workers that sleep."""
        self._set(self._most)
        self._words[Word.CALL_LIMIT] = self._words[Word.WAIT_LIMIT] = NEVER
        self._words[Word.SHORT] = 0

    def review(self, now: float | None = None) -> None:
        """Look at the counters; called when they are full."""
        now = time.monotonic() if now is None else now
        calls, waited, elapsed = (
            int(self._words[word]) for word in (Word.CALLS, Word.WAITED, Word.ELAPSED)
        )
        each = elapsed / max(1, calls)
        if self.count > 1:
            waits = waited > WAIT_SHARE * elapsed * self.count
            self._retry = self._retry if waits else RETRY[0]
            drops = waits and (each > self._alone or now >= self._measured + RETRY[1])
            if drops:
                self._together, self._dropped = each, now
            self._set(1 if drops else self._most, each)
            return
        self._alone, self._measured = each, now
        over = now >= self._dropped + self._retry
        if over:
            self._retry = min(2 * self._retry, RETRY[1])
        self._set(self._most if over or each > self._together else 1, each)

    def _set(self, threads: int, each: float = 0.0) -> None:
        """Run on `threads` threads until the next look; a call took `each` ticks."""
        for word in (Word.CALLS, Word.WAITED, Word.ELAPSED):
            self._words[word] = 0
        self._words[Word.THREADS] = threads
        self._words[Word.SHORT] = int(SHORT * self._rate)
        calls = REVIEW_CALLS if self._most > 1 else NEVER
        if threads < self._most and each:  # 20 long calls would last longer than the retry
            calls = min(calls, 1 + int(self._retry * self._rate / each))
        self._words[Word.CALL_LIMIT] = calls
        wait = REVIEW_WAIT * self._rate if threads > 1 else 0
        self._words[Word.WAIT_LIMIT] = int(wait) or NEVER


def step_seconds(program: Program) -> list[float]:
    """A rough time of each step on one thread, from 20 GFLOP/s and 10 GB/s."""
    cost = {
        kernel.name: kernel.flops / 20e9 + kernel.bytes_moved / 10e9 for kernel in program.kernels
    }
    return [cost[step.kernel] for step in program.steps]
