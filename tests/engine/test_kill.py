# SPDX-License-Identifier: Apache-2.0
"""kill -9 of mantikd: at every step of the journal (its own table of names), and at random."""
import os
import random
import subprocess
import time

import pytest

from engine import Engine
from mantik import program, wait_for


def steps():
    try:
        return subprocess.run([program("mantikd"), "--steps"], capture_output=True, text=True,
                              check=True).stdout.split()
    except (AssertionError, OSError, subprocess.CalledProcessError):
        return ["mantikd --steps does not work"]


# Nothing writes ACCEPTED but the acknowledgement itself; DONE is the last transaction.
POINTS = [when + step for step in steps() if step != "ACCEPTED" for when in ("before:", "")]


@pytest.mark.parametrize("point", POINTS)
def test_killed_at(platform, point):
    engine = Engine(platform, slots=2)
    track = os.path.join(platform.dir, "track")
    run = engine.submit(
        f"echo $MANTIK_RUN_ID >> {track}; echo out; echo file > out.txt\n"
        "for i in 1 2 3; do echo $i $i >> $MANTIK_RUN_DIR/metrics/loss; sleep 0.05; done",
        plan={"artifacts": ["*.txt"]})
    assert engine.daemon(MK_ABORT_AT=point).wait(timeout=30) == -9, f"no abort point {point}"
    engine.daemon()
    assert run.wait() == "FINISHED"
    wait_for(lambda: not run.open, "the journal to be empty")
    with open(track) as f:
        assert f.read() == run.uid + "\n"
    assert run.points("loss") == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert run.file("stdout") == "out\n" and run.file("artifacts/out.txt") == "file\n"


@pytest.mark.parametrize("point", ["STAGING", "STAGED", "SUBMITTING"])
def test_a_run_cancelled_while_mantikd_was_dead_does_not_start(platform, point):
    engine = Engine(platform)
    track = os.path.join(platform.dir, "track")
    run = engine.submit(f"echo $MANTIK_RUN_ID >> {track}; sleep 1000")
    assert engine.daemon(MK_ABORT_AT=point).wait(timeout=30) == -9
    run.cancel()
    engine.daemon()
    assert run.wait() == "KILLED"
    assert run.processes() == []


def at_random(platform, times, runs):
    engine = Engine(platform, slots=2)
    track = os.path.join(platform.dir, "track")
    seed = int(os.environ.get("MANTIK_TEST_SEED") or time.time_ns() % 100000)
    print("seed", seed)
    rng = random.Random(seed)
    all = engine.submit(
        f"echo $MANTIK_RUN_ID >> {track}\n"
        "for i in 1 2 3 4 5; do echo $i $i >> $MANTIK_RUN_DIR/metrics/loss; sleep 0.02; done",
        count=runs)
    for _ in range(times):
        daemon = engine.daemon()
        time.sleep(rng.uniform(0, 0.25))
        daemon.kill()
        daemon.wait()
    engine.daemon()
    for run in all:
        assert run.wait(120) == "FINISHED"
        assert run.points("loss") == [(i, float(i)) for i in range(1, 6)]
    with open(track) as f:
        assert sorted(f.read().split()) == sorted(run.uid for run in all)


def test_killed_at_random(platform):
    at_random(platform, 25, 12)


@pytest.mark.full
def test_killed_at_random_200_times(platform):
    at_random(platform, 200, 100)
