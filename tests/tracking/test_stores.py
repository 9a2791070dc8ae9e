# SPDX-License-Identifier: Apache-2.0
"""Stores without a server: mlruns/ and mlflow.db, made by the real MLflow of each release, read
value by value; not touched by it; while MLflow writes; broken and hostile ones."""
import os
import shutil
import sqlite3
import subprocess

import pytest
from mantik import Platform
from test_seeded import *  # noqa: F403  the tests of servers, with the fixture below
from test_seeded import Seeded, parse, values
from tracking import FIRST, NEWEST, OLD, Store, connect, everything, track

STORES = [
    pytest.param((FIRST, "files"), id="1.30-files"),
    pytest.param((OLD, "files"), id="2.9-files"),
    pytest.param((NEWEST, "files"), id="newest-files"),
    pytest.param((OLD, "sqlite"), id="2.9-sqlite"),
    pytest.param((NEWEST, "sqlite"), id="newest-sqlite"),
]


class SeededStore(Seeded):
    def __init__(self, platform, store, name):
        self.platform, self.server, self.name = platform, store, name
        self.ids, self.old, self.files = store.ids, store.version != NEWEST, store.kind == "files"
        self.local = self.store = True
        self.first = store.version == FIRST
        self.colon = "" if self.old else ":"


@pytest.fixture(scope="module", params=STORES)
def seeded(request):
    platform, (version, kind) = Platform(), request.param
    try:
        store = Store(os.path.join(platform.dir, "work"), version, kind)
        before = everything(store.folder)
        yield SeededStore(platform, store, connect(platform, store.url))
        assert everything(store.folder) == before, "the store was touched"
    finally:
        platform.end()


# --- stores that are being written, are broken, or mean harm ---------------------------------


@pytest.fixture
def platform():
    it = Platform()
    yield it
    it.end()


@pytest.fixture(scope="module")
def made():
    """A small store of each kind, copied by who changes it: {kind: Store}"""
    platform = Platform()
    try:
        yield {kind: Store(os.path.join(platform.dir, kind), NEWEST, kind)
               for kind in ("files", "sqlite")}
    finally:
        platform.end()


class Copy:
    """A copy of a store at another place, and a connection to it. moved: what is written in it still
    names the first place, as after an rsync."""

    def __init__(self, platform, made, kind, moved=False):
        self.platform, self.kind, self.ids = platform, kind, made[kind].ids
        self.folder = os.path.join(platform.dir, "copied")
        shutil.copytree(made[kind].folder, self.folder, symlinks=True)
        self.path = os.path.join(self.folder, os.path.basename(made[kind].path))
        if not moved:
            Store.move(self, made[kind].folder, self.folder)
        url = ("file://" if kind == "files" else "sqlite:///") + self.path
        self.name = connect(platform, url)
        self.experiment = self.ids["experiment"]
        self.run = os.path.join(self.path, self.experiment, self.ids["run"])

    def ask(self, verb, *args, **more):
        return track(self.platform, self.name, verb, *args, **more)

    def why(self):
        """What was left out, and why."""
        return self.platform.ctl("cat", "/.mantik/errors").stdout

    def runs(self):
        return {r["name"]: r for r in self.ask("runs", self.experiment).rows}


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


@pytest.mark.parametrize("kind", ["files", "sqlite"])
def test_artifacts_of_a_store_that_was_copied(platform, made, kind):
    """artifact_uri names a place of another machine: the files are where the store is."""
    away = made[kind].folder + ".away"
    copy = Copy(platform, made, kind, moved=True)
    os.rename(made[kind].folder, away)
    try:
        assert copy.ask("read", "run", copy.ids["run"], "-", "README.md", 0, -1).bytes == \
            "# Größe\n".encode()
        assert copy.ask("read", "version", "wind model", 1, "zeros.bin", 0, 5).bytes == bytes(5)
        assert copy.ask("read", "model", copy.ids["logged_model"], "-", "MLmodel", 0, 8).bytes == \
            b"artifact"
    finally:
        os.rename(away, made[kind].folder)


