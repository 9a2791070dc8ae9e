# SPDX-License-Identifier: Apache-2.0
"""MLflow's REST API without MLflow: a keep-alive client, our server of a platform, and a script of
requests that is told to two servers and whose answers are compared."""
import contextlib
import http.client
import json
import os
import re
import time
import urllib.parse

from mantik import program, wait_for


class Refused(Exception):
    """An answer that is not 200: status, code (error_code or None), message."""

    def __init__(self, status, body):
        super().__init__(f"{status} {body}")
        self.status, self.body = status, body
        self.code = body.get("error_code") if isinstance(body, dict) else None
        self.message = body.get("message", "") if isinstance(body, dict) else str(body)


class Rest:
    """One connection that is kept. ask() gives (status, answer); the verbs give what is in it."""

    def __init__(self, url, token=None, timeout=60):
        parts = urllib.parse.urlsplit(url)
        self.prefix = parts.path.rstrip("/")
        self.headers = {"Content-Type": "application/json"}
        if token:
            self.headers["Authorization"] = f"Bearer {token}"
        self.link = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)

    def raw(self, method, path, body=None):
        if not path.startswith("/"):
            path = f"/api/2.0/mlflow/{path}"
        self.link.request(method, self.prefix + path, body, self.headers)
        answer = self.link.getresponse()
        return answer.status, answer.read()

    def ask(self, method, path, fields=None):
        body = None
        if method == "GET":
            if fields:
                path += "?" + urllib.parse.urlencode(fields, doseq=True)
        else:
            body = json.dumps(fields or {})
        status, text = self.raw(method, path, body)
        try:
            return status, json.loads(text or b"{}")
        except ValueError:
            return status, text.decode(errors="replace")

    def get(self, path, **fields):
        return self._good(*self.ask("GET", path, fields))

    def post(self, path, **fields):
        return self._good(*self.ask("POST", path, fields))

    def _good(self, status, answer):
        if status != 200:
            raise Refused(status, answer)
        return answer

    # --- what tests do often ---

    def experiment(self, name, **fields):
        return self.post("experiments/create", name=name, **fields)["experiment_id"]

    def run(self, experiment="0", **fields):
        fields.setdefault("start_time", 1_700_000_000_000)
        return self.post("runs/create", experiment_id=experiment, **fields)["run"]["info"]["run_id"]

    def batch(self, run, metrics=(), params=None, tags=None):
        """metrics: (key, value, timestamp, step) each."""
        self.post("runs/log-batch", run_id=run, metrics=[
            dict(zip(("key", "value", "timestamp", "step"), m)) for m in metrics],
            params=[{"key": k, "value": v} for k, v in (params or {}).items()],
            tags=[{"key": k, "value": v} for k, v in (tags or {}).items()])

    def history(self, run, key, page=25000):
        """All points, page by page: (step, value, timestamp)."""
        points, token = [], None
        while True:
            fields = {"page_token": token} if token else {}
            answer = self.get("metrics/get-history", run_id=run, metric_key=key, max_results=page,
                              **fields)
            points += [(m["step"], float(m["value"]), m["timestamp"])
                       for m in answer.get("metrics", [])]
            token = answer.get("next_page_token")
            if not token:
                return points


class Ours:
    """mantikd of a platform in the foreground, serving: url, token, python-ready environment."""

    def __init__(self, platform):
        self.platform = platform
        self.process = None

    def start(self):
        address = os.path.join(self.platform.data, "serve.address")
        for folder in (self.platform.data, self.platform.config, self.platform.cache):
            os.makedirs(folder, mode=0o700, exist_ok=True)
        log = open(os.path.join(self.platform.logs, "mantikd"), "a")
        self.process = self.platform.start(
            program("mantikd"), "--foreground", "--data", self.platform.data, "--cache",
            self.platform.cache, "--config", self.platform.config, "--idle", "600000", stdout=log)
        log.close()

        def serving():
            assert self.process.poll() is None, "mantikd ended"
            with contextlib.suppress(OSError):
                with open(address) as f:
                    self.url = f.read().strip()
                with open(os.path.join(self.platform.data, "serve.token")) as f:
                    self.token = f.read().strip()
                status, _ = self.rest(timeout=5).raw("GET", "/health")
                return status == 200
        wait_for(serving, "mantikd to serve")
        return self

    def rest(self, project=None, timeout=60):
        return Rest(self.url + (f"/projects/{project}" if project else ""), self.token, timeout)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)

    def env(self, project=None):
        return {"MLFLOW_TRACKING_URI": self.url + (f"/projects/{project}" if project else ""),
                "MLFLOW_TRACKING_TOKEN": self.token, "MLFLOW_DISABLE_TELEMETRY": "true",
                "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}


# --- two servers compared -----------------------------------------------------------------------

class Told:
    """Tells one server a script; what it makes (ids) is remembered under names."""

    def __init__(self, rest):
        self.rest, self.ids, self.names = rest, {}, {}

    def fill(self, value):
        if isinstance(value, str):
            return re.sub(r"<(\w+)>", lambda m: self.ids.get(m[1], m[0]), value)
        if isinstance(value, list):
            return [self.fill(v) for v in value]
        if isinstance(value, dict):
            return {k: self.fill(v) for k, v in value.items()}
        return value

    def keep(self, name, value):
        self.ids[name] = value
        self.names[value] = name

    def ask(self, method, path, fields, keep=None):
        status, answer = self.rest.ask(method, self.fill(path), self.fill(fields))
        if keep and status == 200:
            self.keep(keep, answer["experiment_id"] if "experiment_id" in answer
                      else answer["run"]["info"]["run_id"])
        return status, self.plain(answer)

    def plain(self, value, key=None):
        """The answer without what differs from server to server: ids by their names, times of now,
        made-up names."""
        if isinstance(value, dict):
            if key == "data" and "metrics" in value: # the last points: in no order
                value = dict(value, metrics=sorted(value["metrics"], key=lambda m: m["key"]))
            return {k: self.plain(v, k) for k, v in value.items()
                    if k not in ("sqlstate", "error_class", "workspace")}
        if isinstance(value, list):
            plain = [self.plain(v, key) for v in value]
            return sorted(plain, key=lambda p: p["key"]) if key in ("tags", "params") else plain
        if key in ("last_update_time", "creation_time"):
            return abs(value / 1000 - time.time()) < 300
        if isinstance(value, str):
            if re.fullmatch(r"[a-z]+-[a-z]+-\d{1,3}", value):
                return "<made up>"
            if key == "experiment_id":
                return self.names.get(value, value)
            if value in self.names and len(value) > 20:
                return self.names[value]
            for known, name in self.names.items():
                if len(known) > 20:
                    value = value.replace(known, f"<{name}>")
            if key in ("artifact_uri", "artifact_location"):
                value = re.sub(r"^mlflow-artifacts:/\d+(?=/|$)", "mlflow-artifacts:/<experiment>",
                               value)
            return value
        return value
