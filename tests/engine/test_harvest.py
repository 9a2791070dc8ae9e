# SPDX-License-Identifier: Apache-2.0
"""What a job logs by files under MANTIK_RUN_DIR, live and across kills of mantikd; artifacts."""
import os
import time

import pytest

from engine import Engine
from mantik import wait_for


@pytest.fixture
def engine(platform):
    return Engine(platform, slots=2)


def gate(platform, name):
    return os.path.join(platform.dir, name)


def test_metrics_params_and_tags_arrive_while_it_runs(engine, platform):
    go = gate(platform, "go")
    run = engine.submit(f"""
cd $MANTIK_RUN_DIR
echo 0.5 >> metrics/loss; echo 0.25 >> metrics/loss
mkdir -p metrics/train; echo '7 1e-3' >> metrics/train/lr
echo 16 > params/batch_size; printf small > tags/size
until [ -e {go} ]; do sleep 0.05; done
printf 0.125 >> metrics/loss""")
    engine.daemon()
    wait_for(lambda: run.points("loss") == [(0, 0.5), (1, 0.25)], "two points")
    wait_for(lambda: run.points("train/lr") == [(7, 0.001)], "a key with a slash")
    wait_for(lambda: run.values("params") == {"batch_size": "16"}, "the param")
    wait_for(lambda: run.values("tags") == {"size": "small"}, "the tag")
    assert run.status == "RUNNING"
    open(go, "w").close()
    assert run.wait() == "FINISHED"
    # The last line has no newline: it was complete when the job was.
    assert run.points("loss") == [(0, 0.5), (1, 0.25), (2, 0.125)]


def test_keys_are_written_as_the_tree_writes_them(engine):
    run = engine.submit("""
cd $MANTIK_RUN_DIR
mkdir -p metrics/train metrics/a/b
echo 1 >> metrics/train/loss; echo 2 >> metrics/train%
echo 3 >> metrics/half%25; echo 4 >> metrics/%2Ehidden; echo 5 >> metrics/a/b%
echo 6 >> metrics/top5%; echo 7 >> metrics/acc%20top; echo 8 >> metrics/100%2525
mkdir params/p; printf x > params/p%""")
    engine.daemon()
    assert run.wait() == "FINISHED"
    for key, value in {"train/loss": 1, "train": 2, "half%": 3, ".hidden": 4, "a/b": 5, "top5%": 6,
                       "acc%20top": 7, "100%25": 8}.items():
        assert run.points(key) == [(0, value)], key
    assert run.values("params") == {"p": "x"}


def test_a_line_waits_for_its_newline(engine, platform):
    go = gate(platform, "go")
    run = engine.submit(f"""
printf '3 0.' >> $MANTIK_RUN_DIR/metrics/loss
until [ -e {go} ]; do sleep 0.05; done
echo 75 >> $MANTIK_RUN_DIR/metrics/loss; echo 4 1 >> $MANTIK_RUN_DIR/metrics/loss""")
    engine.daemon()
    run.until("RUNNING")
    time.sleep(0.3)  # nothing must happen
    assert run.points("loss") == []
    open(go, "w").close()
    assert run.wait() == "FINISHED"
    assert run.points("loss") == [(3, 0.75), (4, 1.0)]


def test_who_sees_the_end_sees_all(engine):
    run = engine.submit("for i in $(seq 2000); do echo $i $i; done >> $MANTIK_RUN_DIR/metrics/m;"
                        "echo v > $MANTIK_RUN_DIR/params/p")
    engine.daemon()
    assert run.wait() == "FINISHED"
    assert len(run.points("m")) == 2000 and run.values("params") == {"p": "v"}


def test_bad_lines_are_told_and_stop_nothing(engine, platform):
    secret = gate(platform, "secret")
    with open(secret, "w") as f:
        f.write("5\n")
    run = engine.submit(f"""
cd $MANTIK_RUN_DIR
echo 1 >> metrics/m; echo nonsense >> metrics/m; echo 2 >> metrics/m
ln -s {secret} metrics/stolen; ln -s {secret} params/stolen; mkfifo metrics/fifo
head -c 9000 /dev/zero | tr '\\0' x > params/long
echo 1 > params/a; echo hidden > metrics/.swp; echo 1 > metrics/backup~""")
    engine.daemon()
    assert run.wait() == "FINISHED"
    assert [v for _, v in run.points("m")] == [1.0, 2.0]
    assert [r["key"] for r in engine.rows("SELECT key FROM metrics")] == ["m"]
    assert run.values("params") == {"a": "1"}
    log = run.file("submission")
    assert log.count("nonsense") == 1
    for name in ("metrics/stolen", "params/stolen", "metrics/fifo", "params/long"):
        assert log.count(name + ":") == 1, log