def test_a_meta_that_is_half_written(platform, made):
    copy = Copy(platform, made, "files")
    meta = os.path.join(copy.run, "meta.yaml")
    with open(meta, "rb") as f:
        whole = f.read()
    for cut in (0, 1, 100, len(whole) - 1, whole.index(b"user_id")):
        write(meta, whole[:cut])
        answer = copy.ask("run", copy.ids["run"], check=False)
        assert answer.error == "EBUSY" and "being written" in answer.text, cut
        found = copy.runs()
        assert "main run" not in found and len(found) == 12
    # A moment later it is whole: who asks meanwhile waits for it.
    write(meta, whole[:100])
    writer = subprocess.Popen(["sh", "-c", 'sleep 0.05; cat "$1" > "$2"', "-", "/dev/stdin", meta],
                              stdin=subprocess.PIPE)
    writer.stdin.write(whole)
    writer.stdin.close()
    assert copy.ask("run", copy.ids["run"]).rows[0]["name"] == "main run"
    writer.wait()
    # One that stays so is broken, and said to be.
    write(meta, whole[:100])
    os.utime(meta, (1, 1))
    answer = copy.ask("run", copy.ids["run"], check=False)
    assert answer.error == "EREMOTEIO" and "is broken" in answer.text
    assert len(copy.runs()) == 12
    assert "meta.yaml: it ends in the middle of a line" in copy.why()


def test_a_line_that_is_half_written(platform, made):
    copy = Copy(platform, made, "files")
    loss = os.path.join(copy.run, "metrics", "loss")
    with open(loss, "ab") as f:
        f.write(b"1700001000000 0.25 1000\n1700001001000 0.2")
    points = copy.ask("history", copy.ids["run"], "loss").rows[0]
    assert len(points) == 1001 and parse(points[-1:]) == values([[1000, 0.25, 1700001000000 * MS]])
    last = copy.ask("run", copy.ids["run"]).rows[0]["metrics"]["loss"]
    assert parse([last]) == values([[1000, 0.25, 1700001000000 * MS]])
    with open(loss, "ab") as f:
        f.write(b"5 1001\n")
    tail = copy.ask("tail", copy.ids["run"], "loss", 1001, 1000, (0.25).hex(), 1700001000000 * MS)
    assert parse(tail.rows[0]) == values([[1001, 0.25, 1700001001000 * MS]])


def test_lines_of_all_releases(platform, made):
    """Two, three and five words; broken and endless ones are left out, with where they are."""
    copy = Copy(platform, made, "files")
    write(os.path.join(copy.run, "metrics", "words"),
          b"1700000000000 1.5\n1700000000001 -2e-05 7\n1700000000002 3 8 my data abc123\n"
          b"1700000000003 nan -4\n1700000000004 inf 9223372036854775807\r\n"
          b"x 1 1\n\n1 2 3 4\n1 0x1p3 1\n1 2 99999999999999999999\n" + b"9" * 5000 + b" 1 1\n"
          + b"7" * (3 << 20) + b"\n1700000000005 4.0 9\n")
    points = parse(copy.ask("history", copy.ids["run"], "words").rows[0])
    assert points == values([
        [0, 1.5, 1700000000000 * MS], [7, -2e-05, 1700000000001 * MS], [8, 3.0, 1700000000002 * MS],
        [-4, math.nan, 1700000000003 * MS], [2**63 - 1, math.inf, 1700000000004 * MS],
        [9, 4.0, 1700000000005 * MS]])
    assert "metrics/words: at byte" in copy.why() and "a line that is no point" in copy.why()


