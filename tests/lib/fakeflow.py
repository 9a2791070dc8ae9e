# SPDX-License-Identifier: Apache-2.0
"""A tracking server that misbehaves as no real one can be made to: it answers the routes of MLflow
from a few dictionaries, and what a test says instead for some of them.

    with fakeflow() as fake:
        fake.runs[0]["data"]["params"] = …
        fake.faults["metrics/get-history"] = reply(500, PAGE, HTML)      # for ever
        fake.faults["runs/search"] = [None, reply(429, …)]               # then as it should be
"""
import contextlib
import json
import urllib.parse

from httpserve import Script, reply

T0 = 1_700_000_000_000
JSON = ["Content-Type: application/json"]
HTML = ["Content-Type: text/html; charset=utf-8"]
PAGE = "<!doctype html><title>500 Internal Server Error</title>"


def answer(value, status=200, headers=()):
    text = value if isinstance(value, (str, bytes)) else json.dumps(value)
    return reply(status, text, [*JSON, *headers])


def pairs(**values):
    return [{"key": key.replace("__", "/"), "value": value} for key, value in values.items()]


def a_run(number, name="r", status="FINISHED", experiment="1", **data):
    """A run in MLflow's form; its id ends and begins with its number."""
    run = f"{number:08x}{number:024x}"
    return {"info": {"run_id": run, "run_uuid": run, "experiment_id": experiment, "run_name": name,
                     "user_id": "ana", "status": status, "start_time": T0, "end_time": T0 + 1000,
                     "lifecycle_stage": "active",
                     "artifact_uri": f"mlflow-artifacts:/{experiment}/{run}/artifacts"},
            "data": {"params": pairs(lr="0.1"), "tags": pairs(stage="x"),
                     "metrics": [{"key": "loss", "value": 0.5, "timestamp": T0, "step": 1}], **data}}


class Fake(Script):
    def __init__(self):
        self.experiments = [{"experiment_id": "1", "name": "e", "lifecycle_stage": "active",
                             "artifact_location": "mlflow-artifacts:/1", "creation_time": T0,
                             "last_update_time": T0}]
        self.runs = [a_run(1)]
        self.points = [{"key": "loss", "value": 1.0, "timestamp": T0, "step": 0},
                       {"key": "loss", "value": 0.5, "timestamp": T0, "step": 1}]
        self.files = [{"path": "f.txt", "is_dir": False, "file_size": 5}]
        self.contents = {"f.txt": b"file\n"}
        self.faults = {}
        self.logins = None  # values of Authorization that are let in; None: everybody is
        super().__init__(self.follow_routes)

    def asked(self, route):
        return sum(route in r.path for r in self.requests)

    def follow_routes(self, request, connection, number):
        if self.logins is not None and request.headers.get("authorization") not in self.logins:
            return reply(401, "who is it?", ['WWW-Authenticate: Basic realm="mlflow"'])
        path, _, query = request.path.partition("?")
        route = path.split("/mlflow/", 1)[-1].lstrip("/")
        given = dict(urllib.parse.parse_qsl(query))
        if request.body:
            with contextlib.suppress(ValueError):
                given.update(json.loads(request.body))
        for name, fault in self.faults.items():
            if name != route:
                continue
            if isinstance(fault, list):
                if not fault:
                    continue
                fault = fault.pop(0)
            if callable(fault):
                fault = fault(request, connection, number)
            return fault
        return self.ordinary(route, given)

    def ordinary(self, route, given):
        if route == "experiments/search":
            return answer({"experiments": self.experiments})
        if route == "runs/search":
            gone = given.get("run_view_type") == "DELETED_ONLY"
            return answer({"runs": [r for r in self.runs
                                    if r["info"]["experiment_id"] in given["experiment_ids"]
                                    and (r["info"]["lifecycle_stage"] == "deleted") == gone]})
        if route == "runs/get":
            for run in self.runs:
                if run["info"]["run_id"] == given["run_id"]:
                    return answer({"run": run})
            return answer({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no run"}, 404)
        if route == "metrics/get-history":
            return answer({"metrics": [p for p in self.points if p["key"] == given["metric_key"]]})
        if route == "artifacts/list":
            return answer({"files": self.files if not given.get("path") else []})
        if route == "get-artifact" and given.get("path") in self.contents:
            return reply(200, self.contents[given["path"]])
        return answer({"error_code": "ENDPOINT_NOT_FOUND", "message": route}, 404)


@contextlib.contextmanager
def fakeflow():
    fake = Fake()
    try:
        yield fake
    finally:
        fake.close()
