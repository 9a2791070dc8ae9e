# SPDX-License-Identifier: Apache-2.0
"""The verbs of the connector that change something, against real servers: what the server then says
by REST is what was said to it; what it would change silently is refused; a lost answer is told."""
import contextlib
import itertools
import json
import math
import os
import struct
import urllib.error
import urllib.parse
import urllib.request

import pytest
from httpserve import free_port, nginx, reply, script
from mantik import Platform, wait_for
from tracking import NEWEST, OLD, connect, mlflow, track


class Rest:
    """The server, asked without us."""

    def __init__(self, url):
        self.url = url

    def ask(self, method, route, **body):
        request = urllib.request.Request(
            f"{self.url}/api/2.0/mlflow/{route}", json.dumps(body).encode() if body else None,
            {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def run(self, run):
        return self.ask("GET", f"runs/get?run_id={run}")["run"]

    def tags(self, run):
        return {t["key"]: t["value"] for t in self.run(run)["data"].get("tags", [])}

    def history(self, run, key):
        query = urllib.parse.urlencode(
            {"run_id": run, "metric_key": key, "max_results": 25000})
        return self.ask("GET", f"metrics/get-history?{query}").get("metrics", [])

    def new_run(self, experiment, name="written"):
        return self.ask("POST", "runs/create", experiment_id=experiment, run_name=name,
                        start_time=1)["run"]["info"]["run_id"]

    def experiment(self, ident):
        return self.ask("GET", f"experiments/get?experiment_id={ident}")["experiment"]

    def files(self, run, path=""):
        query = urllib.parse.urlencode({"run_id": run, "path": path})
        return {f["path"]: f.get("file_size", 0)
                for f in self.ask("GET", f"artifacts/list?{query}").get("files", [])}

    def bytes(self, run, path):
        query = urllib.parse.urlencode({"run_id": run, "path": path})
        with urllib.request.urlopen(f"{self.url}/get-artifact?{query}", timeout=60) as answer:
            return answer.read()


class World:
    def __init__(self, platform, server):
        self.platform, self.server = platform, server
        self.rest = Rest(server.url)
        connect(platform, server.url)
        self.experiment = self.say("experiment-make", "verbs").rows[0]["id"]

    def say(self, verb, *args, check=True, **more):
        return track(self.platform, "mlflow", verb, *args, check=check, **more)

    def run(self, name="written"):
        return self.rest.new_run(self.experiment, name)

    def refused(self, error, words, *args):
        answer = self.say(*args, check=False)
        assert answer.error == error and words in answer.text, (answer.error, answer.text)
        assert not answer.last["maybe"]
        return answer

    def file(self, name, data):
        path = os.path.join(self.platform.dir, name)
        with open(path, "wb") as f:
            f.write(data)
        return path


@pytest.fixture(scope="module", params=[
    NEWEST, pytest.param(OLD, marks=pytest.mark.full)])
def world(request):
    platform = Platform()
    try:
        with mlflow(platform, request.param, seed=False) as server:
            yield World(platform, server)
    finally:
        platform.end()


# --- runs ----------------------------------------------------------------------------------------

DOUBLES = ["0x1p+0", "0x1.5555555555555p-2", "0x1.fffffffffffffp+1023", "0x0.0000000000001p-1022",
           "-0x1.999999999999ap-4", "0x1.921fb54442d18p+1", "0x1p-1074"]


def test_points_are_the_same_bit_for_bit(world):
    run = world.run()
    points = []
    for i, value in enumerate(DOUBLES):
        points += ["m", str(i - 3), value, str((1700000000000 + i) * 10**6 + 999999)]
    world.say("log", run, *points, "steps", str(2**53 + 1), "1", "0", "steps", str(-2**62), "2", "0")
    got = world.rest.history(run, "m")
    assert [struct.pack("d", p["value"]) for p in got] == [
        struct.pack("d", float.fromhex(v)) for v in DOUBLES]
    assert [p["step"] for p in got] == [i - 3 for i in range(len(DOUBLES))]
    assert [p["timestamp"] for p in got] == [1700000000000 + i for i in range(len(DOUBLES))]
    assert {p["step"] for p in world.rest.history(run, "steps")} == {2**53 + 1, -2**62}


def test_what_json_has_no_number_for(world):
    run = world.run()
    world.say("log", run, "x", "0", "nan", "1000000", "x", "1", "inf", "2000000",
              "x", "2", "-inf", "3000000")
    got = sorted(world.rest.history(run, "x"), key=lambda p: p["step"])
    values = [float(p["value"]) for p in got]
    assert math.isnan(values[0]) and values[1] > 1e308 and values[2] < -1e308
    assert [(p["step"], p["timestamp"]) for p in got] == [(0, 1), (1, 2), (2, 3)]


def test_a_batch_of_all_kinds_and_its_limits(world):
    run = world.run()
    world.say("log", run, "many", "loss", 800, *[w for i in range(100) for w in (
        "param", f"p/{i} ä", f"{i}")], *[w for i in range(100) for w in ("tag", f"t{i}", f"{i}\n")])
    data = world.rest.run(run)["data"]
    assert {p["key"]: p["value"] for p in data["params"]} == {
        f"p/{i} ä": str(i) for i in range(100)}
    assert all(world.rest.tags(run)[f"t{i}"] == f"{i}\n" for i in range(100))
    assert [p["step"] for p in world.rest.history(run, "loss")] == list(range(800))
    for args in (["many", "k", 1001], ["many", "k", 1000, "param", "a", "b"],
                 [w for i in range(101) for w in ("param", f"q{i}", "")],
                 [w for i in range(180) for w in ("tag", f"u{i}", "v" * 6000)]):
        world.refused("E2BIG", "batch", "log", run, *args)
    assert world.rest.history(run, "k") == []


def test_refused_in_the_servers_words(world):
    run = world.run()
    world.say("log", run, "param", "lr", "0.1")
    world.say("log", run, "param", "lr", "0.1")
    world.refused("EINVAL", "Changing param values is not allowed", "log", run, "param", "lr", "1")
    world.refused("EINVAL", "may only contain", "tag-set", run, "a%b", "x")
    world.refused("EINVAL", "may only contain", "log", run, "a%b", 0, 1, 0)
    world.refused("ENOENT", "not found", "tag-set", "f" * 32, "a", "x")
    world.refused("ENOENT", "is no id", "tag-set", "../x", "a", "x")
    world.refused("ENOENT", "No tag with name", "tag-remove", run, "never")
    assert {p["key"]: p["value"] for p in world.rest.run(run)["data"]["params"]} == {"lr": "0.1"}


def test_what_a_server_would_cut_is_refused(world):
    run = world.run()
    world.say("tag-set", run, "long", "ä" * 5000)
    world.say("log", run, "param", "long", "ä" * 6000)
    assert world.rest.tags(run)["long"] == "ä" * 5000
    world.refused("EINVAL", "has 8001 characters", "tag-set", run, "long", "x" * 8001)
    world.refused("EINVAL", "has 6001 characters", "log", run, "param", "longer", "x" * 6001)
    world.refused("EINVAL", "has 251 characters", "tag-set", run, "k" * 251, "x")
    world.refused("EILSEQ", "not UTF-8", "tag-set", run, "bad", b"\xff".decode(
        "utf-8", "surrogateescape"))
    world.refused("EINVAL", "at least one character", "tag-set", run, "", "x")
    assert world.rest.tags(run)["long"] == "ä" * 5000 and "bad" not in world.rest.tags(run)


def test_a_run_and_its_tags(world):
    run = world.run()
    world.rest.ask("POST", "runs/update", run_id=run, status="FAILED", end_time=77)
    world.say("run-rename", run, "größe/a b")
    info = world.rest.run(run)["info"]
    assert (info["run_name"], info["status"], info["end_time"]) == ("größe/a b", "FAILED", 77)
    world.refused("EINVAL", "cannot be empty", "run-rename", run, "")
    world.say("tag-set", run, "a/b c", 'x"\\\n')
    world.say("tag-set", run, "empty", "")
    assert world.rest.tags(run)["a/b c"] == 'x"\\\n' and world.rest.tags(run)["empty"] == ""
    world.say("tag-remove", run, "a/b c")
    assert "a/b c" not in world.rest.tags(run)
    for _ in range(2):
        world.say("run-delete", run)
        assert world.rest.run(run)["info"]["lifecycle_stage"] == "deleted"
    world.refused("EINVAL", "must be in the 'active' state", "tag-set", run, "a", "b")
    for _ in range(2):
        world.say("run-restore", run)
        assert world.rest.run(run)["info"]["lifecycle_stage"] == "active"


def test_experiments(world):
    ident = world.say("experiment-make", "new/größe").rows[0]["id"]
    assert world.rest.experiment(ident)["name"] == "new/größe"
    world.refused("EEXIST", f'experiment {ident} has the name "new/größe" already',
                  "experiment-make", "new/größe")
    world.say("experiment-rename", ident, "renamed")
    world.say("experiment-rename", ident, "renamed")
    world.refused("EEXIST", "has the name \"Default\" already", "experiment-rename", ident,
                  "Default")
    world.refused("EINVAL", "has 501 characters", "experiment-make", "x" * 501)
    world.refused("EINVAL", "cannot be empty", "experiment-make", "")
    world.say("experiment-tag", ident, "mlflow.note.content", "# a note\nof two lines\n")
    assert world.rest.experiment(ident)["tags"] == [
        {"key": "mlflow.note.content", "value": "# a note\nof two lines\n"}]
    for _ in range(2):
        world.say("experiment-delete", ident)
        assert world.rest.experiment(ident)["lifecycle_stage"] == "deleted"
    world.refused("EEXIST", "a deleted experiment", "experiment-make", "renamed")
    world.refused("EINVAL", "non-active", "experiment-rename", ident, "again")
    for _ in range(2):
        world.say("experiment-restore", ident)
        assert world.rest.experiment(ident)["lifecycle_stage"] == "active"
    world.refused("ENOENT", "", "experiment-delete", "999999")


def test_models(world):
    run = world.run()
    name = "wind & model/ü?"
    for route, body in (("registered-models/create", {}), ("model-versions/create", {
            "source": f"runs:/{run}/m", "run_id": run}), ("model-versions/create", {
                "source": f"runs:/{run}/m", "run_id": run})):
        world.rest.ask("POST", route, name=name.replace("/", "-"), **body)
    name = name.replace("/", "-")

    def model():
        return world.rest.ask("GET", "registered-models/get?" + urllib.parse.urlencode(
            {"name": name}))["registered_model"]

    world.say("alias-set", name, "best", "1")
    world.say("alias-set", name, "best", "2")
    world.say("alias-set", name, "second", "1")
    assert {a["alias"]: a["version"] for a in model()["aliases"]} == {"best": "2", "second": "1"}
    world.refused("EINVAL", "nvalid alias name", "alias-set", name, "a b", "1")
    world.refused("ENOENT", "not found", "alias-set", name, "x", "7")
    world.refused("ENOENT", "is no version", "alias-set", name, "x", "")
    world.say("alias-remove", name, "second")
    world.say("alias-remove", name, "second")
    assert {a["alias"] for a in model()["aliases"]} == {"best"}
    world.say("model-describe", name, "über\nalles")
    world.say("version-describe", name, "2", "the second")
    assert model()["description"] == "über\nalles"
    assert {v["version"]: v.get("description", "") for v in track(
        world.platform, "mlflow", "versions", name).rows} == {"1": "", "2": "the second"}
    world.say("model-describe", name, "")
    world.say("version-describe", name, "2", "")
    assert model().get("description", "") == ""


# --- files ---------------------------------------------------------------------------------------

NAMES = ["a", "deep/er/and deeper/f.bin", "a b+c&d=e?f:g", "größe/日本.txt", "50% done", "100%.txt",
         ".hidden", "x" * 200, "back\\slash", "it's (1) [x]", "~tilde"]


def test_files_are_put(world):
    run = world.run()
    for i, name in enumerate(NAMES):
        data = os.urandom(1000 * i)
        world.say("put-file", "run", run, "-", name, world.file("data", data))
        assert world.rest.bytes(run, name) == data, name
    assert set(world.rest.files(run)) >= {"a", "deep", "größe", "50% done", "100%.txt"}
    data = os.urandom(100)
    world.say("put-file", "run", run, "-", NAMES[1], world.file("data", data))
    assert world.rest.bytes(run, NAMES[1]) == data


def test_names_that_would_be_another(world):
    run = world.run()
    path = world.file("data", b"x")
    for name, words in (("100%25.txt", "a % with two digits"), ("a/%41", "a % with two digits"),
                        ("a#b", "a #"), ("a\nb", "control character"), ("x\x01", "control"),
                        ("../x", ".."), ("a//b", "two of them"), ("a/", "at its end"),
                        ("", "no name"), ("/a", "empty part"), ("y" * 256, "255 bytes"),
                        ("a/./b", "."), ("z/" * 2500 + "z", "4000 bytes"),
                        (b"\xff".decode("utf-8", "surrogateescape"), "UTF-8")):
        answer = world.refused("EINVAL", words, "put-file", "run", run, "-", name, path)
        assert answer.requests == 0
    assert world.rest.files(run) == {}


def test_what_stands_in_the_way(world):
    run = world.run()
    path = world.file("data", b"x")
    world.say("put-file", "run", run, "-", "dir/file", path)
    answer = world.say("put-file", "run", run, "-", "dir", path, check=False)
    assert answer.error == "EISDIR", answer.text
    answer = world.say("put-file", "run", run, "-", "dir/file/x/y", path, check=False)
    assert answer.error == "ENOTDIR" and "dir/file is a file" in answer.text
    for place in (("model", "m-" + "0" * 32, "-"), ("version", "m", "1")):
        answer = world.say("put-file", *place, "x", path, check=False)
        assert answer.error == "EOPNOTSUPP"
    answer = world.say("put-file", "run", "f" * 32, "-", "x", path, check=False)
    assert answer.error == "ENOENT"


def test_a_large_file_in_little_memory(world):
    run = world.run()
    path = os.path.join(world.platform.dir, "large")
    with open(path, "wb") as f:
        for _ in range(64):
            f.write(os.urandom(1 << 20))
        f.truncate(200 << 20)
    # What the address sanitizer keeps of freed memory is none of ours.
    calm = world.platform.env["ASAN_OPTIONS"] + ":quarantine_size_mb=1"
    answer = world.say("put-file", "run", run, "-", "large.bin", path, ASAN_OPTIONS=calm)
    assert answer.last["kib"] < 150 << 10
    assert world.rest.files(run) == {"large.bin": 200 << 20}
    with open(path, "rb") as f:
        assert world.rest.bytes(run, "large.bin") == f.read()
    os.unlink(path)


# --- answers that are lost, and servers that fail ------------------------------------------------

@pytest.fixture(scope="module")
def lost(world):
    """The same server behind an nginx that has no patience: every request arrives, and nearly every
    answer is a 504."""
    port = free_port()
    with nginx(world.platform, f"""server {{ listen 127.0.0.1:{port}; client_max_body_size 0;
        location / {{ proxy_pass {world.server.url}; proxy_read_timeout 1ms; }} }}"""):
        yield connect(world.platform, f"http://127.0.0.1:{port}", "lost")


def done(say, look, most=10):
    """say(), with its answer lost, until look() finds it done; what say() gave last. The server of a
    busy machine may see the connection close before it has read the question: then it is said anew,
    as another one where it must not be there twice."""
    for _ in range(most):
        said = say()
        with contextlib.suppress(AssertionError):
            wait_for(lambda: look(said), "the server to have it", 20)
            return said
    raise AssertionError(f"said {most} times, and the server never has it")


def test_an_answer_that_is_lost(world, lost):
    numbers = itertools.count()

    def say(*args, errors=("ETIMEDOUT",)):
        answer = track(world.platform, lost, *args, check=False, TRACKCTL_DEADLINE=4000)
        assert answer.error in errors, (answer.error, answer.text)
        if answer.error:
            assert answer.last["maybe"]
            assert "did not answer in time" in answer.text and lost in answer.text
        return answer

    # What must not be done twice is sent once, and is done.
    def points():
        run = world.run()
        assert say("log", run, "many", "loss", 1000).requests == 1
        return run

    def experiment():
        name = f"lost {next(numbers)}"
        assert say("experiment-make", name).requests == 1
        return name
    run = done(points, lambda run: len(world.rest.history(run, "loss")) == 1000)
    assert [p["step"] for p in world.rest.history(run, "loss")] == list(range(1000))
    done(experiment, lambda name: any(
        e["name"] == name for e in track(world.platform, "mlflow", "experiments").rows))
    # What is the same when it is said twice is said again, within the deadline: one may be quick.
    either = "ETIMEDOUT", None
    done(lambda: say("tag-set", run, "a", "b", errors=either),
         lambda _: world.rest.tags(run).get("a") == "b")
    done(lambda: say("run-delete", run, errors=either),
         lambda _: world.rest.run(run)["info"]["lifecycle_stage"] == "deleted")


def test_a_server_without_an_artifact_proxy(world):
    with script(reply(200, json.dumps({"run": {"info": {
            "run_id": "a" * 32, "experiment_id": "1", "artifact_uri": "file:///shared/runs/a"}}}),
            ["Content-Type: application/json"])) as s:
        connect(world.platform, s.url, "direct")
        answer = track(world.platform, "direct", "put-file", "run", "a" * 32, "-", "x",
                       world.file("data", b"x"), check=False)
    assert answer.error == "EOPNOTSUPP" and "file:///shared/runs/a" in answer.text
    assert "--serve-artifacts" in answer.text and len(s.requests) == 1


class Store:
    """A server that takes files in ways of its own: put(request, connection) answers a PUT."""

    def __init__(self, put, size=None):
        self.put, self.size = put, size

    def __call__(self, request, connection, number):
        headers = ["Content-Type: application/json"]
        if request.method == "PUT":
            return self.put(request, connection)
        if "runs/get" in request.path:
            return reply(200, json.dumps({"run": {"info": {
                "run_id": "a" * 32, "experiment_id": "1",
                "artifact_uri": "mlflow-artifacts:/1/a"}}}), headers)
        files = [] if self.size is None else [
            {"path": "x", "is_dir": False, "file_size": self.size}]
        return reply(200, json.dumps({"files": files}), headers)


def put_to(world, store, data=b"x" * 100, **env):
    with script(store) as s:
        connect(world.platform, s.url, "odd")
        return track(world.platform, "odd", "put-file", "run", "a" * 32, "-", "x",
                     world.file("data", data), check=False, **env), s.requests


@pytest.mark.parametrize("status, body, size, error, words", [
    (200, "{}", 100, None, None), (200, "", 100, None, None), (201, "", 100, None, None),
    (204, "", 100, None, None),
    (200, "{}", 99, "EREMOTEIO", "has 99 bytes of it, not 100"),
    (200, "{}", None, "EREMOTEIO", "does not list it"),
    (413, "<html>", None, "EFBIG", "client_max_body_size"),
    (403, "Permission denied", None, "EACCES", "not allowed"),
    (503, "Endpoint disabled due to the mlflow server running in `--no-serve-artifacts` mode.",
     None, "EOPNOTSUPP", "--no-serve-artifacts"),
    (500, "Internal Server Error", None, "EREMOTEIO", "an error inside the server"),
    (507, "full", None, "EREMOTEIO", "507"),
])
def test_what_a_server_says_of_a_file(world, status, body, size, error, words):
    def put(request, connection):
        assert request.path == "/api/2.0/mlflow-artifacts/artifacts/1/a/x"
        assert request.body == b"x" * 100 and request.headers["content-length"] == "100"
        return reply(status, body, ["Content-Type: text/plain"])
    answer, _ = put_to(world, Store(put, size), TRACKCTL_DEADLINE=2000)
    assert answer.error == error and (not words or words in answer.text), answer.text


def test_a_server_that_stops_taking(world):
    """An upload ends by its deadline, and at once when it is cancelled."""
    def hang(request, connection, number):
        if request.method != "PUT":
            return Store(None)(request, connection, number)
        return b""  # and no answer ever
    for env, error, most in (({"TRACKCTL_DEADLINE": 1500}, "ETIMEDOUT", 4000),
                             ({"TRACKCTL_CANCEL": 700}, "EINTR", 4000)):
        answer, _ = put_to(world, hang, b"x" * (8 << 20), **env)
        assert answer.error == error and answer.last["maybe"], answer.text
        assert answer.last["ms"] < most
