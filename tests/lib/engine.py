# SPDX-License-Identifier: Apache-2.0
"""Runs put straight into a platform's database, as an acknowledged submission leaves them, and the
mantikd that works them off: for tests of the engine that need no spec.

    engine = Engine(platform)
    run = engine.submit("echo hello")
    engine.daemon()                       # as a poke starts it
    assert run.wait() == "FINISHED"
"""
import json
import os
import signal
import sqlite3
import subprocess
import time
import uuid

from mantik import program, wait_for

STATUS = ["SCHEDULED", "RUNNING", "FINISHED", "FAILED", "KILLED", "UNKNOWN"]


class Run:
    def __init__(self, engine, id, uid, dir):
        self.engine, self.id, self.uid, self.dir = engine, id, uid, dir
        self.record = os.path.join(engine.platform.data, "runs", uid)
        self.workdir = os.path.join(engine.platform.data, "work", uid)

    def row(self):
        return self.engine.rows("SELECT * FROM runs WHERE id = ?", self.id)[0]

    @property
    def status(self):
        return STATUS[self.row()["status"]]

    @property
    def open(self):
        """Is anything of it still in the journal?"""
        return bool(self.engine.rows("SELECT 1 FROM intents WHERE run_id = ?", self.id))

    def wait(self, seconds=30):
        wait_for(lambda: self.row()["status"] >= 2, f"{self.dir} to end; {self.engine.log()}", seconds)
        return self.status

    def until(self, status, seconds=20):
        wait_for(lambda: self.status == status, f"{self.dir} to be {status}; {self.engine.log()}",
                 seconds)

    def file(self, name):
        try:
            with open(os.path.join(self.record, name), errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def state(self):
        return dict(line.split(" ", 1) for line in self.file("state").splitlines())

    def cancel(self):
        now = time.time_ns()
        with self.engine.db() as db:
            db.execute("UPDATE runs SET cancel_asked = ? WHERE id = ?", (now, self.id))
            db.execute("INSERT INTO intents (run_id, verb, step, created) VALUES (?, 'cancel', 0, ?)",
                       (self.id, now))
        self.engine.poke()

    def points(self, key):
        return [(r["step"], r["value"]) for r in self.engine.rows(
            "SELECT p.step, p.value FROM points p JOIN metrics m ON m.id = p.metric_id"
            " WHERE m.run_id = ? AND m.key = ? ORDER BY p.seq", self.id, key)]

    def values(self, table):
        return {r["key"]: r["value"] for r in self.engine.rows(
            f"SELECT key, value FROM {table} WHERE run_id = ?", self.id)}

    def processes(self):
        """All that have this run's mark in their environment."""
        found, mark = [], b"MANTIK_RUN_ID=" + self.uid.encode()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/environ", "rb") as f:
                    if mark in f.read().split(b"\0"):
                        found.append(int(pid))
            except OSError:
                pass
        return found


class Engine:
    def __init__(self, platform, **options):
        self.platform = platform
        self.daemons = []
        os.makedirs(platform.config, exist_ok=True)
        with open(os.path.join(platform.config, "config.yaml"), "w") as f:
            for key, value in {"cancel_grace": "1s", **options}.items():
                f.write(f"{key}: {value}\n")
        self.path = os.path.join(platform.data, "mantik.db")
        # Makes the database and goes.
        self.daemon(idle=0).wait()
        with self.db() as db:
            now = time.time_ns()
            db.execute("INSERT INTO projects (name, created, changed) VALUES ('p', ?, ?)", (now, now))
            db.execute("INSERT INTO experiments (project_id, name, created, changed)"
                       " VALUES (1, 'e', ?, ?)", (now, now))

    def db(self):
        db = sqlite3.connect(self.path, timeout=20)
        db.row_factory = sqlite3.Row
        return db

    def rows(self, sql, *args):
        db = self.db()
        try:
            return db.execute(sql, args).fetchall()
        finally:
            db.close()

    def submit(self, script, after=(), held=False, plan=None, poke=True, count=1):
        """script: lines for sh, or a whole script that begins with #!"""
        if not script.startswith("#!"):
            script = "#!/bin/sh\n" + script + "\n"
        runs = []
        with self.db() as db:
            for i in range(count):
                uid, now = uuid.uuid4().hex, time.time_ns()
                name = f"r{uid[8:12]}"
                dir = f"{name}.{uid[:8]}"
                text = json.dumps({**EMPTY_PLAN, "script": script, **(plan or {})})
                id = db.execute(
                    "INSERT INTO runs (uid, project_id, experiment_id, name, dir, status, site,"
                    " submitted, changed, user, spec_len) VALUES (?,1,1,?,?,0,'local',?,?,'ana',0)",
                    (uid, name, dir, now, now)).lastrowid
                db.execute("INSERT INTO run_texts (run_id, spec, script, plan) VALUES (?, '', ?, ?)",
                           (id, script, text))
                for other in after:
                    db.execute("INSERT INTO run_after VALUES (?, ?)", (id, other.id))
                db.execute("INSERT INTO intents (run_id, verb, step, held, created)"
                           " VALUES (?, 'submit', 0, ?, ?)", (id, int(held), now))
                runs.append(Run(self, id, uid, dir))
        if poke:
            self.poke()
        return runs[0] if count == 1 else runs

    def code(self, files, links=None):
        """A repository with these files, mirrored; gives what a plan says of it."""
        where = self.platform.repository(files=files, name=f"repo{len(self.daemons)}")
        for path, target in (links or {}).items():
            os.symlink(target, os.path.join(where, path))
        commit = self.platform.commit(where) if links else \
            self.platform.run("git", "rev-parse", "HEAD", cwd=where).stdout.strip()
        self.platform.run("git", "clone", "-q", "--bare", where,
                          os.path.join(self.platform.data, "git", "r.git"))
        with self.db() as db:
            id = db.execute("INSERT INTO repositories (project_id, name, uri, mirror, created, changed)"
                            " VALUES (1, 'r', ?, 'r.git', 0, 0)", (where,)).lastrowid
        return {"repository_id": id, "commit": commit}

    def daemon(self, idle=30000, **env):
        """mantikd in the foreground of a process of its own; its log is mantikd.out."""
        log = open(os.path.join(self.platform.logs, "mantikd.out"), "a")
        p = subprocess.Popen([program("mantikd"), "--foreground", "--idle", str(idle)],
                             stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                             env={**self.platform.env, **env}, start_new_session=True)
        log.close()
        self.daemons.append(p)
        return p

    def poke(self):
        import socket
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            try:
                s.sendto(b"x", os.path.join(self.platform.data, "doorbell"))
            except OSError:
                pass

    def kill(self):
        for p in self.daemons:
            if p.poll() is None:
                p.send_signal(signal.SIGKILL)
            p.wait()

    def log(self):
        with open(os.path.join(self.platform.logs, "mantikd.out")) as f:
            return "log of mantikd:\n" + f.read()[-3000:]


EMPTY_PLAN = {"exclude": [], "artifacts": [], "variables": [], "repository_id": 0, "runtime": 0}
