# SPDX-License-Identifier: Apache-2.0
"""tools/quickstart: from an empty HOME to a finished run, again, without /dev/fuse, and undone."""
import os
import re
import shutil
import time

import pytest

import mantik
from tracking import starter

QUICKSTART = os.path.join(mantik.TOP, "tools", "quickstart")


def quickstart(platform, *args, check=True, wrap=(), **env):
    prefix = os.path.join(platform.home, ".local")
    path = f"{prefix}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    return platform.run(*wrap, QUICKSTART, *args, "--prefix", prefix, check=check, timeout=600,
                        env={"PATH": path, **mantik.COMPILER, **env})


def result(r):
    """The last lines as a dict."""
    lines = r.stdout.splitlines()[-4:]
    found = dict(line.split("=", 1) for line in lines)
    assert list(found) == ["mount", "prefix", "project", "run"]
    return found


OFFLINE = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}


@pytest.fixture(scope="module")
def wheels():
    return {**OFFLINE, "PIP_FIND_LINKS": starter("wheels")["wheels"]}


@pytest.fixture(scope="module")
def done(shared, request):
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("no /dev/fuse")
    try:
        pip = request.getfixturevalue("wheels")
    except pytest.skip.Exception:   # only the MLflow script is missing then
        pip = OFFLINE
    return quickstart(shared, os.path.join(shared.home, "mantik"), **pip)


def test_it_ends_with_a_finished_run(shared, done):
    said = result(done)
    assert said["mount"] == shared.mountpoint and said["project"] == "sample"
    assert shared.mounts() == [shared.mountpoint]
    run = os.path.join(shared.mountpoint, "projects/sample/runs", said["run"])
    with open(os.path.join(run, "status")) as f:
        assert f.read() == "FINISHED\n"
    # a literal cp, the log as tail read it, the metric and the leaderboard
    assert f"== cp {said['prefix']}/share/mantikfs/examples/train.yaml {shared.mountpoint}" \
           "/projects/sample/runs/new\n" in done.stdout
    assert "epoch 8 of 8: loss" in done.stdout
    assert len(re.findall(r"^\d+\t0\.\d+\t\S+$", done.stdout, flags=re.M)) >= 8
    assert re.search(rf"^{re.escape(said['run'])}\t", done.stdout, flags=re.M)
    assert os.path.exists(os.path.join(run, "artifacts/predictions.csv"))


def test_mlflow_script_logs_unchanged(shared, done, wheels):
    with open(os.path.join(mantik.TOP, "packaging/examples/line.py")) as f:
        script = f.read()
    assert "mlflow.start_run" in script and "mantik" not in script
    venv = os.path.join(shared.home, ".local/share/mantikfs/mlflow")
    assert f"\nmlflow-skinny goes to {venv} " in done.stdout and \
        re.search("^pip fetches mlflow.skinny ", done.stdout, flags=re.M)
    assert "\ny = 2.95 x + 0.99" in done.stdout
    line = os.path.join(shared.mountpoint, "projects/sample/experiments/line")
    with open(os.path.join(line, "runs.tsv")) as f:
        head, row = [text.rstrip("\n").split("\t") for text in f]
    row = dict(zip(head, row))
    assert row["status"] == "FINISHED" and row["site"] == "mlflow" and row["params.epochs"] == "12"
    with open(os.path.join(line, "runs", row["run"], "metrics/loss")) as f:
        loss = f.read()
    assert [point.split("\t")[0] for point in loss.splitlines()] == [str(i) for i in range(1, 13)]
    assert loss in done.stdout and "\t".join(row.values()) in done.stdout
    with open(os.path.join(line, "runs", row["run"], "tags/model")) as f:
        assert f.read() == "y = slope * x + offset\n"