def test_hostile_files(platform, made):
    """Each is left out with a sentence, what is beside it is shown; nothing outside is read."""
    copy = Copy(platform, made, "files")
    secret = os.path.join(platform.dir, "secret")
    write(secret, b"do not tell\n")
    where = os.path.join(copy.path, copy.experiment)
    trials = [e.path for e in os.scandir(where)
              if os.path.isdir(f"{e.path}/metrics") and e.name != copy.ids["run"]]
    bomb = b"".join(b"a%d: &a%d [%s]\n" % (i, i, b",".join([b"*a%d" % (i - 1)] * 9) if i else b"x")
                    for i in range(30))
    write(f"{trials[0]}/meta.yaml", bomb + b"user_id: x\n")
    write(f"{trials[1]}/meta.yaml", b"user_id: " + b"[" * 100000 + b"\n")
    write(f"{trials[2]}/meta.yaml", b"x" * (2 << 20) + b"\n")
    os.unlink(f"{trials[3]}/meta.yaml")
    os.symlink(secret, f"{trials[3]}/meta.yaml")
    shutil.copytree(trials[4], f"{where}/{'a' * 32}")  # that of another run
    shutil.rmtree(f"{trials[5]}/params")
    os.symlink(platform.dir, f"{trials[5]}/params")
    for path in trials[:3]:
        os.utime(f"{path}/meta.yaml", (1, 1))
    run = copy.run
    os.symlink(secret, f"{run}/params/stolen")
    os.symlink("/etc", f"{run}/tags/etc")
    os.mkfifo(f"{run}/params/fifo")
    write(f"{run}/params/huge", b"y" * (2 << 20))
    write(f"{run}/params/bytes", b"a\0b\xff\n")
    write(os.fsencode(f"{run}/params/") + b"\xff\xfe", b"1")
    write(f"{run}/metrics/empty", b"")
    os.symlink(secret, f"{run}/artifacts/stolen.txt")
    os.symlink("README.md", f"{run}/artifacts/inside.txt")
    os.symlink(".", f"{run}/artifacts/loop")
    os.symlink(secret, f"{where}/{'b' * 32}")
    found = {r["id"]: r for r in copy.ask("runs", copy.experiment).rows}
    gone = {os.path.basename(t) for t in trials[:4]} | {"a" * 32, "b" * 32}
    assert len(found) == 13 - 4 and not gone & set(found)
    assert found[os.path.basename(trials[5])]["params"] == []
    params = dict(map(tuple, found[copy.ids["run"]]["params"]))
    assert params["lr"] == "0.001" and params["bytes"] == "a\ufffdb\ufffd\n"
    assert not {"stolen", "fifo", "huge"} & set(params)
    assert "empty" not in found[copy.ids["run"]]["metrics"]
    files = {f["path"]: f for f in copy.ask("files", "run", copy.ids["run"], "-", "").rows}
    assert not {"stolen.txt", "loop"} & set(files) and files["inside.txt"]["size"] == 10
    answer = copy.ask("read", "run", copy.ids["run"], "-", "stolen.txt", 0, -1, check=False)
    assert (answer.error, answer.bytes) == ("EACCES", b"")
    why = copy.why()
    for sentence in ("params/stolen: a link", "tags/etc: a link", "params/fifo: no file",
                     "more than 1 MiB", "a key that is no UTF-8", "is that of run",
                     "a link out of the run's files", "it has 2097153 bytes"):
        assert sentence in why, (sentence, why)


@pytest.mark.parametrize("uri", ["/etc", "file:///etc", "file:///root/.ssh", "{dir}/home",
                                 "s3://bucket/x/artifacts", "file://host/x/{run}/artifacts"])
def test_artifact_uri_that_leads_elsewhere(platform, made, uri):
    """A place that MLflow cannot have named is not opened."""
    copy = Copy(platform, made, "files")
    shutil.rmtree(f"{copy.run}/artifacts")
    meta = os.path.join(copy.run, "meta.yaml")
    text = open(meta).read()
    lines = [f"artifact_uri: {uri.format(dir=platform.dir, run=copy.ids['run'])}"
             if line.startswith("artifact_uri:") else line for line in text.split("\n")]
    write(meta, "\n".join(lines).encode())
    answer = copy.ask("files", "run", copy.ids["run"], "-", "", check=False)
    assert answer.error == "EOPNOTSUPP" and answer.rows == [], answer.text


def test_artifact_uri_elsewhere_on_this_machine(platform, made):
    copy = Copy(platform, made, "files")
    there = f"{platform.dir}/scratch space/{copy.ids['run']}/artifacts"
    os.makedirs(os.path.dirname(there))
    os.rename(f"{copy.run}/artifacts", there)
    meta = os.path.join(copy.run, "meta.yaml")
    text = open(meta).read()
    url = "file://" + there.replace(" ", "%20")
    write(meta, "\n".join(f"artifact_uri: {url}" if line.startswith("artifact_uri:") else line
                          for line in text.split("\n")).encode())
    assert copy.ask("read", "run", copy.ids["run"], "-", "README.md", 0, -1).bytes == \
        "# Größe\n".encode()


