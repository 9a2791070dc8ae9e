# SPDX-License-Identifier: Apache-2.0
"""The embedded tracking server as anybody on the machine meets it: who may ask, limits, slow and
many clients, killed and started again, its address and token for jobs and shells."""
import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time

import pytest

from engine import Engine
from mantik import program, wait_for
from serving import Server, basic, environment, holder, kill


@pytest.fixture(scope="module")
def server(shared):
    return Server(shared)


def error(answer):
    status, headers, body = answer
    assert headers["Content-Type"] == "application/json", answer
    assert "Access-Control-Allow-Origin" not in headers
    body = json.loads(body)
    assert set(body) == {"error_code", "message"} and body["message"]
    return status, body["error_code"]


# --- who may ask -------------------------------------------------------------------------------

def test_health_and_version_are_told_to_anybody(server):
    assert server.ask("GET", "/health", token=None)[::2] == (200, b"OK")
    assert server.ask("GET", "/version", token=None)[0] == 200


@pytest.mark.parametrize("header", [
    None, "", "Bearer", "Bearer ", "Bearer 0", "bearer x y", "Basic", "Basic ====",
    basic("mantik", ""), basic("", "x"), "Negotiate abc", "Bearer " + "0" * 64, "Bearer \xff"])
def test_no_token_is_401(server, header):
    headers = {} if header is None else {"Authorization": header}
    answer = server.ask("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0", headers=headers,
                        token=None)
    assert error(answer) == (401, "UNAUTHENTICATED")
    assert answer[1]["WWW-Authenticate"] == 'Basic realm="mantik"'


def test_the_token_as_bearer_and_as_password(server):
    for header in (f"Bearer {server.token}", f"bearer {server.token}", basic("x", server.token)):
        assert error(server.ask("GET", "/api/2.0/mlflow/nothing", token=None,
                                headers={"Authorization": header})) == (404, "ENDPOINT_NOT_FOUND")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{}", "127.0.0.1.evil.example:{}",
                                  "127.0.0.1", "127.0.0.1:1", "0.0.0.0:{}", "[::2]:{}", ""])
def test_a_foreign_host_is_refused(server, host):
    """A page of evil.example whose name leads to 127.0.0.1 gets nothing, token or not."""
    answer = server.ask("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0",
                        headers={"Host": host.format(server.port)})
    assert error(answer) == (403, "PERMISSION_DENIED") and b"ssh -L" in answer[2]


@pytest.mark.parametrize("host", ["127.0.0.1:{}", "localhost:{}", "[::1]:{}"])
def test_our_names_are_not(server, host):
    assert server.ask("GET", "/health", headers={"Host": host.format(server.port)})[0] == 200


def test_a_foreign_page_may_not_ask(server):
    answer = server.ask("POST", "/api/2.0/mlflow/runs/create", {"experiment_id": "0"},
                        headers={"Origin": "https://evil.example"})
    assert error(answer) == (403, "PERMISSION_DENIED")
    status, headers, _ = server.ask("OPTIONS", "/api/2.0/mlflow/runs/create",
                                    headers={"Origin": "https://evil.example"})
    assert status == 403 and not any(h.startswith("Access-Control") for h in headers)


def test_only_loopback_listens(server):
    listening = subprocess.run(["ss", "-Hltn", f"sport = :{server.port}"], capture_output=True,
                               text=True).stdout.split()
    if not listening:
        with open("/proc/net/tcp") as f:
            listening = [line.split()[1] for line in f if line.split()[3] == "0A"]
        assert f"0100007F:{server.port:04X}" in listening
        return
    assert f"127.0.0.1:{server.port}" in listening


# --- what is asked -------------------------------------------------------------------------------

@pytest.mark.parametrize("path", [
    "/api/2.0/mlflow-artifacts/artifacts/../../../etc/passwd",
    "/api/2.0/mlflow-artifacts/artifacts/%2e%2e/%2e%2e/etc/passwd",
    "/api/2.0/mlflow-artifacts/artifacts/..%2f..%2fetc%2fpasswd",
    "/api/2.0/mlflow-artifacts/artifacts/a%00b", "/api/2.0/mlflow-artifacts/artifacts/%ff",
    "/projects/../api/2.0/mlflow/experiments/search", "/projects/%2e%2e/api/2.0/mlflow/runs/get"])
