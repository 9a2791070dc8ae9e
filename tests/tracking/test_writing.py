# SPDX-License-Identifier: Apache-2.0
"""Writing to a mounted MLflow server: what is written to a file is what the server then says by
REST; once, whatever happens to answers, to the server, to mantikd and to the mount."""
import contextlib
import errno
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.parse

import pytest
from httpserve import free_port, nginx
from mantik import Platform, wait_for
from mounted import Mounted, info, read, rows
from tracking import NEWEST, STARTER, mlflow


class World(Mounted):
    """A server, a mount of it, an experiment of its own with runs that a test makes."""

    def __init__(self, platform, server):
        super().__init__(platform, server)
        self.experiment = self.api("experiments/create", {"name": "written"})["experiment_id"]
        self.mount()

    def new_run(self, name="train", ended=True):
        """A run the mount knows: (id, its directory)."""
        id = self.api("runs/create", {"experiment_id": self.experiment, "run_name": name,
                                      "start_time": int(time.time() * 1000)})["run"]["info"]["run_id"]
        if ended:
            self.api("runs/update", {"run_id": id, "status": "FINISHED",
                                     "end_time": int(time.time() * 1000)})
        self.later(60)
        return id, self.run(id)

    def said(self, id):
        """What the server says of a run: its data, {key: value}."""
        data = self.api(f"runs/get?run_id={id}")["run"]["data"]
        return {kind: {p["key"]: p["value"] for p in data.get(kind, [])} for kind in ("params", "tags")}

    def stage(self, id):
        return self.api(f"runs/get?run_id={id}")["run"]["info"]["lifecycle_stage"]

    def history(self, id, key):
        """[(step, value)] in the server's order."""
        query = urllib.parse.urlencode({"run_id": id, "metric_key": key, "max_results": 25000})
        return [(p["step"], p["value"])
                for p in self.api(f"metrics/get-history?{query}").get("metrics", [])]

    def arrives(self, what, seconds=30):
        wait_for(what, "the server to have it", seconds, every=0.1)

    def stop_server(self):
        subprocess.run([STARTER, "stop", self.server.folder], check=True, stdout=subprocess.DEVNULL)

    def start_server(self):
        port = self.server.url.rsplit(":", 1)[1]
        subprocess.run([STARTER, "start", self.server.folder, port], check=True,
                       stdout=subprocess.DEVNULL)

    def process(self, name="mantikd"):
        """Its pid, or None."""
        return next(iter(self.platform.daemons(name)), None)


@pytest.fixture(scope="module")
def world():
    platform = Platform()
    with contextlib.ExitStack() as stack:
        stack.callback(platform.end)
        it = World(platform, stack.enter_context(mlflow(platform, NEWEST, seed=False)))
        stack.callback(it.leave)
        yield it


def write(path, text, flags=os.O_WRONLY | os.O_CREAT | os.O_TRUNC):
    fd = os.open(path, flags, 0o666)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def failed(act):
    with pytest.raises(OSError) as e:
        act()
    return e.value.errno


def steps(path):
    """[(step, value)] of a metric's file."""
    return [(int(line.split("\t")[0]), float(line.split("\t")[1])) for line in read(path).splitlines()]


def test_tags_and_params(world):
    id, run = world.new_run()
    write(f"{run}/tags/mine", "first\n")
    assert world.said(id)["tags"]["mine"] == "first"  # the close came back with the server's word
    write(f"{run}/tags/mine", "Größe μ\ntwo lines\n")
    os.mkdir(f"{run}/tags/deep")
    write(f"{run}/tags/deep/key", "")
    write(f"{run}/params/lr", "1e-5\n")
    said = world.said(id)
    assert said["tags"]["mine"] == "Größe μ\ntwo lines" and said["params"] == {"lr": "1e-5"}
    assert said["tags"]["deep/key"] == ""
    os.unlink(f"{run}/tags/mine")
    assert "mine" not in world.said(id)["tags"] and "mine" not in os.listdir(f"{run}/tags")
    assert info(run)["unsent"] == 0
    # an editor's way
    world.platform.sh(f"echo v1 > {run}/tags/edited; sed -i s/1/2/ {run}/tags/edited")
    assert world.said(id)["tags"]["edited"] == "v2" and read(f"{run}/tags/edited") == "v2\n"
    # and the command line's
    world.platform.ctl("set-tag", "-r", run, "by", "hand")
    world.platform.ctl("log-param", "-r", run, "p/q", "x y")
    world.platform.ctl("log-metric", "-r", run, "acc", "0.5", "7")
    assert world.said(id)["tags"]["by"] == "hand" and world.said(id)["params"]["p/q"] == "x y"
    world.arrives(lambda: world.history(id, "acc") == [(7, 0.5)])
    assert read(f"{run}/tags/by") == "hand\n" and steps(f"{run}/metrics/acc") == [(7, 0.5)]


