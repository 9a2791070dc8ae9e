# SPDX-License-Identifier: Apache-2.0
"""A training as people write it: an MLproject with a python_env.yaml and scikit-learn with autologging,
submitted through runs/new. What it logged is its run's, as files."""
import io
import os
import zipfile

import pytest
from tracking import NEWEST, OLD, starter

TRAIN = """
import sys, mlflow, sklearn
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

mlflow.sklearn.autolog()
x, y = load_iris(return_X_y=True)
model = LogisticRegression(C=float(sys.argv[1]), max_iter=300).fit(x, y)
print("prefix", sys.prefix, mlflow.__version__)
"""
PROJECT = """name: iris
python_env: python_env.yaml
entry_points:
  main:
    parameters: {c: {type: float, default: 1.0}}
    command: python train.py {c}
"""


def wheel_of(packages):
    """A wheel that brings the packages of another environment: pip installs it without any index."""
    name, data = "trained-1.0-py3-none-any.whl", io.BytesIO()
    with zipfile.ZipFile(data, "w") as z:
        z.writestr("trained.pth", packages + "\n")
        z.writestr("trained-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: trained\nVersion: 1.0\n")
        z.writestr("trained-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: x\n"
                   "Root-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr("trained-1.0.dist-info/RECORD", "")
    return name, data.getvalue()


def text(*path):
    with open(os.path.join(*path)) as f:
        return f.read()


@pytest.mark.parametrize("version, index", [
    (NEWEST, False), pytest.param(OLD, False, marks=pytest.mark.full),
    pytest.param(NEWEST, True, marks=pytest.mark.full)])  # all of it by pip, a minute
def test_scikit_learn_through_runs_new(platform, version, index):
    python = starter("fetch", version=version)["python"]
    folder = os.path.join(os.path.dirname(os.path.dirname(python)), "lib")
    packages = os.path.join(folder, os.listdir(folder)[0], "site-packages")
    wheel, data = wheel_of(packages)
    needs = f"[mlflow=={version}, scikit-learn, matplotlib]" if index else f"[./{wheel}]"
    repo = platform.repository(files={"MLproject": PROJECT, "train.py": TRAIN,
                                      "python_env.yaml": f"dependencies: {needs}\n"})
    with open(os.path.join(repo, wheel), "wb") as f:
        f.write(data)
    platform.commit(repo)
    with platform.mount() as where:
        project = os.path.join(where, "projects/p")
        platform.sh(f"mkdir {project} {project}/code/r; "
                    f"echo 'uri: {repo}' > {project}/code/r/repository.yaml")
        spec = os.path.join(platform.dir, "spec.yaml")
        with open(spec, "w") as f:
            f.write("name: fit\nexperiment: iris\nparameters: {c: 0.5}\n")
        name = platform.sh(f"cp {spec} {project}/runs/new; cat {project}/runs/new").stdout.strip()
        run = os.path.join(project, "runs", name)
        status = platform.ctl("wait", run, timeout=500, check=False).stdout
        assert status == "FINISHED\n", text(run, "logs/submission") + text(run, "logs/stderr")
        said = text(run, "logs/stdout").split("prefix ")[1].split()  # the newest says more before it
        assert said[0].startswith(platform.cache + "/envs/") and said[1] == version
        # what was asked for and what scikit-learn made of it
        assert text(run, "params/c") == "0.5\n" and text(run, "params/C") == "0.5\n"
        assert text(run, "params/max_iter") == "300\n"
        assert text(run, "tags/estimator_name") == "LogisticRegression\n"
        for key in ("training_score", "training_f1_score", "training_log_loss"):
            (step, value, _), = [line.split("\t") for line in text(run, "metrics", key).splitlines()]
            assert step == "0" and 0 < float(value) <= 1
        with open(os.path.join(run, "artifacts/training_confusion_matrix.png"), "rb") as f:
            assert f.read(4) == b"\x89PNG"
        model = os.path.join(run, "models/model" if version == NEWEST else "artifacts/model")
        assert "sklearn" in text(model, "MLmodel")
        assert any(os.path.getsize(os.path.join(model, f)) > 300 for f in os.listdir(model)
                   if f.startswith("model."))
        # it is one run, and the tables know it
        table = text(project, "experiments/iris/runs.tsv").splitlines()
        assert len(table) == 2 and "metrics.training_score" in table[0]
        assert sorted(n for n in os.listdir(f"{project}/runs") if n.endswith(run[-9:])) == [name]
