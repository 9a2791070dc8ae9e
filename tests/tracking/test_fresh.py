# SPDX-License-Identifier: Apache-2.0
"""How often a real MLflow server is asked (by its own log), how soon its changes show, and what a
mount of it does when it hangs, stops and comes back."""
import errno
import os
import signal
import subprocess
import time

import pytest
from httpserve import free_port, nginx
from mantik import wait_for
from mounted import Mounted, info, read, rows
from tracking import NEWEST, mlflow, starter

WIND = "wind-forecast"


@pytest.fixture(scope="module")
def server(shared):
    with mlflow(shared, NEWEST) as s:
        yield s


@pytest.fixture
def mounted(platform, server):
    it = Mounted(platform, server).mount()
    yield it
    it.leave()


def look(mounted):
    """What a user of an experiment looks at."""
    where = f"{mounted.project}/experiments/{WIND}"
    mounted.platform.run("ls", "-lL", f"{where}/runs")
    return rows(f"{where}/runs.tsv")


def test_what_is_asked(mounted):
    table, cost = mounted.cost(lambda: look(mounted))
    assert len(table) == 13 and cost <= 3, cost
    _, cost = mounted.cost(lambda: look(mounted))
    assert cost == 0
    run = mounted.run(mounted.ids["run"])
    _, cost = mounted.cost(lambda: mounted.platform.run("ls", "-l", run))
    assert cost <= 1, cost
    text, cost = mounted.cost(lambda: read(f"{run}/metrics/loss"))
    assert text.count("\n") == 1000 and cost <= 2, cost
    again, cost = mounted.cost(lambda: read(f"{run}/metrics/loss"))
    assert again == text and cost == 0


def test_a_second_mount_asks_three_things(mounted):
    before = look(mounted)
    run = mounted.run(mounted.ids["run"])
    text = read(f"{run}/metrics/val/rmse")
    mounted.later(3600)
    after, cost = mounted.cost(lambda: look(mounted))
    assert cost <= 3, cost
    assert [dict(r, as_of="") for r in after] == [dict(r, as_of="") for r in before]
    again, cost = mounted.cost(lambda: read(f"{run}/metrics/val/rmse"))
    assert again == text and cost <= 1, cost  # the run; its history is kept for good


SCRIPT = """
import sys, time
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
client = MlflowClient(tracking_uri=sys.argv[1])
run, experiment = sys.argv[2:4]
client.set_tag(run, "changed", "by another client")
client.log_metric(run, "later", 2.5, timestamp=1700000000000, step=7)
new = client.create_run(experiment, run_name="brand new").info.run_id
client.log_param(new, "p", "v")
gone = client.create_run(experiment, run_name="short-lived").info.run_id
client.delete_run(gone)
print(new, gone)
"""


def test_changes_of_another_client_show_within_30_s(mounted):
    look(mounted)
    run = mounted.run(mounted.ids["run"])
    assert not os.path.exists(f"{run}/tags/changed")
    r = subprocess.run([mounted.server.python, "-c", SCRIPT, mounted.server.url,
                        mounted.ids["run"], mounted.ids["experiment"]],
                       stdout=subprocess.PIPE, text=True, check=True,
                       env=dict(os.environ, MLFLOW_DISABLE_TELEMETRY="true"))
    new, gone = r.stdout.split()
    begun = time.monotonic()

    def shown():
        return (os.path.exists(f"{run}/tags/changed")
                and any(n.endswith(new[:8]) for n in mounted.runs())
                and any(n.endswith(gone[:8]) for n in os.listdir(f"{mounted.project}/runs/deleted")))
    wait_for(shown, "what another client did", 35, every=0.5)
    assert time.monotonic() - begun <= 32
    assert read(f"{run}/tags/changed") == "by another client\n"
    assert read(f"{run}/metrics/later") == "7\t2.5\t2023-11-14T22:13:20.000Z\n"
    fresh = mounted.run(new)
    assert read(f"{fresh}/status") == "RUNNING\n" and read(f"{fresh}/params/p") == "v\n"
    assert info(mounted.run(gone, deleted=True))["deleted"]


def test_a_live_metric_grows_under_tail_f(mounted):
    api, run = mounted.api, mounted.ids["run_running"]
    where = f"{mounted.run(run)}/metrics"
    key = f"live{os.getpid()}"

    def log(step):
        api("runs/log-metric", {"run_id": run, "key": key, "value": step / 2, "step": step,
                                "timestamp": 1_700_000_000_000 + step})
    log(0)
    wait_for(lambda: os.path.exists(f"{where}/{key}"), "the metric", 35)
    out = os.path.join(mounted.platform.dir, "tail")
    with open(out, "w") as f:
        tail = mounted.platform.start("tail", "-n", "+1", "-f", f"{where}/{key}", stdout=f)
    try:
        for step in range(1, 5):
            log(step)
            begun = time.monotonic()
            wait_for(lambda: read(out).count("\n") == step + 1, "the next line", 10)
            assert time.monotonic() - begun < 10
    finally:
        tail.kill()
    assert [line.split("\t")[:2] for line in read(out).splitlines()] == [
        [str(i), f"{i / 2:g}"] for i in range(5)]


