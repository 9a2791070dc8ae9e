# SPDX-License-Identifier: Apache-2.0
"""Experiments, runs and metrics of the embedded tracking server: answers compared with those of a
real MLflow server, real clients, many clients at once, and what a killed mantikd had acknowledged."""
import json
import os
import random
import subprocess
import threading
import time

import pytest
from mantik import wait_for
from rest import Refused, Rest, Told
from script_runs import KEPT, STEPS, WORDS
from tracking import NEWEST, OLD, starter
from httpserve import free_port

T = 1_700_000_000_000
HERE = os.path.dirname(os.path.abspath(__file__))


# --- the same answers ----------------------------------------------------------------------------

def said(answer):
    """What is compared: all of a good answer, status and error_code of a refusal."""
    status, body = answer
    return (status, body) if status == 200 else (status, body.get("error_code"))


def owner(body, user):
    """Without the user that ours adds to a run which has none."""
    info = body["run"]["info"] if isinstance(body, dict) and "run" in body else {}
    if info.get("user_id") == user:
        info["user_id"] = ""
    return body


def test_answers_are_those_of_mlflow(ours, real):
    a, b = Told(ours.rest()), Told(Rest(real["url"]))
    exact = [list(step) for step in WORDS]
    wrong, kept = [], {json.dumps(step): (x, y) for step, x, y, _ in KEPT}
    for method, path, fields, keep in STEPS:
        x, y = a.ask(method, path, fields, keep), b.ask(method, path, fields, keep)
        x = (x[0], owner(x[1], "root"))
        if [method, path, fields, keep] not in exact:
            x, y = said(x), said(y)
        if (x[0], y[0]) == kept.pop(json.dumps((path, fields)), None):
            continue
        if x != y:
            wrong.append(f"{method} {path} {json.dumps(fields)[:300]}\n  ours   {str(x)[:600]}\n"
                         f"  MLflow {str(y)[:600]}")
    assert not wrong, f"{len(wrong)} of {len(STEPS)} differ\n" + "\n".join(wrong)
    assert not kept, kept


def test_numbers_that_mlflow_loses(rest):
    """Infinity and -0.0 stay what they are; what is no JSON is refused and not stored as 0."""
    run = rest.run()
    for i, value in enumerate(("Infinity", "-Infinity", "NaN", 1e308, 0.0, -0.0, -0.0)):
        rest.post("runs/log-metric", run_id=run, key="m", value=value, timestamp=T, step=i)
    rest.post("runs/log-metric", run_id=run, key="m", value=-0.0, timestamp=T, step=6)  # again
    many = "/api/2.0/mlflow/metrics/get-history-bulk"
    for path, fields in (("metrics/get-history", {"run_id": run}), (many, {"run_id": run}),
                         ("metrics/get-history-bulk-interval", {"run_ids": run, "max_results": 50})):
        points = rest.get(path, metric_key="m", **fields)["metrics"]
        assert [str(float(p["value"])) for p in points] == \
            ["inf", "-inf", "nan", "1e+308", "0.0", "-0.0", "-0.0"], path
    page = rest.post("runs/search", experiment_ids=["0"])["runs"]
    for answer in (rest.get("runs/get", run_id=run)["run"], *[r for r in page if r["info"]["run_id"] == run]):
        assert str(answer["data"]["metrics"][0]["value"]) == "-0.0"
    status, _ = rest.raw("POST", "runs/log-metric",
                         '{"run_id": "%s", "key": "bare", "value": NaN, "timestamp": 5}' % run)
    assert status == 400
    assert rest.get("metrics/get-history", run_id=run, metric_key="bare") == {}
    with pytest.raises(Refused) as e:  # nanoseconds where milliseconds belong
        rest.post("runs/log-metric", run_id=run, key="m", value=1, timestamp=T * 10**6)
    assert e.value.code == "INVALID_PARAMETER_VALUE"


