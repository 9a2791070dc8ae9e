# SPDX-License-Identifier: Apache-2.0
"""Figures of a mounted MLflow server (a real one: SQLite, one worker, newest), beside the same
requests sent by curl over one connection. bench/run calls add()."""
import http.client
import json
import os
import shutil
import sqlite3
import subprocess
import time
import urllib.parse

import filled
import serving

HERE = os.path.dirname(os.path.abspath(__file__))
POINTS, MANY, FEW, BIG = 1_000_000, 10_000, 200, 1 << 30
LIMIT = 150  # MB


def peak(pid):
    """MB that a process had resident at most."""
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM")) / 1024


class Real:
    """The server with three experiments: many and few runs, and `long`, a run with a long history and
    a big file. mount() shows it in a platform that has never seen it."""

    def __init__(self, bench, sh):
        self.bench, self.sh, self.n = bench, sh, 0
        self.folder = bench.base + "/real"
        starter = HERE + "/../servers/mlflow"
        bench.ends.append(self.end)
        bench.ends.append(lambda: sh(starter, "stop", self.folder, check=False))
        facts = dict(line.split("=", 1) for line in sh(
            starter, "start", self.folder, str(20000 + os.getpid() % 10000)).splitlines() if "=" in line)
        self.url, self.python, self.log = facts["url"], facts["python"], facts["log"]
        db = sqlite3.connect(self.folder + "/mlflow.db", timeout=60)
        self.many, self.few, self.long = (filled.experiment(db, name) for name in ("many", "few", "long"))
        filled.runs(db, self.many, MANY)
        filled.runs(db, self.few, FEW)
        self.run, = filled.runs(db, self.long, 1)
        filled.points(db, self.run, "loss", POINTS)
        db.commit()
        db.close()
        self.file = f"{facts['artifacts']}/{self.long}/{self.run}/artifacts/big"
        os.makedirs(os.path.dirname(self.file))
        with open(self.file, "wb") as f:
            for _ in range(BIG >> 20):
                f.write(os.urandom(1 << 20))
        self.histories = [self.get("metrics/get-history", run_id=self.run, metric_key="loss",
                                   max_results=25000, **token) for token in self.tokens(POINTS, 25000)]

    # --- the mount

    def mount(self):
        self.end()
        self.n += 1
        self.home = f"{self.bench.base}/t{self.n}"
        self.mnt = self.home + "/m"
        os.makedirs(self.mnt)
        self.env = dict(self.bench.env, HOME=self.home, MANTIK_DATA_DIR=self.home + "/d",
                        MANTIK_CACHE_DIR=self.home + "/c", MANTIK_CONFIG_DIR=self.home + "/k")
        self.enter()

    def enter(self):
        self.sh("mantikfs", "--tracking", self.url, self.mnt, env=self.env)
        self.bench.others.append(self.mnt)
        name = os.listdir(self.mnt + "/connections")[0].removesuffix(".yaml")
        self.project = f"{self.mnt}/projects/{name}"

    def leave(self):
        pid = self.pid()
        for _ in range(100):
            if subprocess.run(["fusermount3", "-u", self.mnt], stderr=subprocess.DEVNULL).returncode == 0:
                break
            time.sleep(0.1)
        self.bench.others.remove(self.mnt)
        while os.path.exists(f"/proc/{pid}"):
            time.sleep(0.01)

    def end(self):
        if getattr(self, "mnt", None) in self.bench.others:
            self.leave()
        if self.n:
            shutil.rmtree(self.home, ignore_errors=True)

    def later(self):
        """Another mount, an hour after the last."""
        self.leave()
        db = sqlite3.connect(self.home + "/d/mantik.db", timeout=30)
        db.execute("UPDATE marks SET time = time - ?", (3600 * 10**9,))
        db.execute("UPDATE runs SET as_of = as_of - ?", (3600 * 10**9,))
        db.commit()
        db.close()
        self.enter()

    def pid(self):
        """Of mantikfs."""
        end = os.fsencode(self.mnt) + b"\0"
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    if f.read().endswith(end) and os.readlink(f"/proc/{pid}/exe").endswith("mantikfs"):
                        return int(pid)
            except OSError:
                pass
        raise RuntimeError("no mantikfs at " + self.mnt)

    def path(self, run):
        """The directory of a run; its project is known then."""
        where = f"{self.project}/experiments/long/runs"
        return f"{where}/{next(n for n in os.listdir(where) if n.endswith('.' + run[:8]))}"

    def requests(self):
        """How many the server has answered, by its own log."""
        with open(self.log) as f:
            return sum(' HTTP/1.1" ' in line for line in f)

    # --- the same, by curl

    @staticmethod
    def tokens(n, page):
        """What asks for one page after the other."""
        yield {}
        for offset in range(page, n, page):
            yield {"page_token": serving.token(offset)}

    def get(self, route, **query):
        return f'url = "{self.url}/api/2.0/mlflow/{route}?{urllib.parse.urlencode(query)}"\n'

    def post(self, route, **body):
        text = json.dumps(body).replace("\\", "\\\\").replace('"', '\\"')
        return (f'url = "{self.url}/api/2.0/mlflow/{route}"\nheader = "Content-Type: application/json"\n'
                f'data = "{text}"\n')

    def listing(self, experiment, n):
        """What a mount asks that never saw the experiment with its n runs."""
        query = dict(experiment_ids=[str(experiment)], max_results=1000,
                     order_by=["attributes.start_time DESC"])
        return [self.post("experiments/search", max_results=1000, view_type="ALL"),
                *(self.post("runs/search", run_view_type="ACTIVE_ONLY", **query, **token)
                  for token in self.tokens(n, 1000)),
                self.post("runs/search", run_view_type="DELETED_ONLY", **query)]

    def curl(self, requests):
        """Seconds that they take, one after the other over one connection."""
        config = self.bench.base + "/curl"
        with open(config, "w") as f:
            f.write("next\n".join(r + 'output = "/dev/null"\nfail\nsilent\n' for r in requests))
        begin = time.monotonic()
        self.sh("curl", "-K", config)
        return time.monotonic() - begin


