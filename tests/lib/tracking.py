# SPDX-License-Identifier: Apache-2.0
"""Real MLflow servers for tests (tests/servers/mlflow), with the seeded data; connections to them;
trackctl, which prints what the connector gives."""
import atexit
import contextlib
import fcntl
import functools
import json
import os
import shutil
import sqlite3
import subprocess
import tempfile

import pytest
from httpserve import Authority, free_port, nginx, served
from mantik import BUILD, TOP

TRACKCTL = os.path.join(BUILD, "tests", "tracking", "trackctl")
STARTER = os.path.join(TOP, "tests", "servers", "mlflow")
NEWEST, OLD, FIRST = "3.17.2", "2.9.2", "1.30.1"


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


def starter(*args, version=NEWEST, cwd=None, **env):
    r = subprocess.run([STARTER, *args], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                       env=dict(os.environ, MLFLOW_TEST_VERSION=version, **env))
    if r.returncode == 77:
        pytest.skip(r.stderr.strip().splitlines()[-1])
    assert r.returncode == 0, r.stderr
    pairs = [line.partition("=")[::2] for line in r.stdout.splitlines() if "=" in line]
    return dict(pairs)


@functools.cache
def seeded_folder():
    """Of all that run at once (tests/run), or of this process."""
    folder = os.environ.get("MANTIK_TEST_SEEDED")
    if not folder:
        folder = tempfile.mkdtemp(dir="/var/tmp", prefix="m.")
        atexit.register(shutil.rmtree, folder, True)
    return folder


@contextlib.contextmanager
def seeded(*key):
    """What was seeded once and is copied from then on: gives its folder and a dict of its ids, which are
    empty for the first, who fills both; others wait meanwhile."""
    folder = os.path.join(seeded_folder(), "".join(key))
    with open(f"{folder}.ids", "a+", encoding="utf-8") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        f.seek(0)
        ids = json.loads(f.read() or "{}")
        known = bool(ids)
        if not known:
            shutil.rmtree(folder, True)
        yield folder, ids
        if not known:
            json.dump(ids, f)


class Server:
    """A running server: url, version, user, password, log; ids: of the seeded data, {} without."""

    def __init__(self, folder, version, options, seed=True):
        self.folder, self.ids, self.options = folder, {}, options
        if not seed:
            self.start(version)
        elif "--no-artifacts" in options:  # its database names the folder it is in
            self.start(version)
            self.seed()
        else:
            with seeded("server-", version, *options) as (first, ids):
                if not ids:
                    self.start(version)
                    self.seed()
                    # nobody asks it anything now
                    shutil.copytree(folder, first, ignore=shutil.ignore_patterns(
                        "mlflow.pid", "mlflow.env", "mlflow.log", "lock"))
                    ids.update(self.ids)
                    return
            self.ids = ids
            shutil.copytree(first, folder)
            self.start(version)

    def start(self, version):
        facts = starter("start", self.folder, str(free_port()), *self.options, version=version)
        self.__dict__.update(facts)
        served("mlflow", self.version)

    def seed(self):
        login = {}
        if "--auth" in self.options:
            login = {"MLFLOW_TRACKING_USERNAME": self.user, "MLFLOW_TRACKING_PASSWORD": self.password}
        self.ids = starter("seed", self.url, version=self.version, **login)


@contextlib.contextmanager
def mlflow(platform, version=NEWEST, *options, seed=True):
    folder = os.path.join(platform.dir, "mlflow")
    try:
        yield Server(folder, version, options, seed)
    finally:
        subprocess.run([STARTER, "kill", folder])


