# SPDX-License-Identifier: Apache-2.0
"""Files, models and texts of a real MLflow server through a mount: what stands in its own store, the
requests that costs, and what is left of it when the server is gone."""
import collections
import filecmp
import glob
import json
import os
import re
import subprocess

import pytest
from mantik import Platform, wait_for
from mount import Mount
from tracking import mlflow, starter

ROUTES = {"list": "artifacts/list", "bytes": "(?:get-artifact|mlflow-artifacts/artifacts/)", "run": "runs/get",
          "slow bytes": "get-artifact"}


class Seen:
    def __init__(self, mount, server):
        self.mount, self.server, self.ids = mount, server, server.ids
        self.project = glob.glob(mount.path("projects", "*"))[0]

    def path(self, *names):
        return os.path.join(self.project, *names)

    def run(self, key="run"):
        found = glob.glob(self.path("runs", f"*.{self.ids[key][:8]}"))
        assert len(found) == 1, found
        return found[0]

    def stored(self, run):
        """The directory of a run's artifacts in the server's own store."""
        found = glob.glob(f"{self.server.artifacts}/*/{run}/artifacts")
        assert len(found) == 1, found
        return found[0]

    def requests(self):
        with open(self.server.log) as f:
            text = f.read()
        return collections.Counter({name: len(re.findall(f"(?:GET|HEAD) /(?:api/2.0/)?(?:mlflow/)?{route}", text))
                                    for name, route in ROUTES.items()})


@pytest.fixture(scope="module")
def seen():
    platform = Platform()
    try:
        with mlflow(platform) as server:
            with Mount(platform, f"tracking={server.url}", seconds=300) as mount:
                yield Seen(mount, server)
    finally:
        platform.end()


def names_below(top):
    return sorted(os.path.relpath(os.path.join(where, name), top)
                  for where, dirs, files in os.walk(top) for name in dirs + files)


def check_same(one, other, but=()):
    assert [n for n in names_below(one) if n not in but] == names_below(other)
    for where, _, files in os.walk(other):
        for name in files:
            path = os.path.join(where, name)
            mirrored = os.path.join(one, os.path.relpath(path, other))
            assert os.stat(mirrored).st_size == os.stat(path).st_size, path
            assert filecmp.cmp(mirrored, path, shallow=False), path


def test_artifacts(seen):
    stored, before = seen.stored(seen.ids["run"]), seen.requests()
    check_same(os.path.join(seen.run(), "artifacts"), stored)
    dirs = 1 + sum(len(dirs) for _, dirs, _ in os.walk(stored))
    full = sum(os.stat(os.path.join(w, f)).st_size > 0 for w, _, fs in os.walk(stored) for f in fs)
    cost = seen.requests() - before
    assert dirs >= cost["list"] > 0 and full >= cost["bytes"] > 0 and not cost["slow bytes"], cost
    seen.mount.platform.run("diff", "-r", stored, os.path.join(seen.run(), "artifacts"))
    assert (seen.requests() - before)["bytes"] == cost["bytes"], "read again from the disk"


def test_models(seen):
    model = seen.path("models", "wind model")
    assert sorted(os.listdir(model)) == ["1", "2", "3", "champion", "next-try"]
    assert os.readlink(os.path.join(model, "champion")) == "2"
    data = os.path.join(seen.stored(seen.ids["run"]), "data")
    check_same(os.path.join(model, "champion"), data, but=["model.yaml"])
    with open(os.path.join(model, "2", "model.yaml")) as f:
        text = f.read()
    assert f"\nrun: {os.path.basename(seen.run())}\n" in text
    assert "\naliases: [champion]\nstatus: READY\ndescription: second\n" in text
    logged = os.path.join(seen.run(), "models")
    names = os.listdir(logged)
    assert len(names) == 1 and not names[0].startswith("m-"), names
    check_same(os.path.join(logged, names[0]),
               glob.glob(f"{seen.server.artifacts}/*/models/{seen.ids['logged_model']}/artifacts")[0])


def test_nested_runs_and_datasets(seen):
    os.listdir(seen.path("runs"))
    with open(os.path.join(seen.run("run_parent"), "info.json")) as f:
        parent = json.load(f)
    assert len(parent["children"]) == 11
    for name in parent["children"]:
        with open(seen.path("runs", name, "info.json")) as f:
            assert json.load(f)["parent"] == parent["run"]
    with open(os.path.join(seen.run(), "info.json")) as f:
        datasets = json.load(f)["datasets"]
    assert [d["context"] for d in datasets] == ["training", "validation"]


def test_experiment(seen):
    with open(seen.path("experiments", "wind-forecast", "experiment.yaml")) as f:
        text = f.read()
    assert f"\ntracking_server: {seen.server.url}\n" in text
    assert "\nprimary_metric: {name: val/rmse, goal: minimize, of: last}\n" in text
    assert "\nnote: " in text


@pytest.mark.parametrize("where,flags,text", [
    ("ctl", os.O_WRONLY, b"cancel\n"),
    ("../new", os.O_WRONLY, b"command: 'true'\n"),
])
def test_there_are_no_jobs(seen, where, flags, text):
    with pytest.raises(OSError) as e:
        fd = os.open(os.path.join(seen.run(), where), flags)
        try:
            os.write(fd, text)
        finally:
            os.close(fd)
    assert e.value.errno in (30, 95), e.value
    assert "tracking server" in open(seen.mount.path(".mantik", "errors")).read().splitlines()[-1]


def test_nothing_that_is_not_there(seen):
    for name in ("spec.yaml", "job_script", "logs", "workdir"):
        assert not os.path.lexists(os.path.join(seen.run(), name))
    assert not os.path.lexists(seen.path("runs", "defaults.yaml"))


def test_without_the_server(seen):
    """The last one. What was read stays; what was not says why."""
    artifacts = os.path.join(seen.run(), "artifacts")
    random_bin = os.path.join(artifacts, "data", "random.bin")
    unread = seen.path("runs", os.path.basename(seen.run("run_parent")), "artifacts")
    with open(random_bin, "rb") as f:
        before = f.read()
    names = os.listdir(artifacts)
    starter("stop", seen.server.folder)
    with open(random_bin, "rb") as f:
        assert f.read() == before
    assert os.listdir(artifacts) == names
    r = subprocess.run(["ls", unread], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                       timeout=60)
    assert r.returncode != 0 and not r.stdout, "what nobody saw is no empty directory"
    starter("start", seen.server.folder, seen.server.url.rpartition(":")[2])
    wait_for(lambda: subprocess.run(["ls", unread], stderr=subprocess.DEVNULL).returncode == 0,
             "the server is asked again", 90)
