# SPDX-License-Identifier: Apache-2.0
"""Everything the seed of tests/servers/mlflow wrote, read back through the connector: each
operation, floats bit for bit, files byte for byte, on servers of two releases in all their modes."""
import contextlib
import math
import random

import pytest
from mantik import Platform
from tracking import NEWEST, OLD, behind_nginx, connect, mlflow, track

T0 = 1_700_000_000_000
MS = 1_000_000

MODES = [
    pytest.param((NEWEST, ()), id="newest"),
    pytest.param((OLD, ()), id="2.9.2"),
    pytest.param((NEWEST, ("--auth",)), id="newest-auth", marks=pytest.mark.full),
    pytest.param((NEWEST, ("--file-store",)), id="newest-files"),
    pytest.param((NEWEST, ("--no-artifacts",)), id="newest-no-artifacts"),
    pytest.param((NEWEST, ("nginx",)), id="newest-nginx"),
    pytest.param((OLD, ("--auth",)), id="2.9.2-auth", marks=pytest.mark.full),
    pytest.param((OLD, ("--file-store",)), id="2.9.2-files", marks=pytest.mark.full),
    pytest.param((OLD, ("--no-artifacts",)), id="2.9.2-no-artifacts", marks=pytest.mark.full),
    pytest.param((OLD, ("nginx",)), id="2.9.2-nginx", marks=pytest.mark.full),
]


class Seeded:
    """A server of one mode, and the connection to it."""

    def __init__(self, platform, server, mode, name):
        self.platform, self.server, self.name = platform, server, name
        self.ids = server.ids
        self.old, self.files = mode[0] == OLD, "--file-store" in mode[1]
        self.local = "--no-artifacts" in mode[1]
        self.store = self.first = False  # of files of this machine; of 1.x
        self.colon = "" if self.old else ":"

    def ask(self, verb, *args, **more):
        return track(self.platform, self.name, verb, *args, **more)

    def point(self, step, value, ms):
        """As the store gives it back."""
        if not self.files and math.isinf(value):
            value = math.copysign(1.7976931348623157e308, value)
        if not self.files and value == 0:
            value = 0.0
        return [step, value, ms * MS]


@pytest.fixture(scope="module", params=MODES)
def seeded(request):
    platform, mode = Platform(), request.param
    options = [o for o in mode[1] if o.startswith("--")]
    with contextlib.ExitStack() as stack:
        stack.callback(platform.end)
        server = stack.enter_context(mlflow(platform, mode[0], *options))
        keys, url = {}, server.url
        if "nginx" in mode[1]:
            url, keys["ca"] = stack.enter_context(behind_nginx(platform, server))
        if "--auth" in mode[1]:
            keys.update(user=server.user, password=server.password)
        yield Seeded(platform, server, mode, connect(platform, url, **keys))


def values(points):
    """[[step, float, ns]] with NaN as text, so that == is bit for bit."""
    return [[s, "nan" if math.isnan(v) else float(v).hex(), t] for s, v, t in points]


def parse(rows):
    return [[s, "nan" if v in ("nan", "-nan") else float.fromhex(v).hex() if v not in
             ("inf", "-inf") else float(v).hex(), t] for s, v, t in rows]


def test_experiments(seeded):
    found = {e["name"]: e for e in seeded.ask("experiments").rows}
    assert set(found) == {"Default", "wind-forecast", "Übung 2/β: odd names"}
    wind, odd = found["wind-forecast"], found["Übung 2/β: odd names"]
    assert wind["id"] == seeded.ids["experiment"] and odd["id"] == seeded.ids["experiment_odd"]
    assert dict(map(tuple, wind["tags"])) == {
        "mlflow.note.content": "Power from **wind**, 24 h ahead.",
        "mlflow.experiment.primaryMetric.name": "val/rmse",
        "mlflow.experiment.primaryMetric.greaterIsBetter": "False", "team": "größe & co"}
    assert odd["tags"] == [["site/cluster", "jülich booster"]]
    for e in found.values():
        assert not e["deleted"]
        assert e["created"] > 1_600_000_000 * 10**9 and e["updated"] >= e["created"]
        assert e["artifact_location"]