def test_no_path_climbs(server, path):
    assert error(server.ask("GET", path)) == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize("method, path", [
    ("GET", "/"), ("POST", "/api/2.0/mlflow/gateway-proxy"), ("POST", "/api/2.0/mlflow/webhooks"),
    ("POST", "/api/3.0/mlflow/traces/search"), ("GET", "/api/2.0/mlflow/traces"),
    ("POST", "/v1/traces"), ("GET", "/api/2.0/mlflow/users/get"), ("GET", "/signup")])
def test_what_is_not_offered_is_said_in_mlflows_shape(server, method, path):
    assert error(server.ask(method, path, {} if method == "POST" else None)) == \
        (404, "ENDPOINT_NOT_FOUND")


def test_an_unknown_project(server):
    answer = server.ask("GET", "/projects/nobody/api/2.0/mlflow/experiments/search?max_results=1")
    assert error(answer)[0] == 404


def test_a_body_must_be_json(server):
    path = "/api/2.0/mlflow/runs/create"
    for body in ("{", '{"a": NaN}', "[]", "x", '{"a":"\\u0000"}', '{"a":' * 100000):
        answer = server.ask("POST", path, body, {"Content-Type": "application/json"})
        if answer[0] == 404:
            pytest.skip("runs/create is not there")
        assert error(answer) == (400, "BAD_REQUEST"), body[:40]
    assert error(server.ask("POST", path, "a=b", {"Content-Type": "text/plain"})) == \
        (400, "INVALID_PARAMETER_VALUE")


# --- limits ----------------------------------------------------------------------------------------

def test_an_oversized_body_is_refused_in_words(server):
    path = "/api/2.0/mlflow/experiments/create"
    body = b'{"name":"' + b"x" * (33 << 20) + b'"}'
    answer = server.ask("POST", path, body, {"Content-Type": "application/json"})
    if answer[0] == 404:
        pytest.skip("experiments/create is not there")
    assert error(answer) == (413, "RESOURCE_LIMIT_EXCEEDED")
    # chunked: nobody said how much there is
    chunks = (b"x" * 65536 for _ in range(33 * 16))
    answer = server.ask("POST", path, chunks, {"Content-Type": "application/json"})
    assert error(answer) == (413, "RESOURCE_LIMIT_EXCEEDED")
    # more than anybody would listen to
    with socket.create_connection(("127.0.0.1", server.port), 20) as s:
        s.sendall(f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
                  f"Authorization: Bearer {server.token}\r\nContent-Type: application/json\r\n"
                  "Content-Length: 99999999999\r\n\r\n".encode())
        assert s.recv(100).startswith(b"HTTP/1.1 413")


def test_an_endless_head_is_refused(server):
    with socket.create_connection(("127.0.0.1", server.port), 20) as s:
        s.sendall(b"GET /health HTTP/1.1\r\nX: " + b"x" * 200000)
        assert s.recv(100).startswith(b"HTTP/1.1 431")
    assert server.ask("GET", "/health")[0] == 200


def test_a_head_of_any_length_has_an_answer(server):
    """However long, of however many fields: at no length is the connection closed in silence."""
    def ask(path, fields=""):
        with socket.create_connection(("127.0.0.1", server.port), 20) as s:
            s.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
                      f"Authorization: Bearer {server.token}\r\n{fields}\r\n".encode())
            return s.recv(12)[9:]
    many = "".join(f"&run_ids={i:032x}" for i in range(3500))
    status, _, body = server.ask("GET", "/api/2.0/mlflow/metrics/get-history-bulk-interval"
                                 f"?metric_key=m&max_results=10{many}")
    assert status == 400 and b"3500" in body
    assert ask("/health?" + "a&" * 20000) == b"200"
    for n in (*range(159000, 165000, 60), 500000):
        assert ask("/health?" + "y" * n) in (b"400", b"414", b"431"), n
        assert ask("/health", f"X: {'y' * n}\r\n") in (b"200", b"431"), n
    for n in range(1900, 2400, 2):
        assert ask("/health", "".join(f"X-{i}: y\r\n" for i in range(n))) in (b"200", b"431"), n


