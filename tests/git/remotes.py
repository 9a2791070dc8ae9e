# SPDX-License-Identifier: Apache-2.0
"""Git servers for tests: the real ones. A repository to serve, and git daemon, git http-backend
behind a small web server (basic auth, TLS), sshd, and a port that accepts and stays silent."""
import base64
import contextlib
import http.server
import os
import re
import socket
import ssl
import subprocess
import threading

import pytest
from mantik import BUILD, TOP, wait_for

CODECTL = os.path.join(BUILD, "tests", "git", "codectl")


class Result:
    def __init__(self, r):
        self.code, self.out, self.err = r.returncode, r.stdout, r.stderr
        found = re.search(r"^ms=(\d+) kib=(\d+)$", r.stderr if isinstance(r.stderr, str)
                          else r.stderr.decode(errors="replace"), re.M)
        self.ms, self.kib = (int(found[1]), int(found[2])) if found else (None, None)

    def refs(self):
        """{name: commit} of a listing."""
        return {line[41:]: line[:40] for line in self.out.splitlines()}


def code(platform, *args, check=True, text=True, env=None, timeout=120, deadline=None,
         cancel=None):
    """codectl; check: it must work; else the result, whatever it is."""
    env = dict(env or {})
    if deadline:
        env["CODECTL_DEADLINE"] = str(deadline)
    if cancel:
        env["CODECTL_CANCEL"] = str(cancel)
    args = [os.fsdecode(a) for a in args]
    return Result(platform.run(CODECTL, *args, check=check, text=text, env=env, timeout=timeout))


def option(platform, **options):
    os.makedirs(platform.config, exist_ok=True)
    with open(os.path.join(platform.config, "config.yaml"), "a") as f:
        for key, value in options.items():
            f.write(f"{key}: {value}\n")


def served(name, version=None):
    """Notes the real server a test used."""
    where = os.environ.get("MANTIK_TEST_SERVERS")
    if where:
        with open(where, "a") as f:
            f.write(f"{name} {version or git_version()}\n")


def git_version():
    return subprocess.run(["git", "--version"], stdout=subprocess.PIPE,
                          text=True).stdout.split()[-1]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Upstream:
    """A repository with a working tree, and the bare one that is served."""

    def __init__(self, platform, name="up"):
        self.platform = platform
        self.root = os.path.join(platform.dir, "served")
        self.work = os.path.join(platform.dir, name + ".work")
        self.bare = os.path.join(self.root, name + ".git")
        os.makedirs(self.root, exist_ok=True)
        platform.run("git", "init", "-q", "--bare", "-b", "main", self.bare)
        platform.run("git", "init", "-q", "-b", "main", self.work)
        self.git("remote", "add", "origin", self.bare)

    def git(self, *args, **kwargs):
        args = [os.fsdecode(a) for a in args]
        return self.platform.run("git", *args, cwd=self.work, **kwargs).stdout

    def write(self, path, content="x\n", mode=None):
        path = os.path.join(os.fsencode(self.work), os.fsencode(path))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(content if isinstance(content, bytes) else content.encode())
        if mode:
            os.chmod(path, mode)

    def commit(self, message="a commit", push="main"):
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        if push:
            self.push(push)
        return self.head()

    def head(self):
        return self.git("rev-parse", "HEAD").strip()

    def push(self, branch="main", *options):
        self.git("push", "-q", *options, "origin", f"HEAD:refs/heads/{branch}")


@contextlib.contextmanager
def daemon(upstream):
    """git:// from the real git daemon."""
    port = free_port()
    log = open(os.path.join(upstream.platform.logs, "daemon"), "w")
    process = upstream.platform.start(
        "git", "daemon", "--listen=127.0.0.1", f"--port={port}", "--export-all", "--reuseaddr",
        f"--base-path={upstream.root}", upstream.root, stdout=log)
    try:
        wait_for(lambda: listening(port), "git daemon")
        served("git-daemon")
        yield f"git://127.0.0.1:{port}/{os.path.basename(upstream.bare)}"
    finally:
        process.terminate()
        process.wait(10)
        log.close()


def listening(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


class Backend(http.server.BaseHTTPRequestHandler):
    """git http-backend as a CGI program, behind basic auth when the server has a user."""
    protocol_version = "HTTP/1.0"

    def log_message(self, *args):
        pass

    def serve(self):
        path, _, query = self.path.partition("?")
        given = self.headers.get("Authorization", "")
        self.server.seen.append((self.command, self.path, given))
        if self.server.user:
            wanted = "Basic " + base64.b64encode(self.server.user.encode()).decode()
            if given != wanted:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            while (size := int(self.rfile.readline(), 16)):
                body += self.rfile.read(size)
                self.rfile.readline()
        env = {"PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": self.server.root,
               "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path, "QUERY_STRING": query,
               "REQUEST_METHOD": self.command, "REMOTE_ADDR": "127.0.0.1",
               "CONTENT_TYPE": self.headers.get("Content-Type", ""),
               "CONTENT_LENGTH": str(len(body)),
               "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
               "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
               "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory",
               "GIT_CONFIG_VALUE_0": "*"}
        out = subprocess.run(["git", "http-backend"], input=body, env=env,
                             stdout=subprocess.PIPE).stdout
        head, _, rest = out.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
        self.send_response(int(fields.pop("Status", "200").split()[0]))
        for key, value in fields.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest)

    do_GET = do_POST = serve


@contextlib.contextmanager
def web(upstream, user=None, tls=None):
    """http(s):// ; gives (uri, requests seen). tls: (certificate, key) files."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    server.root, server.user, server.seen = upstream.root, user, []
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    served("git-http-backend")
    try:
        yield (f"http{'s' if tls else ''}://localhost:{server.server_port}/"
               f"{os.path.basename(upstream.bare)}", server.seen)
    finally:
        server.shutdown()
        server.server_close()


def certificate(platform):
    """A self-signed certificate for localhost."""
    cert, key = (os.path.join(platform.dir, f"tls.{x}") for x in ("crt", "key"))
    platform.run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                 "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
                 "-keyout", key, "-out", cert)
    return cert, key


@contextlib.contextmanager
def sshd(upstream):
    """ssh:// through a private sshd; gives (uri, ssh command that knows it)."""
    script = os.path.join(TOP, "tests", "servers", "sshd")
    folder = os.path.join(upstream.platform.dir, "sshd")
    r = subprocess.run([script, "start", folder], stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, text=True)
    if r.returncode == 77:
        pytest.skip(r.stderr.strip().splitlines()[-1])
    assert r.returncode == 0, r.stderr
    try:
        served("sshd", subprocess.run(["ssh", "-V"], stderr=subprocess.PIPE,
                                      text=True).stderr.split()[0])
        yield f"ssh://testhost{upstream.bare}", f"ssh -F {folder}/ssh_config"
    finally:
        subprocess.run([script, "stop", folder])


@contextlib.contextmanager
def silent():
    """A port that accepts and says nothing; gives (port, connections so far)."""
    server = socket.create_server(("127.0.0.1", 0))
    held = []

    def accept():
        with contextlib.suppress(OSError):
            while True:
                held.append(server.accept()[0])

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield server.getsockname()[1], held
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        for connection in held:
            connection.close()


def git_processes(platform):
    """What git of this platform still runs."""
    found = []
    for pid in platform.processes():
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                line = f.read().replace(b"\0", b" ").decode(errors="replace")
            if line.startswith("git ") and "daemon" not in line:
                found.append(line)
    return found
