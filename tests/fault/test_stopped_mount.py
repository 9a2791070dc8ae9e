# SPDX-License-Identifier: Apache-2.0
"""A foreign FUSE mount that was stopped lies under a `code: path`: only those who touch it wait, and
Ctrl-C frees them."""
import os
import signal
import subprocess
import time

import pytest

from mantik import wait_for

SOURCE = "/usr/share/doc/libfuse3-dev/examples/hello_ll.c"


@pytest.fixture
def stopped(platform):
    if not os.path.exists(SOURCE):
        pytest.skip("libfuse3-dev brings no hello_ll.c")
    flags = subprocess.check_output(["pkg-config", "--cflags", "--libs", "fuse3"], text=True).split()
    hello, where = platform.dir + "/hello", platform.dir + "/stopped"
    os.mkdir(where)
    subprocess.run(["gcc", "-w", "-o", hello, SOURCE, *flags], check=True)
    p = platform.start(hello, "-f", where)
    wait_for(lambda: where in platform.mounts(), "the foreign mount")
    p.send_signal(signal.SIGSTOP)
    yield where
    p.send_signal(signal.SIGCONT)
    platform.unmount(where)
    p.wait(timeout=10)


def test_only_those_who_touch_it_wait(platform, stopped):
    with platform.mount() as where:
        os.mkdir(where + "/projects/p")
        spec = platform.dir + "/spec.yaml"
        with open(spec, "w") as f:
            f.write(f"name: x\nexperiment: e\ncode: {{path: {stopped}}}\ncommand: 'true'\n")
        cp = platform.start("cp", spec, where + "/projects/p/runs/new")
        time.sleep(1)
        assert cp.poll() is None or cp.returncode != 0, "it cannot have been submitted"
        for _ in range(20):
            begin = time.monotonic()
            subprocess.run(["ls", where + "/projects/p/runs"], check=True, stdout=subprocess.DEVNULL)
            assert time.monotonic() - begin < 1
        if cp.poll() is None:
            cp.send_signal(signal.SIGINT)
            begin = time.monotonic()
            cp.wait(timeout=10)
            assert time.monotonic() - begin < 1.5
        assert cp.returncode != 0
        table = open(where + "/projects/p/runs/runs.tsv").read()
        assert len(table.splitlines()) == 1, table
