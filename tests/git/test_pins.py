# SPDX-License-Identifier: Apache-2.0
"""What keeps a commit that some run was made from, and what `mantikctl gc` may take away."""
import os
import time

import pytest
import remotes
from mantik import wait_for
from test_submit_mount import project, submit

PINS = "refs/mantik/runs/"


@pytest.fixture
def up(platform):
    up = remotes.Upstream(platform)
    up.write("train.py", "print('first')\n")
    up.commit("first")
    return up


def mirrors(platform):
    return sorted(x for x in os.listdir(os.path.join(platform.data, "git")) if x.endswith(".git"))


def pins(platform, mirror):
    return set(platform.run("git", "--git-dir", mirror, "for-each-ref", "--format=%(objectname)",
                            PINS).stdout.split())


def ended(platform, where, spec):
    error, run = submit(platform, where, spec)
    assert error is None, run
    platform.ctl("wait", run)
    return run


def test_gc_takes_what_no_run_has(platform, up):
    with platform.mount() as mount:
        where = project(mount, up.bare)
        first, gone = up.head(), ended(platform, where, "name: gone\ncommand: 'true'\n")
        up.write("train.py", "print('second')\n")
        second = up.commit("second")
        deleted = ended(platform, where, "name: deleted\ncommand: python3 train.py\n")
        up.write("train.py", "print('third')\n")
        third = up.commit("third")
        ended(platform, where, "name: kept\ncommand: 'true'\n")
        folder = os.path.join(platform.dir, "folder")
        os.mkdir(folder)
        snapshot = ended(platform, where, f"code: {{path: {folder}}}\nname: s\ncommand: 'true'\n")
        os.mkdir(where + "/code/wrong")  # refused, so its mirror stays behind when it is removed
        with pytest.raises(OSError):
            with open(where + "/code/wrong/repository.yaml", "w") as f:
                f.write(f"uri: {platform.dir}\n")
        (mirror,) = [os.path.join(platform.data, "git", x) for x in mirrors(platform)
                     if first in pins(platform, os.path.join(platform.data, "git", x))]
        assert pins(platform, mirror) == {first, second, third} and len(mirrors(platform)) == 3
        os.rmdir(where + "/code/wrong")
        platform.ctl("delete", gone, deleted)
        assert platform.ctl("gc", gone).stdout == "1 run gone\n"
        # --older leaves the deleted run, which can be restored; all pins are young
        assert platform.ctl("gc", "--older", "1h").stdout == \
            "0 runs gone\n1 mirror of removed repositories gone\n"
        assert pins(platform, mirror) == {first, second, third} and len(mirrors(platform)) == 2
        old = time.time() - 7200
        for pin in os.listdir(os.path.join(mirror, PINS)):
            os.utime(os.path.join(mirror, PINS, pin), (old, old))
        assert platform.ctl("gc", "--older", "1h").stdout == \
            "0 runs gone\n1 pinned commit of runs that are gone released\n"
        assert pins(platform, mirror) == {second, third}
        assert platform.ctl("gc", "--older", "1h").stdout == "0 runs gone\n"
        # What was spared runs again from its commit, whatever became of the branch.
        up.git("push", "-q", "--force", "origin", f"{first}:refs/heads/main")
        platform.ctl("restore", deleted)
        (again,) = platform.ctl("rerun", deleted).stdout.split()
        assert platform.ctl("wait", again).stdout
        assert platform.ctl("log", again).stdout == "second\n"
        (again,) = platform.ctl("rerun", snapshot).stdout.split()
        platform.ctl("wait", again)
        # Asked for again, a pin is young again.
        os.utime(os.path.join(mirror, PINS, second), (old, old))
        ended(platform, where, f"code: {{commit: {second}}}\nname: x\ncommand: 'true'\n")
        assert os.stat(os.path.join(mirror, PINS, second)).st_mtime > old + 3600


def test_many_pins_are_packed(platform, up):
    """10 000 commits that runs were made from: looking and fetching stay quick."""
    history = "".join(f"commit refs/heads/main\ncommitter a <a@b> {1600000000 + i} +0000\ndata 1\nx\n"
                      + ("from refs/heads/main^0\n" if i == 0 else "") for i in range(10000))
    platform.run("git", "fast-import", "--quiet", "--force", cwd=up.bare, input=history)
    commits = platform.run("git", "rev-list", "--max-count=10000", "main", cwd=up.bare).stdout.split()
    remotes.option(platform, git_refresh="1s")
    with platform.mount() as mount:
        where = project(mount, up.bare)
        assert os.listdir(where + "/code/r/branches") == ["main"]
        (name,) = mirrors(platform)
        mirror = os.path.join(platform.data, "git", name)
        platform.run("git", "--git-dir", mirror, "update-ref", "--stdin",
                     input="".join(f"create {PINS}{x} {x}\n" for x in commits))
        loose = os.path.join(mirror, PINS)
        assert len(os.listdir(loose)) == 10000
        up.git("pull", "-q", "origin", "main")
        up.write("train.py", "print('last')\n")
        head = up.commit("last")
        ended(platform, where, "name: a\ncommand: 'true'\n")  # fetches, and packs behind it
        wait_for(lambda: not os.path.exists(loose) or len(os.listdir(loose)) < 10, "packed", 60)
        assert pins(platform, mirror) == {*commits, head}
        begin = time.monotonic()
        assert os.listdir(where + "/code/r/branches") == ["main"]
        assert time.monotonic() - begin < 2  # sanitizers, a busy machine: no bench
        ended(platform, where, f"code: {{commit: {commits[5]}}}\nname: b\ncommand: 'true'\n")
        assert commits[5] in os.listdir(loose)
        assert len(os.listdir(where + "/code/r/commits")) == 10001
