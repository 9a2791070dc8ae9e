# SPDX-License-Identifier: Apache-2.0
"""Jobs from the journal to their final record: states, logs, the queue, cancelling."""
import os
import re
import signal
import time

import pytest

from engine import Engine
from mantik import wait_for


@pytest.fixture
def engine(platform):
    return Engine(platform, slots=2)


def test_a_job_runs_to_its_end(engine):
    run = engine.submit("echo hello; echo oops >&2; pwd; exit 3")
    engine.daemon()
    assert run.wait() == "FAILED"
    row = run.row()
    assert (row["exit_code"], row["signal"], row["reason"]) == (3, None, "exit code 3")
    assert row["submitted"] <= row["started"] <= row["ended"]
    assert row["workdir"] == run.workdir and row["job_id"] and row["infrastructure"]
    assert run.file("stdout") == f"hello\n{run.workdir}\n"
    assert run.file("stderr") == "oops\n"
    assert "FAILED: exit code 3" in run.file("scheduler")
    assert not run.open


def test_the_environment_is_built_not_inherited(engine):
    run = engine.submit("env", plan={"variables": [["LR", "1e-5"], ["PATH", "/usr/bin:/bin:/x"]]})
    engine.daemon(SECRET="1", LANG="C.UTF-8", TZ="Europe/Berlin")
    assert run.wait() == "FINISHED"
    env = dict(line.split("=", 1) for line in run.file("stdout").splitlines())
    for name in ("PWD", "_", "SHLVL", "OLDPWD", "TMPDIR"):
        env.pop(name, None)
    import pwd
    me = pwd.getpwuid(os.getuid())
    mlflow = {name: env.pop(name) for name in list(env) if name.startswith("MLFLOW_")}
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/projects/p", mlflow.pop("MLFLOW_TRACKING_URI"))
    token = mlflow["MLFLOW_TRACKING_TOKEN"]
    assert re.fullmatch("[0-9a-f]{64}." + run.uid, token)
    assert mlflow == {
        "MLFLOW_RUN_ID": run.uid, "MLFLOW_EXPERIMENT_ID": str(run.row()["experiment_id"]),
        "MLFLOW_TRACKING_TOKEN": token, "MLFLOW_TRACKING_USERNAME": me.pw_name,
        "MLFLOW_TRACKING_PASSWORD": token}
    assert env == {
        "HOME": engine.platform.home, "USER": me.pw_name, "LOGNAME": me.pw_name,
        "SHELL": me.pw_shell, "PATH": "/usr/bin:/bin:/x", "LANG": "C.UTF-8", "TZ": "Europe/Berlin",
        "MANTIK_RUN_ID": run.uid, "MANTIK_RUN_DIR": run.workdir + "/.mantik",
        "MANTIK_WORKING_DIRECTORY": run.workdir, "LR": "1e-5",
        "MANTIK_DATA_DIR": engine.platform.data, "MANTIK_CACHE_DIR": engine.platform.cache,
        "MANTIK_CONFIG_DIR": engine.platform.config}


def test_one_slot_runs_one_after_another_in_order(platform):
    engine = Engine(platform, slots=1)
    track = os.path.join(platform.dir, "track")
    runs = engine.submit(f"echo begin >> {track}; sleep 0.05; echo end $MANTIK_RUN_ID >> {track}",
                         count=3)
    engine.daemon()
    for run in runs:
        assert run.wait() == "FINISHED"
    with open(track) as f:
        assert f.read().split() == [w for run in runs for w in ("begin", "end", run.uid)]


def test_after_waits_and_a_failure_is_handed_on(engine):
    first = engine.submit("sleep 0.2; exit 1", poke=False)
    second = engine.submit("echo never", after=[first], poke=False)
    third = engine.submit("echo never", after=[second], poke=False)
    good = engine.submit("sleep 0.1; echo $(date +%s%N)", poke=False)
    later = engine.submit("echo $(date +%s%N)", after=[good], poke=False)
    engine.daemon()
    assert third.wait() == "FAILED" and later.wait() == "FINISHED"
    assert second.row()["reason"] == f"after: {first.dir} failed"
    assert third.row()["reason"] == f"after: {second.dir} failed"
    assert not os.path.exists(second.workdir)
    assert int(good.file("stdout")) < int(later.file("stdout"))


