import time

import numpy as np
import pytest

from needle import settings
from needle.compiler.memory import address, aligned
from needle.compiler.program import Buffer, Input, Kernel, Output, Program, Step
from needle.compiler.run import run
from needle.compiler.run.run import load
from needle.errors import IndexRangeError, NeedleError
from tests.compiler.handwritten import (
    SAXPY,
    block_sums,
    check,
    kernel,
    loop,
    saxpy_program,
    sum_program,
)


def state_of(*arrays):
    """State arrays as a model holds them: aligned, and in one slot each."""
    copies = []
    for array in arrays:
        copies.append(aligned(array.shape, array.dtype))
        copies[-1][...] = array
    return copies


def test_in_place_output_is_the_input_array():
    bound = load(saxpy_program(3))
    x = np.arange(192, dtype="float32")
    slot = state_of(np.ones(192, "float32"))
    where = address(slot[0])
    for _ in range(5):
        slot = bound.call([x, slot[0]], [2.0])
    np.testing.assert_array_equal(slot[0], 1 + 10 * x)
    assert address(slot[0]) == where


@pytest.mark.parametrize("hold", [lambda a: a, lambda a: a[2:5], lambda a: a.reshape(2, -1).T])
def test_state_that_somebody_else_holds_is_not_written(hold):
    bound = load(saxpy_program(3))
    x = np.arange(192, dtype="float32")
    slot = bound.call([x, np.zeros(192, "float32")], [1.0])
    snapshot = hold(slot[0])
    before = snapshot.copy()
    slot = bound.call([x, slot[0]], [1.0])
    np.testing.assert_array_equal(snapshot, before)
    np.testing.assert_array_equal(slot[0], 2 * x)
    kept = address(slot[0])
    slot = bound.call([x, slot[0]], [1.0])
    assert address(slot[0]) == kept, "nobody holds the fresh array"


def test_a_snapshot_of_the_first_state_keeps_its_values():
    bound = load(saxpy_program(3))
    x = np.ones(192, "float32")
    slot = state_of(np.zeros(192, "float32"))
    first = slot[0]
    out = bound.call([x, slot[0]], [1.0])
    np.testing.assert_array_equal(first, 0)
    np.testing.assert_array_equal(out[0], 1)


def unaligned() -> np.ndarray:
    """An array that owns its memory, off the 64 bytes by 16."""
    made = [np.zeros(64, "float32") for _ in range(20)]
    found = [array for array in made if address(array) % 64]
    if not found:
        pytest.skip("this NumPy aligns all arrays")
    return found[0]


def frozen() -> np.ndarray:
    (array,) = state_of(np.zeros(64, "float32"))
    array.flags.writeable = False
    return array


def view() -> np.ndarray:
    (array,) = state_of(np.zeros(128, "float32"))
    return array[:64]


@pytest.mark.parametrize("make", [unaligned, frozen, view])
def test_state_that_is_not_the_programs_to_write_is_copied(make):
    bound = load(saxpy_program(1))
    slot = [make()]
    out = bound.call([np.ones(64, "float32"), slot[0]], [1.0])
    assert out[0] is not slot[0]
    assert address(out[0]) % 64 == 0
    np.testing.assert_array_equal(slot[0], 0)
    np.testing.assert_array_equal(out[0], 1)


def test_the_same_array_as_state_and_argument():
    bound = load(saxpy_program(2))
    slot = state_of(np.ones(128, "float32"))
    out = bound.call([slot[0], slot[0]], [3.0])
    np.testing.assert_array_equal(slot[0], 1)
    np.testing.assert_array_equal(out[0], 4)


def test_results_reuse_their_buffer_only_when_nobody_holds_them():
    bound = load(sum_program(4))
    ones = np.ones(256, "float32")
    held = bound.call([ones])[0]
    other = bound.call([2 * ones])[0]
    assert (held, other) == (256, 512)
    where = {address(held), address(other)}
    del held, other
    seen = {address(bound.call([ones])[0]) for _ in range(10)}
    assert seen <= where, "no buffer is made when two are free"
    losses = [bound.call([k * ones])[0] for k in range(5)]
    assert [float(loss) for loss in losses] == [0, 256, 512, 768, 1024]


