"""Small work at the end of a kernel, done by the thread that finishes last.

A reduction over blocks leaves partial results; adding them takes less time than a barrier. Threads
count the blocks they have done, and whoever completes the count adds the parts, in the order of the
blocks, and goes on to the few scalars that follow. The result does not depend on who that is.
"""

from __future__ import annotations

from dataclasses import dataclass

from needle.compiler.lower_work import Cost, Task, Work


@dataclass(frozen=True)
class Tailed(Work):
    """Work whose pointers come first, then pieces that run after it on the pointers in `slots`.

    The last pointer is the counter of finished blocks, if there are several.
    """

    main: Work
    pointers: int
    tails: tuple[tuple[Work, tuple[int, ...]], ...]

    @property
    def cost(self) -> Cost:
        """The cost of all, in the blocks of the main work."""
        costs = [self.main.cost, *(work.cost for work, _ in self.tails)]
        return Cost.total(costs)._replace(blocks=costs[0].blocks)

    @property
    def counted(self) -> bool:
        """Whether a counter is needed."""
        return self.main.cost.blocks > 1

    def write(self, task: Task) -> None:
        """Write the body."""
        b = task.b
        self.main.write(task._replace(pointers=task.pointers[: self.pointers]))
        last = b.compare("lt", task.begin, task.end)
        counter = task.pointers[-1]
        if self.counted:
            # Acquire and release: what all threads wrote before they counted is seen by the last.
            done = task.end - task.begin
            before = b.emit(f"atomicrmw add {counter.typed}, {done.typed} acq_rel", "int64")
            last = b.and_(last, b.compare("eq", before + done, self.cost.blocks))

        def finish() -> None:
            if self.counted:
                b.store(b.const(0, "int64"), counter, 0)
            for work, slots in self.tails:
                pointers = tuple(task.pointers[slot] for slot in slots)
                begin, end = b.const(0, "int64"), b.const(work.cost.blocks, "int64")
                work.write(task._replace(pointers=pointers, begin=begin, end=end))

        b.branch(last, finish)