def test_the_main_run(seeded):
    run = seeded.ids["run"]
    answer = seeded.ask("run", run)
    assert answer.requests == 1
    r = answer.rows[0]
    assert (r["id"], r["experiment_id"], r["name"], r["user"], r["status"], r["deleted"]) == (
        run, seeded.ids["experiment"], "main run", "ada", "FINISHED", False)
    assert (r["started"], r["ended"]) == ((T0 + 100_000) * MS, (T0 + 200_000) * MS)
    assert dict(map(tuple, r["params"])) == {
        "lr": "0.001", "optim/adam/beta 1": "0.9", "größe": "größer", "empty": "",
        "lines": "one\ntwo\n", "long": "x" * (500 if seeded.first else 6000), "json": '{"a": [1, 2], "b": "ü"}',
        f"a{seeded.colon} b": "colon and space", "data-path": "/p/project/wind data/202?/*.nc"}
    tags = dict(map(tuple, r["tags"]))
    assert tags["mlflow.note.content"] == "# Main run\n\nWith *notes*."
    assert (tags["fixture"], tags["stage/final"], tags["日本"], tags["empty"]) == (
        "main", "yes", "語", "")
    assert tags["tag with spaces"] == " padded "
    assert [(d["name"], d["digest"], d["source_type"], d["source"], d["context"])
            for d in sorted(r["datasets"], key=lambda d: d["name"])] == ([] if seeded.first else [
        ("era5 subset", "abc12345", "http", '{"url": "https://example.org/era5.nc"}', "training"),
        ("stations", "ffff0001", "local", '{"uri": "/data/stations.csv"}', "validation")])
    assert r["models"] == ([seeded.ids["logged_model"]] if "logged_model" in seeded.ids else [])
    last = {key: parse([point])[0] for key, point in r["metrics"].items()}
    assert last["loss"] == values([seeded.point(
        999, math.exp(-999 / 200) + 0.01 * math.sin(999), T0 + 999_000)])[0]
    assert last["steps"] == values([seeded.point(9, 91.0, T0 + 7)])[0]
    assert last["größe/μ"] == values([seeded.point(2**53 + 1, 0.1, T0)])[0]
    assert last["only nan"] == values([seeded.point(0, math.nan, T0)])[0]
    assert set(last) == {"loss", "val/rmse", f"system/gpu 0{seeded.colon} memory", "special",
                         "only nan", "only inf", "steps", "größe/μ"}


def test_histories(seeded):
    run = seeded.ids["run"]
    expected = {
        "loss": [(i, math.exp(-i / 200) + 0.01 * math.sin(i), T0 + 1000 * i) for i in range(1000)],
        "val/rmse": [(i * 10, 1.5 / (1 + i), T0 + 1000 * i) for i in range(100)],
        f"system/gpu 0{seeded.colon} memory": [
            (i, 17179869184 * (i + 1), T0 + 1000 * i) for i in range(3)],
        "special": list(zip(range(6), (1.0, math.nan, math.inf, -math.inf, -0.0, 5e-324),
                            range(T0, T0 + 6))),
        "only nan": [(0, math.nan, T0)],
        "only inf": [(0, math.inf, T0)],
        "größe/μ": [(2**53 + 1, 0.1, T0)],
        "none": [],
    }
    for key, points in expected.items():
        answer = seeded.ask("history", run, key)
        assert answer.requests == 1
        assert parse(answer.rows[0]) == values([seeded.point(*p) for p in points]), key
    # Steps out of order, negative and repeated: in the store's order.
    steps = [(5, 50.0), (-3, -30.0), (9, 90.0), (9, 91.0), (2, 20.0)]
    if not seeded.files:
        steps.sort()
    assert parse(seeded.ask("history", run, "steps").rows[0]) == values(
        [seeded.point(s, v, T0 + 7) for s, v in steps])


def test_the_end_of_a_history(seeded):
    run = seeded.ids["run"]
    points = [(i, math.exp(-i / 200) + 0.01 * math.sin(i), T0 + 1000 * i) for i in range(1000)]

    def tail(known, step, value, ms, **more):
        return seeded.ask("tail", run, "loss", known, step, value.hex(), ms * MS, **more)
    for known in (1, 2, 990, 1000):
        answer = tail(known, *points[known - 1])
        assert answer.requests == 1
        assert parse(answer.rows[0]) == values([seeded.point(*p) for p in points[known:]])
    for known, point in ((990, points[500]), (2000, points[999]), (1, points[1])):
        answer = tail(known, *point, check=False)
        assert answer.error == "ESTALE" and "does not go on where it ended" in answer.text


