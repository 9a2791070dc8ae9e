# SPDX-License-Identifier: Apache-2.0
"""A connection that changes while it is mounted: a login, another address, gone."""
import base64
import contextlib
import errno
import http.server
import json
import os
import threading

import pytest

from test_connections import write


class Server(http.server.BaseHTTPRequestHandler):
    """The little of MLflow that `ls experiments` asks for, behind basic auth."""
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def serve(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        given = self.headers.get("Authorization", "")
        self.server.seen.append(given)
        body, status = b"no", 401
        if given == "Basic " + base64.b64encode(b"ana:hunter2").decode():
            status = 200 if self.path.split("?")[0].endswith("experiments/search") else 404
            body = json.dumps({"experiments": [
                {"experiment_id": "7", "name": self.server.name, "lifecycle_stage": "active",
                 "artifact_location": "mlflow-artifacts:/7"}]}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if status == 200 else "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = serve


@contextlib.contextmanager
def server(name):
    s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    s.name, s.seen = name, []
    s.url = f"http://127.0.0.1:{s.server_port}"
    threading.Thread(target=s.serve_forever, daemon=True).start()
    try:
        yield s
    finally:
        s.shutdown()
        s.server_close()


def test_a_login_helps_at_once(platform):
    with server("one") as s, platform.mount("--tracking", s.url) as top:
        experiments = f"{top}/projects/127.0.0.1/experiments"
        with pytest.raises(OSError) as e:
            os.listdir(experiments)
        assert e.value.errno in (errno.EACCES, errno.ENOKEY)
        write(f"{top}/connections/127.0.0.1.yaml", f"kind: mlflow\nurl: {s.url}\nuser: ana\n")
        platform.ctl("login", "127.0.0.1", input="hunter2\n")
        assert os.listdir(experiments) == ["one"]


def test_another_address_is_asked_at_once(platform):
    text = "kind: mlflow\nurl: {}\nuser: ana\npassword: {}\n"
    with server("one") as one, server("two") as two, platform.mount() as top:
        write(f"{top}/connections/m.yaml", text.format(one.url, "wrong"))
        with pytest.raises(OSError):
            os.listdir(f"{top}/projects/m/experiments")
        asked = len(one.seen)
        assert asked
        with pytest.raises(OSError):  # the secret of one is not two's
            write(f"{top}/connections/m.yaml", text.format(two.url, "(set)"))
        write(f"{top}/connections/m.yaml", text.format(two.url, "hunter2"))
        assert os.listdir(f"{top}/projects/m/experiments") == ["two"]
        assert len(one.seen) == asked


def test_what_was_seen_stays_when_the_connection_goes(platform):
    text = "kind: mlflow\nurl: {}\nuser: ana\npassword: hunter2\n"
    with server("one") as s, platform.mount() as top:
        write(f"{top}/connections/m.yaml", text.format(s.url))
        assert os.listdir(f"{top}/projects/m/experiments") == ["one"]
        asked = len(s.seen)
        platform.run("rm", f"{top}/connections/m.yaml")
        with platform.mount(where=f"{platform.dir}/again") as again:
            assert os.listdir(f"{again}/projects/m/experiments") == ["one"]
            with pytest.raises(OSError) as e:
                os.listdir(f"{again}/projects/m/runs")
            assert e.value.errno == errno.EHOSTUNREACH
            why = platform.ctl("why", f"{again}/projects/m/runs", check=False).stdout
            assert "there is no connection of that name any more" in why
        assert len(s.seen) == asked
