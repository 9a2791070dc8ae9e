# SPDX-License-Identifier: Apache-2.0
"""mantikctl doctor: six broken set-ups, each with its own failing line, a remedy and exit 1."""
import os
import shutil
import sqlite3
import time

import pytest

import mantik


def doctor(platform, **kwargs):
    r = platform.ctl("doctor", check=False, **kwargs)
    failing = [line for line in r.stdout.splitlines() if line.startswith("FAIL")]
    assert len(failing) == r.stdout.count("\n      remedy: ")
    assert r.returncode == (1 if failing else 0), r.stdout + r.stderr
    return failing


def lines_of(platform, what):
    return [line for line in doctor(platform) if line.split()[1] == what]


def needs_root(*programs):
    if os.getuid() != 0:
        pytest.skip("needs root")
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"{program} is missing")


def in_namespace(platform, script):
    """doctor after a script that mounts things only it can see."""
    path = os.path.join(platform.dir, "enter")
    with open(path, "w") as f:
        f.write(f"#!/bin/sh\nset -e\n{script}\nexec \"$@\"\n")
    os.chmod(path, 0o755)
    r = platform.run("unshare", "-m", path, mantik.program("mantikctl"), "doctor", check=False)
    assert "remedy: " in r.stdout and r.returncode == 1, r.stdout + r.stderr
    return [line for line in r.stdout.splitlines() if line.startswith("FAIL")]


def test_nothing_is_wrong(platform):
    platform.ctl("mkdir", "/projects/a")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("no /dev/fuse")
    assert doctor(platform) == []


def test_no_fuse(platform):
    needs_root("unshare")
    platform.ctl("status")
    said = in_namespace(platform, "mount -t tmpfs none /mnt; touch /mnt/null /mnt/zero /mnt/urandom\n"
                        "for d in null zero urandom; do mount --bind /dev/$d /mnt/$d; done\n"
                        "mount --rbind /mnt /dev")
    assert len(said) == 1 and "/dev/fuse does not exist" in said[0]


def test_database_read_only(platform):
    needs_root("unshare")
    platform.ctl("mkdir", "/projects/a")
    said = in_namespace(platform, f"mount --bind {platform.data} {platform.data}\n"
                        f"mount -o remount,bind,ro {platform.data}")
    assert [line.split()[1] for line in said] == ["database"]


def test_cache_disk_full(platform):
    needs_root("unshare")
    platform.ctl("status")
    said = in_namespace(platform, f"mount -t tmpfs -o size=4M none {platform.cache}\n"
                        f"head -c 5000000 /dev/zero > {platform.cache}/x 2>/dev/null || true")
    assert [line.split()[1] for line in said] == ["cache"] and "the disk is full" in said[0]


def test_dead_git_remote(platform):
    repository = platform.repository(files={"MLproject": "name: x\n"})
    platform.ctl("mkdir", "-p", "/projects/a/code/r")
    text = os.path.join(platform.dir, "repository.yaml")
    with open(text, "w") as f:
        f.write(f"uri: {repository}\n")
    platform.ctl("cp", text, "/projects/a/code/r/repository.yaml")
    assert lines_of(platform, "git") == []
    os.rename(repository, repository + ".away")
    said = lines_of(platform, "git")
    assert len(said) == 1 and "a/r" in said[0]


def leave_lease(platform, host, age):
    """The record of another host's mantikd that was alive `age` seconds ago."""
    then = int(time.time() - age)
    path = os.path.join(platform.data, "lease")
    with open(path, "w") as f:
        f.write(f"host: {host}\nboot_id: 01234567-89ab-cdef-0123-456789abcdef\npid: 7\npid_start: 7\n"
                f"since: {then * 10**9}\nheartbeat: {then * 10**9}\n")
    os.utime(path, (then, then))


