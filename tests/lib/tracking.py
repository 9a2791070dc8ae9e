# SPDX-License-Identifier: Apache-2.0
"""Real MLflow servers for tests (tests/servers/mlflow), with the seeded data; connections to them;
trackctl, which prints what the connector gives."""
import contextlib
import json
import os
import subprocess

import pytest
from httpserve import Authority, free_port, nginx, served
from mantik import BUILD, TOP

TRACKCTL = os.path.join(BUILD, "tests", "tracking", "trackctl")
STARTER = os.path.join(TOP, "tests", "servers", "mlflow")
NEWEST, OLD = "3.17.2", "2.9.2"


class Answer:
    """rows: what was emitted; last: the summary; error: its code or None."""

    def __init__(self, out, err, verb):
        lines = [json.loads(line) for line in (err if verb == "read" else out).splitlines()
                 if line.startswith((b"{", b"["))]
        assert lines, (out, err)
        self.last = lines.pop()
        self.rows = lines
        self.bytes = out if verb == "read" else None
        self.error, self.text = self.last["error"], self.last["text"]
        self.requests, self.pages = self.last["requests"], self.last["pages"]


def track(platform, connection, verb, *args, check=True, timeout=120, **env):
    """trackctl; check: it must work."""
    r = platform.run(TRACKCTL, connection, verb, *map(str, args), check=False, text=False,
                     timeout=timeout, env={k: str(v) for k, v in env.items()})
    answer = Answer(r.stdout, r.stderr, verb)
    assert not check or answer.error is None, answer.text
    return answer


def connect(platform, url, name="mlflow", **keys):
    """Makes connections/<name>.yaml through the platform: secrets go to the vault."""
    text = f"kind: mlflow\nurl: {url}\n" + "".join(
        f"{key}: {json.dumps(value)}\n" for key, value in keys.items())
    platform.run(TRACKCTL, name, "put", text)
    return name


def starter(*args, version=NEWEST, **env):
    r = subprocess.run([STARTER, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                       env=dict(os.environ, MLFLOW_TEST_VERSION=version, **env))
    if r.returncode == 77:
        pytest.skip(r.stderr.strip().splitlines()[-1])
    assert r.returncode == 0, r.stderr
    pairs = [line.partition("=")[::2] for line in r.stdout.splitlines() if "=" in line]
    return dict(pairs)


class Server:
    """A running server: url, version, user, password, log; ids: of the seeded data."""

    def __init__(self, folder, version, options):
        self.folder = folder
        facts = starter("start", folder, str(free_port()), *options, version=version)
        self.__dict__.update(facts)
        login = {}
        if "--auth" in options:
            login = {"MLFLOW_TRACKING_USERNAME": facts["user"],
                     "MLFLOW_TRACKING_PASSWORD": facts["password"]}
        served("mlflow", self.version)
        self.ids = starter("seed", self.url, version=version, **login)


@contextlib.contextmanager
def mlflow(platform, version=NEWEST, *options):
    folder = os.path.join(platform.dir, "mlflow")
    try:
        yield Server(folder, version, options)
    finally:
        subprocess.run([STARTER, "stop", folder])


@contextlib.contextmanager
def behind_nginx(platform, server, locations=None):
    """The server under https://localhost:PORT/tracking with a private authority; gives url, ca."""
    ca, port = Authority(os.path.join(platform.dir, "ca")), free_port()
    locations = locations or f"""location /tracking/ {{
		proxy_pass {server.url}/; proxy_http_version 1.1; proxy_set_header Connection ""; }}"""
    with nginx(platform, f"""server {{ listen 127.0.0.1:{port} ssl;
	ssl_certificate {ca.cert}; ssl_certificate_key {ca.key}; {locations} }}"""):
        yield f"https://localhost:{port}/tracking", ca.ca
