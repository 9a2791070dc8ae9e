# SPDX-License-Identifier: Apache-2.0
"""Real MLflow servers that ask who it is (--auth) or where (--workspaces), seen and written through a
mount: every verb behind a login, a login that is refused while writes wait, what somebody may not do,
a door in front of the server that closes, workspaces that do not see each other."""
import contextlib
import errno
import json
import os
import secrets
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
from httpserve import free_port, nginx
from mantik import Platform, wait_for
from mounted import Api, Mounted, info, read, rows
from tracking import NEWEST, OLD, connect, mlflow, track
from verbs import Verbs, write

FIXED = {"Default"}


class Ana:
    """One who is no admin of a server with --auth."""

    def __init__(self, server):
        self.url, self.log, self.artifacts = server.url, server.log, server.artifacts
        self.ids, self.user, self.password = {}, "ana", "old-" + secrets.token_hex(8)


class World(Mounted):
    """ana's mount of a server that asks who it is; boss: its admin, by REST."""

    def __init__(self, platform, server):
        super().__init__(platform, Ana(server))
        self.boss = Api(server.url, server.user, server.password)
        self.boss("users/create", {"username": "ana", "password": self.server.password})

    def change_password(self, new):
        self.boss("users/update-password", {"username": "ana", "password": new}, "PATCH")
        self.server.password = new
        self.api = Api(self.server.url, "ana", new)

    def new_run(self, experiment):
        """A run of ana's, ended: (id, directory)."""
        now = int(time.time() * 1000)
        run = self.api("runs/create", {"experiment_id": experiment, "run_name": "r", "start_time": now})
        id = run["run"]["info"]["run_id"]
        self.api("runs/update", {"run_id": id, "status": "FINISHED", "end_time": now})
        return id, Verbs(self, self.api).appears(f"{self.project}/runs/r.{id[:8]}")

    def said(self, id):
        data = self.boss(f"runs/get?run_id={id}")["run"]["data"]
        return {kind: {p["key"]: p["value"] for p in data.get(kind, [])}
                for kind in ("params", "tags", "metrics")}

    def history(self, id, key):
        query = urllib.parse.urlencode({"run_id": id, "metric_key": key, "max_results": 1000})
        return [(p["step"], p["value"])
                for p in self.boss(f"metrics/get-history?{query}").get("metrics", [])]


@pytest.fixture(scope="module", params=[NEWEST, pytest.param(OLD, marks=pytest.mark.full)])
def world(request):
    platform = Platform()
    with contextlib.ExitStack() as stack:
        stack.callback(platform.end)
        it = World(platform, stack.enter_context(mlflow(platform, request.param, "--auth", seed=False)))
        it.mount()
        stack.callback(it.leave)
        it.experiment = it.api("experiments/create", {"name": "hers"})["experiment_id"]
        yield it


def failed(act):
    with pytest.raises(OSError) as e:
        act()
    return e.value.errno


def test_who_may_enter(world, platform):
    """Nobody without a password, nobody with another one; both are told what to do."""
    url = world.server.url
    connect(platform, url)
    got = track(platform, "mlflow", "experiments", check=False)
    assert got.error == "ENOKEY" and "mantikctl login mlflow" in got.text
    login = {"MLFLOW_TRACKING_USERNAME": "ana", "MLFLOW_TRACKING_PASSWORD": world.server.password}
    assert {e["name"] for e in track(platform, "mlflow", "experiments", **login).rows} >= {"hers"}
    connect(platform, url, user="ana", password="wrong")
    assert track(platform, "mlflow", "experiments", check=False).error == "EACCES"
    connect(platform, url, user="ana", password=world.server.password)
    assert {e["name"] for e in track(platform, "mlflow", "experiments").rows} >= {"hers"}


def test_every_verb(world):
    Verbs(world, world.api).all(f"{world.server.artifacts}/{{experiment}}/{{run}}/artifacts")


