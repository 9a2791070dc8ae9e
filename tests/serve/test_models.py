# SPDX-License-Identifier: Apache-2.0
"""Artifacts, registered and logged models of the embedded tracking server: answers compared with
those of a real MLflow server, real clients of two releases, the files in a mount, hostile paths,
uploads that are cut."""
import filecmp
import http.client
import json
import os
import re
import socket
import subprocess
import time
import urllib.parse

import pytest
from mantik import wait_for
from rest import Rest, Told
from script_models import KEPT, STEPS
from tracking import NEWEST, OLD, starter

HERE = os.path.dirname(os.path.abspath(__file__))
FILES = "/api/2.0/mlflow-artifacts/artifacts"


# --- the same answers ----------------------------------------------------------------------------

class Teller(Told):
    def tell(self, method, path, fields, keep):
        path, body = self.fill(path), None
        if isinstance(fields, bytes) or fields is None:
            body = fields
        elif method == "GET":
            if fields:
                path += "?" + urllib.parse.urlencode(self.fill(fields), doseq=True)
        else:
            body = json.dumps(self.fill(fields))
        headers = self.rest.headers
        if fields is None:  # no body at all
            self.rest.headers = {k: v for k, v in headers.items() if k != "Content-Type"}
        try:
            status, text = self.rest.raw(method, path, body)
        except (http.client.HTTPException, ConnectionError):  # MLflow's ends so after a 500
            self.rest.link.close()
            status, text = self.rest.raw(method, path, body)
        self.rest.headers = headers
        try:
            answer = json.loads(text) if text else {}
        except ValueError:
            answer = text.decode(errors="replace")
        if keep and status == 200:
            self.keep(keep, answer["experiment_id"] if "experiment_id" in answer else
                      answer["run"]["info"]["run_id"] if "run" in answer else
                      answer["model"]["info"]["model_id"])
        return status, self.plain(answer)

    def plain(self, value, key=None):
        if isinstance(value, dict):
            value = {k: v for k, v in value.items() if not (k == "description" and v == "")}
            if "latest_versions" in value:
                value["latest_versions"] = sorted(value["latest_versions"], key=lambda v: v["version"])
            if "user_id" in value:
                value["user_id"] = ""
            if not value.get("outputs", True):
                del value["outputs"]
        if key and "timestamp" in key and value and value > 1e12:
            return abs(value / 1000 - time.time()) < 300
        if isinstance(value, str) and key in ("source", "artifact_uri", "root_uri"):
            value = re.sub(r"^mlflow-artifacts:/\d+(?=/)", "mlflow-artifacts:/<e>", value)
        return super().plain(value, key)


def said(answer):
    status, body = answer
    return (status, body) if status == 200 else \
        (status, body.get("error_code") if isinstance(body, dict) else None)


def test_answers_are_those_of_mlflow(ours, real):
    a, b = Teller(ours.rest()), Teller(Rest(real["url"]))
    wrong, kept = [], {repr(step): both for step, both, _ in KEPT}
    for step in STEPS:
        x, y = said(a.tell(*step)), said(b.tell(*step))
        if (x[0], y[0]) == kept.pop(repr(step), None):
            continue
        # MLflow's own file routes say {"detail": …} without a code
        if x != y and not (x[0] == y[0] != 200 and y[1] is None):
            wrong.append(f"{step[0]} {step[1]} {str(step[2])[:300]}\n  ours   {str(x)[:900]}\n"
                         f"  MLflow {str(y)[:900]}")
    assert not wrong, f"{len(wrong)} of {len(STEPS)} differ\n" + "\n".join(wrong)
    assert not kept, kept


# --- files ---------------------------------------------------------------------------------------

def place(rest):
    """An experiment and a run: the run's id, and the address of its artifacts."""
    experiment = rest.experiment("files")
    run = rest.run(experiment, run_name="one")
    return run, f"{FILES}/{experiment}/{run}/artifacts"


def shown(run, mount, name="one"):
    """The run's directory in a mount."""
    return os.path.join(mount, "projects", "default", "runs", f"{name}.{run[:8]}")


