# SPDX-License-Identifier: Apache-2.0
"""Mirrors that many fetches have filled with small packs and loose objects are put together, while
they are read, and nothing of them is lost."""
import os
import time

import pytest
import remotes
from mantik import wait_for
from test_code_mount import add
from test_pins import PINS, mirrors, pins


@pytest.fixture
def up(platform):
    up = remotes.Upstream(platform)
    for i in range(20):
        up.write(f"file{i}", f"text {i}\n")
    up.commit("first")
    return up


def git(platform, mirror, *args, **kwargs):
    return platform.run("git", "--git-dir", mirror, *args, **kwargs).stdout


def pack(platform, mirror, n, begin=0):
    """n packs of one object each, which nothing refers to; their names."""
    names = []
    for i in range(begin, begin + n):
        name = git(platform, mirror, "hash-object", "-w", "--stdin", input=f"lone {i}\n").strip()
        git(platform, mirror, "pack-objects", "-q", f"{mirror}/objects/pack/pack", input=name + "\n")
        names.append(name)
    git(platform, mirror, "prune-packed")
    return names


def packs(mirror):
    return sum(name.endswith(".pack") for name in os.listdir(f"{mirror}/objects/pack"))


def test_a_mirror_is_put_together(platform, up):
    remotes.option(platform, git_refresh="1s")
    with platform.mount() as mount:
        code = add(mount, up.bare)
        first = up.head()
        assert open(f"{code}/commits/{first}/file0").read() == "text 0\n"
        up.write("lost", "of no branch\n")
        lost = up.commit("lost")
        wait_for(lambda: os.readlink(f"{code}/branches/main").endswith(lost), "the commit", 30)
        up.git("push", "-q", "--force", "origin", f"{first}:refs/heads/main")
        up.git("reset", "-q", "--hard", first)
        (mirror,) = [f"{platform.data}/git/{name}" for name in mirrors(platform)]
        git(platform, mirror, "update-ref", PINS + first, first)
        lone = pack(platform, mirror, 60)
        assert packs(mirror) >= 60

        def brought(text):
            up.write("more", text)
            fresh = up.commit(text)
            wait_for(lambda: os.readlink(f"{code}/branches/main").endswith(fresh), "a commit", 30)
        brought("second")
        wait_for(lambda: packs(mirror) < 10, "few packs", 60)
        # All is there, for the mount that had the former packs open, too.
        assert [open(f"{code}/commits/{first}/file{i}").read() for i in range(20)] == [
            f"text {i}\n" for i in range(20)]
        assert open(f"{code}/commits/{lost}/lost").read() == "of no branch\n"
        assert open(f"{code}/branches/main/more").read() == "second"
        kinds = git(platform, mirror, "cat-file", "--batch-check", input="\n".join(lone) + "\n")
        assert kinds.count(" blob ") == 60 and pins(platform, mirror) == {first}
        git(platform, mirror, "fsck", "--no-dangling")
        # Not again within the hour.
        pack(platform, mirror, 60, 60)
        brought("third")
        assert packs(mirror) >= 60
        old = time.time() - 7200
        os.utime(f"{mirror}/mantik-tidied", (old, old))
        brought("fourth")
        wait_for(lambda: packs(mirror) < 10, "few packs again", 60)


def test_it_makes_nobody_wait(platform, up):
    """A git that takes for ever to repack: branches are looked at, a fetch goes first, the mount ends."""
    slow = os.path.join(platform.dir, "bin")
    os.mkdir(slow)
    begun = os.path.join(platform.dir, "begun")
    with open(f"{slow}/git", "w") as f:
        f.write(f'#!/bin/sh\ncase " $* " in *" repack "*) echo $$ >> {begun}; exec sleep 600;; esac\n'
                f'PATH=${{PATH#*:}}\nexec git "$@"\n')
    os.chmod(f"{slow}/git", 0o755)
    platform.env["PATH"] = f"{slow}:{platform.env['PATH']}"
    remotes.option(platform, git_refresh="1s")

    def pids():
        return open(begun).read().split() if os.path.exists(begun) else []

    def alive(pid):
        try:
            return "sleep" in open(f"/proc/{pid}/cmdline").read()
        except OSError:
            return False
    with platform.mount() as mount:
        code = add(mount, up.bare)
        (mirror,) = [f"{platform.data}/git/{name}" for name in mirrors(platform)]
        pack(platform, mirror, 60)
        for turn in range(2):
            up.write("more", f"{turn}")
            fresh = up.commit(f"{turn}")
            start = time.monotonic()
            wait_for(lambda: os.readlink(f"{code}/branches/main").endswith(fresh), "the commit", 20)
            assert open(f"{code}/branches/main/more").read() == f"{turn}"
            assert time.monotonic() - start < 20
            if os.path.exists(f"{mirror}/mantik-tidied"):
                os.utime(f"{mirror}/mantik-tidied", (1, 1))
            wait_for(lambda: len(pids()) == turn + 1, "the repacking", 20)
            os.utime(f"{mirror}/mantik-tidied", (1, 1))
        assert not alive(pids()[0]) and alive(pids()[1])
        start = time.monotonic()
    wait_for(lambda: not alive(pids()[1]), "the end of it", 10)
    assert time.monotonic() - start < 10


def test_what_is_fetched_is_there_at_once(platform, up):
    """No loose objects, which come one by one: a reader in between would find a commit without its files."""
    remotes.option(platform, git_refresh="1s")
    with platform.mount() as mount:
        code = add(mount, up.bare)
        up.write("more", "text\n")
        head = up.commit("second")
        wait_for(lambda: os.readlink(f"{code}/branches/main").endswith(head), "the commit", 30)
        (mirror,) = [f"{platform.data}/git/{name}" for name in mirrors(platform)]
        assert git(platform, mirror, "count-objects").startswith("0 objects")
        assert packs(mirror) == 2
