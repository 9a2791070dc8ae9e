# SPDX-License-Identifier: Apache-2.0
"""MLflow's web pages over our data: the files of a real installed mlflow, what they ask first, and
/graphql, whose answers are those of a real server asked with the pages' own queries."""
import glob
import json
import os
import re

import pytest

from serving import Server
from tracking import NEWEST, OLD, starter


def venv(version):
    return os.path.dirname(os.path.dirname(starter("fetch", version=version)["python"]))


def with_pages(platform, where):
    os.makedirs(platform.config, exist_ok=True)
    platform.ctl("config", "serve_ui", where)
    platform.ctl("mkdir", "/projects/demo")
    return Server(platform, "demo")


@pytest.mark.parametrize("version", [NEWEST, OLD])
def test_the_pages_of_an_installed_mlflow(platform, version):
    where = venv(version)
    server = with_pages(platform, where)
    build, = glob.glob(f"{where}/lib/python3*/site-packages/mlflow/server/js/build")
    status, headers, index = server.ask("GET", "/projects/demo/")
    assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
    with open(build + "/index.html", "rb") as f:
        assert f.read() == index
    scripts = re.findall(r'(?:src|href)="(?:\./)?(static-files/[^"]+)"', index.decode())
    assert len(scripts) >= 3
    for name in scripts:  # as the page asks for them, with the project before them and without
        for top in ("/projects/demo/", "/"):
            status, headers, body = server.ask("GET", top + name)
            with open(build + name[len("static-files"):], "rb") as f:
                assert status == 200 and body == f.read()
    assert headers["Content-Type"] != "application/octet-stream"
    again, _, _ = server.ask("GET", "/" + name, headers={"If-None-Match": headers["ETag"]})
    assert again == 304


def test_no_page_without_the_token_and_nothing_beside_them(platform, tmp_path):
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "index.html").write_text("<html>")
    (tmp_path / "secret").write_text("secret")
    (pages / "link").symlink_to(tmp_path / "secret")
    server = with_pages(platform, str(pages))
    assert server.ask("GET", "/")[2] == b"<html>"
    assert server.ask("GET", "/", token=None)[0] == 401
    for path in ("link", "nothing", "", "../secret", "%2e%2e/secret", "/etc/passwd"):
        status, _, body = server.ask("GET", "/static-files/" + path)
        assert status in (400, 404) and b"secret" not in body.replace(path.encode(), b"")


def test_login_takes_the_password_out_of_the_address(platform, tmp_path):
    """A page whose address holds a password may ask nothing: browsers refuse its requests."""
    server = with_pages(platform, str(tmp_path))
    for top in ("", "/projects/demo"):
        for end in ("/login",) + (("",) if top else ()):
            status, headers, _ = server.ask("GET", top + end)
            assert status == 303
            assert headers["Location"] == f"http://127.0.0.1:{server.port}{top}/"
    assert server.ask("GET", "/login", token=None)[0] == 401


def test_what_is_no_page_runs_nothing(platform):
    server = Server(platform)
    for path in ("/version", "/api/2.0/mlflow/nothing"):
        assert server.ask("GET", path)[1]["Content-Security-Policy"] == "default-src 'none'; sandbox"


def test_without_pages_it_says_how(platform):
    status, _, body = Server(platform).ask("GET", "/")
    assert status == 404 and b"mantikctl config serve_ui" in body


def test_serve_names_the_pages(platform, tmp_path):
    (tmp_path / "index.html").write_text("<html>")
    p = platform.start("mantikctl", "serve", "--ui", str(tmp_path))
    lines = [p.stdout.readline() for _ in range(3)]
    assert "/login" in "".join(lines), lines
    assert platform.ctl("config", "serve_ui").stdout == str(tmp_path) + "\n"
    p.terminate()
    assert p.wait(20) == 0


# --- /graphql ----------------------------------------------------------------------------------------

def fill(post):
    """The same run on both; gives its id and its experiment's."""
    exp = post("experiments/create", {"name": "pages"})["experiment_id"]
    run = post("runs/create", {"experiment_id": exp, "run_name": "one", "start_time": 1_700_000_000_000,
                               "user_id": "ana"})["run"]["info"]["run_id"]
    post("runs/log-batch", {
        "run_id": run,
        "metrics": [{"key": "loss", "value": v, "timestamp": 1_700_000_000_000 + s, "step": s}
                    for s, v in enumerate([1.5, 0.25, 1e-300])] +
                   [{"key": "nan", "value": "NaN", "timestamp": 1, "step": -3}],
        "params": [{"key": "größe", "value": "ü"}, {"key": "lr", "value": "0.1"}],
        "tags": [{"key": "t", "value": "v"}]})
    post("runs/log-inputs", {"run_id": run, "datasets": [{
        "tags": [{"key": "mlflow.data.context", "value": "training"}],
        "dataset": {"name": "d", "digest": "x", "source_type": "local", "source": "{}"}}]})
    post("runs/update", {"run_id": run, "status": "FINISHED", "end_time": 1_700_000_001_000})
    return run, exp


