# SPDX-License-Identifier: Apache-2.0
"""kill -9 at random moments: no acknowledged run is lost, none runs twice, a running job goes on and
its log is complete."""
import os
import random
import re
import signal
import time

import pytest

from mantik import wait_for

KILLS = 1000 if os.environ.get("MANTIK_TEST_FULL") else 200


def statuses(platform, project):
    table = platform.ctl("cat", f"/projects/{project}/runs/runs.tsv").stdout.splitlines()
    columns = table[0].split("\t")
    rows = [dict(zip(columns, line.split("\t"))) for line in table[1:]]
    return {row["run"]: row["status"] for row in rows}


def test_kills_at_random_lose_nothing_and_run_nothing_twice(platform):
    seed = int(os.environ.get("MANTIK_TEST_SEED") or time.time_ns() % 1000000)
    print(f"MANTIK_TEST_SEED={seed}")
    rng = random.Random(seed)
    outside = platform.dir + "/outside"
    os.makedirs(platform.config)
    with open(platform.config + "/config.yaml", "w") as f:
        f.write("slots: 4\n")
    with platform.mount() as where:
        os.mkdir(where + "/projects/p")
        acknowledged, killed = [], 0
        until = time.monotonic() + (1500 if KILLS > 200 else 240)
        while killed < KILLS and time.monotonic() < until:
            spec = (f"name: k\nexperiment: e\n# {len(acknowledged)}\n"
                    f"command: 'echo $MANTIK_RUN_ID >> {outside}; sleep 0.0{rng.randrange(10)}; echo end'\n")
            with open(where + "/projects/p/runs/new", "w+") as f:
                f.write(spec)
                f.seek(0)
                acknowledged.append(f.read().strip())
            time.sleep(rng.random() * 0.05)
            killed += len(platform.kill_daemons("mantikd"))
        print(f"{killed} kills, {len(acknowledged)} runs")
        assert killed >= KILLS, "too slow to be killed that often"
        platform.ctl("status")

        def ended():
            now = statuses(platform, "p")
            return all(now.get(run) in ("FINISHED", "FAILED", "KILLED", "UNKNOWN") for run in acknowledged) and now

        final = wait_for(ended, "all runs to end", 180, 0.5)
        assert set(acknowledged) == set(final), "runs lost or invented"
        assert {final[run] for run in acknowledged} == {"FINISHED"}, final
        with open(outside) as f:
            ran = f.read().split()
        assert len(ran) == len(set(ran)), "a job ran twice"
        assert len(ran) == len(acknowledged)
        for run in acknowledged:
            with open(f"{where}/projects/p/runs/{run}/logs/stdout") as f:
                assert f.read() == "end\n"


def test_a_running_job_survives_daemon_and_mount(platform):
    with platform.mount() as where:
        os.mkdir(where + "/projects/p")
        with open(where + "/projects/p/runs/new", "w+") as f:
            f.write("name: long\nexperiment: e\ncommand: 'for i in 1 2 3 4 5 6 7 8; do echo $i;"
                    " echo $i >> $MANTIK_RUN_DIR/metrics/m; sleep 0.3; done'\n")
            f.seek(0)
            run = f.read().strip()
        here = f"{where}/projects/p/runs/{run}"
        wait_for(lambda: open(here + "/logs/stdout").read().startswith("1\n"), "the first line")
        platform.kill_daemons("mantikd")
        platform.kill_daemons("mantikfs")
        platform.unmount(where)
    time.sleep(0.5)
    with platform.mount() as where:
        here = f"{where}/projects/p/runs/{run}"
        wait_for(lambda: open(here + "/status").read() == "FINISHED\n", "the end", 30)
        assert open(here + "/logs/stdout").read() == "".join(f"{i}\n" for i in range(1, 9))
        values = [line.split("\t")[1] for line in open(here + "/metrics/m")]
        assert values == [str(i) for i in range(1, 9)]
        assert re.fullmatch(r"long\.[0-9a-f]{8,}", run)


@pytest.mark.parametrize("signal_name", ["SIGTERM", "SIGKILL"])
def test_unmount_and_remount_while_it_logs(platform, signal_name):
    """Unmounted at one epoch, mounted again at a later one: one point an epoch."""
    with platform.mount() as where:
        os.mkdir(where + "/projects/p")
        with open(where + "/projects/p/runs/new", "w+") as f:
            f.write("name: epochs\nexperiment: e\ncommand: 'for i in 1 2 3 4 5 6 7 8 9; do"
                    " echo $i $i.5 >> $MANTIK_RUN_DIR/metrics/loss; sleep 0.25; done'\n")
            f.seek(0)
            run = f.read().strip()
        metric = f"{where}/projects/p/runs/{run}/metrics/loss"
        wait_for(lambda: os.path.exists(metric) and len(open(metric).readlines()) >= 3, "epoch 3")
    platform.kill_daemons("mantikd", getattr(signal, signal_name))
    time.sleep(0.7)
    with platform.mount() as where:
        here = f"{where}/projects/p/runs/{run}"
        wait_for(lambda: open(here + "/status").read() == "FINISHED\n", "the end", 30)
        steps = [line.split("\t")[0] for line in open(here + "/metrics/loss")]
        assert steps == [str(i) for i in range(1, 10)]
