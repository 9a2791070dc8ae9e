# SPDX-License-Identifier: Apache-2.0
"""What a training script does with mlflow's Python client, 2.9.2 or newest; prints what it reads
back, without what differs from server to server."""
import math

import mlflow
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

T = 1_700_000_000_000
client = mlflow.MlflowClient()


def show(run, title):
    info = run.info
    print(title, info.run_name if not info.run_name.count("-") == 2 else "<made up>", info.status,
          info.lifecycle_stage, info.end_time is not None)
    print("  params", sorted(run.data.params.items()))
    print("  metrics", sorted((k, repr(v)) for k, v in run.data.metrics.items()))
    print("  tags", sorted((k, v) for k, v in run.data.tags.items()
                           if k not in ("mlflow.runName", "mlflow.parentRunId",
                                        "mlflow.source.git.commit")))
    if getattr(run, "inputs", None):
        print("  inputs", [(i.dataset.name, i.dataset.digest, [(t.key, t.value) for t in i.tags])
                           for i in run.inputs.dataset_inputs])


def refused(what, *args, **kwargs):
    try:
        what(*args, **kwargs)
        print("not refused")
    except MlflowException as e:
        print("refused", e.error_code)


experiment = mlflow.set_experiment("client")
mlflow.set_experiment("client")
mlflow.set_experiment_tags({"a": "1", "b": "2"})
print(sorted(client.get_experiment(experiment.experiment_id).tags.items()))
print(client.get_experiment_by_name("nope"))
refused(mlflow.create_experiment, "client")

with mlflow.start_run(run_name="outer", tags={"team": "a"}) as outer:
    mlflow.log_params({"lr": 0.1, "layers": [1, 2], "none": None})
    mlflow.log_metric("loss", 1.5)
    for step in range(20):
        mlflow.log_metrics({"loss": 1 / (step + 1), "acc": step / 20}, step=step)
    mlflow.log_metric("odd", float("nan"))
    mlflow.set_tags({"t": 1, "mlflow.note.content": "a *note*"})
    refused(mlflow.log_param, "lr", 0.2)
    refused(mlflow.log_metric, "a$b", 1)
    mlflow.log_input(mlflow.data.meta_dataset.MetaDataset(
        mlflow.data.http_dataset_source.HTTPDatasetSource("http://x/y"), name="d", digest="x1"),
        context="training") if hasattr(mlflow.data, "meta_dataset") else None
    with mlflow.start_run(nested=True) as inner:
        mlflow.log_param("depth", 3)
    show(client.get_run(inner.info.run_id), "inner")
    print("parent", client.get_run(inner.info.run_id).data.tags["mlflow.parentRunId"]
          == outer.info.run_id)
show(client.get_run(outer.info.run_id), "outer")
print([(m.step, m.value) for m in client.get_metric_history(outer.info.run_id, "acc")])

run = client.create_run(experiment.experiment_id, start_time=T, run_name="by hand").info.run_id
client.log_batch(run, [Metric("m", v, T + i, i) for i, v in enumerate(
    [1.0, math.nan, 5e-324, 1e308])], [Param("p", "x")], [RunTag("t", "y")])
client.log_batch(run, [Metric("big", float(i), T + i, i) for i in range(900)])
print(len(client.get_metric_history(run, "big")))
client.delete_tag(run, "t")
refused(client.delete_tag, run, "t")
client.update_run(run, name="renamed")
client.set_terminated(run, "FAILED")
show(client.get_run(run), "by hand")
client.delete_run(run)
print(client.get_run(run).info.lifecycle_stage)
refused(client.log_metric, run, "late", 1)
client.restore_run(run)
print(client.get_run(run).info.lifecycle_stage)
refused(client.get_run, "0" * 32)

other = client.create_experiment("other", tags={"k": "v"})
client.rename_experiment(other, "renamed")
client.delete_experiment(other)
print(client.get_experiment(other).lifecycle_stage)
refused(client.create_run, other)
client.restore_experiment(other)
print(client.get_experiment(other).name, client.get_experiment(other).lifecycle_stage)
print("done")