def test_slow_loris_keeps_nobody_out(server):
    """1000 connections that never finish a head; whoever asks is answered at once."""
    crowd, keep = [], server.connection()
    assert server.ask("GET", "/version", connection=keep)[0] == 200
    try:
        for _ in range(1000):
            s = socket.create_connection(("127.0.0.1", server.port), 20)
            s.sendall(b"GET / HTTP/1.1\r\nHost: x")
            crowd.append(s)
        worst = 0
        for _ in range(20):
            begun = time.monotonic()
            assert server.ask("GET", "/version")[0] == 200
            worst = max(worst, time.monotonic() - begun)
        assert worst < 5, worst
        assert server.ask("GET", "/version", connection=keep)[0] == 200
    finally:
        for s in crowd:
            s.close()


def test_64_clients_at_once(server):
    """Each on one connection of its own that is kept; none is refused."""
    bad = []

    def client(i):
        connection = server.connection()
        for k in range(30):
            name = f"c{i}-{k}"
            status, headers, _ = server.ask("GET", "/api/2.0/mlflow/nothing",
                                            headers={"X-Request-ID": name},
                                            connection=connection)
            if status != 404 or headers["X-Request-ID"] != name:
                bad.append((status, headers))

    threads = [threading.Thread(target=client, args=(i,)) for i in range(64)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(120)
    assert not bad


def test_a_connection_is_kept(server):
    connection = server.connection()
    server.ask("GET", "/version", connection=connection)
    first = connection.sock
    for _ in range(50):
        assert server.ask("GET", "/api/2.0/mlflow/nothing", connection=connection)[0] == 404
        assert server.ask("GET", "/health", connection=connection, token=None)[0] == 200
    assert connection.sock is first


# --- the daemon ------------------------------------------------------------------------------------

def test_killed_and_back_on_the_same_port(platform):
    server = Server(platform)
    for sig in (signal.SIGKILL, signal.SIGTERM):
        # with connections that the kernel remembers
        open_one = server.connection()
        server.ask("GET", "/version", connection=open_one)
        kill(platform, sig)
        with pytest.raises(OSError):
            server.ask("GET", "/health")
        platform.ctl("ls", "/projects")
        again = Server(platform)
        assert (again.port, again.token) == (server.port, server.token)


def test_a_port_that_is_taken_costs_the_token(platform):
    """Clients have shown it to whoever has the port now."""
    server = Server(platform)
    kill(platform)
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", server.port))
        stranger.listen()
        again = Server(platform)
    assert again.port != server.port and again.token != server.token
    assert error(again.ask("GET", "/api/2.0/x", token=server.token))[0] == 401
    assert error(again.ask("GET", "/api/2.0/x"))[0] == 404


def test_it_stays_while_it_is_asked_and_then_goes(platform):
    os.makedirs(platform.config, exist_ok=True)
    with open(platform.config + "/config.yaml", "w") as f:
        f.write("daemon_idle: 200ms\nserve_idle: 2s\n")
    server = Server(platform)
    pid = holder(platform)
    until = time.monotonic() + 4
    while time.monotonic() < until:
        assert server.ask("GET", "/api/2.0/x")[0] == 404
        time.sleep(0.2)
    asked = time.monotonic()
    wait_for(lambda: holder(platform) != pid, "mantikd to go")
    assert time.monotonic() - asked > 1.5


def test_token_and_address_are_ours_alone(platform):
    Server(platform)
    for name in ("serve.token", "serve.address"):
        assert os.stat(f"{platform.data}/{name}").st_mode & 0o777 == 0o600
    with open(platform.data + "/serve.token") as f:
        token = f.read().strip().encode()
    assert len(token) == 64
    for pid in platform.processes():
        with contextlib.suppress(FileNotFoundError), open(f"/proc/{pid}/cmdline", "rb") as f:
            assert token not in f.read()


def test_serve_in_the_foreground_takes_over(platform):
    first = Server(platform)
    pid = holder(platform)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    p = platform.start(program("mantikctl"), "serve", "--port", str(port))
    lines = [p.stdout.readline() for _ in range(2)]
    assert f"process {pid} of this machine" in lines[0], lines
    assert lines[1] == f"serving at http://127.0.0.1:{port} until Ctrl-C\n"
    second = Server(platform)
    assert second.port == port and second.token != first.token
    assert second.ask("GET", "/api/2.0/x")[0] == 404
    p.send_signal(signal.SIGINT)
    assert p.wait(20) == 0
    # The port is kept.
    assert Server(platform).port == port


def test_serve_on_a_port_that_is_taken_says_so(platform):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        r = platform.ctl("serve", "--port", port, check=False, timeout=20)
    assert r.returncode == 1 and f"port {port}: Address already in use" in r.stderr
    assert platform.ctl("serve", "--port", "x", check=False).returncode == 2


# --- jobs and shells ---------------------------------------------------------------------------------

JOB = r"""
env > env.txt
tr '\0' ' ' < /proc/$$/cmdline > cmdline.txt
"""


@pytest.fixture
def engine(platform):
    return Engine(platform)


def variables(run):
    with open(run.workdir + "/env.txt") as f:
        return dict(line.rstrip("\n").split("=", 1) for line in f if "=" in line)


def test_a_job_finds_its_run(engine, platform):
    engine.daemon()
    run = engine.submit(JOB)
    assert run.wait() == "FINISHED"
    env = variables(run)
    with open(platform.data + "/serve.address") as f:
        address = f.read().strip()
    with open(platform.data + "/serve.token") as f:
        token = f.read().strip()
    assert env["MLFLOW_TRACKING_URI"] == address + "/projects/p"
    assert env["MLFLOW_TRACKING_TOKEN"] == env["MLFLOW_TRACKING_PASSWORD"] == f"{token}.{run.uid}"
    assert env["MLFLOW_RUN_ID"] == run.uid
    assert env["MLFLOW_EXPERIMENT_ID"] == str(run.row()["experiment_id"])
    # The token is in the environment and nowhere that is shown.
    for name in ("cmdline.txt", ".mantik/job_script"):
        with open(f"{run.workdir}/{name}") as f:
            assert token not in f.read()
    for line in engine.rows("SELECT * FROM run_texts WHERE run_id = ?", run.id):
        assert token not in str(tuple(line))


def test_a_job_with_a_server_of_its_own_gets_nothing_of_ours(engine):
    engine.daemon()
    run = engine.submit(JOB, plan={"variables": [["MLFLOW_TRACKING_URI", "http://h:5000"]]})
    assert run.wait() == "FINISHED"
    assert {k: v for k, v in variables(run).items() if k.startswith("MLFLOW")} == \
        {"MLFLOW_TRACKING_URI": "http://h:5000"}


def test_a_proxy_is_not_asked_for_the_server(engine, platform):
    """Clients take http_proxy for 127.0.0.1, too, and would show the token there."""
    engine.daemon()
    run = engine.submit(JOB, plan={"variables": [["http_proxy", "http://proxy:3128"], ["NO_PROXY", "h,.x"]]})
    assert run.wait() == "FINISHED"
    assert variables(run)["no_proxy"] == "h,.x,127.0.0.1"

    def env(**proxies):
        out = platform.ctl("env", "-p", "p", env=proxies).stdout
        return [line for line in out.splitlines() if "proxy" in line]
    assert env() == env(https_proxy="http://p") == []
    assert env(HTTP_PROXY="http://p") == ["export no_proxy='127.0.0.1'"]
    assert env(all_proxy="socks5://p", no_proxy="a, b", NO_PROXY="c") == ["export no_proxy='a, b,127.0.0.1'"]
    for spared in ("*", "127.0.0.1", "a, 127.0.0.1,b"):
        assert env(http_proxy="http://p", no_proxy=spared) == []


def test_env_of_one_project_and_of_a_run(engine, platform):
    engine.daemon()
    run = engine.submit("sleep 1000")
    run.until("RUNNING")
    env = environment(platform, "p")
    assert env["MLFLOW_TRACKING_URI"].endswith("/projects/p")
    assert "MLFLOW_RUN_ID" not in env
    out = platform.sh(f'eval "$(mantikctl env {run.dir})"; echo $MLFLOW_RUN_ID $MLFLOW_TRACKING_URI')
    assert out.stdout.split()[0] == run.uid and out.stdout.strip().endswith("/projects/p")
    assert platform.ctl("env", "-p", "nobody", check=False).returncode == 3
    run.cancel()
    run.wait()
