"""Calling a program: arrays in, one foreign call, arrays out.

Pointers are kept from call to call and checked by identity; results are written to buffers that the
program keeps, unless somebody else still refers to them. Both checks run as C loops over all
arrays (25 ns an array), so that a call costs about a microsecond of Python.
"""

from __future__ import annotations

import functools
import operator
import struct
import sys
from collections.abc import Callable, Sequence
from itertools import compress

import numpy as np

from needle import settings
from needle.compiler.memory import ALIGNMENT, address, aligned, aligned_copy, owned
from needle.compiler.program import NUMBER_FORMATS, Program
from needle.compiler.run import pool as pools
from needle.compiler.run.native import Library, compile_module
from needle.compiler.run.policy import ThreadPolicy
from needle.compiler.run.walker import Attention, Flag, Word
from needle.errors import IndexRangeError, NeedleError


class _Arena:
    """The memory of all intermediates, as large as the largest program needs; never shrinks.

    No page of it is touched here: the threads that write it first do so.
    """

    def __init__(self) -> None:
        self.array = aligned((0,), "uint8")

    def reserve(self, size: int) -> None:
        if size > self.array.size:
            self.array = aligned((size,), "uint8")


_arena = _Arena()


def load(program: Program, objects: Sequence[bytes] = ()) -> BoundProgram:
    """Load a program's object code, compiling it if there is none, ready to be called."""
    code = list(objects) or [compile_module(program.llvm_ir)]
    return BoundProgram(program, Library(code, [kernel.name for kernel in program.kernels]))