def real(bench, sh):
    if not hasattr(bench, "real"):
        bench.real = Real(bench, sh)
    return bench.real


def logged(bench, sh):
    """A run with a long history in our own server: (id, its row in the database)."""
    it = serving.both(bench, sh)
    if not hasattr(it, "long"):
        link = http.client.HTTPConnection("127.0.0.1", int(it.ours[0]), timeout=600)

        def post(route, **body):
            link.request("POST", "/api/2.0/mlflow/" + route, json.dumps(body), {
                "Content-Type": "application/json", "Authorization": "Bearer " + it.ours[1]})
            answer = link.getresponse()
            text = answer.read()
            assert answer.status == 200, text[:500]
            return json.loads(text)
        run = post("runs/create", experiment_id="0", start_time=filled.T)["run"]["info"]["run_id"]
        for i in range(0, POINTS, 1000):
            post("runs/log-batch", run_id=run, metrics=[
                {"key": "loss", "value": filled.value(k), "timestamp": filled.T + 1000 * k, "step": k}
                for k in range(i, i + 1000)])
        db = sqlite3.connect(it.databases[0], timeout=60)
        it.long = run, db.execute("SELECT id FROM runs WHERE uid = ?", (run,)).fetchone()[0]
        db.close()
    return it, *it.long


