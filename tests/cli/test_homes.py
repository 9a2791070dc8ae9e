# SPDX-License-Identifier: Apache-2.0
"""Peculiar homes: blanks, links, very long paths, no or another's XDG_RUNTIME_DIR, odd umasks."""
import os
import stat

import pytest

import mantik

NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
JOB = 'code: {}\ncommand: echo 7 >> "$MANTIK_RUN_DIR/metrics/m"\n'


def a_job_runs(platform, *before, **kwargs):
    """From nothing to a finished run that has logged."""
    ctl = [*before, mantik.program("mantikctl")]
    platform.run(*ctl, "mkdir", "/projects/a", **kwargs)
    run = platform.run(*ctl, "submit", "-", input=JOB, **kwargs).stdout.strip()
    assert platform.run(*ctl, "wait", run, **kwargs).stdout == "FINISHED\n"
    path = f"/projects/a/runs/{run}/metrics/m"
    assert platform.run(*ctl, "cat", path, **kwargs).stdout.split("\t")[1] == "7"
    return run


def home(platform, name):
    path = os.path.join(platform.dir, name)
    os.makedirs(path)
    platform.env["HOME"] = platform.home = path
    platform.mountpoint = os.path.join(path, "mantik")
    return path


@pytest.mark.parametrize("name", ["ana maria  o'hara \"x\"", "längs/ü", "/".join(c * 120 for c in "abc")],
                         ids=["blanks", "letters", "long"])
def test_a_home_by_any_name(platform, name):
    home(platform, name)
    run = a_job_runs(platform)
    with platform.mount() as where:
        assert platform.sh("cat mantik/projects/a/runs/latest/status").stdout == "FINISHED\n"
        assert run in platform.ctl("ls", where + "/projects/a/runs").stdout


def test_a_home_that_is_too_long_for_a_database(platform):
    home(platform, "/".join(c * 120 for c in "abcdef"))
    r = platform.ctl("ls", check=False)
    assert r.returncode == 4 and "longer than 500 bytes; set data_dir or MANTIK_DATA_DIR" in r.stderr
    a_job_runs(platform, env={"MANTIK_DATA_DIR": platform.dir + "/data"})


def test_a_runtime_directory_that_is_too_long_for_a_socket(platform):
    path = os.path.join(platform.dir, "r" * 100, "s" * 100)
    os.makedirs(path, mode=0o700)
    a_job_runs(platform, env={"XDG_RUNTIME_DIR": path})


def test_a_home_that_is_a_link(platform):
    real = home(platform, "real")
    link = os.path.join(platform.dir, "ana")
    os.symlink(real, link)
    platform.env["HOME"] = link
    run = a_job_runs(platform)
    with platform.mount():
        for top in (link, real):
            r = platform.ctl("ls", top + "/mantik/projects/a/runs")
            assert run in r.stdout
            assert platform.ctl("status", f"{top}/mantik/projects/a/runs/{run}").stdout == "FINISHED\n"
        there = platform.ctl("ls", "runs", cwd=link + "/mantik/projects/a").stdout
        assert run in there
    assert run in platform.ctl("ls", link + "/mantik/projects/a/runs").stdout


def theirs(platform):
    """A HOME of an ordinary user; (programs start with it, its environment)."""
    if os.getuid() != 0:
        pytest.skip("needs root to become somebody else")
    path = home(platform, "theirs")
    os.chmod(platform.dir, 0o711)
    os.chmod(platform.logs, 0o777)
    os.chown(path, 65534, 65534)


@pytest.mark.parametrize("runtime", ["/run/user/4242", "{dir}/run", "relative", ""])
def test_a_runtime_directory_of_somebody_else(platform, runtime):
    """As after su and sudo, and in a tmux that outlived its login."""
    theirs(platform)
    a_job_runs(platform, *NOBODY, env={"XDG_RUNTIME_DIR": runtime.format(dir=platform.dir)})
    assert os.listdir(os.path.join(platform.dir, "run")) == []


def test_root_leaves_nothing_in_a_users_runtime_directory(platform):
    theirs(platform)
    path = os.path.join(platform.dir, "run")
    os.chown(path, 65534, 65534)
    platform.ctl("status")
    assert os.listdir(path) == []


def test_what_cannot_be_made_says_why(platform):
    theirs(platform)
    os.chown(platform.home, 0, 0)
    r = platform.run(*NOBODY, mantik.program("mantikctl"), "ls", check=False)
    assert r.returncode == 6 and r.stderr.endswith(": cannot be made: Permission denied\n"), r.stderr
    # … and data in another place is all that is needed
    data = os.path.join(platform.dir, "scratch")
    os.mkdir(data)
    os.chown(data, 65534, 65534)
    a_job_runs(platform, *NOBODY, env={"MANTIK_DATA_DIR": data + "/d", "MANTIK_CACHE_DIR": data + "/c",
                                       "XDG_RUNTIME_DIR": ""})


@pytest.mark.parametrize("umask", ["000", "077"])
def test_umask(platform, umask):
    platform.sh(f"umask {umask}; {mantik.program('mantikctl')} mkdir /projects/a")
    script = os.path.join(platform.dir, "ctl")
    with open(script, "w") as f:
        f.write(f'#!/bin/sh\numask {umask}\nexec "$@"\n')
    os.chmod(script, 0o755)
    platform.ctl("mkdir", "/projects/b")
    spec = platform.run(script, mantik.program("mantikctl"), "submit", "-p", "b", "-", input=JOB)
    platform.ctl("wait", spec.stdout.strip())
    for folder, _, files in os.walk(platform.data):
        for name in [".", *files]:
            mode = os.lstat(os.path.join(folder, name)).st_mode
            assert stat.S_ISLNK(mode) or "/work/" in folder or not mode & 0o022, (folder, name, oct(mode))
            assert mode & 0o400, (folder, name)


def test_without_any_home():
    platform = mantik.Platform()
    try:
        del platform.env["HOME"]
        r = platform.ctl("ls", check=False)
        assert r.returncode == 4 and "neither MANTIK_CONFIG_DIR nor HOME is set" in r.stderr
    finally:
        platform.end()