def ask(rest, method, path, body=None, **headers):
    """Status, headers, bytes."""
    rest.link.request(method, path, body, dict(rest.headers, **headers))
    answer = rest.link.getresponse()
    return answer.status, dict(answer.getheaders()), answer.read()


def test_ranges(rest):
    _, root = place(rest)
    data = bytes(range(256)) * 300
    assert ask(rest, "PUT", root + "/f.bin", data)[0] == 200
    for span, part in (("0-9", data[:10]), ("70000-", data[70000:]), ("-5", data[-5:]),
                       ("100-100", data[100:101])):
        status, headers, got = ask(rest, "GET", root + "/f.bin", Range="bytes=" + span)
        assert (status, got) == (206, part), span
        assert headers["Content-Range"].endswith(f"/{len(data)}")
    assert ask(rest, "GET", root + "/f.bin", Range="bytes=90000-")[0] == 416
    status, headers, got = ask(rest, "HEAD", root + "/f.bin")
    assert (status, got, headers["Content-Length"]) == (200, b"", str(len(data)))


NAMES = ["a b", "größe μ.txt", "100%", "100%25", "%2e%2e", "a+b&c=d", "a?b", "#a", "a\\b", ".hidden",
         "-rf", "..a", "'\"", "tab\tname", "x" * 255, "日本/語/f", "*", "a:b"]


def test_names_are_kept_to_the_byte(platform, ours, rest):
    run, root = place(rest)
    for i, name in enumerate(NAMES):
        path = root + "/" + urllib.parse.quote(name)
        assert ask(rest, "PUT", path, f"{i} {name}".encode())[0] == 200, name
        assert ask(rest, "GET", path)[2] == f"{i} {name}".encode(), name
    listed = rest.get("artifacts/list", run_id=run)["files"]
    assert sorted(f["path"] for f in listed) == sorted({n.split("/")[0] for n in NAMES})
    with platform.mount() as mount:
        folder = os.path.join(shown(run, mount), "artifacts")
        for i, name in enumerate(NAMES):
            with open(os.path.join(folder, name), "rb") as f:
                assert f.read() == f"{i} {name}".encode(), name
            assert os.stat(os.path.join(folder, name)).st_size == len(f"{i} {name}".encode())


HOSTILE = ["..", "../x", "a/../../x", "%2e%2e/x", "a/%2e%2e/%2e%2e/%2e%2e/x", "%2e%2e%2fx", "a//b", "./x",
           "a/./b", "%00", "a%00b", "%2Fetc%2Fpasswd", "/etc/passwd", "a/", "", "%ff", "%c3%28",
           "x" * 256, "a/" * 2200 + "b", "..%5cx/../x", "%2e"]


def test_hostile_paths(ours, rest):
    run, root = place(rest)
    experiment = root.split("/")[-3]
    for name in HOSTILE:
        status = ask(rest, "PUT", f"{root}/{name}", b"x")[0]
        assert status in (400, 404, 414), (name, status)
        rest.link.close()
    for path in (f"{experiment}/{run}/x", f"{experiment}/{'0' * 32}/artifacts/x", "x", "", "etc/passwd",
                 f"{experiment}/models/m-{'0' * 32}/artifacts/x", f"{experiment}/models/../runs/x"):
        for method in ("PUT", "GET", "DELETE"):
            status = ask(rest, method, f"{FILES}/{path}", b"x" if method == "PUT" else None)[0]
            assert status in (400, 404), (method, path, status)
            rest.link.close()
    assert "files" not in rest.get("artifacts/list", run_id=run)
    assert leftovers(ours) == []
    assert not os.path.exists(os.path.join(ours.platform.data, "runs", run, "x"))


def test_only_below_runs_of_the_scope(ours):
    rest, other = ours.rest(), None
    ours.platform.ctl("mkdir", "/projects/other")
    other = ours.rest("other")
    run, root = place(rest)
    assert ask(other, "PUT", "/projects/other" + root + "/f", b"x")[0] == 404
    assert other.ask("GET", "artifacts/list", {"run_id": run})[0] == 404
    mine, root = place(other)
    assert ask(other, "PUT", "/projects/other" + root + "/f", b"x")[0] == 200
    assert rest.get("artifacts/list", run_id=mine)["files"] == [
        {"path": "f", "is_dir": False, "file_size": 1}]


