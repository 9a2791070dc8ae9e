# SPDX-License-Identifier: Apache-2.0
"""Scripts as people have them, unchanged, in a job, with the real clients: what they log through
mantikd is the job's own run, and there is no other."""
import shlex

import pytest
from engine import Engine
from tracking import NEWEST, OLD, starter

VERSIONS = [OLD, NEWEST]


@pytest.fixture
def engine(platform):
    it = Engine(platform, slots=2)
    it.daemon()
    return it


def python(version, code):
    return f"{starter('fetch', version=version)['python']} -c {shlex.quote(code)}\n"


def script(version, *codes):
    return ("set -e\nexport MLFLOW_DISABLE_TELEMETRY=true PYTHONWARNINGS=ignore GIT_PYTHON_REFRESH=quiet\n"
            + "".join(python(version, code) for code in codes))


def experiment_of(engine, run):
    return engine.rows("SELECT e.name FROM runs r JOIN experiments e ON e.id = r.experiment_id"
                       " WHERE r.id = ?", run.id)[0]["name"]


def done(run):
    assert run.wait(120) == "FINISHED", run.file("stderr") + run.engine.log()


ORDINARY = """
import mlflow
mlflow.set_experiment("rain")
with mlflow.start_run(run_name="first"):
    mlflow.log_param("lr", 0.1)
    mlflow.log_metric("loss", 0.5)
    mlflow.log_text("weights", "model.txt")
"""
AGAIN = """
import mlflow
mlflow.set_experiment("rain")
with mlflow.start_run() as run:
    mlflow.log_metric("test", 1.5)
with mlflow.start_run(run_name="more"):
    mlflow.log_metric("more", 1)
"""


@pytest.mark.parametrize("version", VERSIONS)
def test_an_experiment_that_the_script_sets(engine, version):
    """The most ordinary script there is: its run is the job's, in that experiment; also of the
    program after it. What a script begins when that has ended is a run of its own, as everywhere."""
    run = engine.submit(script(version, ORDINARY, AGAIN))
    done(run)
    assert experiment_of(engine, run) == "rain"
    assert run.values("params") == {"lr": "0.1"}
    assert run.points("loss") == [(0, 0.5)] and run.points("test") == [(0, 1.5)]
    assert run.file("artifacts/model.txt") == "weights"
    others = engine.rows("SELECT name FROM runs WHERE id <> ?", run.id)
    assert [r["name"] for r in others] == ["more"]
    names = {r["name"] for r in engine.rows("SELECT name FROM experiments")}
    assert names == {"e", "rain"}


LOOKED_AT = """
import mlflow
mlflow.MlflowClient().create_experiment("base")
mlflow.set_experiment("e")
mlflow.get_experiment_by_name("base")
with mlflow.start_run():
    mlflow.log_metric("loss", 0.5)
mlflow.get_experiment_by_name("base")
mlflow.get_run(mlflow.last_active_run().info.run_id)
mlflow.MlflowClient().set_tag(mlflow.last_active_run().info.run_id, "t", "v")
"""
SEARCHED = """
import mlflow
mlflow.search_runs(experiment_names=["base"])
with mlflow.start_run():
    mlflow.log_metric("test", 1)
"""


def test_an_experiment_that_it_only_looks_at(engine):
    run = engine.submit(script(NEWEST, LOOKED_AT, SEARCHED))
    done(run)
    assert experiment_of(engine, run) == "e"
    assert run.points("loss") == [(0, 0.5)] and run.points("test") == [(0, 1)]
    assert run.values("tags")["t"] == "v"
    assert len(engine.rows("SELECT 1 FROM runs")) == 1
