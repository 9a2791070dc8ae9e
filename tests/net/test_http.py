# SPDX-License-Identifier: Apache-2.0
"""core/net/http against real servers: what is asked, what comes back, who may see what."""
import os

from httpserve import Authority, ask, free_port, nginx, one, python_files, reply, script

OK = reply(body='{"ok": true}', headers=["Content-Type: Application/JSON; charset=utf-8"])


def fnv(data):
    h = 1469598103934665603
    for b in data:
        h = (h ^ b) * 1099511628211 & (2 ** 64 - 1)
    return f"{h:x}"


def test_a_request_and_its_answer(platform):
    with script(OK) as s:
        a = one(platform, "header=X-Extra: 1", f"{s.url}/x?q=1")
    assert (a["status"], a["type"], a["body"], a["length"]) == (200, "application/json",
                                                                '{"ok": true}', 12)
    head = s.requests[0].headers
    assert head["x-request-id"] == "42" and head["user-agent"].startswith("mantikfs/")
    assert head["x-extra"] == "1" and "gzip" in head["accept-encoding"]
    assert "authorization" not in head and "expect" not in head
    assert s.requests[0].path == "/x?q=1"


def test_connections_are_used_again(platform):
    with script(OK) as s:
        assert [a["status"] for a in ask(platform, "times=5", s.url)] == [200] * 5
        assert s.connections == 1


def test_a_fork_has_connections_of_its_own(platform):
    with script(OK) as s:
        got = ask(platform, "times=3", "fork", s.url)
        assert [a["status"] for a in got] == [200] * 6
        assert s.connections == 4  # the parent's, and one of each child


def test_a_closed_connection_is_opened_again(platform):
    closing = reply(body="x", headers=["Connection: close"])
    with script(closing) as s:
        assert [a["body"] for a in ask(platform, "times=3", s.url)] == ["x"] * 3
        assert s.connections == 3
    # Kept open in the answer's words, and then closed all the same.
    def answer_and_close(request, connection, number):
        connection.sendall(reply(body="y"))
    with script(answer_and_close) as s:
        got = ask(platform, "times=3", "pause=50", "method=POST", "body={}", "repeatable", s.url)
        assert [a["body"] for a in got] == ["y"] * 3
        got = ask(platform, "times=3", "pause=50", "method=POST", "body={}", s.url)
        assert [a["body"] for a in got] == ["y"] * 3


def test_bodies_are_sent(platform):
    with script(OK) as s:
        one(platform, "method=POST", "type=application/json", 'body={"a": 1}', s.url)
        one(platform, "method=PUT", "source=3000000", s.url)
        one(platform, "method=PUT", "source=0", s.url)
        one(platform, "method=DELETE", s.url)
        one(platform, "method=PATCH", "body={}", s.url)
    a, b, c, d, e = s.requests
    assert (a.method, a.body, a.headers["content-type"]) == ("POST", b'{"a": 1}',
                                                             "application/json")
    assert b.method == "PUT" and b.body == bytes(i % 251 for i in range(3000000))
    assert c.body == b"" and c.headers["content-length"] == "0"
    assert d.method == "DELETE" and "content-length" not in d.headers
    assert (e.method, e.body) == ("PATCH", b"{}")


