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
from tracking import FIRST, NEWEST, OLD, Store, starter


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
    took = []
    for i in range(5):
        wait_for(lambda: os.path.exists(f"{platform.dir}/logged-{i}"), "a point: " + run.file("stderr"), 180)
        then = time.time()
        wait_for(lambda: len(run.points("train/loss")) == i + 1, f"point {i}; {engine.log()}", 60)
        took.append(time.time() - then)
        if i == 2:
            engine.kill()
            engine.daemon()
        open(f"{platform.dir}/go-{i}", "w").close()
    assert max(took) < 2, took
    assert run.wait(180) == "FINISHED"
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
    assert run.wait(180) == "FINISHED"
    a, b = (f"a_b.{id[:8]}" for id in run.file("stdout").split())
    assert run.values("params") == {"grid": "lr"}
    assert run.points(f"{a}/loss") == [(0, 1.0)] and run.points(f"{b}/loss") == [(0, 2.0)]
    assert run.points("loss") == [] and run.points("val/rmse") == []
    assert run.file(f"artifacts/{a}/note.txt") == "1" and run.file(f"artifacts/{b}/note.txt") == "2"
    assert sorted(os.listdir(f"{run.record}/artifacts")) == sorted([a, b])


MANY = """
import os, time, uuid
now, parent = int(time.time() * 1000), uuid.uuid4().hex
def put(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(text)
for e in range(120):
    put(f"mlruns/{e}/meta.yaml", f"experiment_id: '{e}'\\nname: e{e}\\nlifecycle_stage: active\\nartifact_location: ''\\n")
for i in range(1200):
    e, id = i % 120, parent if i == 0 else uuid.uuid4().hex
    put(f"mlruns/{e}/{id}/meta.yaml", f"run_id: {id}\\nrun_uuid: {id}\\nrun_name: trial\\nexperiment_id: '{e}'\\n"
        f"artifact_uri: ''\\nlifecycle_stage: active\\nstatus: 3\\nstart_time: {now + i}\\nend_time: {now + i}\\nuser_id: a\\n")
    put(f"mlruns/{e}/{id}/params/i", str(i))
    if i:
        put(f"mlruns/{e}/{id}/tags/mlflow.parentRunId", parent)
"""


def test_a_sweep_of_many_runs(engine):
    """More than a page of runs, in more experiments than are asked for at once: the parent, which began
    first, is the job's run, and all the others are there."""
    run = engine.submit("python3 -c " + shlex.quote(MANY))
    engine.daemon()
    assert run.wait(180) == "FINISHED"
    params = run.values("params")
    assert params.pop("i") == "0"
    assert sorted(map(int, params.values())) == list(range(1, 1200))


MORE = """
import mlflow, os
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag
client = MlflowClient()
mlflow.set_experiment("in the store")
with mlflow.start_run(run_name="wind 1") as run:
    id = run.info.run_id
    client.log_inputs(id, datasets=[DatasetInput(
        Dataset(name="era5", digest="abc", source_type="http", source="https://example.org/era5.nc"),
        tags=[InputTag("mlflow.data.context", "training")])])
    if hasattr(client, "create_logged_model"):
        from mlflow.entities import LoggedModelOutput
        model = client.create_logged_model(run.info.experiment_id, name="net", source_run_id=id,
                                           tags={"flavor": "none"}, params={"layers": "3"})
        os.makedirs("net/deep")
        with open("net/deep/weights", "w") as f:
            f.write("weights")
        client.log_model_artifacts(model.model_id, "net")
        client.finalize_logged_model(model.model_id, "READY")
        client.log_outputs(id, [LoggedModelOutput(model.model_id, step=0)])
with mlflow.start_run():
    pass
"""


@pytest.mark.parametrize("version", [OLD, NEWEST])
def test_datasets_models_and_the_name(engine, platform, version):
    run = engine.submit(script(version, MORE))
    engine.daemon()
    assert run.wait(180) == "FINISHED", run.file("stderr")
    shutil.rmtree(run.workdir)
    info = platform.ctl("cat", f"/projects/p/runs/{run.dir}/info.yaml").stdout
    assert "era5" in info and "abc" in info and "training" in info
    row = run.row()
    assert (row["name"], row["dir"]) == ("wind 1", run.dir)
    if version == NEWEST:
        models = f"/projects/p/runs/{run.dir}/models"
        assert platform.ctl("ls", models).stdout == "net\n"
        assert platform.ctl("cat", f"{models}/net/deep/weights").stdout == "weights"
        model = engine.rows("SELECT * FROM logged_models")[0]
        assert (model["status"], model["source_run"]) == (2, run.uid)  # READY
        pairs = engine.rows("SELECT key, value FROM logged_model_params WHERE model_id = ?"
                            " UNION SELECT key, value FROM logged_model_tags WHERE model_id = ?",
                            model["model_id"], model["model_id"])
        assert {r["key"]: r["value"] for r in pairs} == {"layers": "3", "flavor": "none"}
    assert not run.file("submission"), run.file("submission")
