# SPDX-License-Identifier: Apache-2.0
"""What servers other than the seeded ones send: old and new habits, clones, proxies, nonsense; and
who is asking. Most by a listener that follows a script, the rest by a real server."""
import base64
import json
import os
import stat

import pytest
from httpserve import free_port, reply, script
from mantik import Platform
from tracking import behind_nginx, connect, mlflow, track

JSON = ["Content-Type: application/json"]
HTML = ["Content-Type: text/html; charset=utf-8"]
PAGE = "<!doctype html><title>500 Internal Server Error</title>"
RUN = "0123456789abcdef0123456789abcdef"


def answer(value, status=200, headers=()):
    text = value if isinstance(value, (str, bytes)) else json.dumps(value)
    return reply(status, text, [*JSON, *headers])


def error(status, code, message, **more):
    return answer({"error_code": code, "message": message, **more}, status)


def ask(platform, answers, *args, keys=None, **more):
    """The answers of a scripted server, and what came of asking; gives (answer, requests)."""
    with script(*(answers if isinstance(answers, list) else [answers])) as s:
        connect(platform, s.url, **(keys or {}))
        return track(platform, "mlflow", *args, **more), s.requests


@pytest.fixture(scope="module")
def platform():
    p = Platform()
    yield p
    p.end()


# --- numbers, texts, lists -----------------------------------------------------------------------

def test_numbers_of_all_shapes(platform):
    points = """{"metrics": [
        {"key": "k", "value": "NaN", "timestamp": "1700000000001", "step": "-3"},
        {"key": "k", "value": "-Infinity", "timestamp": 1700000000002, "step": 9007199254740993},
        {"key": "k", "value": NaN, "timestamp": 3.0, "step": 4},
        {"key": "k", "value": -Infinity},
        {"key": "k", "value": "1.5", "timestamp": 99999999999999999999, "step": "x", "more": [{}]},
        {"key": "k", "value": 1e999, "timestamp": -5, "step": 1.5},
        {"key": "k", "value": 9223372036854775808, "step": 9223372036854775807},
        {"key": "k", "value": -0.0, "step": "9223372036854775808"},
        {"key": "k", "value": 12}, {"key": "k", "value": null}, {"key": "k"}
    ], "else": {"metrics": [1, [2]]}}"""
    got, _ = ask(platform, answer(points), "history", RUN, "k")
    assert got.rows[0] == [
        [-3, "nan", 1700000000001 * 10**6], [9007199254740993, "-inf", 1700000000002 * 10**6],
        [4, "nan", 3 * 10**6], [0, "-inf", 0], [0, "0x1.8p+0", 0], [0, "inf", -5 * 10**6],
        [9223372036854775807, "0x1p+63", 0], [0, "-0x0p+0", 0], [0, "0x1.8p+3", 0],
        [0, "nan", 0], [0, "nan", 0]]


def test_absent_is_empty(platform):
    for verb, *args in (("experiments",), ("runs", "1"), ("history", RUN, "k"), ("models",),
                        ("files", "run", RUN, "-", "")):
        got, _ = ask(platform, answer("{}"), verb, *args)
        assert got.rows in ([], [[]]) and got.pages == 1
    run = {"run": {"info": {"run_uuid": RUN, "experiment_id": 7}}}
    got, _ = ask(platform, answer(run), "run", RUN)
    r = got.rows[0]
    assert (r["id"], r["experiment_id"], r["name"], r["status"], r["params"], r["metrics"]) == (
        RUN, "7", "", "UNKNOWN", [], {})


def test_old_and_odd_members(platform):
    run = {"run": {"info": {"run_uuid": RUN, "experiment_id": "1", "status": 3,
                            "start_time": "1700000000000", "end_time": 10**18},
                   "data": {"tags": [{"key": "mlflow.runName", "value": "by tag"},
                                     {"key": "mlflow.user", "value": "ana"}, {"value": "no key"},
                                     {"key": "k" * 1001, "value": "long"}, "text", None, 5],
                            "params": {"not": "a list"},
                            "metrics": [{"key": "m", "value": 1, "dataset_name": "d"}, []]},
                   "inputs": {"dataset_inputs": [{"dataset": None}, {"dataset": {"name": "d"}}]},
                   "outputs": {"model_outputs": [{"model_id": "m-1"}, {"model_id": "../x"}]},
                   "surprise": {"a": 1}}, "more": 1}
    got, _ = ask(platform, answer(run), "run", RUN)
    r = got.rows[0]
    assert (r["name"], r["user"], r["status"], r["started"]) == (
        "by tag", "ana", "FINISHED", 1700000000000 * 10**6)
    assert r["ended"] == 2**63 - 1
    assert r["tags"] == [["mlflow.runName", "by tag"], ["mlflow.user", "ana"]]
    assert r["metrics"] == {"m": [0, "0x1p+0", 0]} and r["params"] == []
    assert [d["name"] for d in r["datasets"]] == ["d"] and r["models"] == ["m-1"]


