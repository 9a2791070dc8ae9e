# SPDX-License-Identifier: Apache-2.0
"""An experiment of 10 000 runs and a history of 100 000 points on a real MLflow server, whole in a
mount, for the requests that they need and not one more; then in another mount."""
import os
import sqlite3
import time

import filled
import pytest
from mounted import Mounted, read, rows
from tracking import NEWEST, mlflow

RUNS, POINTS = 10_000, 100_000
pytestmark = pytest.mark.full


@pytest.fixture
def mounted(platform):
    with mlflow(platform, NEWEST) as server:
        with sqlite3.connect(f"{server.folder}/mlflow.db", timeout=60) as db:
            filled.runs(db, filled.experiment(db, "many"), RUNS)
            run, = filled.runs(db, filled.experiment(db, "long"), 1)
            filled.points(db, run, "loss", POINTS)
        db.close()
        it = Mounted(platform, server).mount()
        it.long = run
        yield it
        it.leave()


def test_ten_thousand_runs_and_a_hundred_thousand_points(mounted):
    many, long = (f"{mounted.project}/experiments/{name}" for name in ("many", "long"))
    wanted = {f"{name}.{uid[:8]}": (metrics, params)
              for uid, name, _, metrics, params, _ in filled.many_runs(RUNS)}

    def listed():
        out = mounted.platform.run("ls", "-l", f"{many}/runs").stdout.splitlines()[1:]
        return {line.rsplit(" -> ../../../runs/", 1)[1] for line in out}

    def asked(act, most):
        """What act() gives, for at most so many requests; what is 30 s old is asked about again."""
        begun = time.monotonic()
        result, cost = mounted.cost(act)
        assert cost <= most + 3 * ((time.monotonic() - begun) // 30), cost
        return result

    def histories():
        return read(mounted.server.log).count("metrics/get-history")
    assert asked(listed, RUNS / 1000 + 2) == set(wanted)  # experiments, pages, deleted
    table = asked(lambda: rows(f"{many}/runs.tsv"), 3)
    assert len(table) == RUNS
    for row in table:
        metrics, params = wanted[row["run"]]
        assert row["status"] == "FINISHED" and [row[f"params.{k}"] for k, _ in params] == [v for _, v in params]
        assert [float(row[f"metrics.{k}"]) for k, _ in metrics] == [v for _, v in metrics]

    run = f"{long}/runs/{os.listdir(f'{long}/runs')[0]}"
    text = read(f"{run}/metrics/loss")
    assert histories() == POINTS / 25_000
    points = [line.split("\t") for line in text.splitlines()]
    assert [int(step) for step, _, _ in points] == list(range(POINTS))
    assert all(float(value) == filled.value(i) for i, (_, value, _) in enumerate(points))

    mounted.later(3600)
    assert asked(listed, 3) == set(wanted)
    assert read(f"{run}/metrics/loss") == text and histories() == POINTS / 25_000