def add(figure, sh):
    def alone(name, target):
        def add(function):
            function.alone = True  # of the stores that bench/run makes
            return figure(name, target)(function)
        return add

    def timed(command, *args):
        begin = time.monotonic()
        sh("sh", "-c", command, "sh", *args, stdout=subprocess.DEVNULL)
        return time.monotonic() - begin

    @alone("serve: cat metrics/loss of 1 000 000 points logged to our server, first (s)", "1.5x sqlite3 -tabs")
    def logged_metric(bench):
        it, run, row = logged(bench, sh)
        sql = ("SELECT step, value, strftime('%Y-%m-%dT%H:%M:%fZ', time/1e9, 'unixepoch') FROM points WHERE"
               f" metric_id = (SELECT id FROM metrics WHERE run_id={row} AND key='loss') ORDER BY seq")

        def ours():
            bench.remount() if os.path.ismount(bench.mnt) else bench.mount()
            projects = bench.mnt + "/projects"
            file, = (f"{projects}/{p}/runs/{n}/metrics/loss" for p in os.listdir(projects)
                     for n in os.listdir(f"{projects}/{p}/runs") if n.endswith("." + run[:8]))
            return timed('cat "$1"', file)

        def theirs():
            return timed('sqlite3 -tabs "$1" "$2"', it.databases[0], sql)
        for o, r in bench.alternate(ours, theirs):
            yield o, r, o <= 1.5 * r

    @alone("serve: memory of mantikd, 1 000 000 points logged and read back, pages and whole (MB)",
           f"under {LIMIT}")
    def logged_memory(bench):
        it, run, _ = logged(bench, sh)
        for size, n in ((25000, POINTS), (POINTS, POINTS)):
            link = http.client.HTTPConnection("127.0.0.1", int(it.ours[0]), timeout=600)
            for token in Real.tokens(n, size):
                query = urllib.parse.urlencode(dict(run_id=run, metric_key="loss", max_results=size, **token))
                link.request("GET", "/api/2.0/mlflow/metrics/get-history?" + query,
                             headers={"Authorization": "Bearer " + it.ours[1]})
                answer = link.getresponse()
                assert answer.status == 200
                while answer.read(1 << 20):
                    pass
            most = peak(it.mantikd.pid)
            yield most, None, most < LIMIT

    @alone("tracking: cat metrics/loss of 1 000 000 points, first (s)", "the server's own pages plus 10 %")
    def remote_metric(bench):
        it, memory = real(bench, sh), []

        def ours():
            it.mount()
            file = it.path(it.run) + "/metrics/loss"
            took = timed('test "$(wc -l < "$1")" = 1000000', file)
            memory.append(peak(it.pid()))
            return took
        for o, r in bench.alternate(ours, lambda: it.curl(it.histories)):
            yield o, r, o <= 1.1 * r
        it.memory = max(memory)

    @alone("tracking: memory of mantikfs while 1 000 000 points come (MB)", f"under {LIMIT}")
    def remote_metric_memory(bench):
        it = real(bench, sh)
        if not hasattr(it, "memory"):
            it.mount()
            sh("cat", it.path(it.run) + "/metrics/loss", stdout=subprocess.DEVNULL)
            it.memory = peak(it.pid())
        yield it.memory, None, it.memory < LIMIT

    look = 'test "$(ls "$1/runs" | wc -l)" = 200 && cat "$1/runs.tsv"'

    @alone("tracking: ls runs/ and cat runs.tsv of 200 runs, cold (s)", "a twentieth of mlflow runs list")
    def remote_few(bench):
        it = real(bench, sh)
        env = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
        env.update(MLFLOW_TRACKING_URI=it.url, MLFLOW_DISABLE_TELEMETRY="true")

        def ours():
            it.mount()
            return timed(look, it.project + "/experiments/few")

        def theirs():
            begin = time.monotonic()
            sh(it.python, "-m", "mlflow", "runs", "list", "--experiment-id", str(it.few), env=env)
            return time.monotonic() - begin
        for o, r in bench.alternate(ours, theirs):
            yield o, r, 20 * o <= r

    def pages(bench, name, n, command):
        """Seconds of the command, run in an experiment never seen, and of curl for what it asks."""
        it = real(bench, sh)
        requests = it.listing(getattr(it, name), n)

        def ours():
            it.mount()
            before = it.requests()
            took = timed(command, f"{it.project}/experiments/{name}")
            assert it.requests() - before == len(requests), it.requests() - before
            return took
        return bench.alternate(ours, lambda: it.curl(requests))

    @alone("tracking: the same beside its requests sent by curl (s)", "10 % and 30 ms more")
    def remote_few_pages(bench):
        for o, r in pages(bench, "few", FEW, look):
            yield o, r, o <= 1.1 * r + 0.03

    @alone("tracking: ls -l of an experiment of 10 000 runs, first mount (s)",
           "the server's own pages plus 10 %")
    def remote_first(bench):
        for o, r in pages(bench, "many", MANY, 'test "$(ls -l "$1/runs" | wc -l)" = 10001'):
            yield o, r, o <= 1.1 * r

    @alone("tracking: memory of mantikfs with an experiment of 10 000 runs and its table (MB)",
           f"under {LIMIT}")
    def remote_memory(bench):
        it = real(bench, sh)
        it.mount()
        sh("sh", "-c", 'ls -l "$1/runs"; cat "$1/runs.tsv" "$1/leaderboard.tsv"', "sh",
           it.project + "/experiments/many", stdout=subprocess.DEVNULL)
        most = peak(it.pid())
        yield most, None, most < LIMIT

    @alone("tracking: ls -l of an experiment of 10 000 runs, second mount (s)", "under 0.2 s, 3 requests")
    def remote_again(bench):
        it = real(bench, sh)
        it.mount()
        for _ in range(bench.pairs):
            os.listdir(it.project + "/experiments/many/runs")
            it.later()
            before = it.requests()
            took = timed('test "$(ls -l "$1" | wc -l)" = 10001', it.project + "/experiments/many/runs")
            asked = it.requests() - before
            yield took, None, took < 0.2
            assert asked <= 3, asked

    @alone("tracking: cat of a 1 GiB artifact, cold (MB/s)", "0.75 of curl")
    def remote_artifact(bench):
        it = real(bench, sh)

        def ours():
            it.mount()
            return BIG / 1e6 / timed('cat "$1"', it.path(it.run) + "/artifacts/big")
        sh("cat", it.file, stdout=subprocess.DEVNULL)
        # The way MLflow's own client takes; /get-artifact is far slower.
        route = f"{it.url}/api/2.0/mlflow-artifacts/artifacts/{it.long}/{it.run}/artifacts/big"
        for o, r in bench.alternate(ours, lambda: BIG / 1e6 / it.curl([f'url = "{route}"\n'])):
            yield o, r, o >= 0.75 * r
