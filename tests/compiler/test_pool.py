import os
import sys
import threading
import time

import numpy as np
import pytest

from needle import settings
from needle.compiler.memory import address, aligned, owned
from needle.compiler.run import policy, pool
from needle.compiler.run.cores import cgroup_quota, usable_cores
from needle.compiler.run.pool import Pool, thread_count
from needle.compiler.run.run import load
from needle.compiler.run.walker import Control, Mail, State, Word, futex_number, mailbox, runtime_ir
from needle.compiler.target import named
from needle.errors import ArgumentError
from tests.compiler.handwritten import block_sums, saxpy_program, sum_program

BLOCKS = 37
X = np.random.default_rng(1).standard_normal(64 * BLOCKS).astype("float32")


@pytest.fixture(params=["futex", "python lock"])
def fresh_pool(request, monkeypatch):
    """A pool of its own, with each of the two ways to sleep."""
    number = futex_number()
    if request.param == "futex" and number is None:
        pytest.skip("no futex here")
    made = Pool(number if request.param == "futex" else None)
    monkeypatch.setattr(pool, "_pool", made)
    return made


def wait_until_asleep(made: Pool, worker: int) -> None:
    limit = time.monotonic() + 5
    while made.control[mailbox(worker) + Mail.STATE] != State.SLEEPS:
        assert time.monotonic() < limit, "the worker never sleeps"
        time.sleep(1e-3)


def test_workers_sleep_after_a_pause_and_wake(fresh_pool):
    bound = load(sum_program(BLOCKS, repeats=3))
    expected = block_sums(X)
    used = []
    with settings.override(num_threads=3, exact_threads=True):
        for _ in range(10):
            assert bound.call([X])[0] == expected
            used.append(bound.threads_used)
            for worker in (1, 2):
                wait_until_asleep(fresh_pool, worker)
    if fresh_pool.sleeps_in_python:
        assert 3 in used, "waking by Python may take longer than the caller waits"
    else:
        assert used == [3] * 10


def test_a_short_program_does_not_wait_for_sleepers(fresh_pool):
    bound = load(sum_program(BLOCKS))
    with settings.override(num_threads=2, exact_threads=True):
        bound.call([X])
        wait_until_asleep(fresh_pool, 1)
        bound._words[Word.SHORT] = 2**62
        assert bound.call([X])[0] == block_sums(X)
        if not fresh_pool.sleeps_in_python:  # Python may have woken it by then
            assert bound.threads_used == 1
        state = mailbox(1) + Mail.STATE
        limit = time.monotonic() + 5
        while bound.threads_used == 1:  # it has been woken, and joins a later call
            bound.call([X])
            assert time.monotonic() < limit
        assert fresh_pool.control[state] in (State.SPINS, State.CLAIMED, State.SLEEPS)


def test_where_python_wakes_the_workers_native_code_leaves_them_asleep(monkeypatch):
    made = Pool(None)
    monkeypatch.setattr(pool, "_pool", made)
    bound = load(sum_program(BLOCKS))
    with settings.override(num_threads=2, exact_threads=True):
        bound.call([X])
        wait_until_asleep(made, 1)
        monkeypatch.setattr(made, "rouse", lambda threads, wait: None)
        bound.call([X])
        assert made.control[mailbox(1) + Mail.STATE] == State.SLEEPS
        monkeypatch.undo()


def test_threads_leave_a_program_when_somebody_waits_too_long(fresh_pool):
    bound = load(sum_program(BLOCKS, repeats=20))
    expected = block_sums(X)
    with settings.override(num_threads=3, exact_threads=True):
        for _ in range(200):
            bound._words[Word.BEST] = 0  # any wait is too long
            assert bound.call([X])[0] == expected
        for worker in (1, 2):
            wait_until_asleep(fresh_pool, worker)
    assert [fresh_pool.control[mailbox(t) + Mail.LEAVE] for t in range(3)] == [0, 0, 0]
    assert fresh_pool.control[Control.ARRIVED] == 0