def test_what_one_may_not(world):
    """Another's experiment can be read, not written: the server's word is an errno, what was there
    stays, and of points, which nobody waits for, .mantik/errors tells."""
    theirs = world.boss("experiments/create", {"name": "theirs"})["experiment_id"]
    now = int(time.time() * 1000)
    id = world.boss("runs/create", {"experiment_id": theirs, "run_name": "r", "start_time": now,
                                    "tags": [{"key": "kept", "value": "as it is"}]})[
                                        "run"]["info"]["run_id"]
    world.boss("runs/update", {"run_id": id, "status": "FINISHED", "end_time": now})
    run = Verbs(world, world.api).appears(f"{world.project}/runs/r.{id[:8]}")
    assert failed(lambda: write(f"{run}/tags/kept", "mine\n")) == errno.EACCES
    assert read(f"{run}/tags/kept") == "as it is\n"
    assert "not allowed" in world.platform.ctl("why", f"{run}/tags/kept").stdout
    assert failed(lambda: os.mkdir(f"{run}/tags/x") or write(f"{run}/tags/x/y", "z")) == errno.EACCES
    assert failed(lambda: write(f"{run}/ctl", "delete\n", 0)) == errno.EACCES
    write(f"{run}/metrics/loss", "1\n", os.O_APPEND)
    wait_for(lambda: "loss" not in os.listdir(f"{run}/metrics"), "the point to be taken back", 60)
    assert any(r["path"].endswith(f"{os.path.basename(run)}/metrics/loss") and r["errno"] == "EACCES"
               for r in rows(f"{world.top}/.mantik/errors"))
    assert info(run)["unsent"] == 0
    said = world.said(id)
    assert said["tags"]["kept"] == "as it is" and not said["metrics"] and "x/y" not in said["tags"]


def test_the_password_is_changed_while_writes_wait(world):
    """They stay and are shown as unsent; with the new login they go, each of them once."""
    id, run = world.new_run(world.experiment)
    assert os.listdir(f"{run}/artifacts") == []
    write(f"{run}/metrics/loss", "0\n", os.O_APPEND)
    wait_for(lambda: world.history(id, "loss") == [(0, 0.0)], "the first point", 60, every=0.2)
    wait_for(lambda: info(run)["unsent"] == 0, "nothing left to be sent", 60)
    world.change_password("new-" + secrets.token_hex(8))
    write(f"{run}/tags/late", "written\n")
    write(f"{run}/params/p", "1\n")
    for i in range(1, 21):
        write(f"{run}/metrics/loss", f"{i}\n", os.O_APPEND)
    with open(f"{run}/artifacts/late.txt", "w") as f:
        f.write("late\n")
    name, deleted = os.path.basename(run), f"{world.project}/runs/deleted"
    waiting = info(run)["unsent"]
    assert waiting >= 22
    assert read(f"{run}/tags/late") == "written\n" and read(f"{run}/artifacts/late.txt") == "late\n"
    assert len(read(f"{run}/metrics/loss").splitlines()) == 21
    # Another mount, another mantikd: they are still there.
    world.leave()
    world.enter()
    run = f"{world.project}/runs/{name}"
    assert info(run)["unsent"] == waiting and not os.path.exists(f"{deleted}/{name}")
    said = world.said(id)
    assert "late" not in said["tags"] and not said["params"] and len(world.history(id, "loss")) == 1
    world.platform.ctl("login", world.name, input=world.server.password + "\n")
    wait_for(lambda: info(run)["unsent"] == 0, "everything to be sent", 90, every=0.2)
    said = world.said(id)
    assert said["tags"]["late"] == "written" and said["params"] == {"p": "1"}
    assert world.history(id, "loss") == [(i, float(i)) for i in range(21)]
    assert read(f"{world.server.artifacts}/{world.experiment}/{id}/artifacts/late.txt") == "late\n"
    assert read(f"{run}/tags/late") == "written\n"
    assert not any(r["path"].endswith(name) for r in rows(f"{world.top}/.mantik/errors")
                   if "taken back" in r["text"])


DOORS = {
    "a proxy": "return 403;",
    "a certificate": "return 400 '<html>No required SSL certificate was sent</html>';",
    "the host check": "proxy_pass {url}; proxy_set_header Host tracking.example.org;",
}


