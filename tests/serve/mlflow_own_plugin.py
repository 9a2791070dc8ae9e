# SPDX-License-Identifier: Apache-2.0
"""A plugin for the pytest of MLflow's own tests (mlflow_own): where they start their server they get
ours, a new one each time; what they send by hand carries its token."""
import contextlib
import fnmatch
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time

import mlflow
import pytest
import requests

BUILD = os.environ["MANTIK_TEST_BUILD"]
TABLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "mlflow_own.tsv")


class Server:
    """In the place of tests.tracking.integration_test_utils.ServerThread."""
    tokens = {}

    def __init__(self, app, port):
        self.home = tempfile.mkdtemp(prefix="own.", dir="/var/tmp")
        self.env = {"PATH": os.environ["PATH"], "HOME": self.home, "XDG_RUNTIME_DIR": self.home,
                    "LC_ALL": "C.UTF-8", "MANTIKD": f"{BUILD}/tools/mantikd"}

    def __enter__(self):
        lines = subprocess.run([f"{BUILD}/tools/mantikctl", "env"], env=self.env, text=True,
                               check=True, stdout=subprocess.PIPE).stdout.splitlines()
        told = dict(shlex.split(line)[1].split("=", 1) for line in lines if line.startswith("export"))
        self.url = told["MLFLOW_TRACKING_URI"]
        mlflow.set_tracking_uri(None)  # their store made its database that, for the command line, too
        os.environ["MLFLOW_TRACKING_TOKEN"] = told["MLFLOW_TRACKING_TOKEN"]
        self.tokens[self.url] = told["MLFLOW_TRACKING_TOKEN"]
        return self.url

    def __exit__(self, *exception):
        os.environ.pop("MLFLOW_TRACKING_TOKEN", None)
        until = time.monotonic() + 20
        sent = signal.SIGTERM
        while (pids := self.processes()) and time.monotonic() < until:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, sent)
            sent = signal.SIGTERM if time.monotonic() < until - 10 else signal.SIGKILL
            time.sleep(0.05)
        self.tokens.pop(self.url, None)
        shutil.rmtree(self.home, ignore_errors=True)

    def processes(self):
        """Those whose environment names this home: the mantikd that was started here."""
        found, mine = [], b"HOME=" + self.home.encode()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as f:
                if mine in f.read().split(b"\0"):
                    found.append(int(pid))
        return found


def send_with_token(send):
    def request(self, method, url, **words):
        for base, token in Server.tokens.items():
            if str(url).startswith(base) and not words.get("auth"):
                words["headers"] = {**(words.get("headers") or {}), "Authorization": f"Bearer {token}"}
        return send(self, method, url, **words)
    return request


def pytest_configure(config):
    from tests.tracking import integration_test_utils
    integration_test_utils.ServerThread = Server
    requests.Session.request = send_with_token(requests.Session.request)


def pytest_collection_modifyitems(config, items):
    rows = [line.rstrip("\n").split("\t") for line in open(TABLE) if not line.startswith("#")]
    kept = []
    for item in items:
        if "[file" in item.name or "-file" in item.name:
            continue  # the same test comes with the other store
        kept.append(item)
        for name, reason in rows:
            if fnmatch.fnmatchcase(item.originalname, name):
                item.add_marker(pytest.mark.skip(reason=reason))
                break
    items[:] = kept
