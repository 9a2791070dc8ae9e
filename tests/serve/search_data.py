# SPDX-License-Identifier: Apache-2.0
"""What the searches of search_strings.py look through, made through the REST API of either server.
Every run starts at a moment of its own, so that an order is the same on both although ids are not;
but for the three called `tie`, which their ids put in order."""
import random
import time

T = 1_700_000_000_000
STATUS = ["FINISHED", "FAILED", "KILLED", "SCHEDULED", None]
TEAMS = ["wind", "Wind", "sun", "größe", None]
RATES = ["0.1", "0.01", "0.001", "1", "0x1", None]
ODD = ["NaN", "Infinity", "-Infinity", 0.0, -0.0, 5e-324, 1e300, -7.25, None]
TEXTS = {
    1: {"quote": "it's"}, 2: {"quote": 'say "hi"'}, 3: {"back": "a\\b"}, 4: {"back": "a'b"},
    5: {"case": "Mixed"}, 6: {"case": "mixed"}, 7: {"special": "100% [x]*?"}, 8: {"special": "abc"},
    9: {"special": "under_score"}, 10: {"lines": "one\ntwo"}, 11: {"long": "x" * 5000},
    12: {"empty": ""}, 13: {"a b": "blank", "x-y": "dash"}, 15: {"größe": "größer"},
    16: {"größe": "Größer"}, 17: {"日本": "語"}, 18: {"deep/er/key": "1", "order": "x"},
    19: {"in": "x", "status": "x"}, 20: {"a": "x", "b": "y"}, 21: {"k:v": "colon"},
}


def pairs(values):
    return [{"key": k, "value": v} for k, v in values.items()]


def metric(key, value, step=0, at=T):
    return {"key": key, "value": value, "timestamp": at, "step": step}


class Seeded:
    """Experiments and runs by name, and back."""

    def __init__(self, rest):
        self.rest, self.experiments, self.runs, self.names, self.logged = rest, {}, {}, {}, {}

    def experiment(self, name, tags=None):
        self.experiments[name] = self.rest.experiment(name, tags=pairs(tags or {}))
        time.sleep(0.003)  # their order is that of their milliseconds

    def run(self, name, experiment, start, status="FINISHED", tags=None, user="ada", end=None, call=None):
        run = self.rest.run(self.experiments[experiment], run_name=call or name, start_time=start,
                            user_id=user, tags=pairs(tags or {}))
        self.runs[name], self.names[run] = run, name
        if status:
            self.rest.post("runs/update", run_id=run, status=status,
                           **({"end_time": end} if end else {}))
        return run

    def fill(self, text):
        for name, run in self.runs.items():
            text = text.replace("{" + name + "}", run)
        for name, experiment in self.experiments.items():
            text = text.replace("{e:" + name + "}", experiment)
        return text


def one_run(s, i, rng):
    tags = {"stage": "a" if i % 3 else "b"}
    if TEAMS[i % 5]:
        tags["team"] = TEAMS[i % 5]
    if i and i % 10 == 0:
        tags["mlflow.parentRunId"] = s.runs["run 0"]
    if i % 7 == 0:
        tags.update({"mlflow.source.type": "LOCAL", "mlflow.note.content": f"a note of {i}"})
    if i == 22:
        tags["emoji"] = "🎉"
    if i == 23:
        tags["tag with blanks"] = " padded "
    call = {24: "twin", 25: "twin", 26: "größe", 27: "it's"}.get(i)
    run = s.run(f"run {i}", "alpha" if i % 4 else "beta", T + 1000 * i, STATUS[i % 5], tags,
                "grace hopper" if i % 6 == 0 else "ada", T + 100_000 + 1000 * ((i * 7) % 60)
                if STATUS[i % 5] in ("FINISHED", "FAILED", "KILLED") else None, call)
    params = dict(TEXTS.get(i, {}))
    if RATES[i % 6]:
        params["lr"] = RATES[i % 6]
    metrics = []
    if i % 8:
        metrics.append(metric("loss", rng.randrange(64) / 64))
    if ODD[i % 9] is not None:
        metrics.append(metric("odd", ODD[i % 9]))
    if i % 2:
        metrics.append(metric("same", 1))
    if i % 5 == 1:
        metrics += [metric("val loss", i / 8), metric("val/rmse", i / 4)]
    if i % 5 == 2:
        metrics += [metric("a.b.c", i % 3), metric("größe", i), metric("_x", 1), metric("1a", 2)]
    if i % 9 == 4:  # out of order: the highest step counts, then the time
        metrics += [metric("steps", 5, 3), metric("steps", 9, 8), metric("steps", 2, -4)]
    if i % 9 == 5:
        metrics += [metric("steps", 9, 8, T), metric("steps", 5, 8, T + 1)]
    s.rest.post("runs/log-batch", run_id=run, metrics=metrics, params=pairs(params), tags=[])
    sets = [("era5", "d1", "train")] if i % 6 == 1 else []
    if i % 6 == 2:
        sets = [("era5", "d2", "eval"), ("stations", "d3", "train")]
    if i % 12 == 3:
        sets = [("Stations", "d4", None)]
    if sets:
        s.rest.post("runs/log-inputs", run_id=run, datasets=[
            {"dataset": {"name": n, "digest": d, "source_type": "local", "source": "{}"},
             "tags": [{"key": "mlflow.data.context", "value": c}] if c else []} for n, d, c in sets])