def test_an_artifact_location(rest):
    """Of the experiment: elsewhere is said, below mlflow-artifacts:/ works."""
    run = rest.run(rest.experiment("far", artifact_location="s3://bucket/x"))
    status, answer = rest.ask("GET", "artifacts/list", {"run_id": run})
    assert (status, answer["error_code"]) == (501, "NOT_IMPLEMENTED") and "s3://" in answer["message"]
    run = rest.run(rest.experiment("near", artifact_location="mlflow-artifacts:/team/a"))
    uri = rest.get("runs/get", run_id=run)["run"]["info"]["artifact_uri"]
    assert ask(rest, "PUT", FILES + uri[len("mlflow-artifacts:"):] + "/f", b"123")[0] == 200
    assert rest.get("artifacts/list", run_id=run)["files"] == [
        {"path": "f", "is_dir": False, "file_size": 3}]


# --- uploads that do not end ---------------------------------------------------------------------

def leftovers(ours):
    folder = os.path.join(ours.platform.data, "incoming")
    return os.listdir(folder) if os.path.exists(folder) else []


def begin_upload(ours, path, length, sent):
    port = urllib.parse.urlsplit(ours.url).port
    link = socket.create_connection(("127.0.0.1", port))
    link.sendall(f"PUT {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {ours.token}\r\n"
                 f"Content-Length: {length}\r\n\r\n".encode() + b"x" * sent)
    return link


def open_uploads(ours):
    """How many unfinished files mantikd has."""
    folder, n = f"/proc/{ours.process.pid}/fd", 0
    for fd in os.listdir(folder):
        try:
            n += "/incoming/" in os.readlink(os.path.join(folder, fd))
        except OSError:
            pass
    return n


def test_a_cut_upload_leaves_nothing(ours, rest):
    run, root = place(rest)
    assert ask(rest, "PUT", root + "/kept", b"first")[0] == 200
    for name in ["cut", "kept", "d/e/cut"] * 7:  # the end comes before the last piece was read, or after
        link = begin_upload(ours, f"{root}/{name}", 1000000, 500000)
        wait_for(lambda: open_uploads(ours) == 1, "the upload to begin")
        link.close()
        wait_for(lambda: open_uploads(ours) == 0, "the upload to be given up")
    assert rest.get("artifacts/list", run_id=run)["files"] == [
        {"path": "kept", "is_dir": False, "file_size": 5}]
    assert ask(rest, "GET", root + "/kept")[2] == b"first"
    assert leftovers(ours) == []


def test_killed_during_an_upload(ours, rest):
    run, root = place(rest)
    assert ask(rest, "PUT", root + "/acknowledged", b"12345")[0] == 200
    link = begin_upload(ours, root + "/cut", 1000000, 500000)
    wait_for(lambda: open_uploads(ours) == 1, "the upload to begin")
    ours.kill()
    link.close()
    rest = ours.start().rest()
    assert rest.get("artifacts/list", run_id=run)["files"] == [
        {"path": "acknowledged", "is_dir": False, "file_size": 5}]
    assert ask(rest, "PUT", root + "/again", b"1")[0] == 200
    assert leftovers(ours) == []


def test_chunked_upload(ours, rest):
    _, root = place(rest)
    parts = [b"a" * 1000, b"b" * 70000, b"c"]
    rest.link.request("PUT", root + "/chunked", iter(parts), rest.headers, encode_chunked=True)
    answer = rest.link.getresponse()
    answer.read()
    assert answer.status == 200
    assert ask(rest, "GET", root + "/chunked")[2] == b"".join(parts)


def resident(ours):
    with open(f"/proc/{ours.process.pid}/status") as f:
        return int(re.search(r"VmHWM:\s+(\d+)", f.read())[1]) * 1024


