# SPDX-License-Identifier: Apache-2.0
"""Homes shared by several login nodes: the lease of another host, the rollback journal of network
file systems, a backup while mounted."""
import errno
import glob
import os
import time

import pytest
from conftest import Mounted
from mantik import wait_for


def data(platform):
    return os.path.join(platform.home, ".local/share/mantik")


def idle(platform):
    """Waits until mantikd has gone and gives the lease back."""
    lease = os.path.join(data(platform), "lease")
    wait_for(lambda: not os.path.exists(lease), "mantikd to go", seconds=60)


def lease_of_another(platform, age):
    then = int(time.time()) - age
    path = os.path.join(data(platform), "lease")
    with open(path, "w") as f:
        f.write("host: login02\nboot_id: 00000000-0000-0000-0000-000000000000\npid: 7\n"
                f"pid_start: 9\nsince: {then}000000000\nheartbeat: {then}000000000\n")
    os.utime(path, (then, then))
    return path


def configure(platform, text):
    os.makedirs(os.path.join(platform.home, ".config/mantik"), exist_ok=True)
    with open(os.path.join(platform.home, ".config/mantik/config.yaml"), "w") as f:
        f.write(text)


def test_a_second_host_reads(platform):
    configure(platform, "daemon_idle: 1s\n")
    with Mounted(platform) as m:
        m.make_project()
    idle(platform)
    lease = lease_of_another(platform, 1)
    with Mounted(platform) as m:
        assert os.listdir(m.path("projects")) == ["p"]
        with pytest.raises(OSError) as error:
            os.mkdir(m.path("projects/q"))
        assert error.value.errno == errno.EROFS
        with pytest.raises(OSError) as error:
            with open(m.path("projects/p/README.md"), "w") as f:
                f.write("mine\n")
        assert error.value.errno == errno.EROFS
        assert os.listdir(m.path("projects")) == ["p"]
    r = platform.ctl("takeover", check=False)
    assert r.returncode != 0
    assert "in use on login02 since" in r.stderr
    assert os.path.exists(lease)


def test_a_silent_host_is_taken_over(platform):
    configure(platform, "daemon_idle: 1s\n")
    with Mounted(platform) as m:
        m.make_project()
    idle(platform)
    lease_of_another(platform, 3600)
    r = platform.ctl("doctor", check=False)
    assert r.returncode == 1 and "mantikctl takeover" in r.stdout
    platform.ctl("takeover")
    with Mounted(platform) as m:
        os.mkdir(m.path("projects/q"))
        assert sorted(os.listdir(m.path("projects"))) == ["p", "q"]


def test_the_whole_way_without_wal(platform):
    """What is done on NFS, Lustre and GPFS, where the journal is found by the file system."""
    configure(platform, "journal: rollback\n")
    with Mounted(platform) as m:
        m.make_project()
        with open(m.path("projects/p/runs/new"), "w+") as f:
            f.write("command: 'echo 0.5 >> $MANTIK_RUN_DIR/metrics/loss'\n"
                    "code: {repository: code, branch: main}\nexperiment: e\n")
            f.flush()
            f.seek(0)
            run = f.read().strip()
        with open(m.path("projects/p/runs", run, "wait")) as f:
            assert f.read() == "FINISHED\n"
        with open(m.path("projects/p/runs", run, "metrics/loss")) as f:
            assert f.read().startswith("0\t0.5\t")
        with open(m.path("projects/p/experiments/e/leaderboard.tsv")) as f:
            assert f.read().splitlines()[1].startswith(run + "\tFINISHED\t")
        assert not glob.glob(os.path.join(data(platform), "mantik.db-wal"))


def test_backup_while_mounted(platform):
    copy = os.path.join(platform.dir, "backup.db")
    with Mounted(platform) as m:
        m.make_project()
        platform.ctl("backup", copy)
        os.mkdir(m.path("projects/later"))
    os.makedirs(os.path.join(platform.dir, "restored"))
    os.rename(copy, os.path.join(platform.dir, "restored/mantik.db"))
    with Mounted(platform, "data=" + os.path.join(platform.dir, "restored")) as m:
        assert os.listdir(m.path("projects")) == ["p"]
