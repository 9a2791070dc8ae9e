# SPDX-License-Identifier: Apache-2.0
"""The main job through the mount with plain tools: cp a spec into runs/new, follow the log, see a
metric grow, wait, cancel, run again, the tables."""
import itertools
import os
import signal
import subprocess
import time

import pytest
from mantik import wait_for
from mount import timed, type_in

NUMBERS = itertools.count()
TALK = "for i in $(seq 40); do echo line $i; sleep 0.1; done"


@pytest.fixture(scope="module")
def runs(shared, shared_mount):
    return shared_mount.path("projects/p/runs")


def submit(shared, runs, text):
    """Writes a spec to runs/new, gives the run's directory as the same file answers."""
    fd = os.open(os.path.join(runs, "new"), os.O_RDWR)
    try:
        os.write(fd, text.encode())
        os.lseek(fd, 0, os.SEEK_SET)
        name = os.read(fd, 65536).decode().strip()
    finally:
        os.close(fd)
    assert name and "\n" not in name, name
    return os.path.join(runs, name)


def command(line):
    # A text equal to one of the last ten seconds would be the same run.
    spec = {"name": f"live{next(NUMBERS)}", "command": line}
    return "".join(f"{k}: {v!r}\n" if k != "command" else f"command: |\n  {v}\n"
                   for k, v in spec.items())


def read(*names):
    with open(os.path.join(*names), errors="replace") as f:
        return f.read()


def until(run, *wanted, seconds=60):
    wait_for(lambda: read(run, "status").strip() in wanted, f"{wanted}: {read(run, 'info.yaml')}",
             seconds, 0.1)


def test_cp_of_an_offered_spec_runs_to_its_end(shared, shared_mount, runs):
    spec = shared_mount.path("projects/p/code/code/specs/main/MLproject/train.yaml")
    before = set(os.listdir(runs))
    seconds, _ = timed(shared.run, "cp", spec, os.path.join(runs, "new"))
    (name,) = set(os.listdir(runs)) - before - {"latest"}
    run = os.path.join(runs, name)
    assert os.path.realpath(os.path.join(runs, "latest")) == os.path.realpath(run)
    until(run, "FINISHED", "FAILED")
    assert read(run, "status") == "FINISHED\n", read(run, "logs/stderr")
    assert len(os.listdir(os.path.join(run, "metrics"))) > 0
    assert name in read(runs, "runs.tsv")
    assert shared.run("cat", os.path.join(run, "wait")).stdout == "FINISHED\n"
    # Ended: nothing changes any more, and a copy is whole.
    copy = os.path.join(shared.dir, "copied")
    shared.run("cp", "-r", run, copy)
    for folder, _, files in os.walk(copy):
        for file in files:
            path = os.path.join(folder, file)
            assert read(path) == read(run, os.path.relpath(path, copy)), path
    shared.sh(f"chmod -R u+w {copy}")


def test_tail_follows_a_log_while_it_grows(shared, runs):
    run = submit(shared, runs, command(TALK))
    tail = shared.start("tail", "-n", "+1", "-s", "0.1", "-f", os.path.join(run, "logs/stdout"))
    seen = []
    for _ in range(40):
        seen.append(tail.stdout.readline())
    assert seen == [f"line {i}\n" for i in range(1, 41)]
    tail.send_signal(signal.SIGINT)
    assert tail.wait(2) == -signal.SIGINT
    until(run, "FINISHED")
    assert read(run, "logs/stdout") == "".join(seen)
    size = os.stat(os.path.join(run, "logs/stdout")).st_size
    assert size == len("".join(seen))


def test_metric_grows_and_status_changes_without_remount(shared, runs):
    run = submit(shared, runs, command(
        "for i in $(seq 20); do echo 0.$i >> $MANTIK_RUN_DIR/metrics/loss; sleep 0.15; done"))
    until(run, "RUNNING", "FINISHED")
    loss = os.path.join(run, "metrics/loss")
    wait_for(lambda: os.path.exists(loss) and read(loss).count("\n") >= 2, "two points")
    first = read(loss).count("\n")
    wait_for(lambda: read(loss).count("\n") > first, "more points", 10)
    until(run, "FINISHED")
    wait_for(lambda: read(loss).count("\n") == 20, "all points", 10)
    assert [l.split("\t")[0] for l in read(loss).splitlines()] == [str(i) for i in range(20)]