@pytest.mark.parametrize("size", [64 << 20, pytest.param(1 << 30, marks=pytest.mark.full)])
def test_a_large_file_takes_little_memory(platform, ours, rest, size):
    run, root = place(rest)
    assert ask(rest, "PUT", root + "/small", b"x" * 1000000)[0] == 200
    assert len(ask(rest, "GET", root + "/small")[2]) == 1000000
    before = resident(ours)
    big = os.path.join(platform.dir, "big")
    with open(big, "wb") as f:
        block = os.urandom(1 << 20)
        for _ in range(size >> 20):
            f.write(block)
    auth = f"Authorization: Bearer {ours.token}"
    url = ours.url + root + "/big"
    subprocess.run(["curl", "-sSf", "-H", auth, "-T", big, url], check=True, stdout=subprocess.DEVNULL)
    back = os.path.join(platform.dir, "back")
    subprocess.run(["curl", "-sSf", "-H", auth, "-o", back, url], check=True)
    assert filecmp.cmp(big, back, shallow=False)
    grown = resident(ours) - before
    assert grown < 48 << 20, f"{grown >> 20} MiB"
    with platform.mount() as mount:
        assert filecmp.cmp(big, os.path.join(shown(run, mount), "artifacts", "big"), shallow=False)
    os.unlink(big)
    os.unlink(back)


# --- what a mount shows, and when ----------------------------------------------------------------

def test_files_of_a_deleted_run_stay_until_gc(platform, ours, rest):
    run, root = place(rest)
    assert ask(rest, "PUT", root + "/d/f", b"12345")[0] == 200
    with platform.mount() as mount:
        rest.post("runs/delete", run_id=run)
        deleted = os.path.join(mount, "projects/default/runs/deleted", f"one.{run[:8]}")
        wait_for(lambda: os.path.isdir(deleted), "the run in deleted/")
        with open(os.path.join(deleted, "artifacts/d/f")) as f:
            assert f.read() == "12345"
        assert ask(rest, "GET", root + "/d/f")[2] == b"12345"
        assert ask(rest, "PUT", root + "/g", b"1")[0] == 400
        platform.ctl("gc", "--yes")
    assert ask(rest, "GET", root + "/d/f")[0] == 404
    assert not os.path.exists(os.path.join(platform.data, "runs", run))


def test_an_open_file_keeps_its_version(platform, ours, rest):
    run, root = place(rest)
    ask(rest, "PUT", root + "/f", b"first version")
    with platform.mount() as mount:
        path = os.path.join(shown(run, mount), "artifacts/f")
        with open(path, "rb") as f:
            assert f.read(5) == b"first"
            ask(rest, "PUT", root + "/f", b"another")
            assert f.read() == b" version"

        def again():
            with open(path, "rb") as g:
                return g.read() == b"another"
        wait_for(again, "the new version")


# --- real clients --------------------------------------------------------------------------------

# Files from 1000 bytes are to be sent and fetched in parts. A server with a directory declines that, so
# that the client sends and fetches them whole.
IN_PARTS = {"MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "true",
            "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "true",
            "MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE": "1000",
            "MLFLOW_MULTIPART_DOWNLOAD_MINIMUM_FILE_SIZE": "1000"}
LARGE = """
import sys, mlflow
with mlflow.start_run() as run:
    mlflow.log_artifact(sys.argv[1], "d")
    print("run", run.info.run_id)
    print("at", mlflow.artifacts.download_artifacts(
        run_id=run.info.run_id, artifact_path="d/big", dst_path="."))
"""


@pytest.mark.parametrize("version, in_parts, mib", [
    (OLD, True, 2), pytest.param(OLD, True, 600, marks=pytest.mark.full),
    pytest.param(OLD, False, 600, marks=pytest.mark.full),
    pytest.param(NEWEST, True, 600, marks=pytest.mark.full),
    pytest.param(NEWEST, False, 600, marks=pytest.mark.full)])
