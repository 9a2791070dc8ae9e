# SPDX-License-Identifier: Apache-2.0
"""The README's tour: every fenced sh block, in order, in one shell, in a fresh HOME."""
import os
import re

import pytest

import mantik
from tracking import starter

README = os.path.join(mantik.TOP, "README.md")


def blocks():
    with open(README) as f:
        return re.findall(r"^```sh\n(.*?)^```$", f.read(), flags=re.M | re.S)


def test_readme_opens_with_the_two_commands():
    with open(README) as f:
        top = f.read().split("\n## ", 1)[0]
    assert "tools/quickstart\n" in top and "`tests/run`" in top
    assert blocks()[0] == "tools/quickstart\n"


@pytest.fixture
def mlflow(platform):
    """A folder for PATH: a python3 that has mlflow, as that of many a reader; None without PyPI."""
    try:
        python = starter("fetch")["python"]
    except pytest.skip.Exception:
        return None
    where = os.path.join(platform.dir, "bin")
    os.mkdir(where)
    with open(os.path.join(where, "python3"), "w") as f:
        f.write(f'#!/bin/sh\nexec {python} "$@"\n')
    os.chmod(f.name, 0o755)
    return where


def test_every_block_runs(platform, mlflow):
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("no /dev/fuse")
    script = os.path.join(platform.dir, "tour.sh")
    with open(script, "w") as f:
        f.write("set -eu\n")
        for number, block in enumerate(blocks()):
            f.write(f"echo '== block {number}'\n{block}")
    env = {**mantik.COMPILER, "MANTIK_PREFIX": os.path.join(platform.home, ".local"),
           "PATH": f"{mlflow or ''}:{platform.home}/.local/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
           "PIP_NO_INDEX": "1", "DO_NOT_TRACK": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
    r = platform.run("bash", script, cwd=mantik.TOP, env=env, timeout=900, check=False)
    assert r.returncode == 0, r.stdout[-6000:] + r.stderr[-4000:]
    out = re.split(r"^== block \d+\n", r.stdout, flags=re.M)[1:]
    assert len(out) == len(blocks())
    assert re.search(r"^run=\S+\.[0-9a-f]{8}$", out[0], flags=re.M)
    assert "FINISHED\n0.05\n" in out[1]
    assert len(re.findall(r"^try-0\.0[12]\.[0-9a-f]{8}$", out[2], flags=re.M)) == 2
    assert "FINISHED\n" in out[3] and "digit,predicted\n" in out[3]
    assert len(re.findall(r"^4\t", out[3], flags=re.M)) == 1
    assert out[5] == "KILLED\n"
    assert '"epoch"' in out[6] and '"epochs"' in out[6]
    if mlflow:
        assert "y = 2.95 x" in out[0] and {"Default", "line"} < set(out[7].split())
    else:
        assert "left out: " in out[0] and "not this python3" in out[7]
    assert re.match(r"FINISHED\n0\t1\t", out[8])
    assert out[9] == "FINISHED\n"
    assert "epoch 2 of 2" in out[10] and "FINISHED\n" in out[10] and "FAIL" not in out[10]
    assert platform.mounts() == []
