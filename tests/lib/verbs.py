# SPDX-License-Identifier: Apache-2.0
"""One of each verb written through a mount of an MLflow server, and what the server then says of it
by REST: for every kind of server there is. What is special about each verb is in test_writing.py
and test_copying.py; this shows that none of them minds which server, login or proxy it is."""
import errno
import os
import time
import urllib.parse

from mantik import wait_for
from mounted import info, read

NAME = "written through"


def write(path, text, more=os.O_TRUNC):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | more, 0o666)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


class Verbs:
    """mounted: a Mounted whose server is there; api: one who may do everything there."""

    def __init__(self, mounted, api):
        self.mounted, self.api = mounted, api
        self.where = f"{mounted.project}/experiments"

    def appears(self, path):
        """What another client made is there when its directory is looked at, a moment later."""
        folder, name = os.path.split(path)

        def there():
            try:
                return name in os.listdir(folder)
            except OSError:  # a server that was away is asked again in a while
                return False
        wait_for(there, path, 90, every=0.2)
        return path

    def tags_of(self, experiment):
        found = self.api(f"experiments/get?experiment_id={experiment}")["experiment"]
        return found["name"], {t["key"]: t["value"] for t in found.get("tags", [])}

    def data(self):
        return self.api(f"runs/get?run_id={self.id}")["run"]["data"]

    def stage(self):
        return self.api(f"runs/get?run_id={self.id}")["run"]["info"]["lifecycle_stage"]

    def experiments(self):
        """mkdir, mv, experiment.yaml; a run in it is what the others write to."""
        os.mkdir(f"{self.where}/made")
        self.experiment = self.api("experiments/get-by-name?experiment_name=made")["experiment"][
            "experiment_id"]
        os.rename(f"{self.where}/made", f"{self.where}/{NAME}")
        yaml = f"{self.where}/{NAME}/experiment.yaml"
        write(yaml, read(yaml) + "note: größer\ntags: {team: rain}\n")
        name, tags = self.tags_of(self.experiment)
        assert name == NAME and tags["team"] == "rain" and tags["mlflow.note.content"] == "größer"
        now = int(time.time() * 1000)
        self.id = self.api("runs/create", {"experiment_id": self.experiment, "run_name": "theirs",
                                           "start_time": now})["run"]["info"]["run_id"]
        self.api("runs/update", {"run_id": self.id, "status": "FINISHED", "end_time": now})
        self.name = f"theirs.{self.id[:8]}"
        self.run = self.appears(f"{self.mounted.project}/runs/{self.name}")

    def values(self):
        write(f"{self.run}/tags/stage", "größe μ\n")
        write(f"{self.run}/tags/gone", "soon\n")
        os.unlink(f"{self.run}/tags/gone")
        write(f"{self.run}/params/lr", "1e-5\n")
        with open(f"{self.run}/metrics/loss", "a") as f:
            f.write("3 0.1\n4 nan\n")
        with open(f"{self.run}/metrics/loss", "a") as f:
            f.write("5 5e-324\n")
        wait_for(lambda: info(self.run)["unsent"] == 0, "everything to be sent", 60, every=0.2)
        data = self.data()
        tags = {t["key"]: t["value"] for t in data["tags"]}
        assert tags["stage"] == "größe μ" and "gone" not in tags
        assert data["params"] == [{"key": "lr", "value": "1e-5"}]
        history = self.api("metrics/get-history?" + urllib.parse.urlencode(
            {"run_id": self.id, "metric_key": "loss", "max_results": 100}))["metrics"]
        assert [(p["step"], p["value"]) for p in history] == [(3, 0.1), (4, "NaN"), (5, 5e-324)]
        assert [line.split("\t")[:2] for line in read(f"{self.run}/metrics/loss").splitlines()] == [
            ["3", "0.1"], ["4", "nan"], ["5", "5e-324"]]

    def files(self, stored, taken=True):
        """stored: its artifacts at the server; taken: it has a proxy for them."""
        source = os.path.join(self.mounted.platform.dir, "written")
        os.makedirs(f"{source}/tief/größe", exist_ok=True)
        for name, data in (("100% plus+", b"x" * 70000), ("tief/größe/日本.txt", b"\0\xff"), ("empty", b"")):
            with open(f"{source}/{name}", "wb") as f:
                f.write(data)
        r = self.mounted.platform.run("cp", "-r", source, f"{self.run}/artifacts/out", check=False)
        if not taken:
            assert r.returncode and "not supported" in r.stderr, r.stderr
            assert "--serve-artifacts" in self.mounted.platform.ctl("why").stdout
            return
        assert r.returncode == 0, r.stderr
        wait_for(lambda: info(self.run)["unsent"] == 0, "the files to be sent", 60, every=0.2)
        for where in (f"{stored}/out", f"{self.run}/artifacts/out"):
            self.mounted.platform.run("diff", "-r", source, where)

    def deleting(self):
        deleted = f"{self.mounted.project}/runs/deleted/{self.name}"
        write(f"{self.run}/ctl", "delete\n", 0)
        assert self.stage() == "deleted" and os.path.exists(deleted)
        os.rename(deleted, self.run)
        assert self.stage() == "active" and not os.path.exists(deleted)

    def models(self):
        self.api("registered-models/create", {"name": "Modell β"})
        self.api("model-versions/create", {"name": "Modell β", "source": f"runs:/{self.id}/m",
                                           "run_id": self.id})
        path = self.appears(f"{self.mounted.project}/models/Modell β") + "/1/model.yaml"
        text = read(path)
        assert "aliases: []\n" in text
        write(path, text.replace("aliases: []", "aliases: [best]").replace(
            "\ndescription:", "\ndescription: the first"))
        model = urllib.parse.quote("Modell β")
        got = self.api(f"registered-models/get?name={model}")["registered_model"]
        assert [(a["alias"], a["version"]) for a in got["aliases"]] == [("best", "1")]
        got = self.api(f"model-versions/get?name={model}&version=1")["model_version"]
        assert got["description"].strip() == "the first"

    def refusals(self):
        """In the server's words, and what was there stays."""
        try:
            write(f"{self.run}/params/lr", "2\n")
        except OSError as e:
            assert e.errno in (errno.EEXIST, errno.EINVAL)
        else:
            raise AssertionError("a param was changed")
        assert read(f"{self.run}/params/lr") == "1e-5\n"

    def all(self, stored, taken=True):
        self.experiments()
        self.values()
        self.files(stored.format(experiment=self.experiment, run=self.id), taken)
        self.deleting()
        self.models()
        self.refusals()