def test_a_large_artifact_of_a_real_client(ours, rest, tmp_path, version, in_parts, mib):
    """More than the 500 MiB from which clients send in parts; and asked to do so, which 2.9.2 cannot
    with a real 3.17 server: its refusal is no JSON."""
    big, more = tmp_path / "big", IN_PARTS if in_parts else {}
    with open(big, "wb") as f:
        for _ in range(mib):
            f.write(os.urandom(1 << 20))
    (tmp_path / "there").mkdir()
    python = starter("fetch", version=version)["python"]
    r = subprocess.run([python, "-c", LARGE, str(big)], cwd=tmp_path / "there", text=True, timeout=600,
                       env={**os.environ, **ours.env(), **more}, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE)
    assert r.returncode == 0, r.stderr[-3000:]
    run, at = (re.search(rf"^{word} (.*)", r.stdout, re.M)[1] for word in ("run", "at"))
    status, answer = rest.ask("GET", "artifacts/list", {"run_id": run, "path": "d"})
    assert (status, answer["files"]) == (200, [
        {"path": "d/big", "is_dir": False, "file_size": mib << 20}])
    assert filecmp.cmp(big, tmp_path / "there" / at, shallow=False)


def clients(version, *places):
    """The script against several servers at once, (folder, environment) each: what they printed."""
    python = starter("fetch", version=version)["python"]
    plain = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    script = os.path.join(HERE, "client_models.py")
    started = [subprocess.Popen([python, script, version], cwd=folder,
                                env=dict(plain, **(IN_PARTS if version == NEWEST else {}), **env,
                                         HOME=str(folder)),
                                stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True) for folder, env in places]
    printed = []
    try:
        for process in started:
            out, err = process.communicate(timeout=300)
            assert process.returncode == 0, err[-3000:]
            # the newest prints where its pages are
            printed.append([line for line in out.splitlines() if " at: http" not in line])
    finally:
        for process in started:
            process.kill()
            process.wait()
    return printed


def same_trees(a, b, *ignored):
    r = subprocess.run(["diff", "-r", *[f"--exclude={i}" for i in ignored], a, b],
                       stdout=subprocess.PIPE, text=True)
    assert r.returncode == 0, r.stdout[:3000]


@pytest.mark.parametrize("version", [NEWEST, OLD])
def test_real_clients(platform, ours, real, tmp_path, version):
    """The same script on both servers prints the same; what it downloads is what the mount shows."""
    here, there = tmp_path / "ours", tmp_path / "real"
    here.mkdir()
    there.mkdir()
    ours_said, real_said = clients(
        version, (here, ours.env()),
        (there, {"MLFLOW_TRACKING_URI": real["url"], "MLFLOW_DISABLE_TELEMETRY": "true"}))
    assert ours_said == real_said
    with open(here / "facts.json") as f:
        facts = json.load(f)
    with platform.mount() as mount:
        project = os.path.join(mount, "projects/default")
        run = os.path.join(project, "runs", f"files.{facts['run'][:8]}")
        same_trees(os.path.join(run, "artifacts"), here / "artifacts")
        model = os.path.join(project, "models/rain " + version)
        assert sorted(os.listdir(model)) == ["1", "2", "champion"]
        assert os.readlink(os.path.join(model, "champion")) == "2"
        for n in ("1", "2"):
            same_trees(os.path.join(model, n), here / ("version" + n), "model.yaml",
                       "registered_model_meta")
        with open(os.path.join(model, "2", "model.yaml")) as f:
            text = f.read()
        assert f"run: fit.{facts['fit'][:8]}\n" in text and "aliases: [champion]\n" in text
        assert "stage: Staging\n" in text and "description: the better one\n" in text
        assert re.search(r"^  training_score: 0\.\d+|^  training_score: 1$", text, re.M), text
        fit = os.path.join(project, "runs", f"fit.{facts['fit'][:8]}")
        if version == NEWEST:
            names = os.listdir(os.path.join(fit, "models"))
            assert len(names) == 1
            same_trees(os.path.join(fit, "models", names[0]), here / "version2",
                       "registered_model_meta")
        assert "confusion_matrix" in " ".join(os.listdir(os.path.join(fit, "artifacts")))
