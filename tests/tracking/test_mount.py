# SPDX-License-Identifier: Apache-2.0
"""Every value the seed of tests/servers/mlflow wrote, compared with the files of a mount: floats bit
for bit, files byte for byte, on servers of two releases in all their modes; and then all of it once
more when the server is gone."""
import contextlib
import filecmp
import math
import os
import stat
import random
import re

import pytest
from mantik import Platform, wait_for
from mounted import Mounted, info, read, rows
from tracking import NEWEST, OLD, behind_nginx, mlflow, starter
from verbs import Verbs

T0 = 1_700_000_000_000
LONG = 1200  # a server with --auth takes 0.3 s for each question, on two busy cores ten times that
WIND, ODD = "wind-forecast", "Übung 2%2Fβ: odd names"

full = pytest.mark.full
MODES = [
    pytest.param((NEWEST, ()), id="newest"),
    pytest.param((OLD, ()), id="2.9.2", marks=full),
    pytest.param((NEWEST, ("--file-store",)), id="newest-files"),
    pytest.param((NEWEST, ("nginx",)), id="newest-nginx"),
    pytest.param((NEWEST, ("--auth",)), id="newest-auth", marks=full),
    pytest.param((NEWEST, ("--no-artifacts",)), id="newest-no-artifacts", marks=full),
    pytest.param((OLD, ("--auth",)), id="2.9.2-auth", marks=full),
    pytest.param((OLD, ("--file-store",)), id="2.9.2-files", marks=full),
    pytest.param((OLD, ("--no-artifacts",)), id="2.9.2-no-artifacts", marks=full),
    pytest.param((OLD, ("nginx",)), id="2.9.2-nginx", marks=full),
]


class Seeded(Mounted):
    def __init__(self, platform, server, mode):
        super().__init__(platform, server)
        self.version, self.modes = mode[0], [o for o in mode[1] if o.startswith("--")]
        self.files, self.old = "--file-store" in mode[1], mode[0] == OLD
        self.colon = "" if self.old else ":"
        self.main, self.first = self.ids["run"], False  # of 1.x

    def stop(self):
        """The server is gone, its files are still there to compare with."""
        starter("stop", self.server.folder)

    def start(self):
        """As it was."""
        starter("start", self.server.folder, self.server.url.rpartition(":")[2], *self.modes,
                version=self.version)

    def value(self, value):
        """A float as the server's store gives it back."""
        if not self.files and math.isinf(value):
            value = math.copysign(1.7976931348623157e308, value)
        if not self.files and value == 0:
            value = 0.0  # the SQL stores have one zero
        return value


@pytest.fixture(scope="module", params=MODES)
def seeded(request):
    platform, mode = Platform(), request.param
    with contextlib.ExitStack() as stack:
        stack.callback(platform.end)
        server = stack.enter_context(
            mlflow(platform, mode[0], *[o for o in mode[1] if o.startswith("--")]))
        it, url = Seeded(platform, server, mode), None
        if "nginx" in mode[1]:  # with a certificate of the client's own
            url, ca = stack.enter_context(behind_nginx(platform, server, client=True))
            platform.env["MLFLOW_TRACKING_SERVER_CERT_PATH"] = ca
            platform.env["MLFLOW_TRACKING_CLIENT_CERT_PATH"] = f"{os.path.dirname(ca)}/client.both"
        it.mount(url)
        stack.callback(it.leave)
        yield it


def bits(value):
    return "nan" if math.isnan(value) else float(value).hex()


def history(path):
    """[(step, bits of the value, ms)] of a metric's file; its stat tells its true size."""
    text = read(path)
    assert os.stat(path).st_size == len(text.encode())
    points = []
    for line in text.splitlines():
        step, value, time = line.split("\t")
        date = re.fullmatch(r"2023-11-1[4-9]T(\d\d):(\d\d):(\d\d)\.(\d{3})Z", time)
        assert date, time
        h, m, s, ms = map(int, date.groups())
        points.append((int(step), bits(float(value)), ((h * 60 + m) * 60 + s) * 1000 + ms))
    return points