def test_texts_are_made_safe(platform):
    text = r'''{"experiments": [{"experiment_id": "1", "name": "a\u0000b\ud800c\ud83d\ude00\"\\",
        "tags": [{"key": "k", "value": "\u0000"}, {"key": "\udc00x", "value": "\u00e4"}]}]}'''
    got, _ = ask(platform, answer(text), "experiments")
    assert got.rows[0]["name"] == 'a\ufffdb\ufffdc\U0001f600"\\'
    assert got.rows[0]["tags"] == [["k", "\ufffd"], ["\ufffdx", "ä"]]
    for ident in ("", "../1", "a b", "-x", "x" * 300, "1?x", "ä"):
        got, _ = ask(platform, answer({"experiments": [{"experiment_id": ident, "name": "n"}]}),
                     "experiments", check=False)
        assert got.error == "EREMOTEIO"
        got, _ = ask(platform, answer({"runs": [{"info": {"run_id": ident}}]}), "runs", "1",
                     check=False)
        assert got.error == "EREMOTEIO"


def test_no_json(platform):
    for body in ("", "null", "[]", "{", '{"experiments": [', '{"experiments": [{]}', "{}{}", "}",
                 '{"experiments": [1, 2]}', '{"experiments": [[{}]]}', '{"experiments": "x',
                 '{"a": ' + "[" * 100 + "]" * 100 + "}",
                 '{"experiments": [' + '{"a":' * 100 + "1" + "}" * 100 + "]}"):
        got, _ = ask(platform, answer(body), "experiments", check=False)
        assert got.error == "EREMOTEIO", body
        assert "mlflow: experiments: its answer is" in got.text, got.text


# --- pages ---------------------------------------------------------------------------------------

def test_history_always_says_how_much(platform):
    page = [{"key": "k", "value": i, "timestamp": i, "step": i} for i in range(5)]

    def follow(request, connection, number):
        assert "max_results=25000" in request.path
        if number == 0:
            assert "page_token" not in request.path
            return answer({"metrics": page, "next_page_token": "a/b=&c"})
        assert request.path.endswith("&page_token=a%2Fb%3D%26c")
        return answer({"metrics": page[:1]})
    got, requests = ask(platform, follow, "history", RUN, "größe/a b")
    assert got.last["n"] == 6 and len(requests) == 2
    assert f"?run_id={RUN}&metric_key=gr%C3%B6%C3%9Fe%2Fa%20b&" in requests[0].path


def test_more_than_was_asked_for(platform):
    """Before 3.4 a server gives everything, however much: taken as it comes, in little memory."""
    point = '{"key": "k", "value": 0.%06d, "timestamp": 1700000000%03d, "step": %d}'

    def follow(request, connection, number):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                           b"Connection: close\r\n\r\n{\"metrics\": [")
        for i in range(0, 300_000, 1000):
            rows = ",\n ".join(point % (k, k % 1000, k) for k in range(i, i + 1000))
            connection.sendall(((", " if i else "") + rows).encode())
        connection.sendall(b"]}")
    # A sanitizer keeps what was freed.
    got, _ = ask(platform, follow, "history", RUN, "k", "few",
                 ASAN_OPTIONS=platform.env["ASAN_OPTIONS"] + ":quarantine_size_mb=1")
    assert (got.last["n"], got.pages) == (300_000, 1) and got.last["kib"] < 150_000
    step, value, when = got.rows[0][9]
    assert (step, float.fromhex(value), when) == (9, 0.000009, 1700000000009 * 10**6)


