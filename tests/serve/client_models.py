# SPDX-License-Identifier: Apache-2.0
"""What a script does with artifacts and models through mlflow's Python client, 2.9.2 or newest; prints
what it reads back without what differs from server to server, keeps ids in facts.json and what it
downloads in artifacts/, version1/, version2/."""
import json
import os
import sys
import warnings

warnings.filterwarnings("ignore")
import mlflow  # noqa: E402
import mlflow.sklearn  # noqa: E402
import numpy  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402

client = mlflow.MlflowClient()
RAIN, EXPERIMENT = "rain " + sys.argv[1], "models client " + sys.argv[1]
mlflow.set_experiment(EXPERIMENT)
x = numpy.array([[i % 7, i % 3] for i in range(60)], dtype=float)
y = numpy.array([i % 2 for i in range(60)])


def walk(run_id, path=None):
    for f in client.list_artifacts(run_id, path):
        print("  ", f.path, f.is_dir, None if f.is_dir else f.file_size or 0)
        if f.is_dir:
            walk(run_id, f.path)


def refused(what, *args, **kwargs):
    try:
        what(*args, **kwargs)
        print("not refused")
    except MlflowException as e:
        print("refused", e.error_code)


# --- files ---
os.makedirs("tree/deep er/größe")
for name, text in (("tree/a b.txt", "a"), ("tree/deep er/größe/c+d&e.csv", "1,2\n"), ("tree/.hidden", ""),
                   ("tree/deep er/100%.txt", "%")):
    with open(name, "w") as f:
        f.write(text)
with mlflow.start_run(run_name="files") as run:
    mlflow.log_artifact("tree/a b.txt")
    mlflow.log_artifact("tree/a b.txt", "sub/dir")
    mlflow.log_artifacts("tree", "tree")
    mlflow.log_text("some text", "notes/today.txt")
    mlflow.log_dict({"a": [1, 2]}, "conf.json")
    mlflow.log_text("over", "conf2.json")
    mlflow.log_text("written again", "conf2.json")
    print(mlflow.get_artifact_uri().startswith("mlflow-artifacts:/"))
run_id = run.info.run_id
walk(run_id)
mlflow.artifacts.download_artifacts(run_id=run_id, dst_path="artifacts")
print(mlflow.artifacts.load_text(f"runs:/{run_id}/notes/today.txt"))
print(mlflow.artifacts.load_dict(f"runs:/{run_id}/conf.json"))
print(client.list_artifacts(run_id, "nope"), client.list_artifacts(run_id, "conf.json"))
refused(client.list_artifacts, "0" * 32)

# --- a model that is trained, logged, loaded ---
mlflow.sklearn.autolog()
with mlflow.start_run(run_name="fit") as fit:
    model = LogisticRegression().fit(x, y)
mlflow.sklearn.autolog(disable=True)
data = client.get_run(fit.info.run_id).data
print(sorted(data.params.items()))
print(sorted((k, round(v, 6)) for k, v in data.metrics.items()))
walk(fit.info.run_id)
loaded = mlflow.sklearn.load_model(f"runs:/{fit.info.run_id}/model")
print((loaded.predict(x) == model.predict(x)).all())
with mlflow.start_run(run_name="by hand") as hand:
    info = mlflow.sklearn.log_model(model, "clf")
print((mlflow.pyfunc.load_model(info.model_uri).predict(x) == model.predict(x)).all())

# --- the registry ---
first = mlflow.register_model(info.model_uri, RAIN)
second = mlflow.register_model(f"runs:/{fit.info.run_id}/model", RAIN, tags={"k": "v"})
print(first.version, second.version, second.status, second.run_id == fit.info.run_id,
      second.tags)
client.update_model_version(RAIN, "2", "the better one")
client.update_registered_model(RAIN, "does it rain?")
client.set_registered_model_alias(RAIN, "champion", "1")
client.set_registered_model_alias(RAIN, "champion", "2")
client.set_registered_model_tag(RAIN, "team", "weather")
client.set_model_version_tag(RAIN, "2", "checked", "yes")
client.transition_model_version_stage(RAIN, "2", "Staging")
for version in ("1", "2"):
    v = client.get_model_version(RAIN, version)
    print(v.name, v.version, v.current_stage, v.description, sorted(v.tags.items()), v.aliases,
          v.status)
print(client.get_model_version_by_alias(RAIN, "champion").version)
whole = client.get_registered_model(RAIN)
print(whole.name, whole.description, sorted(whole.tags.items()), sorted(whole.aliases.items()),
      sorted((v.version, v.current_stage) for v in whole.latest_versions))
for uri in (f"models:/{RAIN}/1", f"models:/{RAIN}@champion", f"models:/{RAIN}/Staging"):
    print(uri, (mlflow.pyfunc.load_model(uri).predict(x) == model.predict(x)).all())
mlflow.artifacts.download_artifacts(f"models:/{RAIN}/1", dst_path="version1")
mlflow.artifacts.download_artifacts(f"models:/{RAIN}/2", dst_path="version2")
client.delete_model_version_tag(RAIN, "2", "checked")
refused(client.get_model_version, RAIN, "9")
refused(client.create_registered_model, RAIN)
refused(client.get_registered_model, "nope")
refused(client.get_model_version_by_alias, RAIN, "nope")
refused(mlflow.pyfunc.load_model, "models:/nope/1")
client.create_registered_model("short-lived " + RAIN)
client.rename_registered_model("short-lived " + RAIN, "renamed " + RAIN)
client.delete_registered_model("renamed " + RAIN)
refused(client.get_registered_model, "renamed " + RAIN)

if hasattr(client, "create_logged_model"):
    experiment = mlflow.get_experiment_by_name(EXPERIMENT).experiment_id
    logged = mlflow.get_logged_model(mlflow.last_logged_model().model_id)
    print(logged.name, logged.status, sorted(logged.params.items())[:3])
    bare = client.create_logged_model(experiment, name="bare", tags={"a": "b"}, params={"p": "q"})
    client.set_logged_model_tags(bare.model_id, {"c": "d"})
    client.delete_logged_model_tag(bare.model_id, "a")
    client.finalize_logged_model(bare.model_id, "READY")
    bare = client.get_logged_model(bare.model_id)
    print(bare.name, bare.status, sorted(bare.tags.items()), bare.params)
    client.delete_logged_model(bare.model_id)
    refused(client.get_logged_model, bare.model_id)

with open("facts.json", "w") as f:
    json.dump({"run": run_id, "fit": fit.info.run_id, "hand": hand.info.run_id}, f)
