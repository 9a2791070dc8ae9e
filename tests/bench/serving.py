# SPDX-License-Identifier: Apache-2.0
"""Figures of the embedded tracking server beside MLflow's own (SQLite, one worker, newest), both
driven by rest.c. bench/run calls add()."""
import base64
import http.client
import json
import os
import sqlite3
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(HERE, "..", "lib"))
import filled  # noqa: E402

SECONDS = 3


CLIENT = """
import time
from mlflow import MlflowClient
from mlflow.entities import Metric
client = MlflowClient()
run = client.create_run("0").info.run_id
begin = time.monotonic()
for i in range(200):
    client.log_metric(run, "loss", i / 3, timestamp=1700000000000 + i, step=i)
for k in range(10):
    client.log_batch(run, [Metric(f"m{i % 10}", i / 7, 1700000000000 + i, k * 1000 + i)
                           for i in range(1000)])
for i in range(30):
    client.create_run("0", tags={"mlflow.user": "ana"})
print(time.monotonic() - begin)
"""


class Both:
    """mantikd of the bench's platform and MLflow's server, started at first use."""

    def __init__(self, bench, sh):
        self.sh = sh
        self.driver = bench.base + "/rest"
        sh("gcc", "-O2", "-D_GNU_SOURCE", "-pthread", "-o", self.driver, HERE + "/rest.c")
        data, address = bench.base + "/d", bench.base + "/d/serve.address"
        bench.ctl("ls", "/")
        # The one that other figures left would stay, and ours, whose memory is looked at, go.
        while subprocess.run(["pkill", "-f", f"mantikd --data {data} "]).returncode == 0:
            time.sleep(0.1)
        self.mantikd = subprocess.Popen(
            [bench.env["MANTIKD"], "--foreground", "--data", data, "--cache", bench.base + "/c",
             "--config", bench.base + "/k", "--idle", "3600000"], env=bench.env,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        bench.ends.append(self.mantikd.terminate)
        for _ in range(200):
            if os.path.exists(address):
                break
            time.sleep(0.1)
        assert self.mantikd.poll() is None
        with open(address) as f:
            port = f.read().strip().rsplit(":", 1)[1]
        with open(data + "/serve.token") as f:
            token = f.read().strip()
        self.ours = (port, token)
        starter, folder = HERE + "/../servers/mlflow", bench.base + "/mlflow"
        bench.ends.append(lambda: sh(starter, "stop", folder, check=False))
        facts = dict(line.split("=", 1) for line in sh(
            starter, "start", folder, str(int(port) + 3000)).splitlines() if "=" in line)
        self.python = facts["python"]
        self.theirs = (facts["url"].rsplit(":", 1)[1], "-")
        self.databases = (data + "/mantik.db", folder + "/mlflow.db")

    def rate(self, where, clients, kind):
        return float(self.sh(self.driver, *where, str(clients), str(SECONDS), kind))


    def search(self, where, **fields):
        """Seconds that a page of runs/search takes, all of it read."""
        link = http.client.HTTPConnection("127.0.0.1", int(where[0]), timeout=600)
        headers = {"Content-Type": "application/json", "Authorization": "Bearer " + where[1]}
        begin = time.monotonic()
        link.request("POST", "/api/2.0/mlflow/runs/search", json.dumps(fields), headers)
        answer = link.getresponse()
        text = answer.read()
        end = time.monotonic()
        link.close()
        assert answer.status == 200, text[:500]
        return end - begin, len(json.loads(text)["runs"])

    def experiment(self, where, name):
        link = http.client.HTTPConnection("127.0.0.1", int(where[0]), timeout=60)
        link.request("POST", "/api/2.0/mlflow/experiments/create", json.dumps({"name": name}),
                     {"Content-Type": "application/json", "Authorization": "Bearer " + where[1]})
        return json.loads(link.getresponse().read())["experiment_id"]


def fill_ours(path, experiment, n):
    db = sqlite3.connect(path, timeout=60)
    project, = db.execute("SELECT project_id FROM experiments WHERE id = ?", (experiment,)).fetchone()
    for uid, name, at, metrics, params, tags in filled.many_runs(n):
        row = db.execute(
            "INSERT INTO runs(uid,project_id,experiment_id,name,dir,status,site,submitted,started,ended,"
            "changed,user,spec_len,artifact_uri,api) VALUES(?,?,?,?,?,2,'mlflow',?,?,?,?,'ada',0,?,1)",
            (uid, project, experiment, name, f"{name}.{uid[:8]}", at * 10**6, at * 10**6, at * 10**6 + 1,
             at * 10**6, f"mlflow-artifacts:/{experiment}/{uid}/artifacts")).lastrowid
        db.executemany("INSERT INTO metrics(run_id,key,count,bytes,last_step,last_value,last_time,min,"
                       "min_step,max,max_step) VALUES(?,?,1,30,1,?,?,0,0,1,1)",
                       [(row, k, v, at * 10**6) for k, v in metrics])
        db.executemany("INSERT INTO params VALUES(?,?,?)", [(row, k, v) for k, v in params])
        db.executemany("INSERT INTO tags VALUES(?,?,?)", [(row, k, v) for k, v in tags])
    db.commit()
    db.close()


def fill_theirs(path, experiment, n):
    db = sqlite3.connect(path, timeout=60)
    filled.runs(db, experiment, n)
    db.commit()
    db.close()


def token(offset):
    """Of a page that begins there, of either server."""
    return base64.b64encode(b'{"offset": %d}' % offset).decode()


def both(bench, sh):
    if not hasattr(bench, "both"):
        bench.both = Both(bench, sh)
    return bench.both


def add(figure, sh):
    def rates(clients, kind, factor):
        def take(bench):
            it = both(bench, sh)
            for o, r in bench.alternate(lambda: it.rate(it.ours, clients, kind),
                                        lambda: it.rate(it.theirs, clients, kind)):
                yield o, r, o >= factor * r
        take.alone = True  # of the stores that bench/run makes
        take.__name__ = f"serve_{kind}_{clients}"
        return take
    def search(bench):
        it = both(bench, sh)
        ours, theirs = (it.experiment(where, "search") for where in (it.ours, it.theirs))
        fill_ours(it.databases[0], int(ours), 10000)
        fill_theirs(it.databases[1], int(theirs), 10000)

        def page(where, experiment, **more):
            seconds, n = it.search(where, experiment_ids=[experiment], **{
                "filter": "metrics.m0 > 0.5", "order_by": ["metrics.m1 DESC"], "max_results": 1000, **more})
            assert n == more.get("max_results", 1000)
            return seconds
        for o, r in bench.alternate(lambda: page(it.ours, ours), lambda: page(it.theirs, theirs)):
            yield o, r, 20 * o <= r
        page(it.ours, ours, max_results=10000, filter="", order_by=[])
        with open(f"/proc/{it.mantikd.pid}/status") as f:
            most = next(int(line.split()[1]) for line in f if line.startswith("VmHWM"))
        assert most < 150 << 10, f"a page of 10 000 runs took {most} KiB"
    search.alone = True
    figure("serve: search 1000 of 10 000 runs, filter and order (s)", "a twentieth of MLflow's server")(search)

    def by_client(bench):
        it = both(bench, sh)

        def seconds(where):
            env = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
            env.update(MLFLOW_TRACKING_URI=f"http://127.0.0.1:{where[0]}",
                       MLFLOW_TRACKING_TOKEN=where[1], MLFLOW_DISABLE_TELEMETRY="true")
            return float(sh(it.python, "-c", CLIENT, env=env))
        for o, r in bench.alternate(lambda: seconds(it.ours), lambda: seconds(it.theirs)):
            yield o, r, 3 * o <= r
    by_client.alone = True
    figure("serve: MLflow's Python client, 200 log_metric, 10 log_batch of 1000, 30 create_run (s)",
           "a third of MLflow's server")(by_client)
    names = {"metric": "log-metric", "batch": "log-batch of 1000", "run": "create run"}
    for clients, factors in ((1, (20, 20, 10)), (8, (12, 12, 12))):
        for kind, factor in zip(names, factors):
            who = "1 client" if clients == 1 else f"{clients} clients"
            figure(f"serve: {names[kind]}, {who} (requests/s)", f"{factor}x MLflow's server")(
                rates(clients, kind, factor))
