# SPDX-License-Identifier: Apache-2.0
"""A job that calls mlflow with no server: what the mlruns/ or mlflow.db in its directory holds is its
run's, live, once, and still there when the directory is gone."""
import os
import shlex
import shutil
import time

import pytest
from engine import Engine
from mantik import wait_for
from tracking import FIRST, NEWEST, Store, starter


@pytest.fixture
def engine(platform):
    return Engine(platform, slots=2)


# A fresh home of the platform: the clients of the caller's cache are used. What a job is given for our
# own server is taken away, as by a script that names a folder.
def script(version, code):
    python = starter("fetch", version=version)["python"]
    return ("unset MLFLOW_TRACKING_URI MLFLOW_RUN_ID MLFLOW_EXPERIMENT_ID; export MLFLOW_DISABLE_TELEMETRY=true PYTHONWARNINGS=ignore "
            "GIT_PYTHON_REFRESH=quiet\n" + f"{python} -c {shlex.quote(code)}")


LIVE = """
import os, time, mlflow
mlflow.start_run(run_name="trial")
mlflow.log_param("lr", 0.1)
for i in range(5):
    mlflow.log_metric("train/loss", 1 / (1 + i), step=i)
    open(f"{where}/logged-{{i}}", "w").close()
    while not os.path.exists(f"{where}/go-{{i}}"):
        time.sleep(0.02)
mlflow.set_tag("stage", "final")
mlflow.log_metric("train/loss", float("nan"), step=9)
with open("model.txt", "w") as f:
    f.write("weights")
mlflow.log_artifact("model.txt", "model")
mlflow.end_run()
"""


@pytest.mark.parametrize("version", [FIRST, NEWEST])
def test_it_is_the_runs_own_while_it_is_logged(engine, platform, version):
    """1.30 makes mlruns/, the newest mlflow.db."""
    run = engine.submit(script(version, LIVE.format(where=platform.dir)))
    engine.daemon()
    for i in range(5):
        wait_for(lambda: os.path.exists(f"{platform.dir}/logged-{i}"), "a point: " + run.file("stderr"), 60)
        then = time.time()
        wait_for(lambda: len(run.points("train/loss")) == i + 1, f"point {i}; {engine.log()}")
        assert time.time() - then < 2
        if i == 2:
            engine.kill()
            engine.daemon()
        open(f"{platform.dir}/go-{i}", "w").close()
    assert run.wait(60) == "FINISHED"
    points = run.points("train/loss")
    assert points[:5] == [(i, 1 / (1 + i)) for i in range(5)]
    assert points[5:] == [(9, None)]  # a NaN
    assert run.values("params") == {"lr": "0.1"}
    tags = run.values("tags")
    assert tags["stage"] == "final" and tags["mlflow.runName"] == "trial"
    shutil.rmtree(run.workdir)
    assert run.file("artifacts/model/model.txt") == "weights"
    assert os.listdir(f"{run.record}/artifacts") == ["model"]


NESTED = """
import mlflow
with mlflow.start_run(run_name="sweep"):
    mlflow.log_param("grid", "lr")
    for lr in (1, 2):
        with mlflow.start_run(run_name="a/b", nested=True) as run:
            mlflow.log_metric("loss", lr)
            mlflow.log_text(str(lr), "note.txt")
            print(run.info.run_id)
"""


def test_several_runs_and_a_store_that_was_there(engine, platform):
    """The run that others are nested in is ours, they are folders; what is older than the job is none
    of it."""
    old = Store(os.path.join(platform.dir, "old"), FIRST, "files")
    run = engine.submit(f"cp -r {old.path} mlruns\n" + script(FIRST, NESTED))
    engine.daemon()
    assert run.wait(60) == "FINISHED"
    a, b = (f"a_b.{id[:8]}" for id in run.file("stdout").split())
    assert run.values("params") == {"grid": "lr"}
    assert run.points(f"{a}/loss") == [(0, 1.0)] and run.points(f"{b}/loss") == [(0, 2.0)]
    assert run.points("loss") == [] and run.points("val/rmse") == []
    assert run.file(f"artifacts/{a}/note.txt") == "1" and run.file(f"artifacts/{b}/note.txt") == "2"
    assert sorted(os.listdir(f"{run.record}/artifacts")) == sorted([a, b])