def test_lists_without_end(rest):
    """What would be looked for among a million others is refused at once, and others go on."""
    run = rest.run()
    tags = [{"key": f"k{i}", "value": "v"} for i in range(200_000)]
    begun = time.monotonic()
    for path, fields in (("runs/log-batch", {"run_id": run, "tags": tags}),
                         ("runs/log-batch", {"run_id": run, "params": tags}),
                         ("runs/create", {"experiment_id": "0", "tags": tags}),
                         ("runs/log-inputs", {"run_id": run, "datasets": [{}] * 200_000}),
                         ("runs/outputs", {"run_id": run, "models": [{}] * 200_000})):
        with pytest.raises(Refused) as e:
            rest.post(path, **fields)
        assert e.value.code == "INVALID_PARAMETER_VALUE" and "at most" in e.value.message
    assert time.monotonic() - begun < 30
    assert "metrics" not in rest.get("runs/get", run_id=run)["run"]["data"]


def test_ten_thousand_points_and_a_bad_one(rest):
    """In one request, or in ten of which one has it in its middle: what is refused leaves nothing of
    itself, what was taken stays."""
    points = [{"key": "m", "value": i / 7, "timestamp": T + i, "step": i} for i in range(10_000)]
    bad = dict(points[5500], value="much")
    at_once, in_ten = rest.run(), rest.run()
    with pytest.raises(Refused) as e:
        rest.post("runs/log-batch", run_id=at_once, metrics=points[:5500] + [bad] + points[5501:])
    assert e.value.code == "INVALID_PARAMETER_VALUE"
    assert rest.get("metrics/get-history", run_id=at_once, metric_key="m") == {}
    refused = []
    for i in range(0, 10_000, 1000):
        batch = points[i:i + 1000]
        if i == 5000:
            batch[500] = bad
        try:
            rest.post("runs/log-batch", run_id=in_ten, metrics=batch)
        except Refused as e:
            refused.append((i, e.code))
    assert refused == [(5000, "INVALID_PARAMETER_VALUE")]
    found = rest.get("metrics/get-history", run_id=in_ten, metric_key="m")["metrics"]
    assert [p["step"] for p in found] == [i for i in range(10_000) if not 5000 <= i < 6000]


# --- scopes and the tree -------------------------------------------------------------------------

def read(*path):
    with open(os.path.join(*path)) as f:
        return f.read()


def test_scopes(ours, platform):
    everything, p = ours.rest(), None
    platform.ctl("mkdir", "/projects/p")
    p = ours.rest("p")
    assert everything.get("experiments/get", experiment_id="0")["experiment"]["name"] == "Default"
    assert p.get("experiments/get", experiment_id="0")["experiment"]["name"] == "Default"
    mine = p.experiment("e")
    assert everything.get("experiments/get", experiment_id=mine)["experiment"]["name"] == "p/e"
    assert everything.get("experiments/get-by-name",
                          experiment_name="p/e")["experiment"]["experiment_id"] == mine
    other = everything.experiment("p/f")
    assert p.get("experiments/get-by-name",
                 experiment_name="f")["experiment"]["experiment_id"] == other
    plain = everything.experiment("x/y")  # there is no project x
    with pytest.raises(Refused) as e:
        p.get("experiments/get", experiment_id=plain)
    assert e.value.code == "RESOURCE_DOES_NOT_EXIST"
    run = everything.run(plain)
    with pytest.raises(Refused) as e:
        p.get("runs/get", run_id=run)
    assert e.value.code == "RESOURCE_DOES_NOT_EXIST"