def test_a_param_never_changes_and_says_so(engine, platform):
    go = gate(platform, "go")
    run = engine.submit(f"""echo 1 > $MANTIK_RUN_DIR/params/p; echo 1 > $MANTIK_RUN_DIR/tags/t
until [ -e {go} ]; do sleep 0.05; done
echo 2 > $MANTIK_RUN_DIR/params/p; echo 2 > $MANTIK_RUN_DIR/tags/t""")
    engine.daemon()
    wait_for(lambda: run.values("params") and run.values("tags"), "the first values")
    open(go, "w").close()
    assert run.wait() == "FINISHED"
    assert run.values("params") == {"p": "1"} and run.values("tags") == {"t": "2"}
    assert "params never change" in run.file("submission")


def test_nothing_is_lost_or_doubled_across_kills(engine, platform):
    go = gate(platform, "go")
    run = engine.submit(f"""
cd $MANTIK_RUN_DIR
for i in 1 2 3 4 5 6; do
  echo $i $i >> metrics/loss; until [ -e {go}$i ]; do sleep 0.02; done
done""")
    daemon = engine.daemon()
    for i in range(1, 7):
        if i in (3, 5):
            daemon.kill()
            daemon.wait()
        open(f"{go}{i}", "w").close()
        if i in (4, 6):
            time.sleep(0.1)
            daemon = engine.daemon()
    assert run.wait() == "FINISHED"
    assert run.points("loss") == [(i, float(i)) for i in range(1, 7)]


def test_a_mount_changed_tag_is_not_set_back(engine, platform):
    go = gate(platform, "go")
    run = engine.submit(f"echo 1 > $MANTIK_RUN_DIR/tags/t; until [ -e {go} ]; do sleep 0.05; done")
    engine.daemon()
    wait_for(lambda: run.values("tags") == {"t": "1"}, "the tag")
    with engine.db() as db:
        db.execute("UPDATE tags SET value = 'mine' WHERE run_id = ?", (run.id,))
    engine.kill()
    engine.daemon()
    open(go, "w").close()
    assert run.wait() == "FINISHED"
    assert run.values("tags") == {"t": "mine"}


def test_without_inotify_files_are_looked_at(engine, platform):
    """More directories than one job may have watched: found all the same."""
    go = gate(platform, "go")
    run = engine.submit(f"""
cd $MANTIK_RUN_DIR/metrics
mkdir a; rm -rf a; mkdir -p a/b/c/d; echo 5 > a/b/c/d/deep
until [ -e {go} ]; do sleep 0.05; done""")
    engine.daemon()
    wait_for(lambda: run.points("a/b/c/d/deep") == [(0, 5.0)], "the deep key")
    open(go, "w").close()
    assert run.wait() == "FINISHED"


def tree(folder):
    found = {}
    for where, _, files in os.walk(folder):
        for name in files:
            path = os.path.join(where, name)
            with open(path, "rb") as f:
                found[os.path.relpath(path, folder)] = f.read()
    return found


def test_artifacts_are_copied_out(engine, platform):
    outside = gate(platform, "outside")
    os.makedirs(outside)
    with open(os.path.join(outside, "secret"), "w") as f:
        f.write("secret")
    run = engine.submit(f"""
echo a > a.csv; echo b > b.csv; mkdir -p ckpt/best1/x ckpt/worst deep/er
echo 1 > ckpt/best1/x/w; echo 2 > ckpt/worst/w; echo d > deep/er/d.log; echo t > tool; chmod +x tool
ln -s {outside}/secret leak.csv; ln -s {outside} leakdir; ln -s a.csv inside.csv; ln -s .. ckpt/best1/up
ln -s x ckpt/best1/latest; ln -s ../worst ckpt/best1/worst; ln -s $PWD/ckpt ckpt/best1/whole
touch -d 2020-01-02T03:04:05Z a.csv; echo .h > .hidden.csv
exit 1""", plan={"artifacts": ["*.csv", "ckpt/best*", "**/*.log", "./tool", "leakdir/*", "none*",
                               "../*", "/etc/passwd"]})
    engine.daemon()
    assert run.wait() == "FAILED"
    folder = os.path.join(run.record, "artifacts")
    assert tree(folder) == {"a.csv": b"a\n", "b.csv": b"b\n", "inside.csv": b"a\n",
                            "ckpt/best1/x/w": b"1\n", "deep/er/d.log": b"d\n", "tool": b"t\n"}
    assert os.stat(os.path.join(folder, "a.csv")).st_mtime == 1577934245
    assert os.access(os.path.join(folder, "tool"), os.X_OK)
    log = run.file("submission")
    assert "leak.csv left out: a link out of the working directory" in log
    assert "nothing matches none*" in log
    # A link to a directory stays a link if that is an artifact, too.
    best = os.path.join(folder, "ckpt/best1")
    assert {n: os.readlink(f"{best}/{n}") for n in os.listdir(best)
            if os.path.islink(f"{best}/{n}")} == {"latest": "x", "up": ".."}
    assert "ckpt/best1/worst left out: a link to a directory that is no artifact" in log
    assert "ckpt/best1/whole left out: a link" in log
    assert not os.path.exists(os.path.join(run.record, "collecting"))


