# SPDX-License-Identifier: Apache-2.0
"""core/net/http against what goes wrong: nobody, silence, halves, floods, throttling."""
import gzip
import http.server
import itertools
import os
import socket
import subprocess
import threading
import time

from httpserve import HTTPCTL, ask, free_port, one, reply, script

OK = reply(body="fine")


def test_nobody_there(platform):
    url = f"http://127.0.0.1:{free_port()}/api?secret=1"
    a, b = ask(platform, "times=2", url)
    assert a["error"] == b["error"] == "EHOSTUNREACH"
    assert a["text"] == (f"mlflow: GET {url.split('?')[0]}: connection refused: does the server "
                         "run there?")
    assert a["down"] and "mlflow: down since 20" in b["text"] and "asked again in 1 s" in b["text"]
    assert b["requests"] == 1 and b["ms"] < 500  # the second was not sent
    a = one(platform, "http://nowhere.invalid/")
    assert a["error"] == "EHOSTUNREACH" and a["text"].endswith("no host of that name is known")


def test_a_host_that_swallows_packets(platform):
    # A listener whose queue is full: its system does not answer further connections.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        stuffed = []
        for _ in range(10):
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex(("127.0.0.1", port))
            stuffed.append(s)
        a = one(platform, "connect=300", f"http://127.0.0.1:{port}/")
        for s in stuffed:
            s.close()
    assert a["error"] == "EHOSTUNREACH" and a["text"].endswith("no connection in time")
    assert a["down"] and 250 < a["ms"] < 3000


def test_silence(platform):
    def silent(request, connection, number):
        connection.recv(1)
    with script(silent) as s:
        a, b = ask(platform, "times=2", "deadline=1500", s.url)
        assert (a["error"], a["down"]) == ("ETIMEDOUT", True) and 1400 < a["ms"] < 4000
        assert b["error"] == "EHOSTUNREACH" and b["ms"] < 500
        a = one(platform, "silence=700", s.url)
        assert a["error"] == "ETIMEDOUT" and "no answer in 0 s" in a["text"]
        a = one(platform, "cancel=300", s.url)
        assert (a["error"], a["down"]) == ("EINTR", False) and 250 < a["ms"] < 3000
        # A deadline that was short of itself says nothing about the remote.
        a = one(platform, "deadline=200", s.url)
        assert (a["error"], a["down"]) == ("ETIMEDOUT", False)


def test_a_body_that_drips(platform):
    def drip(request, connection, number):
        connection.sendall(reply(length=100000))
        for _ in itertools.count():
            connection.sendall(b"x")
            time.sleep(0.01)
    with script(drip) as s:
        for more in ((), ("sink=-1",)):
            a = one(platform, "idle=1000", *more, s.url)
            assert a["error"] == "ETIMEDOUT" and "less than 1024 bytes/s" in a["text"]
            assert 900 < a["ms"] < 5000
        a = one(platform, "cancel=300", s.url)
        assert a["error"] == "EINTR" and a["ms"] < 3000

    def steady(request, connection, number):
        connection.sendall(reply(length=30000))
        for _ in range(30):
            connection.sendall(b"x" * 1000)
            time.sleep(0.05)
        return b""
    with script(steady) as s:
        a = one(platform, "idle=400", s.url)
        assert (a["error"], a["kept"]) == (None, 30000)


def test_a_remote_that_takes_its_time(platform):
    def think(request, connection, number):
        time.sleep(1.2)
        return OK
    with script(think) as s:
        # What must move in a second is a body, not a thought.
        assert one(platform, "idle=500", s.url)["body"] == "fine"
        assert one(platform, "idle=500", "method=POST", "source=100000", s.url)["body"] == "fine"


def test_half_a_body(platform):
    def half(request, connection, number):
        connection.sendall(reply(body=b"x" * 500, length=1000))
    with script(half, OK) as s:
        a = one(platform, s.url)
        assert (a["body"], len(s.requests)) == ("fine", 2)
    with script(half, OK) as s:
        a = one(platform, "method=POST", "body={}", s.url)
        assert a["error"] == "EREMOTEIO" and len(s.requests) == 1
        assert a["text"].endswith("the connection broke in the middle of the answer")
    with script(half, OK) as s:  # somebody has seen a part of it
        a = one(platform, "sink=-1", s.url)
        assert (a["error"], a["sunk"], len(s.requests)) == ("EREMOTEIO", 500, 1)
    chunked = (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n" + b"x" * 1000 +
               b"\r\n")
    def half_chunked(request, connection, number):
        connection.sendall(chunked)
    with script(half_chunked) as s:
        assert one(platform, "sink=-1", s.url)["error"] == "EREMOTEIO"


