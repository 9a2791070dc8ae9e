# SPDX-License-Identifier: Apache-2.0
"""Figures of the embedded tracking server beside MLflow's own (SQLite, one worker, newest), both
driven by rest.c. bench/run calls add()."""
import os
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SECONDS = 3


class Both:
    """mantikd of the bench's platform and MLflow's server, started at first use."""

    def __init__(self, bench, sh):
        self.sh = sh
        self.driver = bench.base + "/rest"
        sh("gcc", "-O2", "-D_GNU_SOURCE", "-pthread", "-o", self.driver, HERE + "/rest.c")
        data, address = bench.base + "/d", bench.base + "/d/serve.address"
        bench.ctl("ls", "/")
        self.mantikd = subprocess.Popen(
            [bench.env["MANTIKD"], "--foreground", "--data", data, "--cache", bench.base + "/c",
             "--config", bench.base + "/k", "--idle", "3600000"], env=bench.env,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        bench.ends.append(self.mantikd.terminate)
        for _ in range(200):
            if os.path.exists(address):
                break
            time.sleep(0.1)
        with open(address) as f:
            port = f.read().strip().rsplit(":", 1)[1]
        with open(data + "/serve.token") as f:
            token = f.read().strip()
        self.ours = (port, token)
        starter, folder = HERE + "/../servers/mlflow", bench.base + "/mlflow"
        bench.ends.append(lambda: sh(starter, "stop", folder, check=False))
        facts = dict(line.split("=", 1) for line in sh(
            starter, "start", folder, str(int(port) + 3000)).splitlines() if "=" in line)
        self.theirs = (facts["url"].rsplit(":", 1)[1], "-")

    def rate(self, where, clients, kind):
        return float(self.sh(self.driver, *where, str(clients), str(SECONDS), kind))


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
    names = {"metric": "log-metric", "batch": "log-batch of 1000", "run": "create run"}
    for clients, factors in ((1, (20, 20, 10)), (8, (12, 12, 12))):
        for kind, factor in zip(names, factors):
            who = "1 client" if clients == 1 else f"{clients} clients"
            figure(f"serve: {names[kind]}, {who} (requests/s)", f"{factor}x MLflow's server")(
                rates(clients, kind, factor))