def test_a_run_is_a_run_of_the_tree(ours, platform):
    rest = ours.rest()
    experiment = rest.experiment("wind")
    parent = rest.run(experiment, run_name="parent")
    run = rest.run(experiment, run_name="a/b c", tags=[
        {"key": "mlflow.parentRunId", "value": parent},
        {"key": "mlflow.source.git.commit", "value": "ab" * 20}])
    rest.batch(run, [("loss", 0.5, T, 3), ("loss", "NaN", T + 1, 4), ("a", 1, T, 0),
                     ("a/b", 2, T, 0)], {"lr": "0.1"}, {"k": "v"})
    rest.post("runs/log-inputs", run_id=run, datasets=[
        {"dataset": {"name": "tweets", "digest": "d1", "source_type": "local", "source": "s"},
         "tags": [{"key": "mlflow.data.context", "value": "train"}]}])
    with platform.mount() as where:
        runs = f"{where}/projects/default/runs"
        here = f"{runs}/a%2Fb c.{run[:8]}"
        assert sorted(os.listdir(here)) == ["artifacts", "ctl", "info.json", "info.yaml", "metrics",
                                            "metrics.tsv", "params", "status", "tags"]
        assert read(here, "status") == "RUNNING\n"
        assert read(here, "params/lr") == "0.1\n" and read(here, "tags/k") == "v\n"
        assert read(here, "metrics/loss") == ("3\t0.5\t2023-11-14T22:13:20.000Z\n"
                                              "4\tnan\t2023-11-14T22:13:20.001Z\n")
        assert read(here, "metrics/a%") == "0\t1\t2023-11-14T22:13:20.000Z\n"
        facts = json.loads(read(here, "info.json"))
        assert facts["parent"] == f"parent.{parent[:8]}" and facts["commit"] == "ab" * 20
        assert facts["datasets"][0]["name"] == "tweets" and facts["site"] == "mlflow"
        assert facts["submitted"] == facts["started"] == "2023-11-14T22:13:20.000Z"  # nobody waited
        assert f"a%2Fb c.{run[:8]}" in json.loads(
            read(runs, f"parent.{parent[:8]}", "info.json"))["children"]
        wait = platform.start("cat", f"{here}/wait")
        out = os.path.join(platform.dir, "tail")
        with open(out, "w") as f:
            tail = platform.start("tail", "-n", "+1", "-f", f"{here}/metrics/loss", stdout=f)
        rest.batch(run, [("loss", 0.25, T + 2, 5)])
        wait_for(lambda: read(out).endswith("5\t0.25\t2023-11-14T22:13:20.002Z\n"), "the new line")
        tail.kill()
        with open(f"{here}/metrics/loss", "a") as f:  # and the other way round
            f.write("6 0.125\n")
        assert [p[:2] for p in rest.history(run, "loss")][-1] == (6, 0.125)
        with open(f"{here}/tags/note", "w") as f:
            f.write("by hand\n")
        assert wait.poll() is None
        rest.post("runs/update", run_id=run, status="FINISHED", end_time=T + 9)
        assert wait.communicate(timeout=20)[0] == "FINISHED\n"
        tags = rest.get("runs/get", run_id=run)["run"]["data"]["tags"]
        assert {"key": "note", "value": "by hand"} in tags
        table = read(where, "projects/default/experiments/wind/runs.tsv").splitlines()
        assert len(table) == 3 and "metrics.loss" in table[0]
        rest.post("runs/delete", run_id=run)
        assert os.path.basename(here) in os.listdir(f"{runs}/deleted")
        os.rename(f"{runs}/deleted/{os.path.basename(here)}", here)
        assert rest.get("runs/get", run_id=run)["run"]["info"]["lifecycle_stage"] == "active"
        with pytest.raises(OSError):
            with open(f"{runs}/parent.{parent[:8]}/ctl", "w") as f:
                f.write("cancel\n")
        with open(f"{runs}/parent.{parent[:8]}/ctl", "w") as f:
            f.write("delete\n")  # it is RUNNING for ever: no job says otherwise


def test_a_deleted_experiment_comes_back_by_its_name(ours, platform):
    rest = ours.rest()
    experiment = rest.experiment("gone")
    rest.post("experiments/delete", experiment_id=experiment)
    with platform.mount() as where:
        folder = f"{where}/projects/default/experiments"
        assert "gone" not in os.listdir(folder)
        os.mkdir(f"{folder}/gone")
        assert rest.get("experiments/get",
                        experiment_id=experiment)["experiment"]["lifecycle_stage"] == "active"


# --- a killed server -----------------------------------------------------------------------------

def test_what_was_acknowledged_survives_a_kill(ours):
    """Batches of numbered points; mantikd is killed in the middle of them, again and again. The
    request that was cut off is said again, as clients do: it must not be there twice."""
    rest = ours.rest()
    run = rest.run()
    said_upto, value, rounds = 0, 0, 6
    stop = threading.Event()

    def killer():
        time.sleep(random.uniform(0.05, 0.4))
        ours.kill()
        stop.set()
    for _ in range(rounds):
        stop.clear()
        thread = threading.Thread(target=killer)
        thread.start()
        while not stop.is_set():
            points = [(f"m{i % 3}", value + i, T + value + i, value + i) for i in range(100)]
            try:
                rest.batch(run, points)
            except (OSError, Exception) as e:
                if isinstance(e, Refused):
                    raise
                break
            value += 100
            said_upto = value
        thread.join()
        ours.start()
        rest = ours.rest()
        rest.batch(run, [(f"m{i % 3}", value + i, T + value + i, value + i) for i in range(100)])
        value += 100
        said_upto = value
        found = sorted(v for k in range(3) for _, v, _ in rest.history(run, f"m{k}"))
        assert found == list(range(said_upto)), (len(found), said_upto)


