"""The threads: daemon workers that live in one native loop, and the lock that serialises calls.

A worker spins at most 100 us for the next program, then sleeps: on Linux in a futex that the caller
rings from native code, elsewhere in a Python semaphore that it releases before the call.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
import time

import numpy as np

from needle import settings
from needle.compiler.memory import address, aligned
from needle.compiler.program import Program
from needle.compiler.run import cache, native, walker
from needle.compiler.run.cores import usable_cores
from needle.compiler.run.walker import Control, Mail, State
from needle.compiler.target import host

MAX_THREADS = 256
SPIN = 100e-6
"""Seconds a worker spins for work: it then starts in 0.5 us, a sleeping one in 7 to 23."""
SHORT = 300e-6
"""A program of fewer seconds does not wait for sleeping workers."""
BARRIER_SPIN = 2e-6
"""Seconds a thread spins in a barrier before it gives its core away each time round."""


class Pool:
    """The workers of this process and their control block; see `walker`."""

    def __init__(self, futex: int | None) -> None:
        self.sleeps_in_python = futex is None
        self.control = aligned((walker.mailbox(MAX_THREADS),), "int64")
        self.control[:] = 0
        self._words = self.control.data
        self._library = _runtime(futex)
        addresses = self._library.addresses
        call = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)
        self.run = functools.partial(call(addresses["needle_run"]), address(self.control))
        self._work = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(
            addresses["needle_work"]
        )
        self._clock = ctypes.CFUNCTYPE(ctypes.c_int64)(addresses["needle_clock"])
        self._semaphores: list[threading.Semaphore] = []
        self._scratch: list[np.ndarray] = []
        self._scratch_bytes = 0
        self._birth = (self._clock(), time.perf_counter())
        while time.perf_counter() < self._birth[1] + 1e-3:
            pass  # one millisecond gives the clock's rate to 0.1%
        rate = self.ticks_per_second()
        self.control[Control.SPIN] = int(SPIN * rate)
        self.control[Control.BARRIER_SPIN] = int(BARRIER_SPIN * rate)

    def ticks_per_second(self) -> float:
        """The rate of the native clock, measured since the pool was made; 0 if it stands still."""
        return (self._clock() - self._birth[0]) / (time.perf_counter() - self._birth[1])

    def reserve(self, threads: int, scratch: int) -> None:
        """Make sure that there are `threads` threads with `scratch` bytes each.

        Call it with `lock` held: then no worker is inside a program.
        """
        if len(self._scratch) < threads or self._scratch_bytes < scratch:
            self._scratch_bytes = max(self._scratch_bytes, scratch)
            self._scratch = [
                aligned((self._scratch_bytes + 128,), "uint8")
                for _ in range(max(threads, len(self._scratch)))
            ]
            for t, block in enumerate(self._scratch):
                self.control[walker.mailbox(t) + Mail.SCRATCH] = address(block)
        while len(self._semaphores) < threads - 1:
            self._semaphores.append(threading.Semaphore(0))
            t = len(self._semaphores)
            name = f"needle-{t}"
            threading.Thread(target=self._live, args=(t,), name=name, daemon=True).start()

    def _live(self, t: int) -> None:
        control, semaphore = address(self.control), self._semaphores[t - 1]
        while True:
            self._work(control, t)  # returns only where there is no futex
            semaphore.acquire()

    def rouse(self, threads: int, wait: bool) -> None:
        """Wake the workers that sleep in Python, and `wait` up to 5 ms until they spin."""
        words = self._words
        states = [walker.mailbox(t) + Mail.STATE for t in range(1, threads)]
        words[Control.BUSY] = int(wait)  # keeps those that are awake from falling asleep again
        for t, at in enumerate(states):
            if words[at] == State.SLEEPS:
                words[at] = State.WAKES
                self._semaphores[t].release()
        limit = time.perf_counter() + (5e-3 if wait else 0.0)
        while any(words[at] != State.SPINS for at in states) and time.perf_counter() < limit:
            time.sleep(0)


@functools.cache
def _runtime(futex: int | None) -> native.Library:
    target = host()
    text = walker.runtime_ir(target.triple, futex)
    name = cache.key([text], target)
    found = cache.load(name)
    code = found[1][0] if found else native.compile_module(text, target)
    if not found:
        cache.store(name, Program(kernels=(), steps=()), [code])
    return native.Library([code], ["needle_run", "needle_work", "needle_clock"])


_pool: Pool | None = None
lock = threading.RLock()
"""Held while anything is traced, compiled or run: one compiled call at a time."""


def current() -> Pool:
    """Return the process's pool; a forked child gets one of its own at its first call."""
    global _pool
    if _pool is None:
        with lock:
            if _pool is None:
                _pool = Pool(walker.futex_number())
    return _pool


def thread_count() -> int:
    """How many threads programs run on under the settings in force."""
    chosen, cores = settings.current().num_threads, usable_cores()
    if settings.current().exact_threads:
        return min(chosen or cores, MAX_THREADS)
    return min(chosen or cores, cores, MAX_THREADS)


def _forget() -> None:
    """In a forked child: the parent's workers do not exist here."""
    global _pool, lock
    _pool, lock = None, threading.RLock()  # nor does the thread that held the lock


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
