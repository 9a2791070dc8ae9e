# SPDX-License-Identifier: Apache-2.0
"""No secret is anywhere in plain.

First the search itself is tried: what is planted in a file, a database, its WAL, an argument, an
environment, as it is, in base64 and percent-encoded, must be found. Then secrets are set in every way
there is and used (MLflow, git), with all traces on, and everything is searched: while requests are on
the wire and afterwards.
"""
import base64
import contextlib
import http.server
import os
import signal
import sqlite3
import threading
import urllib.parse

import pytest

import mantik
from mantik import wait_for
from test_connections import on_terminal, read, write

LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"


class Canaries:
    """Secrets made by name; needles: how each of them may look."""

    def __init__(self):
        self.made = {}

    def __call__(self, name):
        random = "".join(LETTERS[b % 36] for b in os.urandom(12))
        # `/ + :` are what percent-encoding changes; three lengths for the shifts of base64.
        self.made[name] = f"cn{random}/+:{'x' * (len(self.made) % 3)}{name}"
        return self.made[name]

    def needles(self):
        for name, text in self.made.items():
            raw = text.encode()
            core = raw[:14]  # before the special characters: any encoding of them
            yield name, core
            yield f"{name} percent-encoded", urllib.parse.quote(text, safe="").encode()
            yield f"{name} backwards", core[::-1]
            yield f"{name} in hex", core.hex().encode()
            for shift in range(3):
                whole = base64.b64encode(b"\0" * shift + raw)
                # The first and last characters hang on the neighbours.
                yield f"{name} in base64, shifted by {shift}", whole[4 if shift else 0:-4][:16]


def files(folder):
    for where, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(where, name)
            if os.path.isfile(path) and not os.path.islink(path):
                with contextlib.suppress(OSError), open(path, "rb") as f:
                    yield path, f.read()


def processes():
    """What any program may read of others: but for this one, whose memory is not meant."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for name in ("cmdline", "environ"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/{name}", "rb") as f:
                yield f"/proc/{pid}/{name}", f.read()


def search(canaries, *more):
    """Places with a needle. more: iterables of (place, bytes)."""
    needles, found = list(canaries.needles()), []
    for source in (processes(), *more):
        for place, data in source:
            found += [f"{place}: {name}" for name, needle in needles if needle in data]
    return found


# --- the search finds ---------------------------------------------------------------------------


def test_the_search_finds_a_planted_canary(platform):
    canaries = Canaries()
    for i in range(3):
        secret = canaries(f"planted{i}")
        assert search(canaries, files(platform.dir)) == []
        path = f"{platform.data}/plant"
        os.makedirs(platform.data, exist_ok=True)
        forms = {
            "plain": secret, "url": "http://u:" + urllib.parse.quote(secret, safe="") + "@h",
            "base64": base64.b64encode(secret.encode()).decode(),
            "basic": base64.b64encode(f"ana:{secret}".encode()).decode(),
            "basic of bo": base64.b64encode(f"bo:{secret}".encode()).decode(),
            "json": '{"password": "' + secret + '"}', "hex": secret.encode().hex(),
        }
        for form, text in forms.items():
            write(path, f"before {text} after")
            assert search(canaries, files(platform.dir)), form
            os.remove(path)
        db = sqlite3.connect(f"{platform.data}/plant.db")
        db.execute("PRAGMA journal_mode = wal")
        db.execute("CREATE TABLE IF NOT EXISTS t (x)")
        db.execute("INSERT INTO t VALUES (?)", (secret,))
        db.commit()
        assert any("plant.db-wal: " in f for f in search(canaries, files(platform.dir)))
        db.execute("PRAGMA wal_checkpoint(truncate)")
        assert any("plant.db: " in f for f in search(canaries, files(platform.dir)))
        db.execute("DELETE FROM t")
        db.commit()
        db.close()
        with contextlib.suppress(FileNotFoundError):
            os.remove(f"{platform.data}/plant.db")
        for script in (f"exec -a {secret} sleep 30", f"export X=1{secret}; exec sleep 30",
                       "exec -a " + base64.b64encode(secret.encode()).decode() + " sleep 30"):
            # By standard input: the argument of the shell itself is no plant.
            p = platform.start("bash", stdin=-1)
            p.stdin.write(script + "\n")
            p.stdin.close()
            wait_for(lambda: search(canaries), "the planted process")
            p.kill()
            p.wait()
        assert search(canaries, files(platform.dir)) == []


# --- everything is searched ---------------------------------------------------------------------


class Listener(http.server.BaseHTTPRequestHandler):
    """Wants a login, and looks around while whoever logs in waits for the answer."""
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def serve(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        given = self.headers.get("Authorization")
        if given:
            self.server.given.append(given)
            self.server.found += self.server.look()
        self.send_response(404 if given and "git" in self.path else 401)
        if "git" in self.path:
            self.send_header("WWW-Authenticate", 'Basic realm="canary"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = do_HEAD = serve


@contextlib.contextmanager
def listener(look):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    server.look, server.given, server.found = look, [], []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def arrived(server, kind, text):
    return f"{kind} {text}" in server.given


def basic(user, secret):
    return base64.b64encode(f"{user}:{secret}".encode()).decode()


def ask(top, name):
    """Whatever makes the connection's server be asked."""
    with contextlib.suppress(OSError):
        os.listdir(f"{top}/projects/{name}/experiments")


