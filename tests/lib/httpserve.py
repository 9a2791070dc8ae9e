# SPDX-License-Identifier: Apache-2.0
"""HTTP servers for tests: nginx with TLS of a private authority, Python's own for files, and a
listener that follows a script to show every fault (the only thing here that is not a real server)."""
import contextlib
import functools
import http.server
import json
import os
import shutil
import socket
import subprocess
import threading

import pytest
from mantik import BUILD, wait_for

HTTPCTL = os.path.join(BUILD, "tests", "net", "httpctl")


def ask(platform, *args, timeout=60, env=None):
    """httpctl; the answers it printed."""
    r = platform.run(HTTPCTL, *args, timeout=timeout, env=env)
    return [json.loads(line) for line in r.stdout.splitlines()]


def one(platform, *args, **more):
    return ask(platform, *args, **more)[0]


def served(name, version):
    """Notes the real server a test used."""
    where = os.environ.get("MANTIK_TEST_SERVERS")
    if where:
        with open(where, "a") as f:
            f.write(f"{name} {version}\n")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Request:
    def __init__(self, text):
        head = text.decode("latin-1").split("\r\n")
        self.method, self.path, _ = head[0].split(" ", 2)
        self.headers = {}
        for line in head[1:]:
            name, _, value = line.partition(":")
            if name:
                self.headers[name.lower()] = value.strip()


def reply(status=200, body=b"", headers=(), length=None, reason="Word"):
    """The bytes of an answer; headers: lines. length False: none is said."""
    if isinstance(body, str):
        body = body.encode()
    lines = [f"HTTP/1.1 {status} {reason}", *headers]
    if length is not False:
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Script:
    """Listens; for each request calls follow(request, connection, number) in a thread of the
    connection. It gives bytes to send (the connection stays open), or None: it is closed."""

    def __init__(self, follow):
        self.follow, self.requests, self.bodies, self.connections = follow, [], [], 0
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=50)
        self.port = self.socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.over = threading.Event()
        self.lock = threading.Lock()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        data = b""
        with contextlib.suppress(OSError), connection:
            while not self.over.is_set():
                while b"\r\n\r\n" not in data:
                    more = connection.recv(65536)
                    if not more:
                        return
                    data += more
                head, data = data.split(b"\r\n\r\n", 1)
                request = Request(head)
                left = int(request.headers.get("content-length", 0))
                body = b""
                while len(body) < left:
                    if not data:
                        data = connection.recv(65536)
                        if not data:
                            return
                    body, data = body + data[:left - len(body)], data[left - len(body):]
                request.body = body
                with self.lock:
                    number = len(self.requests)
                    self.requests.append(request)
                answer = self.follow(request, connection, number)
                if answer is None:
                    return
                connection.sendall(answer)

    def close(self):
        self.over.set()
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


@contextlib.contextmanager
def script(*answers):
    """A Script; answers: one for each request (the last for all others): bytes, None to close, or
    a function (request, connection, number)."""
    def follow(request, connection, number):
        answer = answers[min(number, len(answers) - 1)]
        return answer(request, connection, number) if callable(answer) else answer
    s = Script(follow)
    try:
        yield s
    finally:
        s.close()


class Authority:
    """A private certificate authority and what it signed."""

    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        self.ca = os.path.join(folder, "ca.pem")
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                     "-nodes", "-days", "2", "-subj", "/CN=Private authority",
                     "-keyout", "ca.key", "-out", "ca.pem")
        self.cert, self.key = self.sign("server", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        self.client_cert, self.client_key = self.sign("client", "extendedKeyUsage=clientAuth")

    def openssl(self, *args):
        subprocess.run(["openssl", *args], cwd=self.folder, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def sign(self, name, extension):
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                     "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        with open(os.path.join(self.folder, f"{name}.ext"), "w") as f:
            f.write(extension + "\n")
        self.openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                     "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext",
                     "-out", f"{name}.pem")
        return (os.path.join(self.folder, f"{name}.pem"), os.path.join(self.folder, f"{name}.key"))


@contextlib.contextmanager
def nginx(platform, server, name="nginx"):
    """nginx with the text of one or more server blocks; gives its folder (root www/)."""
    binary = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin")
    if not binary:
        pytest.skip("nginx is not installed")
    folder = os.path.join(platform.dir, name)
    os.makedirs(os.path.join(folder, "www"), exist_ok=True)
    with open(os.path.join(folder, "nginx.conf"), "w") as f:
        f.write(f"""daemon off; pid {folder}/pid; error_log {folder}/error.log info; worker_processes 1;
{"user root;" if os.getuid() == 0 else ""}
events {{ worker_connections 200; }}
http {{
	access_log {folder}/access.log; default_type application/octet-stream;
	types {{ text/html html; application/json json; text/plain txt; }}
	client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
	fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
	client_max_body_size 0;
{server}
}}
""")
    process = subprocess.Popen([binary, "-p", folder, "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf"],
                               cwd=folder, stderr=open(f"{folder}/stderr", "w"))
    version = subprocess.run([binary, "-v"], stderr=subprocess.PIPE, text=True).stderr.split("/")[-1]
    served("nginx", version.strip())
    try:
        wait_for(lambda: os.path.exists(f"{folder}/pid") and os.path.getsize(f"{folder}/pid")
                 or process.poll() is not None, "nginx")
        assert process.poll() is None, open(f"{folder}/stderr").read()
        yield folder
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def python_files(folder):
    """Python's own http.server over a folder."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    served("python http.server", http.server.__version__)
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
