# SPDX-License-Identifier: Apache-2.0
"""Which code a submission runs: the branch's head at that moment, a pinned commit without the
remote, a folder as it is now."""
import os

import pytest
import remotes
from mantik import wait_for


@pytest.fixture
def up(platform):
    up = remotes.Upstream(platform)
    up.write("MLproject", "name: x\nentry_points:\n  main:\n    command: python3 train.py\n")
    up.write("train.py", "print('first')\n")
    up.commit("first")
    return up


def project(mount, uri=None):
    where = os.path.join(mount, "projects", "p")
    os.mkdir(where)
    if uri:
        os.mkdir(where + "/code/r")
        with open(where + "/code/r/repository.yaml", "w") as f:
            f.write(f"uri: {uri}\n")
    return where


def submit(platform, where, spec):
    """(error or None, what runs/new then says)"""
    path = os.path.join(platform.dir, "spec.yaml")
    with open(path, "w") as f:
        f.write(spec)
    r = platform.run("cp", path, where + "/runs/new", check=False)
    with open(where + "/runs/new") as f:
        return (r.stderr if r.returncode else None), f.read().strip()


def log_of(platform, where, run):
    run = os.path.join(where, "runs", run)
    assert platform.run("cat", run + "/wait", timeout=60).stdout == "FINISHED\n"
    with open(run + "/logs/stdout") as f:
        return f.read()


def test_the_branch_as_it_is_now(platform, up):
    with platform.mount() as mount, remotes.daemon(up) as uri:
        where = project(mount, uri)
        assert os.listdir(where + "/code/r/branches") == ["main"]
        up.write("train.py", "print('pushed a moment ago')\n")
        commit = up.commit("second")
        error, run = submit(platform, where, "code: {branch: main}\n")
        assert error is None, run
        assert log_of(platform, where, run) == "pushed a moment ago\n"
        with open(f"{where}/runs/{run}/spec.yaml") as f:
            assert commit in f.read()


def test_remote_away(platform, up):
    """A branch is refused and nothing made, a pinned commit is not."""
    with platform.mount() as mount:
        with remotes.daemon(up) as uri:
            where = project(mount, uri)
            assert os.listdir(where + "/code/r/branches") == ["main"]
        error, text = submit(platform, where, "code: {branch: main}\n")
        assert error and "No route to host" in error, error
        assert uri in text and "a pinned `commit:` need not" in text, text
        with open(where + "/runs/runs.tsv") as f:
            assert len(f.readlines()) == 1
        error, run = submit(platform, where, f"code: {{commit: {up.head()}}}\n")
        assert error is None, run
        assert log_of(platform, where, run) == "first\n"


def test_a_run_keeps_its_commit(platform, up):
    with platform.mount() as mount:
        where = project(mount, up.bare)
        error, run = submit(platform, where, "code: {branch: main}\n")
        assert error is None, run
        log_of(platform, where, run)
        old = up.head()
        up.git("commit", "-q", "--amend", "-m", "another history")
        up.push("main", "--force")
        platform.run("git", f"--git-dir={up.bare}", "gc", "-q", "--prune=now")
        wait_for(lambda: os.readlink(where + "/code/r/branches/main").endswith(up.head()),
                 "the forced push", seconds=40)
        for folder in os.listdir(platform.data + "/git"):
            if folder.endswith(".git"):
                platform.run("git", f"--git-dir={platform.data}/git/{folder}", "gc", "-q",
                             "--prune=now")
        assert old in os.listdir(where + "/code/r/commits")
        error, again = submit(platform, where, f"code: {{commit: {old}}}\n")
        assert error is None and log_of(platform, where, again) == "first\n"


def test_a_folder_as_it_is(platform, up):
    with platform.mount() as mount:
        where = project(mount)
        up.write("train.py", "print('not committed')\n")
        up.write("untracked", "u\n")
        error, run = submit(platform, where, f"code: {{path: {up.work}}}\n")
        assert error is None, run
        assert log_of(platform, where, run) == "not committed\n"
        with open(f"{where}/runs/{run}/info.yaml") as f:
            assert "dirty: true\n" in f.read()
        # as it was then, also later
        up.write("train.py", "print('changed since')\n")
        path = os.path.join(platform.dir, "again.yaml")
        platform.run("cp", f"{where}/runs/{run}/spec.yaml", path)
        with open(path) as f:
            error, again = submit(platform, where, f.read())
        assert error is None, again
        error, text = submit(platform, where, f"code: {{path: {mount}/projects}}\n")
        assert "Invalid cross-device link" in error and "mantikfs mount" in text