def test_ranges_and_heads_of_real_servers(platform):
    port = free_port()
    with nginx(platform, f"server {{ listen 127.0.0.1:{port}; root www; gzip on; gzip_types "
                         "application/json; gzip_min_length 1; }") as folder:
        data = os.urandom(1 << 20)
        with open(f"{folder}/www/f.bin", "wb") as f:
            f.write(data)
        with open(f"{folder}/www/f.json", "w") as f:
            f.write('["' + "a" * 1000 + '"]')
        url = f"http://127.0.0.1:{port}"
        a = one(platform, "from=1000", "len=500", "sink=-1", f"{url}/f.bin")
        assert (a["status"], a["begin"], a["total"], a["sunk"]) == (206, 1000, 1 << 20, 500)
        assert a["sum"] == fnv(data[1000:1500])
        a = one(platform, "from=2000000", "len=500", f"{url}/f.bin")
        assert (a["status"], a["total"], a["fail"]) == (416, 1 << 20, "EINVAL")
        a = one(platform, "from=1048570", "len=500", "sink=-1", f"{url}/f.bin")
        assert (a["status"], a["sunk"]) == (206, 6)
        a = one(platform, "method=HEAD", f"{url}/f.bin")
        assert (a["status"], a["length"], a["kept"]) == (200, 1 << 20, 0) and a["etag"]
        a = one(platform, f"etag={a['etag']}", f"{url}/f.bin")
        assert a["status"] == 304
        # Compressed on the way: its length there is not that of the text.
        a = one(platform, f"{url}/f.json")
        assert a["body"] == '["' + "a" * 1000 + '"]' and a["length"] == -1
        a = one(platform, f"{url}/none")
        assert a["fail"] == "ENOENT"
        assert a["fail_text"] == f"mlflow: asking: not found ({url} answered 404)"
    with python_files(f"{folder}/www") as url:
        a = one(platform, "sink=-1", f"{url}/f.bin")
        assert (a["status"], a["sunk"], a["sum"]) == (200, 1 << 20, fnv(data))
        # It knows no ranges: the caller sees 200 and where it begins.
        a = one(platform, "from=5", "len=5", "sink=-1", f"{url}/f.bin")
        assert (a["status"], a["begin"], a["sunk"]) == (200, -1, 1 << 20)


def test_tls_of_a_private_authority(platform):
    ca = Authority(f"{platform.dir}/ca")
    other = Authority(f"{platform.dir}/other")
    port, strict = free_port(), free_port()
    tls = f"ssl_certificate {ca.cert}; ssl_certificate_key {ca.key};"
    with nginx(platform, f"""
server {{ listen 127.0.0.1:{port} ssl; {tls} location / {{ return 200 'hello'; }} }}
server {{ listen 127.0.0.1:{strict} ssl; {tls} ssl_client_certificate {ca.ca};
	ssl_verify_client on; location / {{ return 200 '$ssl_client_s_dn'; }} }}"""):
        url = f"https://localhost:{port}/"
        assert one(platform, f"ca={ca.ca}", url)["body"] == "hello"
        assert one(platform, f"ca={ca.ca}", f"https://127.0.0.1:{port}/")["body"] == "hello"
        for args in ((), (f"ca={other.ca}",)):
            a = one(platform, *args, url)
            assert a["error"] == "EHOSTUNREACH" and "its certificate is not trusted" in a["text"]
            assert "as ca: in connections/mlflow.yaml" in a["text"]
        # Not verified by name: refused, whoever signed it.
        assert one(platform, f"ca={ca.ca}", f"https://127.0.0.2:{port}/")["error"] == "EHOSTUNREACH"
        a = one(platform, f"ca={platform.dir}/none.pem", url)
        assert a["error"] == "EHOSTUNREACH" and "ca: is no file with certificates" in a["text"]
        a = one(platform, f"ca={ca.ca}", f"http://localhost:{port}/")
        assert a["status"] == 400
        url = f"https://localhost:{strict}/"
        assert one(platform, f"ca={ca.ca}", url)["status"] == 400
        a = one(platform, f"ca={ca.ca}", f"cert={ca.client_cert}", f"key={ca.client_key}", url)
        assert a["body"] == "CN=client"
        with open(f"{platform.dir}/both.pem", "w") as f:
            f.write(open(ca.client_cert).read() + open(ca.client_key).read())
        a = one(platform, f"ca={ca.ca}", f"cert={platform.dir}/both.pem", url)
        assert a["body"] == "CN=client"
        a = one(platform, f"ca={ca.ca}", f"cert={ca.client_cert}", url)
        assert a["error"] == "ENOKEY" and "client_cert: and client_key:" in a["text"]
    with python_files(platform.dir) as url:
        a = one(platform, url.replace("http:", "https:"))
        assert a["error"] == "EHOSTUNREACH" and "is it http:// and not https://?" in a["text"]