RUN = """__typename info {__typename runName status runUuid experimentId endTime lifecycleStage startTime userId}
  experiment {__typename experimentId name tags {__typename key value} lifecycleStage}
  modelVersions {__typename status version name source}
  data {__typename metrics {__typename key value step timestamp} params {__typename key value}
        tags {__typename key value}}
  inputs {__typename datasetInputs {__typename dataset {__typename digest name profile schema source
          sourceType} tags {__typename key value}} modelInputs {__typename modelId}}
  outputs {__typename modelOutputs {__typename modelId step}}"""
ERROR = "apiError {__typename helpUrl code message}"
QUERIES = {
    "GetRun": ("query GetRun($data: MlflowGetRunInput!) {mlflowGetRun(input: $data) {__typename "
               f"{ERROR} run {{{RUN}}}}}}}", lambda run, exp: {"data": {"runId": run}}),
    "SearchRuns": ("query SearchRuns($data: MlflowSearchRunsInput!) {mlflowSearchRuns(input: $data) "
                   f"{{__typename {ERROR} runs {{{RUN}}}}}}}",
                   lambda run, exp: {"data": {"experimentIds": [exp], "filter": "metrics.loss < 1"}}),
    "MlflowGetExperimentQuery": (
        "query MlflowGetExperimentQuery($input: MlflowGetExperimentInput!) {mlflowGetExperiment(input: "
        f"$input) {{__typename {ERROR} experiment {{__typename experimentId name lifecycleStage "
        "tags {__typename key value}}}}", lambda run, exp: {"input": {"experimentId": exp}}),
    "GetMetricHistoryBulkInterval": (
        "query GetMetricHistoryBulkInterval($data: MlflowGetMetricHistoryBulkIntervalInput!) "
        "{mlflowGetMetricHistoryBulkInterval(input: $data) {__typename metrics {__typename timestamp step "
        f"runId key value}} {ERROR}}}}}",
        lambda run, exp: {"data": {"runIds": [run], "metricKey": "loss", "maxResults": 100}}),
}


def below(theirs, ours, names, path=""):
    """Every field of theirs is in ours and equal, but for ids."""
    if isinstance(theirs, dict):
        assert isinstance(ours, dict), (path, theirs, ours)
        for key, value in theirs.items():
            assert key in ours, f"{path}: no {key}"
            below(value, ours[key], names, f"{path}.{key}")
    elif isinstance(theirs, list):
        order = (lambda x: json.dumps([x.get("key"), x.get("step"), x.get("name")]))
        assert isinstance(ours, list) and len(ours) == len(theirs), (path, theirs, ours)
        for a, b in zip(sorted(theirs, key=order), sorted(ours, key=order)):
            below(a, b, names, path)
    else:
        assert names.get(theirs, theirs) == ours, (path, theirs, ours)


def test_graphql_answers_as_mlflow(platform, real):
    import urllib.request
    ours = Server(platform)
    run, exp = fill(lambda path, body: ours.call("POST", path, body))

    def ask_real(path, body):
        r = urllib.request.Request(real["url"] + path, json.dumps(body).encode(),
                                   {"Content-Type": "application/json"})
        with urllib.request.urlopen(r) as f:
            return json.load(f)

    run2, exp2 = fill(lambda path, body: ask_real("/api/2.0/mlflow/" + path, body))
    path = "/ajax-api/2.0/mlflow/experiments/search-datasets"
    sets = json.loads(ours.ask("POST", path, {"experiment_ids": [exp]})[2])
    assert sets == ask_real(path, {"experiment_ids": [exp2]}) and len(sets["dataset_summaries"]) == 1
    assert json.loads(ours.ask("POST", path, {"experiment_ids": ["999"]})[2]) == {}
    for name, (query, variables) in QUERIES.items():
        theirs = ask_real("/graphql", {"operationName": name, "query": query,
                                       "variables": variables(run2, exp2)})
        assert not theirs["errors"], theirs
        status, _, mine = ours.ask("POST", "/graphql", {"operationName": name, "query": query,
                                                        "variables": variables(run, exp)})
        assert status == 200
        below(theirs["data"], json.loads(mine)["data"], {run2: run, exp2: exp}, name)


def test_graphql_tells_errors_as_data(platform):
    ours = Server(platform)
    status, _, body = ours.ask("POST", "/graphql", {
        "operationName": "GetRun", "variables": {"data": {"runId": "0" * 32}}})
    answer = json.loads(body)["data"]["mlflowGetRun"]
    assert status == 200 and answer["run"] is None
    assert answer["apiError"]["code"] == "RESOURCE_DOES_NOT_EXIST"
    assert ours.ask("POST", "/graphql", {"operationName": "Other"})[0] == 404
    assert ours.ask("POST", "/graphql", {})[0] == 400