BAD = ("kind: mlflow\nurl: http://h\npasword: {}\n", "kind: mlflow\nurl: https://ana:{}@h\n",
       "kind: mlflow\nurl: http://h\nuser: ana\npassword: !{}\n", "kind: {}\nurl: http://h\n",
       "kind: mlflow\nurl: http://h\nuser: ana\npassword: [{}\n", "password: {}: x: y\n",
       "kind: mlflow\nurl: http://h/?token={}\n", "kind: mlflow\nurl: ana:{}@h\n",
       "kind: mlflow\nurl: http://h\ntoken: #{}\n", "kind: mlflow\nurl: http://h\ntoken: *{}\n",
       "kind: mlflow\nurl: http://h\nuser: ana\n# {0}\npassword: {0}\n",
       "kind: mlflow\nurl: http://h\nuser: ana\npassword: {0}\ntoken: {0}\n")


@pytest.mark.parametrize("key", ["file", "command"])
def test_no_secret_is_anywhere_in_plain(platform, key, tmp_path):
    canaries, said = Canaries(), []
    outside = str(tmp_path)  # what the test itself writes lies where nobody searches
    log = f"{platform.logs}/mantikfs.log"

    def everywhere():
        return search(canaries, files(platform.dir), [("output", text.encode()) for text in said])

    def keep(r):
        said.extend([r.stdout, r.stderr])
        return r

    words = canaries("words")
    if key == "command":
        write(f"{outside}/words", words + "\n")
        platform.ctl("config", "vault_key", "command")
        platform.ctl("config", "vault_command", f"cat {outside}/words")
    platform.env["MLFLOW_TRACKING_USERNAME"] = "ana"
    platform.env["MLFLOW_TRACKING_PASSWORD"] = canaries("env")
    with listener(lambda: search(canaries)) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        with platform.mount("--trace", "-o", f"log={log}", "--tracking", url + "/env") as top:
            del platform.env["MLFLOW_TRACKING_PASSWORD"]  # of what comes after, not of mantikfs
            write(f"{top}/.mantik/trace", "on\n")
            assert everywhere() == []
            ask(top, "127.0.0.1")
            wait_for(lambda: arrived(server, "Basic", basic("ana", canaries.made["env"])), "env")

            head = f"kind: mlflow\nurl: {url}/{{}}\nuser: ana\n"
            write(f"{outside}/cp.yaml", head.format("cp") + f"password: {canaries('cp')}\n")
            platform.run("cp", f"{outside}/cp.yaml", f"{top}/connections/cp.yaml")
            platform.run("tee", f"{top}/connections/tee.yaml",
                         input=head.format("tee") + f'password: "{canaries("tee")}" # c\n')
            platform.ctl("cp", "-", "/connections/ctl.yaml",
                         input=head.format("ctl") + f"password: |\n  {canaries('ctl')}\n")
            write(f"{top}/connections/sed.yaml", head.format("sed"))
            write(f"{outside}/sed", f"$ a password: '{canaries('sed')}'\n")
            platform.run("sed", "-i", "-f", f"{outside}/sed", f"{top}/connections/sed.yaml")
            if os.access("/usr/bin/vim", os.X_OK):
                write(f"{top}/connections/vim.yaml", head.format("vim"))
                write(f"{outside}/vim", f"$append\npassword: {canaries('vim')}\n.\nwq\n")
                platform.run("vim", "-nEsu", "NONE", "-S", f"{outside}/vim",
                             f"{top}/connections/vim.yaml")
            write(f"{top}/connections/pipe.yaml", head.format("pipe"))
            keep(platform.ctl("login", "pipe", input=canaries("pipe") + "\n"))
            write(f"{top}/connections/tty.yaml", head.format("tty"))
            status, shown = on_terminal(platform, [("(not shown): ", canaries("tty") + "\n")],
                                        mantik.program("mantikctl"), "login", "tty")
            assert status == 0
            said.append(shown)
            write(f"{top}/connections/bearer.yaml",
                  f"kind: mlflow\nurl: {url}/bearer\ntoken: {canaries('bearer')}\n")
            write(f"{outside}/token", canaries("tokenfile"))
            write(f"{top}/connections/tokenfile.yaml",
                  f"kind: mlflow\nurl: {url}/f\ntoken_file: {outside}/token\n")
            write(f"{outside}/token2", canaries("tokencommand"))
            write(f"{top}/connections/tokencommand.yaml",
                  f"kind: mlflow\nurl: {url}/c\ntoken_command: [cat, {outside}/token2]\n")
            write(f"{top}/connections/git.yaml",
                  f"kind: git\nurl: {url}\nuser: ana\npassword: {canaries('git')}\n")
            for i, text in enumerate(BAD):
                with pytest.raises(OSError):
                    write(f"{top}/connections/bad.yaml", text.format(canaries(f"bad{i}")))
                said.append(platform.ctl("why", f"{top}/connections/bad.yaml").stdout)
            assert everywhere() == []

            # … and used: each arrives where it belongs.
            names = [n for n in canaries.made if n in ("cp", "tee", "ctl", "sed", "vim", "pipe", "tty")]
            for name in names:
                ask(top, name)
                wait_for(lambda: arrived(server, "Basic", basic("ana", canaries.made[name])), name)
            for name in ("bearer", "tokenfile", "tokencommand"):
                ask(top, name)
                wait_for(lambda: arrived(server, "Bearer", canaries.made[name]), name)
            os.makedirs(f"{top}/projects/code/code/r")
            with contextlib.suppress(OSError):
                write(f"{top}/projects/code/code/r/repository.yaml", f"uri: {url}/x.git\n")
            wait_for(lambda: arrived(server, "Basic", basic("ana", canaries.made["git"])), "git")
            assert server.found == []

            # Everything the mount shows, the trace and the errors among it.
            shown = dict(files(f"{top}/connections")) | dict(files(f"{top}/.mantik"))
            assert f"{top}/.mantik/errors" in shown and f"{top}/connections/tty.yaml" in shown
            assert b"tty.yaml" in shown[f"{top}/.mantik/trace"]
            assert search(canaries, shown.items()) == []
            for command in (["why"], ["doctor"], ["config"], ["cat", "/connections/cp.yaml"]):
                keep(platform.ctl(*command, check=False))
            assert everywhere() == []
            assert os.path.getsize(log) > 10000 and "tty.yaml" in read(log)
            core_free(platform, canaries, everywhere)
    assert everywhere() == []
    assert os.path.getsize(f"{platform.config}/vault") > 200


def core_free(platform, canaries, everywhere):
    """The mount dies of a signal that dumps core: it may not, and nobody may trace it."""
    daemon = platform.daemons("mantikfs")[0]
    limits = read(f"/proc/{daemon}/limits")
    assert [line.split()[4] for line in limits.splitlines() if "core file size" in line] == ["0"]
    before = set(os.listdir(platform.dir)) | set(os.listdir("/"))
    os.kill(daemon, signal.SIGABRT)
    wait_for(lambda: not os.path.exists(f"/proc/{daemon}"), "the end of mantikfs")
    after = set(os.listdir(platform.dir)) | set(os.listdir("/"))
    assert not any("core" in name for name in after - before)
    assert everywhere() == []