def test_no_answer_at_all(platform):
    with script(None, OK) as s:
        assert one(platform, s.url)["body"] == "fine"
    with script(None, OK) as s:
        a = one(platform, "method=POST", "body={}", s.url)
        assert (a["error"], len(s.requests)) == ("EREMOTEIO", 1)
        assert a["text"].endswith("the connection was closed without an answer")
        assert not a["down"] and a["health"]
    with script(None) as s:
        a = one(platform, "deadline=3000", s.url)
        assert a["error"] == "EREMOTEIO" and 2 <= len(s.requests) <= 4


def test_a_post_is_never_sent_twice_by_itself(platform):
    """On a connection that was kept and is closed while the request is under way."""
    def first_well(request, connection, number):
        if number == 0:
            return OK
    with script(first_well) as s:
        a, b = ask(platform, "times=2", "method=POST", "body={}", s.url)
        assert a["body"] == "fine" and b["error"] == "EREMOTEIO"
        assert len(s.requests) == 2
    with script(first_well) as s:
        a, b = ask(platform, "times=2", "method=DELETE", s.url)
        assert a["body"] == "fine" and b["error"] == "EREMOTEIO" and len(s.requests) == 2


def test_throttled(platform):
    slow_down = reply(429, "slow down", ["Retry-After: 1", "Content-Type: text/plain"])
    with script(slow_down, OK) as s:
        a = one(platform, "method=POST", "body={}", s.url)
        assert (a["body"], len(s.requests)) == ("fine", 2) and 900 < a["ms"] < 4000
    with script(slow_down) as s:
        a = one(platform, "deadline=500", s.url)
        assert (a["status"], a["fail"], a["retry_after"]) == (429, "EBUSY", 1) and a["ms"] < 400
        assert a["fail_text"] == (f"mlflow: asking: too many requests, asks to come again in 1 s "
                                  f"({s.url} answered 429): slow down")
    with script(reply(429, headers=["Retry-After: 3600"])) as s:
        assert one(platform, s.url)["status"] == 429 and len(s.requests) == 1
    when = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 2))
    with script(reply(503, headers=[f"Retry-After: {when}"]), OK) as s:
        assert one(platform, s.url)["body"] == "fine"
    with script(slow_down) as s:
        a = one(platform, "cancel=300", s.url)
        assert a["error"] == "EINTR" and a["ms"] < 900


def test_what_is_repeated_and_what_not(platform):
    for status in (408, 502, 503, 504):
        with script(reply(status), OK) as s:
            assert one(platform, s.url)["body"] == "fine"
        with script(reply(status), OK) as s:
            a = one(platform, "method=POST", "body={}", "repeatable", s.url)
            assert (a["body"], s.requests[1].body) == ("fine", b"{}")
        with script(reply(status), OK) as s:
            a = one(platform, "method=POST", "body={}", s.url)
            assert (a["status"], len(s.requests)) == (status, 1)
    for status, code in ((400, "EINVAL"), (403, "EACCES"), (404, "ENOENT"), (409, "EBUSY"),
                         (413, "EFBIG"), (500, "EREMOTEIO"), (501, "EOPNOTSUPP"),
                         (418, "EREMOTEIO")):
        with script(reply(status), OK) as s:
            a = one(platform, s.url)
            assert (a["status"], a["fail"], len(s.requests)) == (status, code, 1)


def test_too_much(platform):
    def flood(request, connection, number):
        connection.sendall(reply(length=2 << 30))
        data = bytes(1 << 20)
        for _ in range(2048):
            connection.sendall(data)
    with script(flood) as s:
        a = one(platform, s.url)
        assert a["error"] == "EFBIG" and "more than 8388608 bytes (2147483648)" in a["text"]
        assert a["ms"] < 10000 and a["kib"] < 250000
        assert one(platform, "limit=1000", s.url)["error"] == "EFBIG"
    # An error's body is kept to its first part, and the rest not waited for.
    def errors(request, connection, number):
        connection.sendall(reply(500, length=2 << 30, headers=["Content-Type: text/plain"]))
        for _ in range(2048):
            connection.sendall(b"no! " * 100000)
    with script(errors) as s:
        a = one(platform, s.url)
        assert (a["status"], a["kept"], a["fail"]) == (500, 65536, "EREMOTEIO")
    bomb = reply(body=gzip.compress(bytes(100 << 20)),
                 headers=["Content-Encoding: gzip"])
    with script(bomb) as s:
        assert one(platform, s.url)["error"] == "EFBIG"
    for lines in (["X: " + "y" * 20000], [f"X{i}: " + "y" * 1000 for i in range(80)]):
        with script(reply(headers=lines)) as s:
            a = one(platform, s.url)
            assert a["error"] == "EREMOTEIO" and "64 KiB of headers" in a["text"]