def test_a_run_that_waits_says_for_what(platform):
    engine = Engine(platform, slots=1)
    ctl = platform.ctl
    first = engine.submit("sleep 1000", poke=False)
    second = engine.submit("true", poke=False)
    third = engine.submit("true", after=[second], poke=False)
    engine.daemon()
    first.until("RUNNING")
    slot = f"waits for a slot of local (1 of 1 taken by {first.dir})"
    after = f"waits for {second.dir} (SCHEDULED)"
    table = dict(line.split("\t")[1::5] for line in ctl("status").stdout.splitlines()[1:])
    assert table == {first.dir: "", second.dir: slot, third.dir: after}
    assert f"\nreason: {slot}\n" in ctl("cat", f"/projects/p/runs/{second.dir}/info.yaml").stdout
    assert f'"reason": "{after}"' in ctl("status", "-j", third.dir).stdout
    for name in (second.dir, second.dir[-8:].join(["x.", ""]), f"/projects/p/runs/{second.dir}/status"):
        assert ctl("why", name).stdout == f"{second.dir} is SCHEDULED: {slot}\n"
    assert ctl("why", first.dir, check=False).returncode == 3
    with engine.db() as db:
        db.execute("INSERT INTO settings VALUES ('queue_paused', '1')")
    assert ctl("why", second.dir).stdout == f"{second.dir} is SCHEDULED: the queue is paused\n"
    with engine.db() as db:
        db.execute("UPDATE settings SET value = '0'")
    first.cancel()
    assert first.wait() == "KILLED" and third.wait() == "FINISHED"
    assert ctl("why", first.dir).stdout == f"{first.dir} is KILLED: cancelled\n"
    assert "\nreason:\n" in ctl("cat", f"/projects/p/runs/{third.dir}/info.yaml").stdout


def test_held_runs_and_a_paused_queue_wait(engine):
    held = engine.submit("echo 1", held=True, poke=False)
    free = engine.submit("echo 2", poke=False)
    engine.daemon()
    assert free.wait() == "FINISHED" and held.status == "SCHEDULED"
    with engine.db() as db:
        db.execute("INSERT INTO settings VALUES ('queue_paused', '1')")
        db.execute("UPDATE intents SET held = 0")
    other = engine.submit("echo 3")
    time.sleep(0.3)  # nothing can be waited for: nothing happens
    assert held.status == other.status == "SCHEDULED"
    with engine.db() as db:
        db.execute("UPDATE settings SET value = '0'")
    engine.poke()
    assert held.wait() == other.wait() == "FINISHED"


def test_cancel_while_scheduled_never_starts_it(platform):
    engine = Engine(platform, slots=1)
    first = engine.submit("sleep 1000")
    second = engine.submit("touch ran; sleep 1000")
    engine.daemon()
    first.until("RUNNING")
    second.cancel()
    assert second.wait() == "KILLED"
    assert not os.path.exists(second.workdir) and second.row()["started"] is None
    first.cancel()
    assert first.wait() == "KILLED"
    assert first.row()["reason"] == "cancelled" and first.row()["signal"] == signal.SIGTERM
    assert not first.open and not second.open


DEAF = """#!/bin/bash
trap '' TERM
setsid bash -c 'trap "" TERM; while :; do sleep 1000; done' &
((trap '' TERM; exec sleep 1000) &)
python3 -c 'import os,signal,time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(1000)
    os._exit(0)
os.wait()
'
echo ready
while :; do sleep 1000; done
"""


def test_cancel_leaves_no_process(engine):
    run = engine.submit(DEAF)
    engine.daemon()
    wait_for(lambda: "ready" in run.file("stdout"), "the job")
    assert len(run.processes()) >= 5
    run.cancel()
    assert run.wait() == "KILLED"
    assert run.processes() == []


def test_cancel_ends_what_a_killed_shepherd_left(engine):
    run = engine.submit(DEAF)
    engine.daemon()
    wait_for(lambda: "ready" in run.file("stdout"), "the job")
    os.kill(int(run.state()["shepherd"].split()[0]), signal.SIGKILL)
    run.cancel()  # at once: mantikd may still take the shepherd for alive
    assert run.wait() == "KILLED"
    assert run.processes() == []