def test_calls_from_many_python_threads_are_serialised():
    bound = load(saxpy_program(BLOCKS))
    x = np.ones(64 * BLOCKS, "float32")
    failures = []

    def work(k):
        slot = [np.zeros_like(x)]
        for _ in range(100):
            slot = bound.call([x, slot[0]], [float(k)])
        if not (slot[0] == 100 * k).all():
            failures.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(1, 5)]
    with settings.override(num_threads=2, exact_threads=True):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_gets_workers_of_its_own():
    bound = load(sum_program(BLOCKS, repeats=3))
    with settings.override(num_threads=2, exact_threads=True):
        assert bound.call([X])[0] == block_sums(X)
        inside, done = threading.Event(), threading.Event()

        def call():
            with pool.lock:
                inside.set()
                done.wait()

        threading.Thread(target=call).start()
        inside.wait()
        child = os.fork()
        if child == 0:
            good = bound.call([X])[0] == block_sums(X) and bound.threads_used == 2
            os._exit(7 if good else 1)
        done.set()
        limit = time.monotonic() + 20
        while (waited := os.waitpid(child, os.WNOHANG))[0] == 0:
            if time.monotonic() > limit:
                os.kill(child, 9)
            time.sleep(0.01)
        assert os.waitstatus_to_exitcode(waited[1]) == 7
        assert bound.call([X])[0] == block_sums(X)


def test_thread_count_is_at_most_the_usable_cores(monkeypatch):
    monkeypatch.setattr(pool, "usable_cores", lambda: 4)
    with settings.override(num_threads=0):
        assert thread_count() == 4
    with settings.override(num_threads=3):
        assert thread_count() == 3
    with settings.override(num_threads=100):
        assert thread_count() == 4
    with settings.override(num_threads=7, exact_threads=True):
        assert thread_count() == 7


def test_set_num_threads_is_validated():
    with settings.override():
        settings.set_num_threads(1)
        assert thread_count() == 1
        for wrong in (-1, 1.5, "2", True):
            with pytest.raises(ArgumentError, match="num_threads"):
                settings.set_num_threads(wrong)
        assert settings.current().num_threads == 1


@pytest.mark.parametrize(
    ("variables", "field", "value"),
    [
        ({"NEEDLE_NUM_THREADS": "3"}, "num_threads", 3),
        ({"NEEDLE_JIT": "0"}, "jit", False),
        ({"NEEDLE_CHECK": " 2 "}, "check", 2),
        ({"NEEDLE_CACHE": "0"}, "cache", "0"),
        ({"NEEDLE_NUM_THREADS": ""}, "num_threads", 0),
    ],
)
def test_settings_come_from_the_environment(variables, field, value):
    assert getattr(settings.from_environment(variables), field) == value


@pytest.mark.parametrize(
    "variables", [{"NEEDLE_NUM_THREADS": "two"}, {"NEEDLE_JIT": "2"}, {"NEEDLE_CHECK": "-1"}]
)
def test_a_wrong_variable_is_named(variables):
    with pytest.raises(ArgumentError, match=next(iter(variables))):
        settings.from_environment(variables)


def test_usable_cores_follow_the_affinity():
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("no affinity here")
    assert 1 <= usable_cores() <= len(os.sched_getaffinity(0))