def of_day(ms):
    """What is left of a time in history(): ms since midnight."""
    return ms % 86_400_000


def check_experiments(seeded):
    where = f"{seeded.project}/experiments"
    assert set(os.listdir(where)) == {"Default", WIND, ODD}
    text = read(f"{where}/{WIND}/experiment.yaml")
    assert seeded.ids["experiment"] in text
    assert "\nprimary_metric: {name: val/rmse, goal: minimize, of: last}\n" in text
    assert "Power from **wind**, 24 h ahead." in text and "größe & co" in text
    text = read(f"{where}/{ODD}/experiment.yaml")
    assert "site/cluster" in text and "jülich booster" in text


def check_runs(seeded):
    names = seeded.runs()
    ids = seeded.ids
    expected = {f"main run.{ids['run'][:8]}", f"sweep.{ids['run_parent'][:8]}",
                f"a%2Fb: c.{ids['run_a'][:8]}"}
    expected |= {f"{n}.{ids['run_' + n][:8]}" for n in ("running", "scheduled", "killed", "twin")}
    assert expected <= names
    rest = names - expected
    assert sorted(n.rsplit(".", 1)[0] for n in rest) == [f"trial-{k:02}" for k in range(11)] + ["twin"]
    assert all(re.fullmatch(r".+\.[0-9a-f]{8}", n) for n in names)
    by_experiment = {}
    for experiment in (WIND, ODD, "Default"):
        where = f"{seeded.project}/experiments/{experiment}/runs"
        by_experiment[experiment] = set(os.listdir(where))
        for name in by_experiment[experiment]:
            assert os.path.samefile(f"{where}/{name}", f"{seeded.project}/runs/{name}")
    assert len(by_experiment[WIND]) == 13 and len(by_experiment[ODD]) == 6
    assert by_experiment[WIND] | by_experiment[ODD] == names and not by_experiment["Default"]
    assert os.path.samefile(f"{seeded.project}/runs/{seeded.main}", seeded.run(seeded.main))


def check_states(seeded):
    for name, status in (("running", "RUNNING"), ("scheduled", "SCHEDULED"), ("killed", "KILLED"),
                         ("twin", "FINISHED"), ("a", "FINISHED")):
        run = seeded.run(seeded.ids[f"run_{name}"])
        assert read(f"{run}/status") == status + "\n"
        about = info(run)
        assert (about["id"], about["status"], about["user"]) == (
            seeded.ids[f"run_{name}"], status, "grace hopper")
        assert (about["ended"] is None) == (name in ("running", "scheduled"))
        assert about["as_of"]
    about = info(seeded.run(seeded.main))
    assert (about["name"], about["experiment"]) == ("main run", WIND)
    assert (about["started"], about["ended"]) == (
        "2023-11-14T22:15:00.000Z", "2023-11-14T22:16:40.000Z")
    assert about["commit"] == "0123456789abcdef0123456789abcdef01234567"
    trials = [n for n in seeded.runs() if n.startswith("trial-")]
    for name in trials:
        k = int(name[6:8])
        run = f"{seeded.project}/runs/{name}"
        assert read(f"{run}/status") == ("FAILED\n" if k % 4 == 3 else "FINISHED\n")
        assert read(f"{run}/params/lr") == ["0.0001\n", "0.0003\n", "0.001\n", "0.003\n"][k % 4]
        assert read(f"{run}/params/depth") == f"{2 + k // 4}\n"
        assert read(f"{run}/params/optim/name") == "adam\n"
        assert read(f"{run}/tags/mlflow.parentRunId") == seeded.ids["run_parent"] + "\n"


