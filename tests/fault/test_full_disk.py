# SPDX-License-Identifier: Apache-2.0
"""A really full disk (a small file system of its own): a submission is refused whole, what was there
stays, and afterwards everything goes on."""
import os
import subprocess

import pytest

from mantik import wait_for


@pytest.fixture
def small(platform):
    """The platform's data on a file system of 32 MiB."""
    image, where = platform.dir + "/image", platform.data
    os.makedirs(where)
    with open(image, "wb") as f:
        f.truncate(32 << 20)
    subprocess.run(["/sbin/mkfs.ext4", "-q", "-m", "0", image], check=True)
    if subprocess.run(["mount", "-o", "loop", image, where], stderr=subprocess.DEVNULL).returncode:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", where]).returncode:
            pytest.skip("cannot mount a small file system here")
    yield platform
    for m in platform.mounts():
        if m != where:
            platform.unmount(m)
    for pid in platform.processes():
        try:
            os.kill(pid, 15)
        except ProcessLookupError:
            pass
    wait_for(lambda: subprocess.run(["umount", where], stderr=subprocess.DEVNULL).returncode == 0,
             "the small file system to be free")


def fill(folder):
    with open(folder + "/filler", "wb", buffering=0) as f:
        try:
            while True:
                f.write(bytes(65536))
        except OSError:
            pass
        try:
            while True:
                f.write(b"x")
        except OSError:
            pass


SPEC = "name: full\nexperiment: e\ncommand: 'echo done'\n"


def test_a_submission_on_a_full_disk_is_refused_whole(small):
    with small.mount() as where:
        os.mkdir(where + "/projects/p")
        before = small.ctl("cat", "/projects/p/runs/runs.tsv").stdout
        fill(small.data)
        with pytest.raises(OSError) as refused:
            for i in range(2000):  # what the database has reserved may take a few
                with open(where + "/projects/p/runs/new", "w") as f:
                    f.write(SPEC + f"# {i} " + "x" * 60000)
        assert os.strerror(refused.value.errno) == "No space left on device"
        rows = small.ctl("cat", "/projects/p/runs/runs.tsv").stdout
        assert rows.startswith(before)
        os.unlink(small.data + "/filler")
        with open(where + "/projects/p/runs/new", "w+") as f:
            f.write(SPEC + "# after\n")
            f.seek(0)
            run = f.read().strip()
        wait_for(lambda: open(f"{where}/projects/p/runs/{run}/status").read() == "FINISHED\n",
                 "a run to end when there is room again", 60)


def test_a_log_on_a_full_disk_fails_the_write_of_the_job_not_the_platform(small):
    with small.mount() as where:
        os.mkdir(where + "/projects/p")
        with open(where + "/projects/p/runs/new", "w+") as f:
            f.write("name: big\nexperiment: e\ncommand: 'head -c 60000000 /dev/zero'\n")
            f.seek(0)
            run = f.read().strip()
        here = f"{where}/projects/p/runs/{run}"
        wait_for(lambda: os.path.getsize(here + "/logs/stdout") > 1 << 20, "a log", 30)
        wait_for(lambda: os.statvfs(small.data).f_bavail < 16, "the disk to be full", 30)
        wait_for(lambda: not small.daemons("head"), "the job to meet it", 30)
        assert open(here + "/status").read() in ("RUNNING\n", "FAILED\n")
        os.truncate(os.path.join(small.data, "runs", os.listdir(small.data + "/runs")[0], "stdout"), 0)
        wait_for(lambda: open(here + "/status").read() == "FAILED\n", "the run to be FAILED", 30)
