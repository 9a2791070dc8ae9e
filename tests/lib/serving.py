# SPDX-License-Identifier: Apache-2.0
"""The embedded tracking server of a platform, and a client that says exactly what a test wants.

    server = Server(platform)                # starts mantikd as `mantikctl env` does
    server.post("runs/create", experiment_id="0")      # the answer, an Error for anything but 200
    server.ask("GET", "/health", token=None)           # (status, headers, body), whatever it is
"""
import base64
import http.client
import json
import os
import signal
import urllib.parse

from mantik import wait_for


class Error(Exception):
    def __init__(self, status, body):
        super().__init__(f"{status} {body}")
        self.status, self.body = status, body
        self.code = body.get("error_code") if isinstance(body, dict) else None


class Server:
    def __init__(self, platform, project=None):
        self.platform = platform
        self.env = environment(platform, project)
        self.url = self.env["MLFLOW_TRACKING_URI"]
        self.token = self.env["MLFLOW_TRACKING_TOKEN"]
        at = urllib.parse.urlsplit(self.url)
        self.port, self.scope = at.port, at.path

    def connection(self, timeout=30):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def ask(self, method, path, body=None, headers=None, connection=None, token=True):
        """path: as it is in the request line. token: True ours, None none, else what to send."""
        connection = connection or self.connection()
        headers = dict(headers or {})
        if token:
            headers.setdefault("Authorization", f"Bearer {self.token if token is True else token}")
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()

    def call(self, method, path, body=None, **kwargs):
        status, _, text = self.ask(method, f"{self.scope}/api/2.0/mlflow/{path}", body, **kwargs)
        try:
            answer = json.loads(text)
        except ValueError:
            answer = text
        if status != 200:
            raise Error(status, answer)
        return answer

    def post(self, path, /, **body):
        return self.call("POST", path, body)

    def get(self, path, /, **query):
        query = urllib.parse.urlencode(query, doseq=True)
        return self.call("GET", path + ("?" + query if query else ""))


def environment(platform, project=None):
    """What `mantikctl env` sets, as a shell understands it."""
    given = f"-p {project}" if project else ""
    out = platform.sh(f'eval "$(mantikctl env {given})"; env -0').stdout
    pairs = (line.split("=", 1) for line in out.split("\0") if "=" in line)
    return {k: v for k, v in pairs if k.startswith(("MLFLOW_", "MANTIK_"))}


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def holder(platform):
    """Pid of the mantikd that does the work, or 0."""
    try:
        with open(platform.data + "/lease") as f:
            return int(dict(line.split(": ", 1) for line in f)["pid"])
    except (OSError, KeyError, ValueError):
        return 0


def kill(platform, sig=signal.SIGKILL):
    """Ends mantikd and waits until it is gone."""
    pid = holder(platform)
    os.kill(pid, sig)
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), f"mantikd {pid} to end")