def check_lineage(seeded):
    """Parents and children see each other; datasets of a run."""
    parent = os.path.basename(seeded.run(seeded.ids["run_parent"]))
    trials = sorted(n for n in seeded.runs() if n.startswith("trial-"))
    assert sorted(info(f"{seeded.project}/runs/{parent}")["children"]) == trials and len(trials) == 11
    for name in trials:
        about = info(f"{seeded.project}/runs/{name}")
        assert (about["parent"], about["children"]) == (parent, [])
    datasets = sorted(info(seeded.run(seeded.main))["datasets"], key=lambda d: d["name"])
    assert [(d["name"], d["digest"], d["source"], d["context"]) for d in datasets] == (
        [] if seeded.first else [
            ("era5 subset", "abc12345", '{"url": "https://example.org/era5.nc"}', "training"),
            ("stations", "ffff0001", '{"uri": "/data/stations.csv"}', "validation")])


def tree(top):
    """{path: text} of all files below."""
    found = {}
    for folder, _, files in os.walk(top):
        for name in files:
            path = os.path.join(folder, name)
            found[os.path.relpath(path, top)] = read(path)
            assert os.stat(path).st_size == len(found[os.path.relpath(path, top)].encode()), path
    return found


def check_params(seeded):
    assert tree(seeded.run(seeded.main) + "/params") == {
        "lr": "0.001\n", "optim/adam/beta 1": "0.9\n", "größe": "größer\n", "empty": "\n",
        "lines": "one\ntwo\n\n", "long": "x" * (500 if seeded.first else 6000) + "\n",
        "json": '{"a": [1, 2], "b": "ü"}\n',
        f"a{seeded.colon} b": "colon and space\n",
        "data-path": "/p/project/wind data/202?/*.nc\n"}


def check_tags(seeded):
    tags = tree(seeded.run(seeded.main) + "/tags")
    wanted = {"mlflow.note.content": "# Main run\n\nWith *notes*.\n", "fixture": "main\n",
              "stage/final": "yes\n", "日本": "語\n", "empty": "\n", "tag with spaces": " padded \n",
              "mlflow.source.type": "PROJECT\n", "mlflow.runName": "main run\n"}
    assert wanted.items() <= tags.items()


def check_metrics(seeded):
    run = seeded.run(seeded.main)
    gpu = f"system/gpu 0{seeded.colon} memory"
    expected = {
        "loss": [(i, math.exp(-i / 200) + 0.01 * math.sin(i), T0 + 1000 * i) for i in range(1000)],
        "val/rmse": [(i * 10, 1.5 / (1 + i), T0 + 1000 * i) for i in range(100)],
        gpu: [(i, 17179869184 * (i + 1), T0 + 1000 * i) for i in range(3)],
        "special": list(zip(range(6), (1.0, math.nan, math.inf, -math.inf, -0.0, 5e-324),
                            range(T0, T0 + 6))),
        "only nan": [(0, math.nan, T0)],
        "only inf": [(0, math.inf, T0)],
        "größe/μ": [(2**53 + 1, 0.1, T0)],
        # Out of order, negative, repeated: as the store keeps them.
        "steps": [(5, 50.0, T0 + 7), (-3, -30.0, T0 + 7), (9, 90.0, T0 + 7), (9, 91.0, T0 + 7),
                  (2, 20.0, T0 + 7)],
    }
    if not seeded.files:
        expected["steps"].sort()
    assert set(tree(f"{run}/metrics")) == set(expected)
    for key, points in expected.items():
        assert history(f"{run}/metrics/{key}") == [
            (step, bits(seeded.value(value)), of_day(ms)) for step, value, ms in points], key
    table = {row["key"]: row for row in rows(f"{run}/metrics.tsv")}
    assert set(table) == set(expected)
    assert bits(float(table["loss"]["last"])) == bits(expected["loss"][-1][1])
    assert table["loss"]["step"] == "999"
    assert (table["steps"]["last"], table["steps"]["step"]) == ("91", "9")
    assert table["only nan"]["last"] == "nan"
    for key, points in expected.items():  # all histories were read
        values = [(seeded.value(v), step) for step, v, _ in points if not math.isnan(v)]
        row = table[key]
        assert int(row["count"]) == len(points)
        if not values:
            assert {row[c] for c in ("min", "min_step", "max", "max_step")} == {""}
            continue
        for name, least in (("min", min(v for v, _ in values)), ("max", max(v for v, _ in values))):
            assert bits(float(row[name])) == bits(least), (key, name)
            assert int(row[f"{name}_step"]) == next(s for v, s in values if v == least)


