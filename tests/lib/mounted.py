# SPDX-License-Identifier: Apache-2.0
"""A mount that shows a real, seeded MLflow server: where things are in it, what the server's log
says it was asked, and time that passes (Mounted.later) without waiting for it."""
import json
import os
import re
import ssl
import sqlite3
import subprocess
import urllib.request

from mantik import wait_for

FIXED = {"new", "defaults.yaml", "latest", "runs.tsv", "deleted"}
LINE = re.compile(r'"(?:GET|POST|HEAD|PUT|PATCH|DELETE) \S+ HTTP/1\.[01]"')


def read(path):
    with open(path, encoding="utf-8", newline="") as f:
        return f.read()


def rows(path):
    """A table as a list of {column: text}, undoing its escapes."""
    undo = {"\\t": "\t", "\\n": "\n", "\\\\": "\\"}

    def cells(line):
        return [re.sub(r"\\[tn\\]", lambda m: undo[m.group()], c) for c in line.split("\t")]
    lines = read(path).split("\n")
    assert lines.pop() == ""
    head = cells(lines[0])
    assert all(len(cells(line)) == len(head) for line in lines), path
    return [dict(zip(head, cells(line))) for line in lines[1:]]


def info(run):
    """info.json of a run."""
    return json.loads(read(f"{run}/info.json"))


class Api:
    """The server itself, beside the mount; ca: of an https server."""

    def __init__(self, url, user=None, password=None, ca=None):
        handlers = []
        if ca:
            handlers.append(urllib.request.HTTPSHandler(
                context=ssl.create_default_context(cafile=ca)))
        if user:
            manager = urllib.request.HTTPPasswordMgrWithDefaultRealm()
            manager.add_password(None, url, user, password)
            handlers.append(urllib.request.HTTPBasicAuthHandler(manager))
        self.url, self.opener = url, urllib.request.build_opener(*handlers)

    def __call__(self, route, body=None, method=None):
        request = urllib.request.Request(
            f"{self.url}/api/2.0/mlflow/{route}", method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"})
        with self.opener.open(request, timeout=60) as answer:
            return json.load(answer)


class Mounted:
    """platform with server mounted at top; project: the directory of its project."""

    def __init__(self, platform, server, options=()):
        self.platform, self.server, self.options = platform, server, options
        self.ids = server.ids
        self.api = Api(server.url, getattr(server, "user", None), getattr(server, "password", None))

    def mount(self, url=None, *more):
        """--tracking URL, with the login of MLflow's own variables."""
        if hasattr(self.server, "user"):
            self.platform.env.update(MLFLOW_TRACKING_USERNAME=self.server.user,
                                     MLFLOW_TRACKING_PASSWORD=self.server.password)
        self.url = url or self.server.url
        self.more = more
        os.makedirs(self.platform.mountpoint, exist_ok=True)
        self.enter()
        return self

    def enter(self):
        from mantik import program
        self.platform.run(program("mantikfs"), "--tracking", self.url, *self.more,
                          self.platform.mountpoint)
        self.top = self.platform.mountpoint
        self.name = os.listdir(f"{self.top}/connections")[0][:-len(".yaml")]
        self.project = f"{self.top}/projects/{self.name}"

    def leave(self):
        self.platform.unmount(self.platform.mountpoint)
        wait_for(lambda: not self.daemons(), "the mount's end", 60)

    def run(self, id, deleted=False):
        """The directory of a run of the server."""
        where = f"{self.project}/runs" + ("/deleted" if deleted else "")
        found = [n for n in os.listdir(where) if n.endswith("." + id[:8])]
        assert len(found) == 1, (id, found)
        return f"{where}/{found[0]}"

    def runs(self):
        return set(os.listdir(f"{self.project}/runs")) - FIXED

    def requests(self):
        """How many the server has answered, by its own log."""
        return len(LINE.findall(read(self.server.log)))

    def cost(self, act):
        """(what act() gives, requests it cost)"""
        before = self.requests()
        result = act()
        return result, self.requests() - before

    def later(self, seconds=3600):
        """A new mount, after everything we know has become so much older."""
        self.leave()
        with sqlite3.connect(f"{self.platform.data}/mantik.db", timeout=20) as db:
            db.execute("UPDATE marks SET time = time - ?", (seconds * 10**9,))
            db.execute("UPDATE runs SET as_of = as_of - ?", (seconds * 10**9,))
        db.close()
        self.enter()

    def daemons(self):
        r = subprocess.run(["pgrep", "-f", self.platform.mountpoint + "$"], stdout=subprocess.PIPE)
        return r.stdout