def test_two_gigabytes_pass_a_sink_in_little_memory(platform):
    def flood(request, connection, number):
        connection.sendall(reply(length=1 << 30))
        data = bytes(1 << 20)
        for _ in range(1024):
            connection.sendall(data)
        return b""
    with script(flood) as s:
        a = one(platform, "sink=-1", s.url, timeout=300)
        assert (a["error"], a["sunk"]) == (None, 1 << 30) and a["kib"] < 250000
        a = one(platform, "sink=1000000", s.url)
        assert (a["error"], a["text"]) == ("ENOSPC", "the disk is full") and not a["down"]


def test_no_http(platform):
    for answer in (b"SSH-2.0-OpenSSH_9.2\r\n", b"\x00\x01\x02\x03" * 100, b"HTTP/1.1 abc\r\n\r\n",
                   b"HTTP/1.1 100 Go on\r\n\r\n"):
        def speak(request, connection, number):
            connection.sendall(answer)
        with script(speak) as s:
            a = one(platform, "deadline=3000", s.url)
            assert a["error"] == "EREMOTEIO", (answer, a)
    with script(reply(body="x" * 50, headers=["Content-Encoding: gzip"])) as s:
        assert one(platform, s.url)["error"] == "EREMOTEIO"


def test_odd_ranges(platform):
    for text, begin, total in (("bytes 0-9/10", 0, 10), ("bytes 5-9/*", 5, -1),
                               ("bytes 9-5/10", -1, -1), ("bytes 0-10/10", -1, -1),
                               ("bytes -5-9/10", -1, -1), ("lines 0-9/10", -1, -1),
                               ("bytes 0-99999999999999999999/10", -1, -1), ("", -1, -1),
                               ("bytes */10", -1, 10), ("bytes", -1, -1), ("bytes 0-9", -1, -1)):
        with script(reply(206, "x" * 10, [f"Content-Range: {text}"])) as s:
            a = one(platform, "from=0", "len=10", s.url)
            assert (a["begin"], a["total"]) == (begin, total), text


def test_the_breaker_closes_with_the_first_answer(platform):
    port = free_port()
    with subprocess.Popen([HTTPCTL, "times=12", "pause=300", f"http://127.0.0.1:{port}/"],
                          stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as p:
        first = p.stdout.readline()
        assert "ECONNREFUSED" not in first and "EHOSTUNREACH" in first
        server = http.server.HTTPServer(("127.0.0.1", port), http.server.BaseHTTPRequestHandler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        lines = p.stdout.read().splitlines()
        server.shutdown()
        server.server_close()
    assert '"status": 501' in lines[-1] and '"down": false' in lines[-1]


def test_a_proxy_with_nobody_behind_is_down(platform):
    """502 and 504 are a proxy's words for a server that is not there: as if nobody had answered.
    Whatever else comes with a status was said by somebody."""
    for status in (502, 504):
        with script(reply(status), OK) as s:
            a, b = ask(platform, "times=2", "method=POST", "body={}", s.url)
            assert (a["status"], a["down"], b["error"]) == (status, True, "EHOSTUNREACH"), (a, b)
            assert f"(nobody answers behind its proxy (HTTP {status})), asked again in 1 s" in b["text"]
            assert len(s.requests) == 1
        with script(reply(status), OK) as s:  # and is asked again, and closes
            a, b, c = ask(platform, "times=3", "pause=1100", "method=POST", "body={}", s.url)
            assert (a["down"], b["body"], b["down"], c["status"]) == (True, "fine", False, 200)
    for status in (401, 408, 429, 500, 501, 503):
        with script(reply(status)) as s:
            a, b = ask(platform, "times=2", "method=POST", "body={}", "deadline=300", s.url)
            assert (b["status"], a["down"], b["down"]) == (status, False, False), (a, b)