# --- many at once --------------------------------------------------------------------------------

def test_64_clients(ours):
    runs, errors = [None] * 64, []
    shared = ours.rest().run()

    def client(i):
        try:
            rest = ours.rest()
            runs[i] = rest.run(run_name=f"r{i}")
            for k in range(5):
                rest.batch(runs[i], [("m", k * 20 + j, T + j, k * 20 + j) for j in range(20)])
                rest.batch(shared, [("all", i, T + k, k)], {f"p{i}": "v"})
                rest.post("runs/log-parameter", run_id=shared, key="same", value="x")
            rest.post("runs/update", run_id=runs[i], status="FINISHED", end_time=T)
        except Exception as e:
            errors.append(repr(e))
    threads = [threading.Thread(target=client, args=(i,)) for i in range(64)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors, errors[:3]
    rest = ours.rest()
    assert len(set(runs)) == 64
    for run in runs:
        assert sorted(v for _, v, _ in rest.history(run, "m")) == list(range(100))
    assert len(rest.history(shared, "all")) == 64 * 5
    assert len(rest.get("runs/get", run_id=shared)["run"]["data"]["params"]) == 65


# --- real clients --------------------------------------------------------------------------------

@pytest.mark.parametrize("version", [NEWEST, OLD])
def test_a_real_client(ours, version, tmp_path, request):
    """The same script of the Python client against ours and a server of its own version; what it
    prints is compared."""
    python = starter("fetch", version=version)["python"]
    if version == NEWEST:
        other = request.getfixturevalue("real")
    else:
        folder = str(tmp_path / "other")
        other = starter("start", folder, str(free_port()), version=version)
        request.addfinalizer(lambda: starter("stop", folder, version=version))
    said = []
    for env in (ours.env(), {"MLFLOW_TRACKING_URI": other["url"]}):
        r = subprocess.run([python, os.path.join(HERE, "client_runs.py")], cwd=tmp_path,
                           env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true",
                                "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true", **env},
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=240)
        assert r.returncode == 0, r.stderr[-3000:]
        said.append(r.stdout)
    assert said[0] == said[1]
    assert "done" in said[0]


JOB = """
import sys, mlflow
with mlflow.start_run() as run:
    mlflow.log_param("lr", 0.1)
    for step in range(5):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
    mlflow.set_tag("t", "x")
    with mlflow.start_run(nested=True, run_name="inner"):
        mlflow.log_metric("m", 1)
print("logged", run.info.run_id)
sys.exit(3)
"""


@pytest.mark.parametrize("version", [NEWEST, OLD])
def test_a_job_continues_its_own_run(platform, version):
    """start_run() in a job is the run of the job; its end_run() says FINISHED, and the job's exit
    code says otherwise: that counts."""
    python = starter("fetch", version=version)["python"]
    script = os.path.join(platform.dir, "job.py")
    with open(script, "w") as f:
        f.write(JOB)
    platform.ctl("mkdir", "/projects/p")
    job = platform.ctl("submit", "-p", "p", "-",
                       input=f"name: job\ncode: {{}}\ncommand: {python} {script}\n").stdout.strip()
    assert platform.ctl("wait", job, timeout=120, check=False).stdout == "FAILED\n"
    with platform.mount() as where:
        runs = f"{where}/projects/p/runs"
        names = [n for n in os.listdir(runs) if "." in n and os.path.isdir(f"{runs}/{n}/params")]
        inner = [n for n in names if n.startswith("inner.")]
        assert sorted(names) == sorted(inner + [job]) and len(inner) == 1
        facts = json.loads(read(runs, job, "info.json"))
        assert read(runs, job, "logs/stdout").splitlines()[-1] == f"logged {facts['id']}"
        assert facts["exit_code"] == 3 and facts["children"] == inner
        assert read(runs, job, "params/lr") == "0.1\n" and read(runs, job, "tags/t") == "x\n"
        assert len(read(runs, job, "metrics/loss").splitlines()) == 5
        assert read(runs, inner[0], "status") == "FINISHED\n"
        assert not os.path.exists(f"{runs}/{inner[0]}/spec.yaml")
        r = platform.ctl("rerun", inner[0], check=False)
        assert r.returncode and "the run was not submitted here" in r.stderr