def test_two_mounts_of_one_server(mounted):
    other = os.path.join(mounted.platform.home, "other")
    with mounted.platform.mount(where=other):
        first = mounted.runs()
        project = f"{other}/projects/{mounted.name}"
        assert first <= set(os.listdir(f"{project}/runs"))
        run = os.path.basename(mounted.run(mounted.ids["run"]))
        assert read(f"{project}/runs/{run}/metrics/loss") == read(
            f"{mounted.project}/runs/{run}/metrics/loss")
        _, cost = mounted.cost(lambda: os.listdir(f"{project}/runs"))
        assert cost == 0


def group(server, sig):
    os.killpg(int(server.pid), sig)


def test_a_hung_server_stops_nobody_else(mounted):
    """The process is there and does not answer: SIGSTOP."""
    run = mounted.run(mounted.ids["run"])
    text = read(f"{run}/params/lr")
    mine = f"{mounted.top}/projects/mine"
    os.mkdir(mine)
    group(mounted.server, signal.SIGSTOP)
    try:
        ls = mounted.platform.start("ls", "-l", f"{run}/artifacts/plots")  # never seen
        for i in range(20):
            begun = time.monotonic()
            os.mkdir(f"{mine}/experiments/e{i}")
            read(f"{mine}/experiments/e{i}/runs.tsv")
            assert time.monotonic() - begun < 1
        assert ls.poll() is None
        begun = time.monotonic()
        ls.send_signal(signal.SIGINT)
        ls.wait(5)
        assert time.monotonic() - begun < 1
        begun = time.monotonic()
        with pytest.raises(OSError) as e:
            os.listdir(f"{run}/artifacts/deep")
        assert e.value.errno in (errno.ETIMEDOUT, errno.EHOSTUNREACH)
        assert time.monotonic() - begun < 15
        assert read(f"{run}/params/lr") == text
    finally:
        group(mounted.server, signal.SIGCONT)

    def back():
        try:
            return os.listdir(f"{run}/artifacts/deep") == ["a"]
        except OSError:
            return False
    wait_for(back, "the server to be asked again", 40, every=0.5)


def test_gone_and_back(mounted):
    """What was seen reads on and says how old it is; what was not is an error, never empty."""
    before = look(mounted)
    run = mounted.run(mounted.ids["run"])
    text, seen = read(f"{run}/metrics/loss"), info(run)["as_of"]
    port = mounted.server.url.rsplit(":", 1)[1]
    starter("stop", mounted.server.folder)
    try:
        mounted.later(3600)
        after = look(mounted)
        drop = {"as_of": "", "duration": "", "waited": ""}  # of live runs they count to as_of
        assert [dict(r, **drop) for r in after] == [dict(r, **drop) for r in before]
        assert read(f"{run}/metrics/loss") == text and info(run)["as_of"] < seen
        for never in (f"{run}/artifacts", f"{run}/artifacts/README.md", f"{run}/metrics/steps",
                      f"{mounted.project}/models"):
            begun = time.monotonic()
            with pytest.raises(OSError) as e:
                os.listdir(never) if never.endswith(("artifacts", "models")) else read(never)
            assert e.value.errno in (errno.EHOSTUNREACH, errno.ETIMEDOUT), never
            assert time.monotonic() - begun < 12
            assert "127.0.0.1" in mounted.platform.ctl("why", never).stdout
        assert "down since" in read(f"{mounted.top}/.mantik/connections/{mounted.name}")
    finally:
        mounted.server.__dict__.update(starter("start", mounted.server.folder, port))
    begun = time.monotonic()

    def back():
        try:
            return read(f"{run}/metrics/steps").count("\n") == 5
        except OSError:
            return False
    wait_for(back, "the server to be asked again", 60, every=0.5)
    assert time.monotonic() - begun <= 30
    wait_for(lambda: info(run)["as_of"] >= seen, "a new as_of", 35, every=0.5)


def test_another_server_at_its_address(platform, server):
    """A tunnel that leads elsewhere: not mixed, and what waits for the one is not sent to the other."""
    port = free_port()

    def tunnel(to):
        return nginx(platform, f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {to.url}; }} }}")

    def experiments():
        try:
            return set(os.listdir(f"{it.project}/experiments"))
        except OSError:
            return None
    it = Mounted(platform, server)
    with mlflow(platform, NEWEST, seed=False) as another:
        with tunnel(server):
            it.mount(f"http://127.0.0.1:{port}")
            before, known = it.runs(), experiments()
            name = os.path.basename(it.run(it.ids["run"]))
            assert len(before) > 13 and WIND in known
        tag = f"projects/{it.name}/runs/{name}/tags/waits"
        with open(f"{it.top}/{tag}", "w") as f:
            f.write("x")
        with tunnel(another):
            it.later(3600)
            wait_for(lambda: "another server answers there" in read(f"{it.top}/.mantik/unsent"),
                     "mantikd to see it", 90, every=0.5)
            assert it.runs() == before and experiments() == known
            assert "waits" not in read(another.log)
            platform.ctl("discard", "--yes", f"/{tag}")
            it.later(3600)
            wait_for(lambda: experiments() == {"Default"}, "the other server", 60, every=0.5)
            assert it.runs() == set()
        with tunnel(server):
            it.later(3600)
            wait_for(lambda: experiments() == known and it.runs() == before, "the first", 60, every=0.5)
            assert read(f"{it.project}/runs/{name}/status") == "FINISHED\n"
        it.leave()