def test_artifacts_join_what_the_job_logged(engine, platform):
    """What came by the tracking server while the job ran is there already, and stays what it is."""
    go = gate(platform, "go")
    run = engine.submit(f"""mkdir -p d/e; echo mine > d/e/new; echo mine > d/logged; echo mine > top
while [ ! -e {go} ]; do sleep 0.05; done""", plan={"artifacts": ["d", "top"]})
    engine.daemon()
    run.until("RUNNING")
    folder = os.path.join(run.record, "artifacts")
    os.makedirs(os.path.join(folder, "d/other"))
    for name in ("d/logged", "d/other/f"):
        with open(os.path.join(folder, name), "w") as f:
            f.write("logged")
    open(go, "w").close()
    assert run.wait() == "FINISHED"
    assert tree(folder) == {"d/e/new": b"mine\n", "d/logged": b"logged", "d/other/f": b"logged",
                            "top": b"mine\n"}
    assert "artifacts: d/logged left out: the job logged a file of this name" in run.file("submission")


def test_artifacts_half_moved_by_a_killed_mantikd(engine, platform):
    go = gate(platform, "go")
    run = engine.submit(f"""mkdir d; echo moved > d/a; echo left > d/b
while [ ! -e {go} ]; do sleep 0.05; done""", plan={"artifacts": ["d"]})
    engine.daemon()
    run.until("RUNNING")
    for name, text in (("artifacts/d/a", "moved"), ("collected/d/b", "left")):
        os.makedirs(os.path.dirname(os.path.join(run.record, name)))
        with open(os.path.join(run.record, name), "w") as f:
            f.write(text)
    open(go, "w").close()
    assert run.wait() == "FINISHED"
    assert tree(os.path.join(run.record, "artifacts")) == {"d/a": b"moved", "d/b": b"left"}


def test_a_sparse_artifact_stays_sparse(engine, platform):
    run = engine.submit("truncate -s 3G holes; printf begin | dd of=holes conv=notrunc status=none\n"
                        "printf middle | dd of=holes bs=1M seek=1500 conv=notrunc status=none\n"
                        "head -c 9000000 /dev/urandom > dense", plan={"artifacts": ["holes", "dense"]})
    engine.daemon()
    assert run.wait(60) == "FINISHED"
    for name in ("holes", "dense"):
        copy, original = (os.path.join(where, name) for where in (run.record + "/artifacts", run.workdir))
        assert platform.run("cmp", copy, original).returncode == 0
        assert abs(os.stat(copy).st_blocks - os.stat(original).st_blocks) < 200
    assert run.row()["reason"] is None


def test_artifacts_of_an_unreadable_directory_do_not_change_the_status(engine):
    run = engine.submit("echo a > a.csv; rm -rf $MANTIK_WORKING_DIRECTORY",
                        plan={"artifacts": ["*.csv"]})
    engine.daemon()
    assert run.wait() == "FINISHED"
    assert "artifacts:" in run.file("submission")


MANY = """#!/usr/bin/env python3
import os, time
where = os.environ["MANTIK_RUN_DIR"] + "/metrics/"
for k in range(3):
    for i in range(6000):
        with open(f"{where}k{i}", "a") as f:
            f.write(f"{k} {i}\\n")
"""


def test_a_job_of_very_many_keys_makes_nobody_wait(engine):
    many = engine.submit(MANY, poke=False)
    engine.daemon()
    wait_for(lambda: engine.rows("SELECT count(*) AS n FROM metrics")[0]["n"] > 300, "some keys")
    begin = time.monotonic()
    for _ in range(3):
        assert engine.submit("true").wait() == "FINISHED"
    took = time.monotonic() - begin
    assert many.status == "RUNNING"
    print(f"three quick runs: {took:.2f} s")
    assert took < 3, took
    many.wait(120)
    assert engine.rows("SELECT count(*) AS n FROM points")[0]["n"] == 18000


def test_names_that_are_no_text_are_one_line_of_the_log(engine):
    run = engine.submit("cd $MANTIK_RUN_DIR/metrics; echo 1 >> \"$(printf 'a\\nb')\"\n"
                        "echo 1 >> \"$(printf 'c\\377')\"; printf 'x\\033[31m\\n' >> d")
    engine.daemon()
    assert run.wait() == "FINISHED"
    with open(os.path.join(run.record, "submission"), "rb") as f:
        lines = f.read().decode().splitlines()
    assert sorted(line.split(" ", 1)[1].split(": ")[0] for line in lines) == [
        "metrics/a\\x0ab", "metrics/c\\xff", "metrics/d"]
    assert any(r"x\x1b[31m" in line for line in lines)