# --- a database that is being written --------------------------------------------------------


def test_a_log_that_is_not_in_the_database_yet(platform, made):
    """WAL with a connection open: what it holds is shown, and no file changes."""
    copy = Copy(platform, made, "sqlite")
    db = sqlite3.connect(copy.path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA wal_autocheckpoint=0")
    db.execute("UPDATE params SET value = 'new' WHERE key = 'lr' AND run_uuid = ?", (copy.ids["run"],))
    before = everything(copy.folder)
    assert before["mlflow.db-wal"][0]
    answer = copy.ask("run", copy.ids["run"])
    assert dict(map(tuple, answer.rows[0]["params"]))["lr"] == "new"
    assert everything(copy.folder) == before
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.execute("UPDATE params SET value = 'newer' WHERE key = 'lr'")
    assert dict(map(tuple, copy.ask("run", copy.ids["run"]).rows[0]["params"]))["lr"] == "newer"
    db.close()
    assert not os.path.exists(copy.path + "-wal")
    before = everything(copy.folder)
    assert dict(map(tuple, copy.ask("run", copy.ids["run"]).rows[0]["params"]))["lr"] == "newer"
    assert everything(copy.folder) == before  # nor a -wal or -shm of ours
    assert not os.listdir(f"{platform.cache}/foreign")


def test_a_writer_that_was_killed(platform, made):
    """A hot journal: the state before its transaction is shown, and neither file changes."""
    copy = Copy(platform, made, "sqlite")
    code = ("import sqlite3, sys, os, signal\n"
            "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
            "db.execute('PRAGMA cache_size=1'); db.execute('PRAGMA cache_spill=1')\n"
            "db.execute('BEGIN'); db.execute(\"UPDATE params SET value = 'lost'\")\n"
            "db.execute(\"UPDATE metrics SET value = value + 77\")\n"
            "os.kill(os.getpid(), signal.SIGKILL)\n")
    subprocess.run(["/usr/bin/python3", "-c", code, copy.path])
    assert os.path.getsize(copy.path + "-journal") > 1000
    before = everything(copy.folder)
    points = parse(copy.ask("history", copy.ids["run"], "loss").rows[0])
    assert len(points) == 1000 and points[0] == values([[0, 1.0, T0 * MS]])[0]
    params = dict(map(tuple, copy.ask("run", copy.ids["run"]).rows[0]["params"]))
    assert params["lr"] == "0.001"
    assert everything(copy.folder) == before


def test_a_journal_that_names_another_file(platform, made):
    """SQLite would remove that file after rolling back."""
    copy = Copy(platform, made, "sqlite")
    victim = os.path.join(platform.dir, "thesis.tex").encode()
    write(victim, b"work")
    name = victim
    write(copy.path + "-journal",
          bytes.fromhex("d9d505f920a163d7") + (0).to_bytes(4, "big") * 3 +
          (512).to_bytes(4, "big") + (4096).to_bytes(4, "big") + bytes(484) +
          (1).to_bytes(4, "big") + name + len(name).to_bytes(4, "big") +
          sum(name).to_bytes(4, "big") + bytes.fromhex("d9d505f920a163d7"))
    os.utime(copy.path + "-journal", (1, 1))
    answer = copy.ask("run", copy.ids["run"], check=False)
    assert answer.error == "EREMOTEIO" and "several databases" in answer.text
    assert os.path.exists(victim)


def test_a_database_that_is_written_all_the_time(platform, made):
    """A writer that commits with hardly a pause: what is read is always one state, and the writer is
    never turned away for longer than a moment."""
    copy = Copy(platform, made, "sqlite")
    code = ("import sqlite3, sys, time\n"
            "db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=5)\n"
            "end, n = time.time() + 60, 0\n"
            "print('begun', flush=True)\n"
            "while time.time() < end:\n"
            "    n += 1\n"
            "    db.execute('BEGIN IMMEDIATE')\n"
            "    db.execute(\"UPDATE params SET value = ? WHERE key LIKE 'k%'\", (str(n),))\n"
            "    db.execute('COMMIT')\n"
            "    time.sleep(n % 3 * 0.02)\n")
    db = sqlite3.connect(copy.path)
    db.executemany("INSERT INTO params (key, value, run_uuid) VALUES (?, '0', ?)",
                   [(f"k{i:06}", copy.ids["run"]) for i in range(20000)])
    db.commit()
    db.close()
    writer = subprocess.Popen(["/usr/bin/python3", "-c", code, copy.path], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
    try:
        assert writer.stdout.readline() == "begun\n"
        seen = set()
        for _ in range(8):
            params = [v for k, v in copy.ask("run", copy.ids["run"]).rows[0]["params"] if k[0] == "k"]
            assert len(params) == 20000 and len(set(params)) == 1, set(params)
            seen |= set(params)
        assert len(seen) > 1
        assert writer.poll() is None, writer.stderr.read()
    finally:
        writer.kill()
        writer.wait()


def test_hostile_databases(platform, made):
    copy = Copy(platform, made, "sqlite")
    run = copy.ids["run"]

    def says(error, sentence):
        answer = copy.ask("run", run, check=False)
        assert answer.error == error and sentence in answer.text, answer.text
    with open(copy.path, "rb") as f:
        whole = f.read()
    # A view that never ends in the place of a table.
    db = sqlite3.connect(copy.path)
    db.execute("ALTER TABLE runs RENAME TO runs2")
    db.execute("CREATE VIEW runs AS WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x)"
               " SELECT n AS run_uuid, n AS name, n AS lifecycle_stage FROM x")
    db.commit()
    db.close()
    answer = copy.ask("run", run, check=False, TRACKCTL_DEADLINE=5000)
    assert answer.error in ("EIO", "EREMOTEIO", "EINVAL", "ETIMEDOUT"), answer.text
    for data, error, sentence in ((b"", "EBUSY", "being made"), (b"x" * 5000, "EREMOTEIO", "no SQLite"),
                                  (whole[:100] + bytes(5000), "EREMOTEIO", "damaged")):
        write(copy.path, data)
        says(error, sentence)
    os.unlink(copy.path)
    says("EHOSTUNREACH", "No such file")
    db = sqlite3.connect(copy.path)
    db.execute("CREATE TABLE runs (x)")
    db.commit()
    db.close()
    says("EOPNOTSUPP", "is no database of MLflow 2.9 to 3.x")


# --- what MLflow does meanwhile --------------------------------------------------------------


@pytest.mark.parametrize("kind", ["files", "sqlite"])
def test_a_run_that_is_logged_meanwhile(platform, kind):
    """The real client logs, deletes, restores and renames: each time it is so here, too."""
    store = Store(os.path.join(platform.dir, "work"), NEWEST, kind)
    name, wind = connect(platform, store.url), store.ids["experiment"]
    out = store.client("r = client.create_run('%s', run_name='fresh')\n"
                       "client.log_metric(r.info.run_id, 'm', 0.5, 1700000000000, 1)\n"
                       "client.log_param(r.info.run_id, 'p', 'v')\nprint(r.info.run_id)" % wind)
    run = out.strip()
    row = track(platform, name, "run", run).rows[0]
    assert (row["name"], row["status"], row["params"]) == ("fresh", "RUNNING", [["p", "v"]])
    store.client(f"client.log_metric('{run}', 'm', 0.25, 1700000001000, 2)\n"
                 f"client.set_tag('{run}', 't', 'x')\nclient.set_terminated('{run}')")
    tail = track(platform, name, "tail", run, "m", 1, 1, (0.5).hex(), 1700000000000 * MS)
    assert parse(tail.rows[0]) == values([[2, 0.25, 1700000001000 * MS]])
    row = track(platform, name, "run", run).rows[0]
    assert row["status"] == "FINISHED" and ["t", "x"] in row["tags"]
    store.client(f"client.delete_run('{run}')")
    assert run in {r["id"] for r in track(platform, name, "runs", wind, "deleted").rows}
    store.client(f"client.restore_run('{run}'); client.update_run('{run}', name='renamed')")
    assert "renamed" in {r["name"] for r in track(platform, name, "runs", wind).rows}
    store.client(f"client.delete_experiment('{wind}')")
    found = {e["id"]: e["deleted"] for e in track(platform, name, "experiments").rows}
    assert found[wind] is True and found[store.ids["experiment_odd"]] is False
    assert track(platform, name, "run", run).rows[0]["deleted"]
    store.end()