def group(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n", encoding="utf-8")


def test_quota_of_cgroup_v2_is_the_smallest_of_the_parents(tmp_path):
    group(tmp_path, cgroup="0::/user/job")
    group(tmp_path / "fs" / "user", cpu__max="150000 100000")
    group(tmp_path / "fs" / "user" / "job", cpu__max="max 100000")
    assert cgroup_quota(tmp_path / "cgroup", tmp_path / "fs") == 1.5


def test_quota_of_cgroup_v1(tmp_path):
    group(tmp_path, cgroup="9:name=systemd:/\n4:cpu,cpuacct:/job\n0::/")
    files = {"cpu__cfs_quota_us": "50000", "cpu__cfs_period_us": "100000"}
    group(tmp_path / "fs" / "cpu,cpuacct" / "job", **files)
    assert cgroup_quota(tmp_path / "cgroup", tmp_path / "fs") == 0.5


def test_quota_inside_a_container_whose_path_is_outside(tmp_path):
    group(tmp_path, cgroup="0::/../../outer")
    group(tmp_path / "fs", cpu__max="300000 100000")
    assert cgroup_quota(tmp_path / "cgroup", tmp_path / "fs") == 3


def test_no_quota(tmp_path):
    assert cgroup_quota(tmp_path / "none", tmp_path) == float("inf")
    group(tmp_path, cgroup="4:cpu:/")
    files = {"cpu__cfs_quota_us": "-1", "cpu__cfs_period_us": "100000"}
    group(tmp_path / "fs" / "cpu", **files)
    assert cgroup_quota(tmp_path / "cgroup", tmp_path / "fs") == float("inf")


def test_the_lowest_count_is_one_core(monkeypatch):
    monkeypatch.setattr("needle.compiler.run.cores._quota", lambda: 0.5)
    assert usable_cores() == 1


class Counters:
    """A policy whose counters the test fills as the native loop does; a tick is a second."""

    def __init__(self, threads=2):
        self.words = np.zeros(len(Word), "int64")
        self.policy = policy.ThreadPolicy(self.words, saxpy_program(1))
        self.policy.start(threads, 1.0)

    def run(self, now, each, share, calls=20):
        threads = self.policy.count
        self.words[Word.CALLS] = calls
        self.words[Word.ELAPSED] = calls * each
        self.words[Word.WAITED] = int(share * calls * each * threads)
        self.policy.review(now)
        return self.policy.count


def test_a_program_that_waits_drops_to_one_thread_and_tries_again():
    counters = Counters()
    assert counters.run(0.0, each=1000, share=0.3) == 2
    assert counters.run(0.0, each=1000, share=0.4) == 1
    assert counters.run(0.05, each=500, share=0) == 1
    assert counters.run(0.2, each=500, share=0) == 2
    waits = []
    for _ in range(6):  # it fails again and again: at most one try a second
        start = now = 10.0 * (len(waits) + 1)
        assert counters.run(now, each=1000, share=0.9) == 1
        while counters.run(now, each=500, share=0) == 1:
            now += 0.01
        waits.append(round(now - start, 2))
    assert waits == sorted(waits)
    assert waits[-1] == pytest.approx(1.0, abs=0.02)


def test_a_long_program_tries_again_as_soon_as_a_short_one():
    counters = Counters()
    counters.policy.start(2, 1000.0)  # a tick is a millisecond
    assert counters.run(0.0, each=60, share=0.9, calls=1) == 1
    assert counters.words[Word.CALL_LIMIT] == 3  # 180 ms: the first whole call after 125 ms
    assert counters.run(0.18, each=60, share=0, calls=3) == 2
    assert counters.words[Word.CALL_LIMIT] == policy.REVIEW_CALLS
    short = Counters()
    short.policy.start(2, 1000.0)
    assert short.run(0.0, each=1, share=0.9) == 1
    assert short.words[Word.CALL_LIMIT] == policy.REVIEW_CALLS


def test_it_goes_back_at_once_where_one_thread_is_slower():
    counters = Counters()
    assert counters.run(0.0, each=1000, share=0.4) == 1
    assert counters.run(0.01, each=1300, share=0) == 2
    assert counters.run(0.02, each=1000, share=0.4) == 2, "one thread is known to be slower"
    assert counters.run(0.03, each=5000, share=0.4) == 1, "but not than this"


def test_one_thread_is_never_reviewed():
    counters = Counters(threads=1)
    assert counters.words[Word.CALL_LIMIT] == policy.NEVER


def test_a_waiting_program_is_reviewed_in_a_real_call():
    bound = load(sum_program(1, repeats=30))  # one block: all but one thread wait
    with settings.override(num_threads=2):
        if thread_count() < 2:
            pytest.skip("one core")
        limit = time.monotonic() + 10
        while bound._threads.count == 2:
            bound.call([np.ones(64, "float32")])
            assert time.monotonic() < limit


def test_aligned_memory_counts_its_views():
    array = aligned((3, 4), "float64")
    assert address(array) % 64 == 0
    assert address(array) == array.ctypes.data
    assert owned(array)
    before = sys.getrefcount(array)
    views = [array[1:], array.T, array.reshape(-1)[2:], array.T[1:][::2]]
    assert all(view.base is array for view in views)
    assert sys.getrefcount(array) == before + len(views)
    assert not owned(views[0])
    assert owned(np.zeros(3))
    assert not owned(np.frombuffer(bytearray(8), "float64"))


@pytest.mark.parametrize(
    ("name", "pause", "clock", "give"),
    [
        ("haswell", "pause", "rdtsc", "sched_yield"),
        ("neoverse-n1", "yield", "CNTVCT_EL0", "sched_yield"),
        ("apple-m1", "yield", "CNTVCT_EL0", "_sched_yield"),
    ],
)
def test_the_native_loop_for_other_targets(name, pause, clock, give):
    from needle.compiler.run.native import assembly

    target = named(name)
    futex = 98 if name == "neoverse-n1" else None
    text = assembly(runtime_ir(target.triple, futex), target)
    for word in (pause, clock, give):
        assert word in text
    assert ("syscall" in text) == (futex is not None)


def test_the_native_loop_for_windows_yields_by_its_own_call():
    text = runtime_ir("x86_64-pc-windows-msvc", None)
    assert "call i32 @SwitchToThread()" in text
    assert "sched_yield" not in text