def test_a_vouched_reference_does_not_keep_a_result():
    bound = load(sum_program(4))
    ones = np.ones(256, "float32")
    bound.vouch(0, 1)
    grad = bound.call([ones])[0]
    again = bound.call([2 * ones])[0]
    assert again is grad
    assert grad == 512


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_any_number_of_threads_gives_the_same_bits(threads):
    x = np.random.default_rng(0).standard_normal(64 * 37).astype("float32")
    bound = load(sum_program(37, repeats=4))
    with settings.override(num_threads=1):
        alone = bound.call([x])[0].copy()
    assert alone == block_sums(x)
    with settings.override(num_threads=threads, exact_threads=True):
        used = set()
        for _ in range(60):
            assert bound.call([x])[0].tobytes() == alone.tobytes()
            used.add(bound.threads_used)
    assert threads in used


def test_numbers_of_all_kinds():
    body = "\n".join(
        f"  %v{i} = load i64, ptr %p{i}\n  store i64 %v{i}, ptr %q{i}" for i in range(3)
    )
    outs = "\n".join(f"  %q{i} = getelementptr i64, ptr %p3, i64 {i}" for i in range(3))
    program = Program(
        kernels=(kernel("copy", 4, outs + "\n" + body),),
        steps=(Step("copy", (*(Buffer("numbers", 0, 8 * i) for i in range(3)), Buffer("result"))),),
        inputs=tuple(Input((), t, number=True) for t in ("float64", "int64", "uint64")),
        outputs=(Output((3,), "int64"),),
    )
    out = load(program).call([], [1.5, -7, 2**64 - 1])[0]
    assert out[:1].view("float64")[0] == 1.5
    assert out[1] == -7
    assert out[2:].view("uint64")[0] == 2**64 - 1


def test_constants_are_read():
    program = saxpy_program(1)
    step = Step("saxpy", (Buffer("constant", 1), Buffer("input", 0), Buffer("numbers")))
    program = Program(
        kernels=(SAXPY,),
        steps=(step,),
        inputs=program.inputs[1:],
        outputs=(Output((64,), "float32", in_place=0),),
        constants=(np.zeros(3), np.full(64, 5, "float32")),
    )
    out = load(program).call([np.ones(64, "float32")], [2.0])
    np.testing.assert_array_equal(out[0], 11)


def index_program(commit: bool) -> Program:
    """Check indices, then add to the state."""
    x = np.ones(64, "float32")
    return Program(
        kernels=(check(1, 10), SAXPY),
        steps=(
            Step("check", (Buffer("input", 0), Buffer("status"))),
            Step(
                "saxpy",
                (Buffer("constant"), Buffer("input", 1), Buffer("numbers")),
                commit=commit,
            ),
        ),
        inputs=(
            Input((64,), "int64"),
            Input((64,), "float32"),
            Input((), "float64", number=True),
        ),
        outputs=(Output((64,), "float32", in_place=1),),
        constants=(x,),
        sites=("never", "embedding: index {index} is outside 0 to 9"),
    )


@pytest.mark.parametrize("threads", [1, 2])
def test_an_index_out_of_range_leaves_the_state(threads):
    bound = load(index_program(commit=True))
    with settings.override(num_threads=threads, exact_threads=True):
        good = np.arange(64) % 10
        slot = bound.call([good, np.zeros(64, "float32")], [1.0])
        bad = good.copy()
        bad[17] = 12
        with pytest.raises(IndexRangeError, match="embedding: index 12 is outside 0 to 9"):
            bound.call([bad, slot[0]], [1.0])
        np.testing.assert_array_equal(slot[0], 1)
        slot = bound.call([good, slot[0]], [1.0])
        np.testing.assert_array_equal(slot[0], 2)


def test_without_commit_the_state_would_change():
    slot = state_of(np.zeros(64, "float32"))
    with pytest.raises(IndexRangeError):
        load(index_program(commit=False)).call([np.full(64, 99), slot[0]], [1.0])
    np.testing.assert_array_equal(slot[0], 1)