def test_again_adds_a_run_and_nothing_else(shared, done):
    runs = os.path.join(shared.mountpoint, "projects/sample/runs")
    before = set(os.listdir(runs))
    began = time.monotonic()
    r = quickstart(shared, shared.mountpoint, **OFFLINE)
    assert time.monotonic() - began < 60
    again = result(r)
    new = set(os.listdir(runs)) - before
    assert new == {again["run"]}
    assert os.listdir(os.path.join(shared.mountpoint, "projects")) == ["sample"]
    assert shared.mounts() == [shared.mountpoint]
    # the run of the MLflow script is shown again
    shown = re.findall(r"^line\.[0-9a-f]{8}\tFINISHED\t.*$", done.stdout, flags=re.M)
    assert len(shown) <= 1 and all(row in r.stdout for row in shown)


def test_without_fuse_mantikctl_does_the_job(platform):
    if os.getuid() != 0 or not shutil.which("unshare"):
        pytest.skip("hiding /dev/fuse needs root and unshare")
    hide = os.path.join(platform.dir, "hide")
    with open(hide, "w") as f:
        f.write("#!/bin/sh\nset -e\nmount -t tmpfs none /mnt\nfor d in null zero full random urandom tty; do "
                "touch /mnt/$d; mount --bind /dev/$d /mnt/$d; done\nmkdir /mnt/shm; mount --bind "
                "/dev/shm /mnt/shm; ln -s /proc/self/fd /mnt/fd\nmount --rbind /mnt /dev\nexec \"$@\"\n")
    os.chmod(hide, 0o755)
    r = quickstart(platform, wrap=("unshare", "-m", hide), **OFFLINE)
    assert "/dev/fuse does not exist" in r.stderr
    said = result(r)
    assert said["mount"] == "none"
    assert platform.ctl("status", said["run"]).stdout == "FINISHED\n"
    assert "epoch 8 of 8: loss" in r.stdout
    # without an index of packages the MLflow script is left out, and what was begun for it is gone
    assert re.search(r"^left out: pip for Python 3\S+: .*mlflow-skinny$", r.stdout, flags=re.M)
    assert not os.path.exists(os.path.join(platform.home, ".local/share/mantikfs/mlflow"))


def test_remove_undoes_everything_but_data(shared, done):
    r = quickstart(shared, "--remove")
    assert "removed" in r.stdout and shared.mounts() == []
    left = [os.path.join(d, f) for d, _, files in os.walk(os.path.join(shared.home, ".local"))
            for f in files if "/share/mantik/" not in d + "/" and "/share/mantik-sample" not in d]
    assert [path for path in left if "mantik" in os.path.basename(path)] == []
    assert not os.path.exists(os.path.join(shared.home, ".local/share/mantikfs"))
    assert os.path.exists(os.path.join(shared.data, "mantik.db"))
    assert not os.path.exists(shared.mountpoint)


def test_missing_packages_are_named_one_by_one(platform):
    """As an ordinary user without sudo; dpkg-query is asked by PATH, so it can be made to miss some."""
    tools = os.path.join(platform.dir, "bin")
    os.makedirs(tools)
    with open(os.path.join(tools, "dpkg-query"), "w") as f:
        f.write('#!/bin/sh\ncase "$*" in *libfuse3-dev*|*meson*) exit 1;; esac\n'
                'echo "install ok installed"\n')
    with open(os.path.join(tools, "id"), "w") as f:
        f.write("#!/bin/sh\necho 1234\n")
    with open(os.path.join(tools, "sudo"), "w") as f:
        f.write("#!/bin/sh\nexit 1\n")
    for name in os.listdir(tools):
        os.chmod(os.path.join(tools, name), 0o755)
    r = platform.run(QUICKSTART, "--prefix", platform.home, check=False,
                     env={"PATH": f"{tools}:/usr/bin:/bin"})
    assert r.returncode == 1
    assert re.findall(r"missing package: (\S+)", r.stderr) == ["meson", "libfuse3-dev"]
    assert "apt-get install meson libfuse3-dev" in r.stderr