def test_stale_lock(platform):
    platform.ctl("status")
    leave_lease(platform, "login02", 3600)
    said = lines_of(platform, "lease")
    assert len(said) == 1 and "login02" in said[0]
    assert "in use on login02" in platform.ctl("mkdir", "/projects/x", check=False).stderr
    platform.ctl("takeover")
    assert lines_of(platform, "lease") == []
    platform.ctl("mkdir", "/projects/x")


def test_a_host_that_is_alive_is_not_taken_over(platform):
    platform.ctl("status")
    leave_lease(platform, "login02", 5)
    assert "login02" in lines_of(platform, "lease")[0]
    r = platform.ctl("takeover", check=False)
    assert r.returncode == 6 and "login02" in r.stderr
    assert platform.ctl("ls", "/projects").stdout == ""  # reading goes on


def test_damaged_database(platform):
    platform.ctl("status")
    path = os.path.join(platform.data, "mantik.db")
    with open(path, "r+b") as f:
        f.write(b"this is no database")
    with open(path, "rb") as f:
        before = f.read()
    said = doctor(platform)
    assert [line.split()[1] for line in said] == ["database"]
    with open(path, "rb") as f:
        assert f.read() == before


def test_newer_schema(platform):
    platform.ctl("status")
    path = os.path.join(platform.data, "mantik.db")
    db = sqlite3.connect(path)
    newest = db.execute("PRAGMA user_version").fetchone()[0]
    db.execute(f"PRAGMA user_version = {newest + 1}")
    db.commit()
    db.close()
    said = doctor(platform)
    assert len(said) == 1 and "newer" in said[0]


def next_ctl(platform, *args, **kwargs):
    """The same of a program whose schema is one version ahead."""
    program = os.path.join(mantik.BUILD, "tests", "unit", "mantikctl-next")
    if not os.path.exists(program):
        pytest.skip("mantikctl-next is not built")
    return platform.run(program, *args, **kwargs)


def schema(path):
    db = sqlite3.connect(path)
    try:
        return db.execute("PRAGMA user_version").fetchone()[0]
    finally:
        db.close()


def test_older_schema(platform):
    platform.ctl("mkdir", "/projects/a")
    path = os.path.join(platform.data, "mantik.db")
    r = next_ctl(platform, "doctor", check=False)
    said = [line for line in r.stdout.splitlines() if line.startswith("FAIL")]
    assert said == [f"FAIL  database   {path}: has the older schema 2; open it for writing once"]
    assert "\n      remedy: end mounts of the older version" in r.stdout and r.returncode == 1
    assert schema(path) == 2  # looking changed nothing

    # the remedy works, and the older program says clearly that it can no longer
    assert next_ctl(platform, "ls", "/projects").stdout == "a\n"
    assert "FAIL" not in next_ctl(platform, "doctor", check=False).stdout.split("lease")[0]
    assert (schema(path), schema(path + ".schema2")) == (3, 2)
    assert os.stat(path + ".schema2").st_mode & 0o777 == 0o600
    said = doctor(platform)
    assert len(said) == 1 and "made by a newer mantikfs (schema 3, this program knows 2)" in said[0]
    r = platform.ctl("ls", "/projects", check=False)
    assert r.returncode == 1 and "use that version, nothing was changed" in r.stderr

    # back by the copy
    os.rename(path + ".schema2", path)
    assert platform.ctl("ls", "/projects").stdout == "a\n"


def test_a_schema_that_is_worked_with_is_not_changed(platform):
    platform.ctl("mkdir", "/projects/a")
    run = platform.ctl("submit", "-p", "a", "-", input="code: {}\ncommand: sleep 60\n").stdout.strip()
    mantik.wait_for(lambda: platform.ctl("status", run).stdout == "RUNNING\n", "the run's start")
    r = next_ctl(platform, "status", check=False)
    assert r.returncode == 6 and "has the older schema 2, which cannot be brought to 3 now: a mantikd" \
        in r.stderr, r.stderr
    assert schema(os.path.join(platform.data, "mantik.db")) == 2
    platform.ctl("cancel", run)
    platform.ctl("wait", run, check=False)