def check_a_key_and_one_below_it(seeded):
    run = seeded.run(seeded.ids["run_a"])
    if seeded.files:  # which refuses that
        assert sorted(os.listdir(f"{run}/metrics")) == ["a", "a.b"]
        return
    assert sorted(os.listdir(f"{run}/metrics")) == ["a", "a%", "a.b"]
    assert [p[:2] for p in history(f"{run}/metrics/a%")] == [(0, bits(1.0))]
    assert [p[:2] for p in history(f"{run}/metrics/a/b")] == [(0, bits(3.0))]
    assert [p[:2] for p in history(f"{run}/metrics/a.b/c d")] == [(0, bits(2.0))]
    assert tree(f"{run}/params") == {"p%": "leaf\n", "p/q": "below a leaf\n"}


def check_artifacts(seeded):
    """cp -r of the mount and the server's own directory are the same."""
    run, copy = seeded.run(seeded.main), os.path.join(seeded.platform.dir, "copy")
    own = f"{seeded.server.artifacts}/{seeded.ids['experiment']}/{seeded.main}/artifacts"
    assert os.path.getsize(f"{own}/data/random.bin") == 1 << 20
    seeded.platform.sh(f"rm -rf '{copy}'; cp -r '{run}/artifacts' '{copy}'; diff -r '{own}' '{copy}'",
                       timeout=LONG)
    assert sum(len(files) for _, _, files in os.walk(copy)) == 131
    for folder, _, files in os.walk(own):
        for name in files:
            there = os.path.join(folder, name)
            assert os.path.getsize(there) == os.path.getsize(
                f"{run}/artifacts/{os.path.relpath(there, own)}")
    with open(f"{run}/artifacts/data/random.bin", "rb") as f:
        f.seek(1_000_000)
        data = random.Random(2).randbytes(1 << 20)
        assert f.read(100) == data[1_000_000:1_000_100]
    for missing in ("none", "plots/none", "none/none", "README.md.x"):
        with pytest.raises(FileNotFoundError):
            os.stat(f"{run}/artifacts/{missing}")


def listed(where, names, what):
    """A listing that is a few seconds late is shown as it was: what is looked for comes in a moment."""
    wait_for(lambda: os.listdir(where) == names, what, 60, every=0.2)


def check_deleted(seeded):
    deleted = seeded.ids["run_deleted"]
    listed(f"{seeded.project}/runs/deleted", [f"deleted.{deleted[:8]}"], "the deleted run")
    run = seeded.run(deleted, deleted=True)
    assert info(run)["deleted"] is True and read(f"{run}/status") == "FINISHED\n"
    assert read(f"{run}/artifacts/note.txt") == "still here\n"
    assert not any(n.startswith("deleted.") for n in seeded.runs())


