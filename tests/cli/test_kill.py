"""A training run that is killed at random moments always resumes exactly."""

import random

from tools.kill_test import kill_runs

KILLS = 20


def test_killed_runs_resume_and_end_as_the_uninterrupted_one(tmp_path):
    seed = random.randrange(10**6)
    print(f"seed {seed}: python tools/kill_test.py {KILLS} {seed}")
    progressed, ended = kill_runs(KILLS, seed, tmp_path)  # raises where anything differs
    assert ended >= 1
    assert progressed >= 5  # else the runs were killed before they did anything
