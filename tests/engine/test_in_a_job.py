# SPDX-License-Identifier: Apache-2.0
"""mantikctl inside a job: it finds the platform and the mantikd it belongs to, and a mantikd that it
has to start is no part of the job: neither the job's end nor its cancel reaches it."""
import os
import signal
import time

import pytest

from engine import Engine
from mantik import program, wait_for


@pytest.fixture
def engine(platform):
    return Engine(platform, slots=3)


def holder(platform):
    """Pid of the mantikd that does the work."""
    try:
        with open(platform.data + "/lease") as f:
            return int(dict(line.split(": ", 1) for line in f)["pid"])
    except (OSError, KeyError):
        return 0


def child_spec(platform, command):
    path = platform.dir + "/child.yaml"
    with open(path, "w") as f:
        f.write(f"name: child\nexperiment: e\ncommand: '{command}'\n")
    return f"{program('mantikctl')} submit -p p {path}"


def child_of(engine):
    rows = engine.rows("SELECT status FROM runs WHERE name = 'child'")
    return rows[0]["status"] if rows else None


def test_a_job_rings_the_mantikd_that_runs_it(engine, platform):
    """A job has no XDG_RUNTIME_DIR: the doorbell is found all the same, and no second one comes."""
    submit = child_spec(platform, "true")
    run = engine.submit(f"{submit}; sleep 1000")
    daemon = engine.daemon()
    wait_for(lambda: child_of(engine) == 2, f"the child to end; {run.file('stderr')}", 8)
    assert platform.daemons("mantikd") == [daemon.pid]
    run.cancel()
    assert run.wait() == "KILLED"


def test_a_cancel_does_not_reach_a_mantikd_that_the_job_started(engine, platform):
    go = platform.dir + "/go"
    run = engine.submit(f"until [ -e {go} ]; do sleep 0.05; done\n"
                        f"{child_spec(platform, 'true')}; sleep 1000")
    first = engine.daemon()
    run.until("RUNNING")
    engine.kill()
    open(go, "w").close()
    pid = wait_for(lambda: holder(platform) not in (0, first.pid) and holder(platform), "another mantikd")
    wait_for(lambda: child_of(engine) == 2, "the child to end")
    with open(f"/proc/{pid}/environ") as f:
        assert "MANTIK_RUN_ID" not in f.read()
    with open(f"/proc/{pid}/cgroup") as f:
        assert "/mantik-" not in f.read()
    run.cancel()
    assert run.wait() == "KILLED"
    wait_for(lambda: platform.daemons("mantikd") == [pid], "who came second to have gone")
    assert holder(platform) == pid


def test_a_job_that_started_mantikd_ends_when_it_ends(engine, platform):
    """… and what that mantikd has begun goes on."""
    go = platform.dir + "/go"
    run = engine.submit(f"until [ -e {go}1 ]; do sleep 0.05; done\n"
                        + child_spec(platform, f"echo begun; until [ -e {go}2 ]; do sleep 0.05; done; echo ended"))
    first = engine.daemon()
    run.until("RUNNING")
    engine.kill()
    open(go + "1", "w").close()
    assert run.wait(15) == "FINISHED"
    pid = holder(platform)
    assert pid and pid != first.pid
    time.sleep(2.5)  # what a job leaves running would be killed by now
    assert holder(platform) == pid and child_of(engine) == 1
    open(go + "2", "w").close()
    wait_for(lambda: child_of(engine) == 2, "the child to end")


def test_a_job_finds_its_own_platform(platform):
    """One in a directory of its own, that the job's HOME does not lead to."""
    where = platform.dir + "/elsewhere"
    platform.env.update(MANTIK_DATA_DIR=where, MANTIK_CONFIG_DIR=platform.dir + "/conf",
                        MANTIK_CACHE_DIR=platform.dir + "/cache")
    platform.ctl("mkdir", "/projects/p")
    spec = platform.dir + "/spec.yaml"
    with open(spec, "w") as f:
        f.write(f"name: x\nexperiment: e\ncommand: '{program('mantikctl')} ls /projects;"
                f" {program('mantikctl')} log-metric loss 0.5'\n")
    name = platform.ctl("submit", "-p", "p", spec).stdout.strip()
    r = platform.ctl("wait", name, check=False)
    assert r.returncode == 0, platform.ctl("log", name, check=False)
    assert "\t0.5\t" in platform.ctl("cat", f"/projects/p/runs/{name}/metrics/loss").stdout
    assert platform.ctl("log", name).stdout == "p\n"
    assert not os.path.exists(platform.data + "/mantik.db")


def test_a_killed_shepherd_and_a_clean_environment(engine):
    """A mantikd started by hand in a job is not taken for the job's when nobody keeps it any more."""
    run = engine.submit(f"{program('mantikd')} --idle 20000; echo ready; sleep 1000")
    engine.daemon()
    wait_for(lambda: "ready" in run.file("stdout"), "the job")
    os.kill(int(run.state()["shepherd"].split()[0]), signal.SIGKILL)
    run.cancel()
    assert run.wait() == "KILLED"