def check_models(seeded):
    """A registered model: versions, aliases, files; and one that the run logged (MLflow 3)."""
    model = f"{seeded.project}/models/wind model"
    if seeded.first:
        assert not os.path.exists(f"{seeded.project}/models") or not os.listdir(f"{seeded.project}/models")
        return
    assert os.listdir(f"{seeded.project}/models") == ["wind model"]
    assert sorted(os.listdir(model)) == ["1", "2", "3", "champion", "next-try"]
    assert os.readlink(f"{model}/champion") == "2" and os.readlink(f"{model}/next-try") == "3"
    own = f"{seeded.server.artifacts}/{seeded.ids['experiment']}/{seeded.main}/artifacts/data"
    for version, note in (("1", "first"), ("2", "second"), ("3", "größer")):
        text = read(f"{model}/{version}/model.yaml")
        assert "model_description: 24 h ahead\n" in text
        assert f"description: {note}\n" in text and f"run: main run.{seeded.main[:8]}\n" in text
        assert f"round: '{version}'\n" in text and "  val/rmse: " in text
        assert sorted(os.listdir(f"{model}/{version}")) == ["model.yaml", "random.bin", "zeros.bin"]
    assert filecmp.cmp(f"{own}/random.bin", f"{model}/champion/random.bin", shallow=False)
    assert filecmp.cmp(f"{own}/zeros.bin", f"{model}/1/zeros.bin", shallow=False)
    run = seeded.run(seeded.main)
    if "logged_model" not in seeded.ids:
        assert not os.path.exists(f"{run}/models")
        return
    logged = os.listdir(f"{run}/models")
    assert len(logged) == 1
    assert read(f"{run}/models/{logged[0]}/MLmodel") == "artifact_path: net\nflavors: {}\n"
    with open(f"{run}/models/{logged[0]}/weights/layer 0.bin", "rb") as f:
        assert f.read() == bytes(range(256)) * 16


def check_tables(seeded):
    everything = {r["run"]: r for r in rows(f"{seeded.project}/runs/runs.tsv")}
    assert set(everything) == seeded.runs()
    table = {r["run"]: r for r in rows(f"{seeded.project}/experiments/{WIND}/runs.tsv")}
    assert set(table) == {n for n, r in everything.items() if r["experiment"] == WIND}
    main = table[os.path.basename(seeded.run(seeded.main))]
    assert (main["status"], main["user"], main["duration"]) == ("FINISHED", "ada", "100")
    assert main["params.long"] == "x" * (500 if seeded.first else 6000) and main["params.lines"] == "one\ntwo\n"
    assert bits(float(main["metrics.loss"])) == bits(math.exp(-999 / 200) + 0.01 * math.sin(999))
    assert main["metrics.only nan"] == "nan" and main["params.depth"] == ""
    for name, row in table.items():
        run = f"{seeded.project}/runs/{name}"
        assert row["status"] + "\n" == read(f"{run}/status")
        for key, value in row.items():
            if key.startswith("params.") and value:
                assert read(f"{run}/params/{key[7:]}") == value + "\n", (name, key)
    board = rows(f"{seeded.project}/experiments/{WIND}/leaderboard.tsv")
    assert {r["run"] for r in board} == {n for n, r in table.items() if r["status"] == "FINISHED"}
    order = [float(r["metrics.val/rmse"]) for r in board if r["metrics.val/rmse"]]
    assert order == sorted(order) and len(order) > 5  # the lower the better, says the experiment


def check_nothing_falls_out_of_a_walk(seeded):
    """find, grep -r and ls -lR of the whole project end well."""
    seeded.platform.sh(f"cd '{seeded.project}'; find . -ls > /dev/null; ls -lR . > /dev/null;"
                       "grep -rq 'größer' .", timeout=LONG)