def models(s):
    """Registered models, their versions, and logged models; one by one, each at a time of its own."""
    for name, tags in (("tree", {"owner": "ada", "a b": "x"}), ("net", {"owner": "bob"}),
                       ("Tiny", {"owner": "Ada"}), ("bare", {})):
        s.rest.post("registered-models/create", name=name, tags=pairs(tags))
        time.sleep(0.003)
    for name, run, tags in (("tree", "run 3", {"stage": "a"}), ("tree", "run 4", {"stage": "b"}),
                            ("net", "run 3", {"stage": "a", "a b": "xy"}), ("tree", "run 5", {}),
                            ("Tiny", "run 6", {})):
        s.rest.post("model-versions/create", name=name, run_id=s.runs[run], tags=pairs(tags),
                    source=f"runs:/{s.runs[run]}/{name}")
        time.sleep(0.003)
    s.rest.post("registered-models/set-tag", name="bare", key="late", value="yes")
    for name, kind, run, lr, losses in (
            ("net", "nn", "run 3", "0.1", [("era5", "d1", 0.25), ("tides", "d2", 0.75)]),
            ("tree", None, "run 4", "0.01", [("era5", "d1", 0.5)]),
            ("Net", "nn", None, None, []), ("tree", "forest", "run 5", "0.1", [("era5", "d3", 4)])):
        fields = {"experiment_id": s.experiments["alpha"], "name": name,
                  "tags": pairs({"team": "wind"} if lr == "0.1" else {}),
                  "params": pairs({"lr": lr} if lr else {})}
        if kind:
            fields["model_type"] = kind
        if run:
            fields["source_run_id"] = s.runs[run]
        model = s.rest.post("logged-models", **fields)["model"]["info"]["model_id"]
        s.logged[model] = f"{name} {len(s.logged)}"
        for i, (data, digest, loss) in enumerate(losses):
            s.rest.post("runs/log-metric", run_id=s.runs[run], key="model loss", value=loss,
                        timestamp=T + i, step=i, model_id=model, dataset_name=data,
                        dataset_digest=digest)
            s.rest.post("runs/log-metric", run_id=s.runs[run], key="loss", value=loss,
                        timestamp=T - 100 - i, step=-100 - i, model_id=model, dataset_name=data,
                        dataset_digest=digest)
        if name == "tree":
            s.rest.ask("PATCH", f"logged-models/{model}",
                       {"model_id": model, "status": 2})
        time.sleep(0.003)


def seed(rest):
    rest.get("experiments/get", experiment_id="0")
    s = Seeded(rest)
    s.experiments["Default"] = "0"
    s.experiment("alpha", {"team": "wind", "a b": "x"})
    s.experiment("beta", {"team": "Wind"})
    s.experiment("it's", {"team": "sun"})
    s.experiment("Alpha größe")
    s.experiment("gone", {"team": "wind"})
    rng = random.Random(7)
    for i in range(64):
        one_run(s, i, rng)
    for i in range(3):
        s.run(f"tie {i}", "beta", T - 1000, call="tie")
    for i in range(6):
        run = s.run(f"deleted {i}", "alpha", T + 70_000 + i, tags={"team": "wind"})
        s.rest.post("runs/delete", run_id=run)
    s.run("lost", "gone", T + 80_000)
    models(s)
    s.rest.post("experiments/delete", experiment_id=s.experiments["gone"])
    return s