def test_what_the_server_refuses_is_an_errno_with_its_words(world):
    id, run = world.new_run()
    write(f"{run}/tags/keep", "as it is\n")
    world.api("runs/log-parameter", {"run_id": id, "key": "lr", "value": "1"})  # nobody told us
    assert failed(lambda: write(f"{run}/params/lr", "2\n")) == errno.EINVAL
    why = world.platform.ctl("why", f"{run}/params/lr").stdout
    assert "Changing param values is not allowed" in why and "'key': 'lr', 'old_value': '1'" in why, why
    wait_for(lambda: read(f"{run}/params/lr") == "1\n", "what the server has", 10)
    assert failed(lambda: write(f"{run}/params/lr", "2\n")) == errno.EEXIST  # now it is known here
    assert failed(lambda: write(f"{run}/tags/ke@y!", "x\n")) == errno.EINVAL
    assert "ke@y!" not in os.listdir(f"{run}/tags")
    assert failed(lambda: write(f"{run}/params/long", "x" * 6001)) == errno.EINVAL
    assert failed(lambda: write(f"{run}/tags/{'k' * 251}", "x")) in (errno.EINVAL, errno.ENAMETOOLONG)
    assert read(f"{run}/tags/keep") == "as it is\n" and info(run)["unsent"] == 0
    # of points nobody waits: they are taken back, .mantik/errors tells
    write(f"{run}/metrics/ba@d", "1\n2\n", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    wait_for(lambda: "ba@d" not in os.listdir(f"{run}/metrics"), "the points to be taken back", 20)
    told = [r for r in rows(f"{world.top}/.mantik/errors") if r["path"].endswith("/metrics/ba@d")]
    assert told and told[-1]["errno"] == "EINVAL" and "2 points" in told[-1]["text"]


def test_delete_and_restore(world):
    id, run = world.new_run("gone")
    name, project = os.path.basename(run), world.project
    world.platform.sh(f"echo delete > {run}/ctl")
    assert world.stage(id) == "deleted" and name in os.listdir(f"{project}/runs/deleted")
    assert name not in world.runs()
    os.rename(f"{project}/runs/deleted/{name}", run)
    assert world.stage(id) == "active" and name in world.runs()
    os.rename(run, f"{project}/runs/deleted/{name}")
    assert world.stage(id) == "deleted"
    world.platform.ctl("restore", f"{project}/runs/deleted/{name}")
    assert world.stage(id) == "active" and name in world.runs()
    live, its = world.new_run("live", ended=False)
    assert failed(lambda: write(f"{its}/ctl", "delete\n", os.O_WRONLY)) == errno.EBUSY
    assert world.stage(live) == "active"


def test_experiments(world):
    where = f"{world.project}/experiments"
    os.mkdir(f"{where}/made here")
    made = world.api("experiments/get-by-name?experiment_name=made%20here")["experiment"]
    assert failed(lambda: os.mkdir(f"{where}/made here")) == errno.EEXIST
    world.api("experiments/create", {"name": "theirs"})
    assert failed(lambda: os.mkdir(f"{where}/theirs")) == errno.EEXIST
    os.rename(f"{where}/made here", f"{where}/renamed")
    id = made["experiment_id"]
    assert world.api(f"experiments/get?experiment_id={id}")["experiment"]["name"] == "renamed"
    text = read(f"{where}/renamed/experiment.yaml")
    write(f"{where}/renamed/experiment.yaml",
          text + "note: |-\n  # Why\n  we want to know\nprimary_metric: {name: acc, goal: maximize}\n"
          "tags: {team: rain}\n")
    tags = {t["key"]: t["value"]
            for t in world.api(f"experiments/get?experiment_id={id}")["experiment"]["tags"]}
    assert tags["mlflow.note.content"] == "# Why\nwe want to know" and tags["team"] == "rain"
    assert tags["mlflow.experiment.primaryMetric.name"] == "acc"
    assert tags["mlflow.experiment.primaryMetric.greaterIsBetter"] == "True"
    world.later(60)
    assert {"renamed", "theirs"} <= set(os.listdir(where)) and "made here" not in os.listdir(where)
    assert "note: \"# Why\\nwe want to know\"" in read(f"{where}/renamed/experiment.yaml")


def test_an_experiment_goes_with_its_runs_and_comes_back(world):
    where = f"{world.project}/experiments"
    os.mkdir(f"{where}/empty")
    assert failed(lambda: os.rmdir(f"{where}/written")) == errno.ENOTEMPTY
    os.rmdir(f"{where}/empty")  # what mkdir left as it was

    def stage(name):
        return world.api(f"experiments/get-by-name?experiment_name={name}")["experiment"]["lifecycle_stage"]
    assert stage("empty") == "deleted" and "empty" not in os.listdir(where)
    assert failed(lambda: os.mkdir(f"{where}/empty")) == errno.EEXIST  # its name stays taken there
    world.platform.ctl("restore", f"{where}/empty")
    assert stage("empty") == "active" and "empty" in os.listdir(where)
    other = world.api("experiments/create", {"name": "goes"})["experiment_id"]
    mine, world.experiment = world.experiment, other
    try:
        id, run = world.new_run("inside")
    finally:
        world.experiment = mine
    name = os.path.basename(run)
    write(f"{run}/metrics/loss", "1\n", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    world.platform.ctl("delete", "-y", f"{where}/goes")  # behind what was written to its runs
    assert "goes" not in os.listdir(where) and name not in world.runs()
    assert name in os.listdir(f"{world.project}/runs/deleted")
    world.arrives(lambda: stage("goes") == "deleted")
    assert world.stage(id) == "deleted" and world.history(id, "loss") == [(0, 1.0)]
    world.platform.ctl("restore", f"{where}/goes")
    world.arrives(lambda: stage("goes") == "active" and world.stage(id) == "active")
    assert "goes" in os.listdir(where) and name in world.runs()
    refused = world.platform.ctl("delete", "-y", world.project, check=False)
    assert refused.returncode and "connections/" in refused.stderr
    # somebody else does it
    world.api("experiments/delete", {"experiment_id": other})
    world.later(60)
    assert "goes" not in os.listdir(where) and name in os.listdir(f"{world.project}/runs/deleted")


def test_a_loop_of_appends(world):
    id, run = world.new_run()
    begun = time.monotonic()
    world.platform.sh(f"for i in $(seq 300); do echo 0.$i >> {run}/metrics/loss; done")
    assert time.monotonic() - begun < 30
    expected = [(i, float(f"0.{i + 1}")) for i in range(300)]
    assert steps(f"{run}/metrics/loss") == expected
    world.arrives(lambda: len(world.history(id, "loss")) == 300)
    assert world.history(id, "loss") == expected
    assert steps(f"{run}/metrics/loss") == expected and info(run)["unsent"] == 0
    write(f"{run}/metrics/odd", "-3 nan\n-3 inf\n9007199254740993 1e-320\n",
          os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    world.arrives(lambda: len(world.history(id, "odd")) == 3)
    got = dict((v if isinstance(v, str) else float(v), s) for s, v in world.history(id, "odd"))
    assert got[1e-320] == 9007199254740993 and got[1.7976931348623157e308] == -3 and got["NaN"] == -3


def test_every_answer_is_lost(world, platform):
    """1000 lines through a proxy that never waits for what log-batch answers."""
    port = free_port()
    slow = f"""server {{ listen 127.0.0.1:{port};
	location / {{ proxy_pass {world.server.url}; proxy_http_version 1.1; }}
	location /api/2.0/mlflow/runs/log-batch {{ proxy_pass {world.server.url};
		proxy_read_timeout 1ms; proxy_next_upstream off; }} }}"""
    id, _ = world.new_run()
    with nginx(platform, slow) as folder:
        other = Mounted(platform, world.server)
        other.mount(f"http://127.0.0.1:{port}")
        try:
            run = other.run(id)
            platform.sh(f"for i in $(seq 0 999); do echo $i >> {run}/metrics/loss; done", timeout=120)
            world.arrives(lambda: info(run)["unsent"] == 0, 120)
            assert steps(f"{run}/metrics/loss") == [(i, float(i)) for i in range(1000)]
        finally:
            other.leave()
        lost = [l for l in read(f"{folder}/access.log").splitlines() if "log-batch" in l and " 504 " in l]
        assert lost, "no answer was lost"
    assert world.history(id, "loss") == [(i, float(i)) for i in range(1000)]


def test_two_mounts_write_one_metric(world, platform):
    id, run = world.new_run()
    other = Mounted(platform, world.server).mount()
    try:
        def log(where, sign):
            for i in range(1, 101):
                write(f"{where}/metrics/loss", f"{sign * i}\n", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        theirs = other.run(id)
        threads = [threading.Thread(target=log, args=a) for a in ((run, 1), (theirs, -1))]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        world.arrives(lambda: len(world.history(id, "loss")) == 200)
        values = [v for _, v in sorted(world.history(id, "loss"))]
        assert sorted(values) == sorted([float(i) for i in range(-100, 101) if i])

        def own(where):
            return [v for _, v in steps(f"{where}/metrics/loss")]
        for where in (run, theirs):
            wait_for(lambda: len(own(where)) == 200, "all points in both mounts", 40, every=0.5)
        ours = [(s, v) for s, v in world.history(id, "loss") if v > 0]
        assert [v for _, v in sorted(ours)] == [float(i) for i in range(1, 101)]
    finally:
        other.leave()


def test_without_the_server(world):
    id, run = world.new_run()
    write(f"{run}/metrics/loss", "1\n", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    world.arrives(lambda: world.history(id, "loss") == [(0, 1.0)])
    assert steps(f"{run}/metrics/loss") == [(0, 1.0)]
    world.stop_server()
    try:
        begun = time.monotonic()
        write(f"{run}/tags/away", "written\n")
        write(f"{run}/params/p", "1\n")
        for i in range(20):
            write(f"{run}/metrics/loss", f"{i + 2}\n", os.O_WRONLY | os.O_APPEND)
        write(f"{run}/metrics/new", "5 0.5\n", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        assert time.monotonic() - begun < 40
        assert read(f"{run}/tags/away") == "written\n" and read(f"{run}/params/p") == "1\n"
        assert steps(f"{run}/metrics/loss") == [(i, i + 1.0) for i in range(21)]
        assert steps(f"{run}/metrics/new") == [(5, 0.5)]
        assert info(run)["unsent"] == 23
        # the mount and mantikd go, without being asked
        world.leave()
        os.kill(world.process(), signal.SIGKILL)
        world.enter()
        run = world.run(id)
        assert read(f"{run}/tags/away") == "written\n" and info(run)["unsent"] == 23
        assert steps(f"{run}/metrics/loss") == [(i, i + 1.0) for i in range(21)]
    finally:
        world.start_server()
    world.arrives(lambda: info(run)["unsent"] == 0, 90)
    assert world.said(id)["tags"]["away"] == "written" and world.said(id)["params"] == {"p": "1"}
    assert world.history(id, "loss") == [(i, i + 1.0) for i in range(21)]
    assert world.history(id, "new") == [(5, 0.5)]
    assert steps(f"{run}/metrics/loss") == [(i, i + 1.0) for i in range(21)]


def test_killed_in_between(world):
    """mantikd is killed again and again while 20 000 points go through it, and the mount once."""
    id, run = world.new_run()
    n = 20000
    stop, kills = threading.Event(), [0]

    def kill():
        while not stop.wait(0.7):
            pid = world.process()
            if pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    kills[0] += 1
    killer = threading.Thread(target=kill)
    fd = os.open(f"{run}/metrics/loss", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    killer.start()
    try:
        for i in range(0, n, 100):
            os.write(fd, "".join(f"{k}\n" for k in range(i, i + 100)).encode())
            time.sleep(0.01)
        os.close(fd)
        wait_for(lambda: kills[0] > 5, "kills", 60)
    finally:
        stop.set()
        killer.join()
    os.kill(world.process("mantikfs"), signal.SIGKILL)
    world.leave()
    world.enter()
    run = world.run(id)
    world.arrives(lambda: info(run)["unsent"] == 0, 120)
    assert world.history(id, "loss") == [(i, float(i)) for i in range(n)]
    assert steps(f"{run}/metrics/loss") == [(i, float(i)) for i in range(n)]


def test_a_run_deleted_by_somebody_else_while_open(world):
    id, run = world.new_run()
    fd = os.open(f"{run}/metrics/loss", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, b"1\n")
    world.arrives(lambda: world.history(id, "loss") == [(0, 1.0)])
    world.api("runs/delete", {"run_id": id})
    os.write(fd, b"2\n")
    wait_for(lambda: any("active" in r["text"] for r in rows(f"{world.top}/.mantik/errors")
                         if r["path"].endswith(f"{os.path.basename(run)}/metrics/loss")),
             "the line in .mantik/errors", 20)
    os.close(fd)
    wait_for(lambda: os.path.basename(run) in os.listdir(f"{world.project}/runs/deleted"),
             "the run in deleted/", 40)
    assert world.history(id, "loss") == [(0, 1.0)]


def test_what_never_arrives_is_seen_and_given_up(world, platform):
    """A server that answers one request with 500 for ever."""
    id, _ = world.new_run()
    world.api("runs/set-tag", {"run_id": id, "key": "kept", "value": "as it was"})
    port = free_port()
    with nginx(platform, f"""server {{
	listen 127.0.0.1:{port};
	location / {{ proxy_pass {world.server.url}; }}
	location /api/2.0/mlflow/runs/set-tag {{ return 500; }} }}"""):
        other = Mounted(platform, world.server)
        other.mount(f"http://127.0.0.1:{port}")
        try:
            run = other.run(id)
            write(f"{run}/tags/kept", "changed\n")  # acknowledged: it will be tried again
            waits = [r for r in rows(f"{other.top}/.mantik/unsent") if r["path"].endswith("/tags/kept")]
            assert len(waits) == 1 and waits[0]["count"] == "1" and info(run)["unsent"] == 1
            wait_for(lambda: "500" in rows(f"{other.top}/.mantik/unsent")[0]["reason"], "the server's word", 60)
            assert "500" in platform.ctl("why", f"{run}/tags/kept").stdout
            assert read(f"{run}/tags/kept") == "changed\n"
            platform.ctl("discard", "-y", f"{run}/tags")
            assert rows(f"{other.top}/.mantik/unsent") == [] and info(run)["unsent"] == 0
            assert read(f"{run}/tags/kept") == "as it was\n"
            assert "given up by" in platform.ctl("why", f"{run}/tags/kept").stdout
            assert platform.ctl("discard", "-y", run, check=False).returncode == 3
        finally:
            other.leave()
    assert world.said(id)["tags"]["kept"] == "as it was"


def test_ctrl_c_while_waiting(world, platform):
    """A server that hears and says nothing: the write waits; interrupted it is done."""
    id, _ = world.new_run()
    port = free_port()
    with socket.create_server(("127.0.0.1", 0)) as silent, nginx(platform, f"""server {{
	listen 127.0.0.1:{port};
	location / {{ proxy_pass {world.server.url}; }}
	location /api/2.0/mlflow/runs/set-tag {{
		proxy_pass http://127.0.0.1:{silent.getsockname()[1]}; }} }}"""):
        other = Mounted(platform, world.server)
        other.mount(f"http://127.0.0.1:{port}")
        try:
            run = other.run(id)
            begun = time.monotonic()
            write(f"{run}/tags/patient", "x\n")
            assert 2 < time.monotonic() - begun < 8  # submit_wait, then 0
            begun = time.monotonic()
            writer = platform.start("cp", os.path.join(run, "status"), f"{run}/tags/slow")
            wait_for(lambda: "slow" in os.listdir(f"{run}/tags"), "the tag to be shown")
            writer.send_signal(signal.SIGINT)
            writer.wait(5)
            assert time.monotonic() - begun < 2
            assert read(f"{run}/tags/slow") == "FINISHED\n" and info(run)["unsent"] == 2
        finally:
            other.leave()