def check_every_size_is_the_bytes_read(seeded):
    """Models, artifacts, keys, tables: what lstat says of each name, twice the same."""
    def everything():
        found = {}
        for folder, dirs, files in os.walk(seeded.project):
            for name in dirs + files:
                path = os.path.join(folder, name)
                st = os.lstat(path)
                found[path] = (stat.S_IFMT(st.st_mode), st.st_ino,
                               0 if stat.S_ISDIR(st.st_mode) else st.st_size)
        return found
    found, wrong = everything(), []
    for path, (kind, _, size) in found.items():
        if kind == stat.S_IFLNK and size != len(os.fsencode(os.readlink(path))):
            wrong.append(path)
        elif kind == stat.S_IFREG:
            with open(path, "rb") as f:
                if path.endswith("/metrics.tsv"):  # complete since the walk asked for sizes
                    size = os.lstat(path).st_size
                if len(f.read()) != size:
                    wrong.append(path)
    assert not wrong and (seeded.first or any("/models/" in path for path in found))
    # What was read may have completed a metrics.tsv, and nothing else.
    again = everything()
    assert again.keys() == found.keys()
    assert {p for p in found if again[p] != found[p] and not p.endswith("/metrics.tsv")} == set()


CHECKS = [check_experiments, check_runs, check_states, check_lineage, check_params, check_tags,
          check_metrics, check_a_key_and_one_below_it, check_artifacts, check_deleted, check_models, check_tables,
          check_nothing_falls_out_of_a_walk, check_every_size_is_the_bytes_read]


def test_the_table_of_metrics(seeded):
    """Last points only, until all histories of an ended run are here; a listing asks for none."""
    run = next(f"{seeded.project}/runs/{n}" for n in sorted(seeded.runs())
               if n != os.path.basename(seeded.run(seeded.main))
               and n != os.path.basename(seeded.run(seeded.ids["run_a"]))
               and read(f"{seeded.project}/runs/{n}/status") == "FINISHED\n"
               and os.listdir(f"{seeded.project}/runs/{n}/metrics"))
    table = read(f"{run}/metrics.tsv")
    assert all(line.endswith("\t\t\t\t\t") for line in table.splitlines()[1:])
    before = os.stat(f"{run}/metrics.tsv")
    seeded.platform.sh(f"find '{run}/metrics' -type f -exec cat {{}} + > /dev/null")
    assert all(line.split("\t")[-1].isdigit() for line in read(f"{run}/metrics.tsv").splitlines()[1:])
    after = os.stat(f"{run}/metrics.tsv")
    assert after.st_size == len(read(f"{run}/metrics.tsv").encode()) > before.st_size
    assert int(after.st_mtime) == int(before.st_mtime)


def test_a_run_restored_at_the_server(seeded):
    """It is where the server has it when runs/ or runs/deleted/ is next looked at."""
    gone = seeded.ids["run_deleted"]
    check_deleted(seeded)
    for look in ("runs", "runs/deleted"):
        seeded.api("runs/restore", {"run_id": gone})
        seeded.later(60)
        name = f"deleted.{gone[:8]}"
        wait_for(lambda: (name in os.listdir(f"{seeded.project}/{look}")) == (look == "runs"),
                 f"the restored run, by a look at {look}", 60, every=0.2)
        assert read(f"{seeded.run(gone)}/status") == "FINISHED\n"
        assert os.listdir(f"{seeded.project}/runs/deleted") == []
        seeded.api("runs/delete", {"run_id": gone})
        seeded.later(60)
        check_deleted(seeded)


@pytest.mark.parametrize("check", CHECKS, ids=lambda f: f.__name__[6:])
def test_shown(seeded, check):
    check(seeded)


def test_all_of_it_without_the_server(seeded):
    """An hour later, in another mount, and nobody there to ask."""
    for check in CHECKS:
        check(seeded)
    before = info(seeded.run(seeded.main))["as_of"]
    seeded.stop()
    seeded.later(3600)
    for check in CHECKS:
        check(seeded)
    assert info(seeded.run(seeded.main))["as_of"] < before


def test_written_through(seeded):
    """The last one: the server is back, and takes every verb."""
    seeded.start()
    seeded.api("experiments/create", {"name": "back"})
    it = Verbs(seeded, seeded.api)
    it.appears(f"{it.where}/back")
    it.all(f"{seeded.server.artifacts}/{{experiment}}/{{run}}/artifacts",
           "--no-artifacts" not in seeded.modes)