def test_all_runs_in_pages(seeded):
    wind, odd = seeded.ids["experiment"], seeded.ids["experiment_odd"]
    answer = seeded.ask("runs", wind, odd, "limit=7")
    runs = answer.rows
    n = 13 + 6
    assert (len(runs), answer.pages, answer.requests) == (n, 3, 3)
    assert len({r["id"] for r in runs}) == n
    starts = [r["started"] for r in runs]
    assert starts == sorted(starts, reverse=True)
    by_name = {r["name"]: r for r in runs}
    assert by_name["main run"]["id"] == seeded.ids["run"]
    trial = by_name["trial-05"]
    tags = dict(map(tuple, trial["tags"]))
    assert tags["mlflow.parentRunId"] == seeded.ids["run_parent"]
    assert dict(map(tuple, trial["params"])) == {"lr": "0.0003", "depth": "3",
                                                 "optim/name": "adam"}
    assert trial["status"] == "FINISHED" and by_name["trial-03"]["status"] == "FAILED"
    assert (by_name["running"]["status"], by_name["running"]["ended"]) == ("RUNNING", 0)
    assert by_name["scheduled"]["status"] == "SCHEDULED"
    assert by_name["killed"]["status"] == "KILLED"
    assert by_name["running"]["user"] == "grace hopper"
    assert sum(r["name"] == "twin" for r in runs) == 2
    slash = by_name["a/b: c"]
    if seeded.files:  # refuses a key that is a leaf and a parent
        assert set(slash["metrics"]) == {"a", "a.b/c d"}
    else:
        assert set(slash["metrics"]) == {"a", "a/b", "a.b/c d"}
        assert dict(map(tuple, slash["params"])) == {"p": "leaf", "p/q": "below a leaf"}


def test_some_runs(seeded):
    wind, odd = seeded.ids["experiment"], seeded.ids["experiment_odd"]
    assert {r["name"] for r in seeded.ask("runs", wind, odd, "live").rows} == {
        "running", "scheduled"}
    gone = seeded.ask("runs", wind, odd, "deleted").rows
    assert [(r["name"], r["deleted"], r["id"]) for r in gone] == [
        ("deleted", True, seeded.ids["run_deleted"])]
    since = (T0 + 11_000) * MS
    found = {r["name"] for r in seeded.ask("runs", wind, odd, f"since={since}").rows}
    # Of files also those that have changed since: here all.
    assert found >= {"trial-10", "main run"}
    assert seeded.store and seeded.files or len(found) == 2
    assert [r["name"] for r in seeded.ask("runs", odd, "live", f"since={since}").rows] == []
    assert seeded.ask("run", seeded.ids["run_deleted"]).rows[0]["deleted"]
    answer = seeded.ask("run", "0" * 32, check=False)
    assert answer.error == "ENOENT" and "run 000" in answer.text


FILES = {
    "README.md": "# Größe\n".encode(), "empty.txt": b"",
    "plots/loss curve.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>\n",
    "plots/2023/nov/rmse.csv": b"step,rmse\n0,1.5\n",
    "deep/a/b/c/d/e/f/leaf.txt": b"leaf\n",
    "data/random.bin": random.Random(2).randbytes(1 << 20), "data/zeros.bin": bytes(70_000),
    "odd/name with spaces.txt": b"spaces\n", "odd/ünïcode-日本.txt": b"unicode\n",
    "odd/100% plus+and&equals=.txt": b"reserved\n", "odd/.hidden": b"hidden\n",
    **{f"many/part-{i:05}.txt": b"%d\n" % i for i in range(120)},
}


def walk(seeded, root, ident, version, path=""):
    """{path: size}"""
    found = {}
    for f in seeded.ask("files", root, ident, version, path).rows:
        if f["is_dir"]:
            assert f["size"] == -1
            found.update(walk(seeded, root, ident, version, f["path"]))
        else:
            found[f["path"]] = f["size"]
    return found


def test_files_of_a_run(seeded):
    run = seeded.ids["run"]
    assert walk(seeded, "run", run, "-") == {p: len(b) for p, b in FILES.items()}
    for path, data in FILES.items():
        if path.startswith("many/") and not path.endswith("7.txt"):
            continue
        answer = seeded.ask("read", "run", run, "-", path, 0, -1)
        assert answer.bytes == data, path
        assert answer.rows[0]["total"] in (len(data), -1)
        assert answer.requests <= 2
    assert seeded.ask("files", "run", run, "-", "nowhere").rows == []
    assert seeded.ask("files", "run", run, "-", "README.md").rows == []