@contextlib.contextmanager
def behind_nginx(platform, server, locations=None, client=False):
    """The server under https://localhost:PORT/tracking with a private authority; gives url, ca.
    client: only for who has the certificate client.both (with its key) beside ca."""
    ca, port = Authority(os.path.join(platform.dir, "ca")), free_port()
    locations = locations or f"""location /tracking/ {{
		proxy_pass {server.url}/; proxy_http_version 1.1; proxy_set_header Connection ""; }}"""
    with open(f"{ca.folder}/client.both", "w") as both:
        for part in (ca.client_cert, ca.client_key):
            with open(part) as f:
                both.write(f.read())
    verify = f"ssl_client_certificate {ca.ca}; ssl_verify_client on;" if client else ""
    with nginx(platform, f"""server {{ listen 127.0.0.1:{port} ssl; {verify}
	ssl_certificate {ca.cert}; ssl_certificate_key {ca.key}; {locations} }}"""):
        yield f"https://localhost:{port}/tracking", ca.ca


class Store:
    """The seeded data in a store without a server: `files` an mlruns/, `sqlite` a mlflow.db with its
    artifacts beside it, as the release makes them where it runs."""

    def __init__(self, folder, version, kind):
        self.folder, self.version, self.kind = folder, version, kind
        self.path = os.path.join(folder, "mlruns" if kind == "files" else "mlflow.db")
        self.url = ("file://" if kind == "files" else "sqlite:///") + self.path
        self.artifacts = os.path.join(folder, "mlruns")
        self.process = None
        with seeded("store-", version, "-", kind) as (first, self.ids):
            if not self.ids:
                os.mkdir(first)
                self.ids.update(starter("seed", self.url.replace(folder, first), version=version,
                                        cwd=first))
        shutil.copytree(first, folder)
        self.move(first, folder)
        served(f"mlflow ({kind})", version)

    def move(self, old, new):
        """What is written in it names the folder it is in."""
        if self.kind == "files":
            for folder, _, names in os.walk(self.path):
                if "meta.yaml" in names:
                    with open(f"{folder}/meta.yaml", "r+", encoding="utf-8") as f:
                        text = f.read().replace(old, new)
                        f.seek(0)
                        f.truncate()
                        f.write(text)
            return
        db = sqlite3.connect(self.path)
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri"),
                              ("model_versions", "source"), ("logged_models", "artifact_location")):
            if db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone():
                db.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (old, new))
        db.commit()
        db.close()

    def client(self, code):
        """Runs code of Python with `client`, an MlflowClient of this release, on the store; what it
        prints. The process stays for the next."""
        if not self.process:
            loop = ("from mlflow.tracking import MlflowClient\nimport contextlib, io, json, sys\n"
                    f"client = MlflowClient({self.url!r}, registry_uri={self.url!r})\n"
                    "for line in sys.stdin:\n"
                    "    out = io.StringIO()\n"
                    "    with contextlib.redirect_stdout(out):\n"
                    "        exec(json.loads(line))\n"
                    "    print(json.dumps(out.getvalue()), flush=True)\n")
            env = dict(os.environ, MLFLOW_ALLOW_FILE_STORE="true", MLFLOW_DISABLE_TELEMETRY="true",
                       MLFLOW_TRACKING_URI=self.url, PYTHONWARNINGS="ignore",
                       GIT_PYTHON_REFRESH="quiet", MLFLOW_LOGGING_LEVEL="WARNING")
            python = starter("fetch", version=self.version)["python"]
            self.process = subprocess.Popen([python, "-c", loop], cwd=self.folder, env=env, text=True,
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.process.stdin.write(json.dumps(code) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the client ended with an error"
        return json.loads(line)

    def end(self):
        if self.process:
            self.process.stdin.close()
            self.process.wait(timeout=60)


def everything(folder):
    """{path: (content, mode, mtime)} of all there is below a folder."""
    found = {}
    for top, dirs, files in os.walk(folder):
        for name in dirs + files:
            path = os.path.join(top, name)
            st = os.lstat(path)
            content = None
            if os.path.islink(path):
                content = os.readlink(path)
            elif name in files:
                with open(path, "rb") as f:
                    content = f.read()
            found[os.path.relpath(path, folder)] = (content, st.st_mode, st.st_mtime_ns)
    return found