class BoundProgram:
    """A program with its code, its memory and its pointers; one foreign call per `call`.

    `arrays` are the inputs as bound: `take` binds another one, `run` runs on what is bound, `call`
    does both. An in-place output is the input's own array when nobody else holds it, else a fresh
    one. For that count the caller keeps exactly two references to each array: the slot it came
    from, and one more (the sequence passed to `call`, a variable while it calls `run`).

    `vouch(j, n)` says that n of the references to result j, as last returned, may see it
    overwritten by the next call (a gradient in its slot, which the call replaces). Where the slot
    holds something else by then, the caller of `run` holds the array meanwhile.
    """

    def __init__(self, program: Program, library: Library) -> None:
        self.program, self.library = program, library
        self._inputs = [
            (item.shape, np.dtype(item.dtype)) for item in program.inputs if not item.number
        ]
        formats = [NUMBER_FORMATS[item.dtype] for item in program.inputs if item.number]
        self._pack = struct.Struct("=" + "".join(formats)).pack_into
        self._numbers = np.zeros(max(1, len(formats)), "int64")
        self._number_bytes = self._numbers.data
        self._status = np.zeros(2, "int64")
        self.vouched: set[int] = set()
        self.moved = 0  # how often an in-place output got another array than the caller's
        self._constants = [aligned_copy(constant) for constant in program.constants]
        self.arrays: list[np.ndarray | None] = [None] * len(self._inputs)
        self._outputs: list[np.ndarray | None] = [None] * len(program.outputs)
        self._spares: list[np.ndarray | None] = [None] * len(program.outputs)
        self._link()
        self._count_references()
        self._threads = ThreadPolicy(self._words, program)
        self._pool: pools.Pool | None = None  # with what the last call ran
        self._settings: settings.Settings | None = None
        self._memory = _arena.array

    def _link(self) -> None:
        """Lay out the slots (arena, numbers, status, constants, inputs, outputs) and the steps."""
        fixed = [self._numbers, self._status, *self._constants]
        arrays, results = 1 + len(fixed), 1 + len(fixed) + len(self.arrays)
        self._first = {"arena": 0, "numbers": 1, "status": 2, "constant": 3}
        self._first |= {"input": arrays, "result": results}
        self._slots = np.zeros(results + len(self._outputs), "int64")
        self._slots[1:arrays] = [address(block) for block in fixed]
        self._set_slot = self._slots.data.__setitem__
        self._steps, relocations = self._step_table()
        self._relocations = np.array(relocations, "int64").reshape(-1, 2)
        self._pointers = aligned((len(relocations),), "int64")
        self._words = aligned((len(Word),), "int64")
        self._words[:] = 0
        # how many runs have come to their end: all their state is written
        self.runs: Callable[[], int] = functools.partial(
            self._words.data.__getitem__, int(Word.RUNS)
        )
        self._block = address(self._words)
        for word, block in (
            (Word.STEPS, self._steps),
            (Word.POINTERS, self._pointers),
            (Word.RELOCATIONS, self._relocations),
            (Word.SLOTS, self._slots),
            (Word.STATUS, self._status),
        ):
            self._words[word] = address(block)
        self._words[Word.STEP_COUNT] = len(self._steps)
        self._words[Word.POINTER_COUNT] = len(relocations)

    def _step_table(self) -> tuple[np.ndarray, list[tuple[int, int]]]:
        """Four words a step, and slot and offset of every pointer in the order of use."""
        steps: list[tuple[int, int, int, int]] = []
        relocations: list[tuple[int, int]] = []
        committed = False
        for step in self.program.steps:
            # once: a second check could find half of the state new
            commit = step.commit and not committed
            committed = committed or commit
            flags = Flag.BARRIER * (step.barrier_before or commit) | Flag.COMMIT * commit
            code = self.library.addresses[step.kernel]
            steps.append((code, 8 * len(relocations), step.blocks, flags))
            relocations += [(self._first[x.kind] + x.index, x.offset) for x in step.buffers]
        return np.array(steps, "int64").reshape(-1, 4), relocations

    def _count_references(self) -> None:
        """Set how many references each array may have and still be written to."""
        outputs = self.program.outputs
        self._in_place: dict[int, tuple[int, int]] = {}  # input: place in _watched, output
        for j, output in enumerate(outputs):
            if output.in_place is not None:
                self._in_place[output.in_place] = len(self._in_place), j
        self._result_at = [j for j, output in enumerate(outputs) if output.in_place is None]
        own, states = _own_references(), len(self._in_place)
        self._watched: list[np.ndarray | None] = [None] * len(outputs)  # state, then results
        # a state array: in three lists here, and the caller's two references
        self._limits = [own + 4] * states + [own + 1] * len(self._result_at)
        for k in range(states, len(outputs)):
            self._renew(k)

    @property
    def threads_used(self) -> int:
        """How many threads the last call ran on."""
        return int(self._words[Word.USED])

    @property
    def threads(self) -> int:
        """How many threads the next call may use; before the first call, what the settings say."""
        return self._threads.count or pools.thread_count()

    def outputs(self) -> list[np.ndarray]:
        """What the last call returned, or would have returned but for an interrupt."""
        return self._outputs.copy()  # type: ignore[return-value]

    def vouch(self, output: int, references: int) -> None:
        """Let `references` more references to a result not keep it from being overwritten."""
        self.vouched.add(output)
        k = len(self._in_place) + self._result_at.index(output)
        self._limits[k] = _own_references() + 1 + references

    def call(self, arrays: Sequence[np.ndarray], numbers: Sequence[float] = ()) -> list[np.ndarray]:
        """Run the program once on its array inputs and number inputs, each in order; see `run`."""
        with pools.lock:
            changed = map(operator.is_not, arrays, self.arrays)
            for i in [*compress(range(len(arrays)), changed)]:
                self.take(i, arrays[i])
            return self.run(numbers)

    def run(self, numbers: Sequence[float] = ()) -> list[np.ndarray]:
        """Run the program once on what is bound. The caller holds `pool.lock`.

        A KeyboardInterrupt may come before the run or after it, never inside: `runs` tells which,
        and `outputs` what it would have returned.

        Raises: IndexRangeError when an index was out of range, NeedleError when an array is not as
        the program expects it; no state has changed then.
        """
        pool = pools.current()
        if (
            pool is not self._pool
            or settings.current() is not self._settings
            or _arena.array is not self._memory
        ):
            self._prepare(pool)
        if [*map(sys.getrefcount, self._watched)] != self._limits:
            self._own()
        if numbers:
            self._pack(self._number_bytes, 0, *numbers)
        if pool.sleeps_in_python:
            pool.rouse(self._threads.count, wait=self._threads.is_long())
        attention = pool.run(self._block)
        if attention:
            self._attend(attention)
        return self._outputs.copy()  # type: ignore[return-value]

    def _prepare(self, pool: pools.Pool) -> None:
        """Take up a new pool, changed settings or a larger arena."""
        threads = pools.thread_count()
        pool.reserve(threads, self.program.scratch)
        _arena.reserve(self.program.arena)
        self._slots[0] = address(_arena.array)
        self._threads.start(threads, pool.ticks_per_second())
        if settings.current().exact_threads:
            self._threads.fix()
        self._pool, self._settings, self._memory = pool, settings.current(), _arena.array

    def _own(self) -> None:
        """Give the program arrays of its own where others hold those that it would write."""
        inputs = [*self._in_place]
        counts = map(sys.getrefcount, self._watched)
        for k in [*compress(range(len(self._limits)), map(operator.gt, counts, self._limits))]:
            if k >= len(inputs):
                self._renew(k)
                continue
            self.moved += 1
            self._use(inputs[k], aligned_copy(self._watched[k]))  # type: ignore[arg-type]

    def take(self, i: int, array: np.ndarray) -> np.ndarray:
        """Bind an array that was not there at the last call; return the one that is bound."""
        shape, dtype = self._inputs[i]
        if array.shape != shape or array.dtype != dtype or not array.flags.c_contiguous:
            raise NeedleError(
                f"run: expected input {i} contiguous {dtype}{list(shape)}, got "
                f"{array.dtype}{list(array.shape)} with strides {array.strides}"
            )
        if i in self._in_place:
            mine = owned(array) and array.flags.writeable and address(array) % ALIGNMENT == 0
            self.moved += not mine
            array = array if mine else aligned_copy(array)
        self._use(i, array)
        return array

    def _use(self, i: int, array: np.ndarray) -> None:
        self._set_slot(self._first["input"] + i, address(array))
        self.arrays[i] = array
        if i in self._in_place:
            k, j = self._in_place[i]
            self._watched[k] = self._outputs[j] = array

    def _renew(self, k: int) -> None:
        """Give result k another buffer: the one before last if free again, else a fresh one."""
        j = self._result_at[k - len(self._in_place)]
        output, spare = self.program.outputs[j], self._spares[j]
        free = spare is not None and _references(self._spares, j) <= _own_references() + 1
        self._spares[j] = self._outputs[j]
        array = spare if spare is not None and free else aligned(output.shape, output.dtype)
        self._watched[k] = self._outputs[j] = array
        self._set_slot(self._first["result"] + j, address(array))

    def _attend(self, attention: int) -> None:
        if attention & Attention.REVIEW:
            self._threads.review()
        if attention & Attention.STATUS:
            site, index = (int(word) for word in self._status)
            self._status[:] = 0
            raise IndexRangeError(self.program.sites[site - 1].format(index=index))

    def select(self, step: int) -> None:
        """Let each call run one step only, for `check`."""
        self._words[Word.STEPS] = address(self._steps) + step * self._steps.strides[0]
        self._words[Word.STEP_COUNT] = 1

    def profile(
        self, arrays: Sequence[np.ndarray], numbers: Sequence[float] = (), repeats: int = 20
    ) -> np.ndarray:
        """Seconds of each step, shape (repeats, steps), with a barrier before every step.

        In-place outputs are written: pass arrays that may change.
        """
        times = np.zeros((repeats, len(self.program.steps) + 1), "int64")
        self.call(arrays, numbers)
        pool = pools.current()
        self._threads.fix()
        try:
            for row in times:
                self._words[Word.TIMES] = address(row)
                for _ in range(100):  # the first ones may run on fewer threads, and wake the rest
                    self.call(arrays, numbers)
                    if self._words[Word.USED] == self._threads.count:
                        break
        finally:
            self._words[Word.TIMES] = 0
            self._settings = None
        return np.diff(times, axis=1) / pool.ticks_per_second()


def _references(arrays: list[np.ndarray | None], k: int) -> int:
    """The reference count of one array, counted the way a C loop over the list counts it."""
    return sys.getrefcount(arrays[k])


@functools.cache
def _own_references() -> int:
    """What `getrefcount` says of an array that stands in one list and nowhere else."""
    sample: list[np.ndarray | None] = [np.empty(1)]
    counts = [*map(sys.getrefcount, sample)]
    assert counts == [_references(sample, 0)]
    return counts[0]