def test_a_job_waits_for_a_logged_run(ours, platform):
    rest = ours.rest()
    run = rest.run(run_name="first")
    job = platform.ctl("submit", "-p", "default", "-", input=f"name: then\ncode: {{}}\n"
                       f"command: 'true'\nafter: [first.{run[:8]}]\n").stdout.strip()
    uid = json.loads(platform.ctl("cat", f"/projects/default/runs/{job}/info.json").stdout)["id"]

    def status():
        return rest.get("runs/get", run_id=uid)["run"]["info"]["status"]
    assert status() == "SCHEDULED"
    rest.post("runs/update", run_id=run, status="FINISHED", end_time=T)
    wait_for(lambda: status() == "FINISHED", "the job's end", 10)  # nobody else rings mantikd


def test_the_leaderboard_follows_the_tags_of_mlflow(ours, platform):
    rest = ours.rest()
    experiment = rest.experiment("e", tags=[
        {"key": "mlflow.experiment.primaryMetric.name", "value": "acc"},
        {"key": "mlflow.experiment.primaryMetric.greaterIsBetter", "value": "True"}])
    for name, value in (("low", 0.1), ("high", 0.9), ("none", "NaN"), ("middle", 0.5)):
        run = rest.run(experiment, run_name=name)
        rest.batch(run, [("acc", value, T, 1), ("acc", 0.95, T, 0)])  # the last is of step 1
        rest.post("runs/update", run_id=run, status="FINISHED", end_time=T)

    def order():
        text = platform.ctl("cat", "/projects/default/experiments/e/leaderboard.tsv").stdout
        return [line.split(".")[0] for line in text.splitlines()[1:]]
    assert order() == ["high", "middle", "low", "none"]
    rest.post("experiments/set-experiment-tag", experiment_id=experiment,
              key="mlflow.experiment.primaryMetric.greaterIsBetter", value="false")
    assert order() == ["low", "middle", "high", "none"]


def test_a_note_is_one_in_the_file_and_in_mlflow(ours, platform):
    """`note` of experiment.yaml is the tag mlflow.note.content, whoever writes which."""
    rest, tag = ours.rest(), "mlflow.note.content"
    experiment = rest.experiment("e", tags=[{"key": tag, "value": "first"}])

    def told():
        tags = rest.get("experiments/get", experiment_id=experiment)["experiment"].get("tags", [])
        return {t["key"]: t["value"] for t in tags}.get(tag)
    with platform.mount() as where:
        file = f"{where}/projects/default/experiments/e/experiment.yaml"
        assert "\nnote: first\n" in read(file)
        rest.post("experiments/set-experiment-tag", experiment_id=experiment, key=tag, value="a: b\nc")
        wait_for(lambda: '\nnote: "a: b\\nc"\n' in read(file), "the note of the API")
        assert "# primary_metric" in read(file)
        with open(file, "w") as f:
            f.write("# mine\nnote: by hand  # c\nlabels: [a/b]\n")
        assert told() == "by hand"
        rest.post("experiments/set-experiment-tag", experiment_id=experiment, key=tag, value="again")
        wait_for(lambda: read(file) == "# mine\nnote: again\nlabels: [a/b]\n", "the other lines to stay")
        rest.post("experiments/delete-experiment-tag", experiment_id=experiment, key=tag)
        wait_for(lambda: read(file) == "# mine\nlabels: [a/b]\n", "the note to go")
        with open(file, "w") as f:
            f.write("note: |\n  two\n  lines\n")
        assert told() == "two\nlines\n"
        with open(file, "w") as f:
            f.write("labels: [a/b]\n")
        assert told() is None