def test_ranges(seeded):
    run, data = seeded.ids["run"], FILES["data/random.bin"]
    size = len(data)
    for offset, length in ((0, 1), (0, size), (1, -1), (size - 1, -1), (size - 1, 100), (1000, 70_000),
                           (size, 10), (size + 10, 10), (size, -1)):
        answer = seeded.ask("read", "run", run, "-", "data/random.bin", offset, length)
        want = data[offset:] if length < 0 else data[offset:offset + length]
        assert answer.bytes == want, (offset, length)
        assert answer.rows[0]["total"] == size
    answer = seeded.ask("read", "run", run, "-", "empty.txt", 5, 10)
    assert answer.bytes == b""


def test_no_such_file(seeded):
    run = seeded.ids["run"]
    for path, error in (("none.txt", "ENOENT"), ("plots/none", "ENOENT"), ("plots", "EISDIR"),
                        ("none/x/y", "ENOENT"), ("a/../b", "EINVAL"),
                        ("100%25.txt", "ENOENT" if seeded.store else "EINVAL"),
                        ("a#b", "ENOENT" if seeded.store else "EINVAL"), ("/etc/passwd", "EINVAL"), ("a//b", "EINVAL"),
                        ("a/", "EINVAL"), ("", "EISDIR")):
        answer = seeded.ask("read", "run", run, "-", path, 0, -1, check=False)
        assert answer.error == error, (path, answer.text)
        assert answer.bytes == b""
    assert seeded.ask("read", "run", "0" * 32, "-", "x", 0, -1, check=False).error in (
        "ENOENT", "EREMOTEIO")


def test_logged_models(seeded):
    if "logged_model" not in seeded.ids:
        answer = seeded.ask("files", "model", "m-" + "0" * 32, "-", "", check=False)
        if seeded.store and seeded.files:  # a folder does not say which release wrote it
            assert answer.error == "ENOENT"
            return
        assert answer.error == "EOPNOTSUPP" and "this version of MLflow" in answer.text
        assert seeded.ask("logged", "m-" + "0" * 32, check=False).error == "EOPNOTSUPP"
        return
    model = seeded.ids["logged_model"]
    weights = bytes(range(256)) * 16
    assert walk(seeded, "model", model, "-") == {"MLmodel": 31, "weights/layer 0.bin": 4096}
    answer = seeded.ask("read", "model", model, "-", "weights/layer 0.bin", 100, 300)
    assert answer.bytes == weights[100:400]
    about = seeded.ask("logged", model).rows[0]
    assert (about["id"], about["name"], about["type"], about["status"], about["run_id"]) == (
        model, "net", "regressor", "LOGGED_MODEL_READY", seeded.ids["run"])
    assert (about["params"], about["tags"]) == ([["layers", "3"]], [["flavor", "none"]])
    assert about["created"] > 0 and about["experiment_id"] == seeded.ids["experiment"]
    assert seeded.ask("logged", "m-" + "0" * 32, check=False).error == "ENOENT"
    assert seeded.ask("read", "model", model, "-", "none", 0, -1, check=False).error == "ENOENT"
    assert seeded.ask("read", "model", model, "-", "weights", 0, -1, check=False).error == "EISDIR"


def test_registered_models(seeded):
    answer = seeded.ask("models")
    if seeded.first:
        assert answer.rows == []
        return
    assert [(m["name"], m["description"], m["tags"]) for m in answer.rows] == [
        ("wind model", "24 h ahead", [["owner", "ada"]])]
    versions = {v["version"]: v for v in seeded.ask("versions", "wind model").rows}
    assert set(versions) == {"1", "2", "3"}
    assert [versions[v]["aliases"] for v in "123"] == [[], ["champion"], ["next-try"]]
    assert [versions[v]["description"] for v in "123"] == ["first", "second", "größer"]
    for n, v in versions.items():
        assert (v["run_id"], v["status"], v["tags"]) == (seeded.ids["run"], "READY",
                                                         [["round", n]])
        assert v["created"] > 0 and v["source"]
    assert seeded.ask("versions", "no model", check=False).error == "ENOENT"


def test_files_of_a_version(seeded):
    if seeded.first:
        return
    data = {p[5:]: len(b) for p, b in FILES.items() if p.startswith("data/")}
    assert walk(seeded, "version", "wind model", 2) == data
    answer = seeded.ask("read", "version", "wind model", 2, "random.bin", 5, 100)
    assert answer.bytes == FILES["data/random.bin"][5:105]
    assert seeded.ask("read", "version", "wind model", 2, "none", 0, -1,
                      check=False).error == "ENOENT"
    assert seeded.ask("files", "version", "wind model", 99, "", check=False).error == "ENOENT"