def test_a_door_in_front_that_closes(world, platform):
    """A proxy that refuses everybody for a while takes back nothing that was written."""
    id, _ = world.new_run(world.experiment)
    port = free_port()

    def door(what):
        inside = what.format(url=world.server.url)
        return nginx(platform, f"server {{ listen 127.0.0.1:{port}; location / {{ {inside} }} }}")
    other = Mounted(platform, world.server)
    with door("proxy_pass {url};"):
        other.mount(f"http://127.0.0.1:{port}")
        run = Verbs(other, world.api).appears(f"{other.project}/runs/r.{id[:8]}")
        os.listdir(f"{run}/artifacts")
    sent = 0
    try:
        for number, what in enumerate(DOORS):
            with door(DOORS[what]):
                write(f"{run}/tags/{number}", what)
                write(f"{run}/metrics/loss", f"{number}\n", os.O_APPEND)
                with open(f"{run}/artifacts/{number}.txt", "w") as f:
                    f.write(what)
                wait_for(lambda: info(run)["unsent"] == sent + 3, "all of it to wait", 30)
            sent += 3
        with door("proxy_pass {url};"):
            wait_for(lambda: info(run)["unsent"] == 0, "everything to be sent", 120, every=0.2)
    finally:
        other.leave()
    said = world.said(id)
    assert [said["tags"].get(str(i)) for i in range(3)] == list(DOORS)
    assert world.history(id, "loss") == [(i, float(i)) for i in range(3)]
    for number, what in enumerate(DOORS):
        assert read(f"{world.server.artifacts}/{world.experiment}/{id}/artifacts/{number}.txt") == what


# --- workspaces ----------------------------------------------------------------------------------

def test_workspaces(platform):
    """Named only when the connection names one; then seen and written there and nowhere else."""
    with mlflow(platform, NEWEST, "--workspaces", seed=False) as server:
        def rest(route, body, workspace=None, version="2.0"):
            headers = {"Content-Type": "application/json"}
            if workspace:
                headers["X-MLFLOW-WORKSPACE"] = workspace
            request = urllib.request.Request(
                f"{server.url}/api/{version}/mlflow/{route}",
                None if body is None else json.dumps(body).encode(), headers)
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        rest("workspaces", {"name": "team-a"}, version="3.0")
        rest("experiments/create", {"name": "everybody's"})
        experiment = rest("experiments/create", {"name": "a's"}, "team-a")["experiment_id"]
        id = rest("runs/create", {"experiment_id": experiment, "run_name": "r", "start_time": 1},
                  "team-a")["run"]["info"]["run_id"]
        rest("runs/update", {"run_id": id, "status": "FINISHED", "end_time": 2}, "team-a")
        platform.env["MLFLOW_WORKSPACE"] = "team-a"
        with platform.mount("--tracking", server.url) as top:
            del platform.env["MLFLOW_WORKSPACE"]
            write(f"{top}/connections/all.yaml", f"kind: mlflow\nurl: {server.url}\n")
            write(f"{top}/connections/none.yaml",
                  f"kind: mlflow\nurl: {server.url}\nworkspace: nobody\n")
            a, everybody = f"{top}/projects/127.0.0.1", f"{top}/projects/all"
            assert set(os.listdir(f"{a}/experiments")) - FIXED == {"a's"}
            assert set(os.listdir(f"{everybody}/experiments")) - FIXED == {"everybody's"}
            assert failed(lambda: os.listdir(f"{top}/projects/none/experiments")) == errno.ENOENT
            run = f"{a}/runs/r.{id[:8]}"
            assert read(f"{run}/status") == "FINISHED\n"
            write(f"{run}/tags/stage", "mine\n")
            os.mkdir(f"{a}/experiments/made")
            with open(f"{run}/artifacts/f.txt", "w") as f:
                f.write("file\n")
            wait_for(lambda: info(run)["unsent"] == 0, "everything to be sent", 60, every=0.2)
            assert not any(n.startswith("r.") for n in os.listdir(f"{everybody}/runs"))
        tags = rest(f"runs/get?run_id={id}", None, "team-a")["run"]["data"]["tags"]
        assert {"key": "stage", "value": "mine"} in tags
        rest("experiments/get-by-name?experiment_name=made", None, "team-a")
        with pytest.raises(urllib.error.HTTPError):
            rest("experiments/get-by-name?experiment_name=made", None)
        assert read(f"{server.artifacts}/workspaces/team-a/{experiment}/{id}/artifacts/f.txt") == "file\n"
        connect(platform, server.url, workspace="nobody")
        assert track(platform, "mlflow", "experiments", check=False).error == "ENOENT"
