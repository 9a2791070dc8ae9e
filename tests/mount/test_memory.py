# SPDX-License-Identifier: Apache-2.0
"""Memory with 100 000 runs in the database, by the release build: a sanitizer's own would be measured
otherwise. Rows are inserted, not submitted."""
import contextlib
import json
import os
import time
import uuid

import pytest

import mantik
from mantik import wait_for

RUNS = 100000
PASSES = 10 if os.environ.get("MANTIK_TEST_FULL") else 1
IDLE_KIB, BUSY_KIB = 64 << 10, 256 << 10


@pytest.fixture
def release(monkeypatch):
    build = os.path.join(mantik.TOP, "build-release")
    if not os.path.exists(os.path.join(build, "tools", "mantikd")):
        pytest.skip("build-release is not built (tests/run without a suite does)")
    monkeypatch.setattr(mantik, "BUILD", build)
    p = mantik.Platform()
    yield p
    p.end()


def resident(platform):
    """KiB of each of our daemons, by name."""
    found = {}
    for name in ("mantikfs", "mantikd"):
        for pid in platform.daemons(name):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as f:
                size = next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))
                found[name] = max(found.get(name, 0), size)
    return found


def fill(platform):
    import sqlite3
    platform.ctl("mkdir", "/projects/p", "/projects/p/experiments/e")
    db = sqlite3.connect(platform.data + "/mantik.db", timeout=20)
    now = time.time_ns()

    def rows():
        for i in range(RUNS):
            uid = uuid.uuid4().hex
            yield uid, f"n{i}", f"n{i}.{uid[:8]}", now + i, now + i, now + i, now + i
    with db:
        db.executemany(
            "INSERT INTO runs (uid, project_id, experiment_id, name, dir, status, site, exit_code,"
            " submitted, started, ended, changed, user, spec_len)"
            " VALUES (?, 1, 1, ?, ?, 2, 'local', 0, ?, ?, ?, ?, 'ana', 8)", rows())
        db.execute("INSERT INTO run_texts (run_id, spec, plan) SELECT id, 'name: x' || char(10), '{}'"
                   " FROM runs")
    db.close()


def lookups(where):
    with open(where + "/.mantik/stats.json") as f:
        return json.load(f)["requests"]["lookup"]


def test_100_000_runs_idle_and_looked_up(release):
    fill(release)
    with release.mount() as where:
        runs = where + "/projects/p/runs"
        spec = release.dir + "/spec.yaml"
        with open(spec, "w") as f:
            f.write("name: x\nexperiment: e\ncommand: 'true'\n")
        release.run("cp", spec, runs + "/new")
        with open(runs + "/new") as f:
            run = f.read().strip()
        wait_for(lambda: open(f"{runs}/{run}/status").read() == "FINISHED\n", "the run to end")
        idle = resident(release)
        assert set(idle) == {"mantikfs", "mantikd"} and max(idle.values()) < IDLE_KIB, idle

        names = [n for n in os.listdir(runs) if n.startswith("n") and n != "new"]
        assert len(names) == RUNS
        before, most = lookups(where), 0
        for _ in range(PASSES):
            begin = time.monotonic()
            for name in names:
                os.stat(f"{runs}/{name}")
            # An entry is remembered for a second: the next pass is to ask again.
            time.sleep(max(0, 1.1 - (time.monotonic() - begin)))
            most = max(most, *resident(release).values())
        asked = lookups(where) - before
        print(f"idle {idle} KiB; {asked} lookups: {most} KiB at most")
        assert asked >= PASSES * RUNS * 0.99
        assert most < BUSY_KIB