def test_who_is_asking(platform):
    def need(token):
        def follow(request, connection, number):
            good = request.headers.get("authorization") == token
            return OK if good else reply(401, "no", ["Content-Type: text/plain"])
        return follow
    with script(need("Bearer new")) as s:
        assert one(platform, "auth=Bearer new", s.url)["auths"] == 1
        a = one(platform, "auth=Bearer old", "auth=Bearer new", s.url)
        assert (a["status"], a["auths"]) == (200, 2)
        # The new one is kept for what follows in one request, not asked for again and again.
        a = one(platform, "auth=Bearer old", "auth=Bearer worse", s.url)
        assert (a["status"], a["auths"], a["fail"]) == (401, 2, "EACCES")
        assert "does not accept the password or token: mantikctl login mlflow" in a["fail_text"]
        before = len(s.requests)
        a = one(platform, "auth=Bearer old", "auth=Bearer old", s.url)
        assert a["status"] == 401 and len(s.requests) == before + 1
        a = one(platform, "auth=Bearer old", "auth=expired", s.url)
        assert (a["error"], a["text"]) == ("EKEYEXPIRED", "the token has expired")
        a = one(platform, "auth=two\nlines", s.url)
        assert a["error"] == "EKEYREJECTED"
        a = one(platform, s.url)
        assert a["fail"] == "ENOKEY" and "wants a password or a token" in a["fail_text"]
        assert not any("Bearer" in (a["text"] or "") for a in ask(platform, "auth=Bearer x", s.url))


def test_redirects_stay_at_their_origin(platform):
    with script(OK) as other, script(
            reply(302, headers=[f"Location: {other.url}/stolen"])) as s:
        a = one(platform, "auth=Bearer secret", "header=X-Secret: 1", "method=POST", "body={}",
                s.url)
        assert a["error"] == "EREMOTEIO"
        assert f"redirected to another server, {other.url}/stolen" in a["text"]
        assert "url: in connections/mlflow.yaml" in a["text"]
        assert other.requests == [] and other.connections == 0

    def hop(request, connection, number):
        if request.path == "/end":
            return reply(body=request.method)
        status = int(request.path[1:])
        return reply(status, "elsewhere", ["Location: /end"])
    with script(hop) as s:
        for status, method in ((301, "POST"), (302, "POST"), (303, "GET"), (307, "POST"),
                               (308, "POST")):
            a = one(platform, "auth=Bearer t", "method=POST", "body={}", f"{s.url}/{status}")
            assert (a["status"], a["body"]) == (200, method), status
            assert s.requests[-1].headers["authorization"] == "Bearer t"
            assert s.requests[-1].body == (b"{}" if method == "POST" else b"")
        assert one(platform, f"{s.url}/304")["status"] == 304
    with script(reply(302, headers=["Location: /again"])) as s:
        a = one(platform, s.url)
        assert a["error"] == "EREMOTEIO" and "redirected more than 5 times" in a["text"]
        assert len(s.requests) == 6


def test_loopback_needs_no_proxy(platform):
    with script(OK) as proxy, script(OK) as s:
        env = {"http_proxy": proxy.url, "https_proxy": proxy.url}
        assert one(platform, s.url, env=env)["status"] == 200
        assert proxy.requests == []
        assert one(platform, "http://tracking.example/x", env=env)["status"] == 200
        assert proxy.requests[0].path == "http://tracking.example/x"


def test_a_thread_of_another_lane_does_not_wait(platform):
    with script(OK) as s:
        a = one(platform, "nowait", s.url)
        assert a["error"] is None and a["text"] is None and "status" not in a
        assert s.connections == 0
