# SPDX-License-Identifier: Apache-2.0
"""Run by the Python of a venv that has mlflow: reads a JSON list of [MLproject text, entry point,
{parameter: value}] and writes a JSON list of {"command": …} or {"error": …}, then its version."""
import json
import os
import sys
import tempfile

import mlflow
from mlflow.projects import _project_spec


def command(text, entry_point, parameters):
    with tempfile.TemporaryDirectory() as directory:
        with open(os.path.join(directory, "MLproject"), "w", encoding="utf-8") as file:
            file.write(text)
        for name in ("conda.yaml", "python_env.yaml"):
            open(os.path.join(directory, name), "w", encoding="utf-8").close()
        project = _project_spec.load_project(directory)
        # without storage_dir a `path` is taken as it is written
        storage = parameters.pop("@storage", None) and directory
        return project.get_entry_point(entry_point).compute_command(parameters, storage)


results = []
for case in json.load(sys.stdin):
    try:
        results.append({"command": command(*case)})
    except Exception as error:  # pylint: disable=broad-except
        results.append({"error": f"{type(error).__name__}: {error}"})
json.dump({"version": mlflow.__version__, "results": results}, sys.stdout)