@pytest.mark.parametrize(
    "wrong",
    [
        np.ones(63, "float32"),
        np.ones(64, "float64"),
        np.ones((64, 1), "float32"),
        np.ones(128, "float32")[::2],
        np.ones(64, ">f4"),
    ],
)
def test_arrays_of_another_kind_are_refused(wrong):
    bound = load(saxpy_program(1))
    slot = bound.call([np.ones(64, "float32"), np.zeros(64, "float32")], [1.0])
    with pytest.raises(NeedleError, match="expected input 0 contiguous float32"):
        bound.call([wrong, slot[0]], [1.0])
    slot = bound.call([np.ones(64, "float32"), slot[0]], [1.0])
    np.testing.assert_array_equal(slot[0], 2)


def test_an_interrupt_comes_before_or_after_a_whole_run(interrupts):
    bound = load(saxpy_program(400, times=50))
    x = np.ones(400 * 64, "float32")
    slot = bound.call([x, np.zeros_like(x)], [1.0])
    seen = {False: 0, True: 0}
    limit = time.monotonic() + 20
    while seen[True] < 5 and time.monotonic() < limit:
        runs, before = bound.runs(), float(slot[0][0])
        try:
            interrupts.append("armed")
            slot = bound.call([x, slot[0]], [1.0])
            interrupts.clear()
        except KeyboardInterrupt:
            ran = bound.runs() != runs
            seen[ran] += 1
            slot = bound.outputs() if ran else slot
            assert np.unique(slot[0]) == [before + 50 * ran]
    assert seen[True] == 5


def test_programs_share_one_arena_that_grows():
    small, large = load(sum_program(2)), load(sum_program(40_000))
    x, y = np.ones(128, "float32"), np.ones(40_000 * 64, "float32")
    assert small.call([x])[0] == 128
    size = run._arena.array.size
    assert large.call([y])[0] == 40_000 * 64
    assert run._arena.array.size >= max(size, 160_000)
    assert small.call([x])[0] == 128
    assert small._slots[0] == large._slots[0] == address(run._arena.array)


def test_threads_without_blocks_of_a_step_do_not_call_its_kernel():
    body = "  %old = atomicrmw add ptr %p0, i64 1 seq_cst\n"
    program = Program(
        kernels=(kernel("count", 1, body),),
        steps=(Step("count", (Buffer("input"),), blocks=2),),
        inputs=(Input((1,), "int64"),),
        outputs=(Output((1,), "int64", in_place=0),),
    )
    slot = state_of(np.zeros(1, "int64"))
    with settings.override(num_threads=3, exact_threads=True):
        assert load(program).call(slot)[0] == [2]


def test_each_thread_has_scratch_of_its_own():
    body = loop("""
  %s.at = getelementptr i64, ptr %scratch, i64 0
  store i64 %i, ptr %s.at
  %back = load volatile i64, ptr %s.at
  %r.at = getelementptr i64, ptr %p0, i64 %i
  store i64 %back, ptr %r.at""")
    program = Program(
        kernels=(kernel("scratch", 1, body),),
        steps=(Step("scratch", (Buffer("result"),), 500),),
        outputs=(Output((500 * 64,), "int64"),),
    )
    bound = load(program)
    with settings.override(num_threads=3, exact_threads=True):
        for _ in range(20):
            np.testing.assert_array_equal(bound.call([])[0], np.arange(500 * 64))


def test_an_empty_program_runs():
    assert load(Program(kernels=(Kernel("none", NOTHING),), steps=())).call([]) == []


NOTHING = "define void @none(ptr %t, i64 %b, i64 %e, ptr %s) {\n  ret void\n}"


def test_profile_gives_seconds_for_each_step():
    bound = load(saxpy_program(200, times=3))
    x = np.ones(200 * 64, "float32")
    times = bound.profile([x, np.zeros_like(x)], [1.0], repeats=4)
    assert times.shape == (4, 3)
    assert (times > 0).all()
    assert times.sum() < 1
    assert bound._words[10] == 0, "later calls are not timed"