def test_a_job_whose_shepherd_was_killed_goes_on_and_is_unknown(engine, platform):
    go = os.path.join(platform.dir, "go")
    run = engine.submit(f"echo begun; until [ -e {go} ]; do sleep 0.05; done; echo done")
    daemon = engine.daemon()

    def ticks():
        with open(f"/proc/{daemon.pid}/stat") as f:
            return sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13]))

    wait_for(lambda: "begun" in run.file("stdout"), "the job")
    os.kill(int(run.state()["shepherd"].split()[0]), signal.SIGKILL)
    before = ticks()
    time.sleep(1)  # nothing must happen, and mantikd must not be busy with it
    assert run.status == "RUNNING" and ticks() - before < 25
    later = engine.submit("echo never", after=[run])
    open(go, "w").close()
    assert run.wait() == "UNKNOWN"
    assert later.wait() == "FAILED"
    assert later.row()["reason"] == f"after: {run.dir} is UNKNOWN: nobody knows how it ended"
    assert run.file("stdout") == "begun\ndone\n"
    assert run.row()["reason"].startswith("lost: the process that watched the job was killed")


def test_the_runtime_limit_ends_it(engine):
    run = engine.submit("sleep 1000", plan={"runtime": 1})
    engine.daemon()
    assert run.wait() == "FAILED"
    assert run.row()["reason"] == "runtime limit reached"


def test_a_script_that_cannot_start_says_why(engine):
    run = engine.submit("#!/nowhere/python\n")
    engine.daemon()
    assert run.wait() == "FAILED"
    assert run.row()["reason"] == "could not be started: No such file or directory"


def test_a_killed_mantikd_leaves_the_job_alone_and_comes_back_for_its_end(platform):
    engine = Engine(platform, slots=1)
    run = engine.submit("for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.1; done")
    next = engine.submit("echo next")
    engine.daemon()
    run.until("RUNNING")
    engine.kill()
    # Nobody pokes: the job's shepherd sees that mantikd is gone.
    assert run.wait() == next.wait() == "FINISHED"
    assert run.file("stdout").split() == list("12345678")


def test_the_machine_restarted(engine, platform):
    run = engine.submit("sleep 1000")
    engine.daemon()
    run.until("RUNNING")
    engine.kill()
    pids = run.processes()
    os.kill(int(run.state()["shepherd"].split()[0]), signal.SIGKILL)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    boot = os.path.join(platform.dir, "boot")
    with open(boot, "w") as f:
        f.write("another boot\n")
    engine.daemon(MK_BOOT_ID_FILE=boot)
    assert run.wait() == "FAILED"
    assert run.row()["reason"] == "lost: the machine restarted"


def test_another_host_is_not_judged(engine):
    run = engine.submit("sleep 1000")
    engine.daemon()
    run.until("RUNNING")
    engine.kill()
    state = os.path.join(run.record, "state")
    with open(state) as f:
        text = f.read()
    with open(state, "w") as f:
        f.write(text.replace("host ", "host other-"))
    engine.daemon()
    time.sleep(0.5)  # nothing must happen
    assert run.status == "RUNNING" and run.open
    with open(state, "w") as f:
        f.write(text)
    run.cancel()
    assert run.wait() == "KILLED"


def test_clean_removes_the_working_directory_and_nothing_else(engine, platform):
    outside = os.path.join(platform.dir, "outside")
    os.makedirs(outside)
    open(os.path.join(outside, "precious"), "w").close()
    run = engine.submit(f"ln -s {outside} link; mkdir -p a/b; touch a/b/c; chmod 0 a/b")
    engine.daemon()
    assert run.wait() == "FINISHED"
    with engine.db() as db:
        db.execute("INSERT INTO intents (run_id, verb, step, created) VALUES (?, 'clean', 0, 0)",
                   (run.id,))
    engine.poke()
    wait_for(lambda: run.row()["workdir"] is None, "clean")
    assert not os.path.exists(run.workdir) and os.listdir(outside) == ["precious"]
    assert run.file("scheduler") and run.status == "FINISHED" and not run.open


def test_it_goes_when_nothing_is_left_and_comes_when_poked(engine):
    run = engine.submit("echo 1", poke=False)
    daemon = engine.daemon(idle=200)
    assert run.wait() == "FINISHED"
    assert daemon.wait(timeout=20) == 0
    again = engine.submit("echo 2")
    assert engine.daemon(idle=0).wait(timeout=20) == 0
    assert again.status == "FINISHED"


def test_two_daemons_do_not_both_work(engine):
    first = engine.daemon()
    run = engine.submit("echo 1")
    assert run.wait() == "FINISHED"
    assert engine.daemon().wait(timeout=20) != 0
    assert first.poll() is None
