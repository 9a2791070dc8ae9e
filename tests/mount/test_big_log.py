# SPDX-License-Identifier: Apache-2.0
"""Logs that are too long, have no lines, or grow faster than anybody reads."""
import os

import pytest

from mantik import wait_for


@pytest.fixture
def project(platform):
    with platform.mount() as where:
        os.mkdir(where + "/projects/p")
        yield where + "/projects/p"


def submit(project, command):
    with open(project + "/runs/new", "w+") as f:
        f.write(f"name: log\nexperiment: e\ncommand: '{command}'\n")
        f.seek(0)
        return f"{project}/runs/{f.read().strip()}"


def memory(platform):
    """Most MiB that the mount has ever had resident, by the kernel's own count."""
    pid = platform.daemons("mantikfs")[0]
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM")) / 1024


def test_10_gb_without_a_newline(platform, project):
    run = submit(project, "truncate -s 10G /proc/self/fd/1; printf the-end; sleep 2")
    log, size = run + "/logs/stdout", (10 << 30) + len("the-end")
    wait_for(lambda: os.path.getsize(log) == size, "10 GB of log")
    before = memory(platform)
    assert platform.run("tail", "-c", "7", log).stdout == "the-end"
    with open(log, "rb") as f:
        f.seek(7 << 30)
        assert f.read(1 << 20) == bytes(1 << 20)
        f.seek(-9, os.SEEK_END)
        assert f.read() == b"\0\0the-end"
    assert platform.run("cat", run + "/wait").stdout == "FINISHED\n"
    assert os.path.getsize(log) == size
    assert platform.sh(f"head -c 2147483648 {log} | wc -c", timeout=120).stdout == "2147483648\n"
    assert memory(platform) - before < 64


def test_a_log_that_grows_faster_than_it_is_read(platform, project):
    run = submit(project, "seq 1 6000000")
    reader = platform.start("tail", "-n", "+1", "-f", run + "/logs/stdout")
    got = 0
    for got, line in enumerate(reader.stdout, 1):
        assert line == f"{got}\n"
        if got == 6000000:
            break
    reader.kill()
    assert got == 6000000
    assert platform.run("cat", run + "/wait").stdout == "FINISHED\n"
    assert platform.run("tail", "-n1", run + "/logs/stdout").stdout == "6000000\n"
