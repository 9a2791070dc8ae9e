# SPDX-License-Identifier: Apache-2.0
"""Everything at once, and the mount goes away in the middle of it: 200 submissions by cp, listings,
reads, growing logs, appends, saves, cancels, mkdirs, a commit's tree. What was acknowledged is there
afterwards, exactly once; while a mount was there nothing failed.

A worker is a function called again and again by a thread of its own. An error counts only when the
same mount was there before and after the call: while it goes, everything may fail, with any errno.
"""
import collections
import contextlib
import os
import random
import subprocess
import threading
import time

import pytest
from conftest import Mounted
from mantik import wait_for
from mount import device, timed

SECONDS = 60 if os.environ.get("MANTIK_TEST_FULL") else 10
SUBMISSIONS = 200
SUBMITTERS = 4
ENDED = ("FINISHED", "FAILED", "KILLED", "UNKNOWN")


class Load:
    def __init__(self, platform, sha, repository):
        self.platform, self.sha, self.repository = platform, sha, repository
        self.p = os.path.join(platform.mountpoint, "projects/p")
        self.runs = self.p + "/runs"
        self.outside = platform.dir + "/outside"
        self.generation = 1        # odd: mounted; even: going, gone or coming
        self.stopped = threading.Event()
        self.failures = []
        self.calls = collections.Counter()
        self.lock = threading.Lock()
        self.began = time.monotonic()
        self.next = 0
        self.acknowledged, self.cancelled = [], set()
        self.experiments, self.appended, self.tried = [], [], []
        self.saved = self.saving = 0
        self.log_at, self.keeper = 0, None

    # --- workers -------------------------------------------------------------------------------

    def sh(self, script, *args):
        r = self.platform.run("bash", "-c", script, "load", *args, cwd=self.platform.dir)
        return r.stdout

    def submit(self):
        with self.lock:
            if self.next - SUBMISSIONS >= 50 or len(self.acknowledged) >= SUBMISSIONS:
                return False
            n = self.next
            self.next += 1
        # Evenly over the whole time: some are under way when the mount goes.
        time.sleep(max(0, self.began + n * SECONDS / SUBMISSIONS - time.monotonic()))
        spec = f"{self.platform.dir}/spec{n}.yaml"
        with open(spec, "w") as f:
            f.write(f"name: load-{n}\nexperiment: e{n % 3}\ncommand: 'echo {n} >> {self.outside};"
                    f" echo {n} >> $MANTIK_RUN_DIR/metrics/loss; echo out {n}'\n")
        self.platform.run("cp", spec, self.runs + "/new")
        self.acknowledged.append(n)

    def list_runs(self):
        known = list(self.acknowledged)
        shown = self.sh("ls -l \"$1\" | awk '{print $9}'", self.runs + "/")
        names = {line.rsplit(".", 1)[0] for line in shown.splitlines()}
        missing = [n for n in known if f"load-{n}" not in names]
        assert not missing, f"ls -l does not show {missing}"

    def find(self):
        known = len(self.acknowledged)
        shown = self.sh(f"find {self.runs} -maxdepth 2 -name status").splitlines()
        assert len(shown) >= known, f"find shows {len(shown)} of {known} runs"

    def read_a_run(self):
        run = self.any_run()
        if run:
            self.sh('shopt -s nullglob; set -e; cd "$1"; cat info.yaml metrics/* > /dev/null;'
                    ' grep -Eqx "SCHEDULED|RUNNING|FINISHED|FAILED|KILLED" status', run)

    def tables(self):
        made = {f"e{n % 3}" for n in list(self.acknowledged)}  # by the submission itself
        files = [self.runs + "/runs.tsv", self.p + "/experiments/e/leaderboard.tsv"]
        self.platform.run("cat", *files, *(f"{self.p}/experiments/{e}/runs.tsv" for e in made))

    def follow(self):
        """The log of the run that talks all the time: what comes is what follows, nothing twice."""
        with open(self.keeper + "/logs/stdout", "rb") as f:
            f.seek(self.log_at)
            text = f.read()
        text = text[:text.rfind(b"\n") + 1]
        first = self.log_at // 8
        want = b"".join(b"%07d\n" % i for i in range(first, first + len(text) // 8))
        assert text == want, f"the log from {self.log_at} on: {text[:80]}"
        self.log_at += len(text)
        time.sleep(0.02)

    def tail(self):
        """The real one, for a second."""
        tail = self.platform.start("timeout", "1", "tail", "-n", "3", "-s", "0.1", "-f",
                                   self.keeper + "/logs/stdout")
        text = tail.communicate(timeout=60)[0]
        lines = text.split("\n")[:-1]
        assert lines, "tail -f shows nothing"
        first = int(lines[0])
        assert lines == [f"{first + i:07}" for i in range(len(lines))], text

    def append(self):
        self.tried.append(len(self.tried))
        with open(self.keeper + "/metrics/mine", "a") as f:
            f.write(f"{self.tried[-1]} {self.tried[-1]}.5\n")
        self.appended.append(self.tried[-1])
        time.sleep(0.02)

    def save(self):
        """As editors do: a new file beside it, renamed over."""
        self.saving += 1
        with open(self.p + "/project.yaml") as f:
            kept = [line for line in f if not line.startswith("summary:")]
        with open(self.p + "/project.yaml~", "w") as f:
            f.write("".join(kept) + f"summary: save {self.saving}\n")
        os.rename(self.p + "/project.yaml~", self.p + "/project.yaml")
        self.saved = self.saving
        time.sleep(0.05)

    def cancel(self):
        """Every tenth; one that has ended in between says so."""
        for n in [n for n in self.acknowledged if n % 10 == 3 and n not in self.cancelled]:
            (run,) = [r for r in os.listdir(self.runs) if r.startswith(f"load-{n}.")]
            try:
                with open(f"{self.runs}/{run}/ctl", "w") as f:
                    f.write("cancel\n")
            except OSError:
                with open(f"{self.runs}/{run}/status") as f:
                    if f.read().strip() not in ENDED:
                        raise
            self.cancelled.add(n)
        time.sleep(0.1)

    def mkdir(self):
        name = f"x{self.calls['mkdir']}"
        os.mkdir(f"{self.p}/experiments/{name}")
        self.experiments.append(name)
        assert name in os.listdir(self.p + "/experiments")
        time.sleep(0.1)

    def read_code(self):
        self.sh(f"diff -r --exclude=.git {self.repository} {self.p}/code/code/commits/{self.sha}")

    # --- the rest ------------------------------------------------------------------------------

    def any_run(self):
        names = [r for r in os.listdir(self.runs) if r.startswith("load-")]
        return f"{self.runs}/{random.choice(names)}" if names else None

    def work(self, worker):
        while not self.stopped.is_set() or worker == self.submit:
            before = self.generation
            if before % 2 == 0:
                time.sleep(0.01)
                continue
            try:
                if worker() is False:
                    return
            except Exception as e:  # pylint: disable=broad-except
                if before == self.generation:
                    self.failures.append(f"{worker.__name__}: {type(e).__name__}: {e}")
                    if len(self.failures) > 20:
                        return
            with self.lock:
                self.calls[worker.__name__] += 1

    @contextlib.contextmanager
    def goes(self):
        """Around taking the mount away and bringing it back."""
        self.generation += 1
        yield
        self.generation += 1

    def start(self):
        workers = [self.submit] * SUBMITTERS + [
            self.list_runs, self.find, self.read_a_run, self.read_a_run, self.tables, self.follow,
            self.tail, self.append, self.save, self.cancel, self.mkdir, self.read_code]
        threads = [threading.Thread(target=self.work, args=(w,), daemon=True) for w in workers]
        for t in threads:
            t.start()
        return threads


def statuses(load):
    with open(load.runs + "/runs.tsv") as f:
        table = [line.rstrip("\n").split("\t") for line in f]
    run, status = table[0].index("run"), table[0].index("status")
    return {row[run]: row[status] for row in table[1:]}


def take_away(mount, how):
    """Ends a mount in use; the daemon ends well by itself."""
    if how == "SIGTERM":
        assert mount.end() == 0, mount.log()
        return
    # Busy as long as anybody is in it: lazily, as who shuts down a machine does.
    subprocess.run(["fusermount3", "-u", "-z", mount.where], check=True)
    assert mount.process.wait(30) == 0, mount.log()
    assert device(mount.where) is None


@pytest.mark.parametrize("how", ["SIGTERM", "fusermount3"])
def test_all_at_once_with_an_unmount_in_between(platform, how):
    os.makedirs(platform.config)
    with open(platform.config + "/config.yaml", "w") as f:
        f.write("slots: 6\n")
    halt = platform.dir + "/halt"
    with contextlib.ExitStack() as stack:
        mount = stack.enter_context(Mounted(platform, seconds=SECONDS + 240))
        mount.make_project()
        repository = platform.dir + "/repo"
        sha = platform.run("git", "rev-parse", "HEAD", cwd=repository).stdout.strip()
        load = Load(platform, sha, repository)
        with open(load.runs + "/new", "w+") as f:
            f.write(f"name: keeper\nexperiment: e\ncommand: 'i=0; until test -e {halt}; do"
                    " printf \"%07d\\n\" $i; i=$((i+1)); sleep 0.02; done'\n")
            f.seek(0)
            load.keeper = f"{load.runs}/{f.read().strip()}"
        wait_for(lambda: os.path.getsize(load.keeper + "/logs/stdout"), "the first line")
        threads = load.start()
        wait_for(lambda: len(load.acknowledged) >= SUBMISSIONS // 2, "half of the runs", 120)
        with load.goes():
            took, _ = timed(take_away, mount, how)
            stack.enter_context(Mounted(platform, seconds=SECONDS + 240))
        time.sleep(max(0, load.began + SECONDS - time.monotonic()))
        load.stopped.set()
        for t in threads:
            t.join(180)
        print(f"unmounted in {took:.2f} s; {dict(load.calls)}")
        assert not any(t.is_alive() for t in threads), "a worker hangs"
        assert not load.failures, "\n".join(load.failures)
        assert len(load.acknowledged) >= SUBMISSIONS
        with open(halt, "w"):
            pass
        final = wait_for(lambda: (now := statuses(load)) and
                         all(s in ENDED for s in now.values()) and now, "all runs to end", 240, 0.5)
        check(load, final)


def check(load, final):
    """Whatever was acknowledged is there once; whatever was not, at most once."""
    names = collections.Counter(run.rsplit(".", 1)[0] for run in final)
    lost = [n for n in load.acknowledged if names[f"load-{n}"] != 1]
    assert not lost, f"acknowledged, but not there once: {[(n, names[f'load-{n}']) for n in lost]}"
    assert max(names.values()) == 1, names.most_common(3)
    with open(load.outside) as f:
        ran = collections.Counter(int(line) for line in f)
    assert max(ran.values()) == 1, f"ran twice: {ran.most_common(3)}"
    for run, status in final.items():
        if run.startswith("load-"):
            n = int(run[5:].split(".")[0])
            allowed = ("FINISHED", "KILLED") if n in load.cancelled or n % 10 == 3 else ("FINISHED",)
            assert status in allowed, (run, status)
            assert ran[n] == 1 or status == "KILLED", (run, status)
            if status == "FINISHED":
                with open(f"{load.runs}/{run}/logs/stdout") as f:
                    assert f.read() == f"out {n}\n", run
                with open(f"{load.runs}/{run}/metrics/loss") as f:
                    assert [line.split("\t")[1] for line in f] == [str(n)], run
    load.follow()
    assert load.log_at == os.path.getsize(load.keeper + "/logs/stdout")
    with open(load.keeper + "/metrics/mine") as f:
        points = [int(line.split("\t")[0]) for line in f]
    assert points == sorted(set(points)) and set(load.appended) <= set(points) <= set(load.tried)
    assert set(load.experiments) <= set(os.listdir(load.p + "/experiments"))
    with open(load.p + "/project.yaml") as f:
        (saved,) = [int(line.split()[-1]) for line in f if line.startswith("summary:")]
    assert load.saved <= saved <= load.saving