def test_half_a_history_is_asked_for_again(platform):
    whole = json.dumps({"metrics": [{"key": "k", "value": i} for i in range(1000)]})

    def half(request, connection, number):
        connection.sendall(answer(whole)[:len(whole) // 2])
    got, requests = ask(platform, [half, half, answer(whole)], "history", RUN, "k")
    assert got.last["n"] == 1000 and len(requests) == 3
    got, requests = ask(platform, half, "history", RUN, "k", check=False)
    assert got.error == "EREMOTEIO" and len(requests) == 3


def test_pages_that_turn_in_circles(platform):
    circle = answer({"metrics": [{"key": "k", "value": 1}], "next_page_token": "same"})
    got, requests = ask(platform, circle, "history", RUN, "k", check=False)
    assert got.error == "EREMOTEIO" and "pages do not go on" in got.text and len(requests) == 2
    got, _ = ask(platform, answer({"next_page_token": "x" * 5000}), "models", check=False)
    assert got.error == "EREMOTEIO"


def test_runs_too_big_for_one_page(platform):
    fat = {"info": {"run_id": RUN, "experiment_id": "1"},
           "data": {"params": [{"key": f"p{i}", "value": "x" * 6000} for i in range(100)]}}

    def follow(request, connection, number):
        n = json.loads(request.body)["max_results"]
        return answer({"runs": [fat] * min(n, 100)})
    got, requests = ask(platform, follow, "runs", "1", timeout=300)
    assert [json.loads(r.body)["max_results"] for r in requests] == [1000, 100, 10]
    assert len(got.rows) == 10


def test_what_runs_are_asked_for(platform):
    def body(*args):
        _, requests = ask(platform, answer("{}"), "runs", *args)
        assert requests[0].headers["content-type"] == "application/json"
        return json.loads(requests[0].body)
    assert body("1", "2") == {"experiment_ids": ["1", "2"], "max_results": 1000,
                              "run_view_type": "ACTIVE_ONLY",
                              "order_by": ["attributes.start_time DESC"]}
    assert body("1", "deleted", "limit=5")["run_view_type"] == "DELETED_ONLY"
    assert body("1", "live", "since=1700000000000999999")["filter"] == (
        "attributes.start_time >= 1700000000000 AND attributes.status != 'FINISHED' AND "
        "attributes.status != 'FAILED' AND attributes.status != 'KILLED'")
    got, _ = ask(platform, answer("{}"), "runs", "deleted", check=False)
    assert got.error == "EINVAL"


# --- errors --------------------------------------------------------------------------------------

def test_errors_and_their_codes(platform):
    for status, code, want in ((404, "RESOURCE_DOES_NOT_EXIST", "ENOENT"),
                               (400, "INVALID_PARAMETER_VALUE", "EINVAL"),
                               (403, "PERMISSION_DENIED", "EACCES"),
                               (500, "INTERNAL_ERROR", "EREMOTEIO"),
                               (500, "FEATURE_DISABLED", "EOPNOTSUPP"),
                               (400, "RESOURCE_ALREADY_EXISTS", "EEXIST"),
                               (409, "RESOURCE_CONFLICT", "EBUSY"), (404, "404", "ENOENT"),
                               (400, "1000", "EINVAL"), (499, "CANCELLED", "EREMOTEIO")):
        got, _ = ask(platform, error(status, code, "what it says"), "run", RUN, check=False)
        assert got.error == want, (status, code)
        assert got.text.startswith(f"mlflow: run {RUN}: ") and "what it says" in got.text
    sql = "(sqlite3.IntegrityError) UNIQUE" + "x" * 1000 + "\n[SQL: INSERT INTO secrets]\n[parameters]"
    got, _ = ask(platform, error(500, "INTERNAL_ERROR", sql, sqlstate="KAM00", error_class="X"),
                 "run", RUN, check=False)
    assert len(got.text) < 600 and "INSERT" not in got.text and "INSERT" in got.last["detail"]


def test_pages_instead_of_answers(platform):
    for status, headers, body in ((200, HTML, "<html>Log in</html>"),
                                  (404, HTML, PAGE), (405, HTML, PAGE),
                                  (200, ["Content-Type: text/plain"], "OK")):
        got, _ = ask(platform, reply(status, body, headers), "experiments", check=False)
        assert got.error == "EREMOTEIO"
        assert "answers, but not as MLflow does" in got.text
        assert "is the url of connections/mlflow.yaml right" in got.text
    got, _ = ask(platform, reply(500, PAGE, HTML), "experiments", check=False)
    assert got.error == "EREMOTEIO" and "<" not in got.text
    got, _ = ask(platform, reply(503, "Endpoint: /x disabled due to the mlflow server running in "
                                 "`--artifacts-only` mode.", ["Content-Type: text/plain"]),
                 "experiments", check=False, TRACKCTL_DEADLINE=1500)
    assert got.error == "EBUSY" and "--artifacts-only" in got.text
    got, _ = ask(platform, reply(403, "Permission denied", ["Content-Type: text/plain"]),
                 "experiments", check=False)
    assert got.error == "EACCES" and "Permission denied" in got.text
    # A streamed answer that is a page.
    got, _ = ask(platform, reply(200, "<html>", HTML), "history", RUN, "k", check=False)
    assert got.error == "EREMOTEIO" and "answers, but not as MLflow does" in got.text


def test_an_api_below_a_static_prefix(platform):
    def follow(request, connection, number):
        if not request.path.startswith("/ajax-api/"):
            return reply(404, PAGE, HTML)
        return answer({"metrics": [{"key": "k", "value": 1}], "next_page_token": f"t{number}"}
                      if number < 2 else "{}")
    got, requests = ask(platform, follow, "history", RUN, "k")
    assert [r.path.split("/")[1] for r in requests] == ["api", "ajax-api", "ajax-api"]


def test_a_changed_connection_is_asked_at_once(platform):
    with script(answer({"registered_models": [{"name": "m"}]})) as s:
        connect(platform, f"http://127.0.0.1:{free_port()}")
        got = track(platform, "mlflow", "models-after", s.url)
    assert [m["name"] for m in got.rows] == ["m"] and len(s.requests) == 1


# --- files ---------------------------------------------------------------------------------------

def test_names_in_listings(platform):
    files = [{"path": "d/a", "file_size": "12"}, {"path": "d/e"}, {"path": "d/sub", "is_dir": True},
             {"path": "../x"}, {"path": "d/../x"}, {"path": "d/."}, {"path": "d/.."}, {"path": "d/"},
             {"path": "other"}, {"path": "d/x/y"}, {"path": ""}, {}, {"path": "/d/a"},
             {"path": "d/größe"}]
    got, _ = ask(platform, answer({"files": files}), "files", "run", RUN, "-", "d")
    assert [(f["path"], f["is_dir"], f["size"]) for f in got.rows] == [
        ("d/a", False, 12), ("d/e", False, 0), ("d/sub", True, -1), ("d/größe", False, 0)]


def read(platform, answers, offset, length, *etag, **more):
    return ask(platform, answers, "read", "run", RUN, "-", "d/f.bin", offset, length, *etag, **more)


def test_ranges_that_are_not_what_was_asked(platform):
    data = bytes(range(100))
    whole = reply(200, data, ['ETag: "1"'])
    for offset, length in ((0, -1), (10, 20), (99, 5), (100, 5), (200, 5)):
        got, requests = read(platform, whole, offset, length)
        assert got.bytes == (data[offset:offset + length] if length > 0 else data[offset:])
        assert got.rows[0] == {"etag": '"1"', "total": 100}
    got, requests = read(platform, reply(206, data[10:30], ["Content-Range: bytes 10-29/100"]),
                         10, 20)
    assert got.bytes == data[10:30] and got.rows[0]["total"] == 100
    assert requests[0].headers["range"] == "bytes=10-29"
    assert requests[0].path == f"/get-artifact?run_id={RUN}&path=d%2Ff.bin"
    assert "accept-encoding" not in requests[0].headers
    _, requests = read(platform, reply(206, data[10:], ["Content-Range: bytes 10-99/100"]), 10, -1)
    assert requests[0].headers["range"] == "bytes=10-"
    # More than was asked for, another part, less than was promised.
    got, _ = read(platform, reply(206, data[10:], ["Content-Range: bytes 10-99/100"]), 10, 20)
    assert got.bytes == data[10:30]
    got, _ = read(platform, reply(206, data[5:30], ["Content-Range: bytes 5-29/100"]), 10, 20)
    assert got.bytes == data[10:30]
    for content_range in ("bytes 11-30/100", "nonsense", "bytes */100"):
        got, _ = read(platform, reply(206, data[10:30], [f"Content-Range: {content_range}"]), 10, 20,
                      check=False)
        assert (got.error, got.bytes) == ("EREMOTEIO", b""), content_range
    got, _ = read(platform, reply(206, data[10:20], ["Content-Range: bytes 10-19/100"]), 10, 20,
                  check=False)
    assert got.error == "EREMOTEIO" and "10 bytes came of 20" in got.text
    got, _ = read(platform, reply(416, "", ["Content-Range: bytes */100"]), 200, 5)
    assert (got.bytes, got.rows[0]["total"]) == (b"", 100)

    def half(request, connection, number):
        connection.sendall(reply(200, data[:50], length=100))
    got, _ = read(platform, half, 0, -1, check=False)
    assert got.error == "EREMOTEIO" and got.bytes == data[:50]


def test_the_proxied_route_gives_parts_since_3_17(platform):
    """It is the faster one; where it gives no parts, the other one is, for good."""
    data, proxied, other = bytes(range(100)), [], []

    def follow(parts, request, connection, number):
        path = request.path.partition("?")[0]
        if path == "/get-artifact":
            other.append(request)
            return reply(206, data[10:30], ["Content-Range: bytes 10-29/100", 'ETag: "1"'])
        assert path == "/api/2.0/mlflow-artifacts/artifacts/1/x%20y/artifacts/d/f.bin"
        proxied.append(request)
        return parts

    def ranged(parts, *etag, **more):
        proxied.clear(), other.clear()
        return ask(platform, lambda *given: follow(parts, *given), "read", "run", RUN,
                   "mlflow-artifacts:/1/x y/artifacts", "d/f.bin", 10, 20, *etag, **more)[0]
    good = reply(206, data[10:30], ["Content-Range: bytes 10-29/100", 'ETag: "2"'])
    got = ranged(good)
    assert (got.bytes, got.rows[0]["total"], len(proxied), len(other)) == (data[10:30], 100, 1, 0)
    assert proxied[0].headers["range"] == "bytes=10-29"
    # What began there goes on there, and the other way round.
    assert ranged(good, got.rows[0]["etag"]).bytes == data[10:30] and not other
    assert ranged(good, '"1"').bytes == data[10:30] and not proxied
    changed = reply(206, data[10:30], ["Content-Range: bytes 10-29/100", 'ETag: "3"'])
    assert ranged(changed, got.rows[0]["etag"], check=False).error == "ESTALE" and not other
    # No parts, no such route, nobody may: not a byte of it is taken.
    for none in (reply(200, b"x" * 100), reply(404, PAGE, HTML), reply(403, "no"), reply(500, PAGE, HTML),
                 answer({"detail": "it is a directory"}, 400)):
        assert ranged(none).bytes == data[10:30] and len(proxied) == len(other) == 1


def test_a_file_that_changed(platform):
    data = b"new and longer"
    new = reply(206, data[4:], [f"Content-Range: bytes 4-13/14", 'ETag: "2"'])
    got, _ = read(platform, new, 4, -1, '"1"', check=False)
    assert (got.error, got.bytes) == ("ESTALE", b"")
    assert "d/f.bin has changed while it was read" in got.text
    assert read(platform, new, 4, -1, '"2"')[0].bytes == data[4:]
    got, _ = read(platform, reply(200, b"", ['ETag: "2"']), 4, -1, '"1"', check=False)
    assert got.error == "ESTALE"


def test_missing_on_older_servers(platform):
    for status, headers in ((500, HTML), (400, JSON)):
        def follow(request, connection, number):
            if request.path.startswith("/get-artifact"):
                return reply(status, "{}" if headers == JSON else PAGE, headers)
            assert "artifacts/list" in request.path and "path=d" in request.path
            return answer({"files": listed})
        for listed, want in (([], "ENOENT"), ([{"path": "d/f.bin", "is_dir": True}], "EISDIR"),
                             ([{"path": "d/f.bin", "file_size": 1}],
                              "EREMOTEIO" if status == 500 else "EINVAL")):
            got, requests = read(platform, follow, 0, -1, check=False)
            assert (got.error, len(requests)) == (want, 2)


def test_no_get_artifact_route(platform):
    uris = {"mlflow-artifacts:/1/x/artifacts": "/1/x/artifacts/d/f.bin",
            "mlflow-artifacts://host:5000/1/x y/artifacts/": "/1/x%20y/artifacts/d/f.bin",
            "http://host/api/2.0/mlflow-artifacts/artifacts/1/artifacts": "/1/artifacts/d/f.bin"}
    for uri, path in uris.items():
        def follow(request, connection, number):
            if request.path.startswith("/api/2.0/mlflow/runs/get"):
                return answer({"run": {"info": {"run_id": RUN, "experiment_id": "1",
                                                "artifact_uri": uri}}})
            if request.path == "/api/2.0/mlflow-artifacts/artifacts" + path:
                return reply(200, b"bytes")
            return reply(404, PAGE, HTML)
        got, _ = read(platform, follow, 1, 3)
        assert got.bytes == b"yte"
    uri = "s3://bucket/x"
    got, _ = read(platform, follow, 0, -1, check=False)
    assert got.error == "EOPNOTSUPP" and "--static-prefix" in got.text


def version(source, **more):
    return {"model_version": {"name": "m", "version": "1", "source": source, **more}}


def test_where_versions_are(platform):
    def at(source, path="", **more):
        def follow(request, connection, number):
            if "model-versions/get?" in request.path:
                return answer(version(source, **more))
            if "runs/get?" in request.path:
                return answer({"run": {"info": {"run_id": RUN, "experiment_id": "1",
                                                "artifact_uri": "s3://b/1/x/artifacts"}}})
            return answer({"files": []})
        got, requests = ask(platform, follow, "files", "version", "m", "1", path, check=False)
        return got.error or requests[-1].path.removeprefix("/api/2.0/")
    assert at("models:/m-0123") == "mlflow/logged-models/m-0123/artifacts/directories"
    assert at("models:/m-0123/x", "y") == \
        "mlflow/logged-models/m-0123/artifacts/directories?artifact_directory_path=x%2Fy"
    assert at(f"runs:/{RUN}/a/b/", "c") == f"mlflow/artifacts/list?run_id={RUN}&path=a%2Fb%2Fc"
    assert at("s3://b/1/x/artifacts/model", run_id=RUN) == \
        f"mlflow/artifacts/list?run_id={RUN}&path=model"
    assert at("s3://b/1/x/artifactsand/model", run_id=RUN) == "EOPNOTSUPP"
    assert at("mlflow-artifacts:/9/y") == "mlflow-artifacts/artifacts?path=9%2Fy"
    assert at("/home/ana/model") == "EOPNOTSUPP" and at("") == "EOPNOTSUPP"
    assert at("runs:/../x/y") == "EOPNOTSUPP"

    def follow(request, connection, number):
        if "model-versions/get?" in request.path:
            return answer(version("s3://elsewhere/model"))
        assert request.path == "/model-versions/get-artifact?name=m&version=1&path=a%20b"
        return reply(200, b"bytes")
    got, _ = ask(platform, follow, "read", "version", "m", "1", "a b", 0, -1)
    assert got.bytes == b"bytes"


def test_a_model_whose_name_has_quotes(platform):
    for name, filter_ in (("it's", "name%3D%22it%27s%22"), ('a"b', "name%3D%27a%22b%27")):
        _, requests = ask(platform, answer("{}"), "versions", name)
        assert f"filter={filter_}&" in requests[1].path
    got, _ = ask(platform, answer("{}"), "versions", "both ' and \"", check=False)
    assert got.error == "EOPNOTSUPP"


# --- who is asking -------------------------------------------------------------------------------

def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def said(platform, keys=None, home=None, **env):
    """The Authorization header that was sent, or None."""
    _, requests = ask(platform, answer("{}"), "models", keys=keys, **env)
    return requests[0].headers.get("authorization")


def test_the_environment_of_mlflow(platform):
    user = {"MLFLOW_TRACKING_USERNAME": "ana", "MLFLOW_TRACKING_PASSWORD": "pä:ss"}
    assert said(platform) is None
    assert said(platform, **user) == basic("ana", "pä:ss")
    assert said(platform, MLFLOW_TRACKING_TOKEN="tok") == "Bearer tok"
    assert said(platform, MLFLOW_TRACKING_TOKEN="tok", **user) == basic("ana", "pä:ss")
    assert said(platform, MLFLOW_TRACKING_USERNAME="ana") is None
    # What belongs to another server stays at home.
    assert said(platform, MLFLOW_TRACKING_URI="https://other.example", **user) is None
    assert said(platform, MLFLOW_TRACKING_URI="databricks", **user) is None
    with script(answer("{}")) as s:
        connect(platform, s.url + "/sub")
        track(platform, "mlflow", "models", MLFLOW_TRACKING_URI=s.url, **user)
        assert s.requests[0].headers["authorization"] == basic("ana", "pä:ss")
    # The connection's own words come first.
    assert said(platform, {"user": "eva", "password": "own"}, **user) == basic("eva", "own")
    assert said(platform, {"token": "own"}, MLFLOW_TRACKING_TOKEN="tok") == "Bearer own"


def test_the_credentials_file_of_mlflow(platform):
    folder = os.path.join(platform.home, ".mlflow")
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "credentials")
    with open(path, "w") as f:
        f.write("# mine\n[other]\nmlflow_tracking_username = eva\n[mlflow]\n"
                "MLFLOW_tracking_username = ana\nmlflow_tracking_password: 50%% = x \n")
    try:
        assert said(platform) == basic("ana", "50% = x")
        assert said(platform, MLFLOW_TRACKING_PASSWORD="env") == basic("ana", "env")
        assert said(platform, {"token": "own"}) == "Bearer own"
    finally:
        os.unlink(path)


def test_a_token_that_expires_between_two_pages(platform):
    count, program = f"{platform.dir}/count", f"{platform.dir}/token"
    with open(program, "w") as f:
        f.write(f"#!/bin/sh\necho x >> {count}\necho token-$(wc -l < {count})\n")
    os.chmod(program, stat.S_IRWXU)
    good = ["Bearer token-1"]

    def follow(request, connection, number):
        if request.headers.get("authorization") != good[0]:
            return reply(401, "expired", ["Content-Type: text/plain"])
        good[0] = "Bearer token-2"
        return answer({"metrics": [{"key": "k", "value": 1}],
                       "next_page_token": f"t{number}"} if number == 0 else "{}")
    got, requests = ask(platform, follow, "history", RUN, "k", keys={"token_command": [program]})
    assert got.last["n"] == 1 and len(requests) == 3
    with open(count) as f:
        assert len(f.readlines()) == 2


def test_a_workspace_is_named_only_when_it_is_set(platform):
    _, requests = ask(platform, answer("{}"), "models")
    assert "x-mlflow-workspace" not in requests[0].headers
    _, requests = ask(platform, answer("{}"), "models", keys={"workspace": "team-a"})
    assert requests[0].headers["x-mlflow-workspace"] == "team-a"


def test_no_secret_in_an_error(platform):
    got, _ = ask(platform, reply(401, "no", ["Content-Type: text/plain"]), "models", check=False,
                 keys={"user": "ana", "password": "hunter2-secret"})
    assert got.error == "EACCES" and "mantikctl login mlflow" in got.text
    assert "hunter2" not in json.dumps(got.last)
    got, _ = ask(platform, reply(401, "no", ["Content-Type: text/plain"]), "models", check=False)
    assert got.error == "ENOKEY"


# --- real servers --------------------------------------------------------------------------------

def test_the_host_check_of_a_real_server(platform):
    with mlflow(platform) as server:
        where = f"""location /tracking/ {{ proxy_pass {server.url}/;
			proxy_set_header Host tracking.example.org; }}"""
        with behind_nginx(platform, server, where) as (url, ca):
            connect(platform, url, ca=ca)
            got = track(platform, "mlflow", "experiments", check=False)
            assert got.error == "EACCES"
            assert "--allowed-hosts localhost, or go through a tunnel" in got.text
        # As mlflow server --static-prefix=/tracking: the API without the prefix, all else with it.
        prefix = f"""location /tracking/ajax-api/ {{ proxy_pass {server.url}/ajax-api/; }}
		location /tracking/get-artifact {{ proxy_pass {server.url}/get-artifact; }}"""
        with behind_nginx(platform, server, prefix) as (url, ca):
            connect(platform, url, ca=ca)
            assert len(track(platform, "mlflow", "experiments").rows) == 3
            run = server.ids["run"]
            got = track(platform, "mlflow", "read", "run", run, "-", "README.md", 0, -1)
            assert got.bytes == "# Größe\n".encode()
        # … and asked for at the root of it: no /get-artifact there, but the proxied route.
        only_api = f"location /tracking/api/ {{ proxy_pass {server.url}/api/; }}"
        with behind_nginx(platform, server, only_api) as (url, ca):
            connect(platform, url, ca=ca)
            got = track(platform, "mlflow", "read", "run", run, "-", "data/random.bin", 1000, 50)
            assert len(got.bytes) == 50 and got.rows[0]["total"] == 1 << 20