def test_cat_wait_ends_by_ctrl_c_at_once_and_by_the_run(shared, shared_mount, runs):
    run = submit(shared, runs, command("sleep 5"))
    waiters = [shared.start("cat", os.path.join(run, "wait")) for _ in range(5)]
    wait_for(lambda: '"parked": 5' in read(shared_mount.path(".mantik/stats.json")), "five parked",
             10)
    waiters[0].send_signal(signal.SIGINT)
    seconds, code = timed(waiters[0].wait, 5)
    assert code == -signal.SIGINT and seconds < 0.5
    assert {w.communicate(timeout=30)[0] for w in waiters[1:]} == {"FINISHED\n"}


def test_cancel_and_rerun(shared, runs):
    run = submit(shared, runs, command("sleep 100"))
    until(run, "RUNNING")
    shared.sh("echo cancel > ctl", cwd=run)
    until(run, "KILLED", seconds=20)
    before = set(os.listdir(runs))
    shared.run("cp", os.path.join(run, "spec.yaml"), os.path.join(runs, "new"))
    (again,) = set(os.listdir(runs)) - before - {"latest"}
    again = os.path.join(runs, again)
    until(again, "RUNNING")
    shared.sh("echo cancel > ctl", cwd=again)
    until(again, "KILLED", seconds=20)


def test_refused_spec_says_why(shared, runs):
    r = shared.sh("printf 'name: x\\nkommand: true\\n' > bad.yaml; cp bad.yaml "
                  f"{runs}/new || echo rc=$?; cat {runs}/new", check=False)
    assert "Invalid argument" in r.stderr and "rc=1" in r.stdout
    assert "kommand" in r.stdout and "command" in r.stdout, r.stdout


def test_killed_writer_submits_nothing(shared, runs):
    before = os.listdir(runs)
    p = shared.start("bash", "-c", f"exec 3> {runs}/new; echo 'command: echo half' >&3; echo ready; "
                     "sleep 100")
    assert p.stdout.readline() == "ready\n"
    os.killpg(p.pid, signal.SIGKILL)
    p.wait()
    time.sleep(0.5)  # nothing comes: there is no event to wait for
    assert os.listdir(runs) == before


def test_a_group_of_commands_is_one_spec(shared, runs):
    """bash closes copies of the descriptor between the commands: none of these is the end."""
    before = set(os.listdir(runs))
    shared.sh(f"{{ echo 'command: echo {time.time_ns()}'; echo noise >&2; /bin/echo 'name: whole'; "
              f"echo 'experiment: e'; }} > {runs}/new")
    made = set(os.listdir(runs)) - before
    assert len(made) == 1 and made.pop().startswith("whole."), made


def test_append_to_metrics_params_and_tags(shared, runs):
    run = submit(shared, runs, command("sleep 100"))
    until(run, "RUNNING")
    shared.sh("echo 0.5 >> metrics/mine; echo '7 0.25' >> metrics/mine; echo v > tags/t", cwd=run)
    lines = read(run, "metrics/mine").splitlines()
    assert [l.split("\t")[:2] for l in lines] == [["0", "0.5"], ["7", "0.25"]]
    assert read(run, "tags/t") == "v\n"
    r = shared.sh("echo nonsense >> metrics/mine", cwd=run, check=False)
    assert r.returncode or read(run, "metrics/mine").splitlines() == lines
    for script in ("echo 1 > metrics/mine", "rm metrics/mine", "truncate -s 0 metrics/mine"):
        assert shared.sh(script, cwd=run, check=False).returncode, script
    assert read(run, "metrics/mine").splitlines() == lines
    shared.sh("echo cancel > ctl", cwd=run)
    until(run, "KILLED", seconds=20)


def test_run_survives_removers_and_unmount(shared, shared_mount, runs):
    run = submit(shared, runs, command("echo made > file; sleep 1"))
    until(run, "FINISHED")
    work = os.path.realpath(os.path.join(run, "workdir"))
    for remove in (["rm", "-rf", run], ["find", run, "-delete"],
                   ["python3", "-c", "import shutil,sys; shutil.rmtree(sys.argv[1], True)", run]):
        subprocess.run(remove, capture_output=True, check=False)
    assert read(run, "status") == "FINISHED\n"
    assert read(work, "file") == "made\n"
    # Soft, and back again.
    shared.sh(f"mv {run} deleted/", cwd=runs)
    assert not os.path.exists(run)
    shared.sh(f"mv deleted/{os.path.basename(run)} .", cwd=runs)
    assert read(run, "status") == "FINISHED\n"


def test_less_follows(shared, runs):
    run = submit(shared, runs, command(TALK))
    until(run, "RUNNING", "FINISHED")
    shown, _ = type_in(shared, ["less", "+F", os.path.join(run, "logs/stdout")], [], 7)
    assert "line 40" in shown and "line 1" in shown
    until(run, "FINISHED")
