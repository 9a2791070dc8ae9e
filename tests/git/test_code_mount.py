# SPDX-License-Identifier: Apache-2.0
"""code/ of a project through the mount, with the tools people use, against real git servers."""
import errno
import os
import signal
import subprocess
import time

import pytest
import remotes
from mantik import wait_for


@pytest.fixture
def up(platform):
    up = remotes.Upstream(platform)
    up.write("MLproject", "name: x\nentry_points:\n  main:\n    command: python train.py\n")
    up.write("train.py", "print(1)\n")
    up.write("src/run.sh", "#!/bin/sh\n", mode=0o755)
    os.symlink("../../../../../etc/passwd", os.path.join(up.work, "src", "out"))
    up.commit("first")
    up.git("tag", "-a", "v1", "-m", "v1")
    up.git("push", "-q", "origin", "v1")
    up.push("feature/x")
    return up


def add(mount, uri, name="r", project="p"):
    """What a user does: mkdir, then a text into repository.yaml."""
    where = os.path.join(mount, "projects", project)
    if not os.path.isdir(where):
        os.mkdir(where)
    where = os.path.join(where, "code", name)
    if not os.path.isdir(where):
        os.mkdir(where)
    with open(os.path.join(where, "repository.yaml"), "w") as f:
        f.write(f"uri: {uri}\n")
    return where


def test_a_tree_as_tools_see_it(platform, up):
    with platform.mount() as mount, remotes.daemon(up) as uri:
        code = add(mount, uri)
        head = up.head()
        assert sorted(os.listdir(code + "/branches")) == ["feature%2Fx", "main"]
        assert os.readlink(code + "/branches/main") == "../commits/" + head
        assert os.readlink(code + "/tags/v1") == "../commits/" + head
        assert os.listdir(code + "/commits") == [head]
        tree = code + "/branches/main"
        assert os.stat(tree + "/train.py").st_size == 9
        assert os.access(tree + "/src/run.sh", os.X_OK) or os.getuid()
        assert os.readlink(tree + "/src/out") == "../../../../../etc/passwd"
        with open(code + "/log") as f:
            assert f.read().startswith(head)
        copy = os.path.join(platform.dir, "copy")
        platform.run("cp", "-r", tree + "/", copy)
        r = platform.run("diff", "-r", "--no-dereference", "--exclude=.git", up.work, copy)
        assert r.stdout == ""
        found = platform.run("grep", "-rl", "print", tree + "/").stdout
        assert found == tree + "/train.py\n"
        platform.run("rsync", "-a", tree + "/", os.path.join(platform.dir, "rsync"))
        r = platform.run("rsync", "-acin", "--exclude=.git", up.work + "/",
                         os.path.join(platform.dir, "rsync"))
        assert not [x for x in r.stdout.splitlines() if x.startswith((">f", "cL+"))], r.stdout


def test_a_new_commit_is_seen_by_looking(platform, up):
    remotes.option(platform, git_refresh="1s")
    with platform.mount() as mount:
        code = add(mount, up.bare)
        old = os.readlink(code + "/branches/main")
        up.write("more")
        fresh = up.commit("second")
        wait_for(lambda: os.readlink(code + "/branches/main") == "../commits/" + fresh,
                 "the new commit", seconds=30)
        assert os.path.exists(os.path.join(code, "branches", old, "train.py"))
        assert os.path.exists(code + "/branches/main/more")


def test_saving_a_wrong_uri_is_refused(platform, up):
    with platform.mount() as mount:
        code = add(mount, up.bare)
        for uri in ("ext::sh -c id", "../relative", "ssh://-oProxyCommand=x/y"):
            with pytest.raises(OSError):
                add(mount, uri)
        with open(code + "/repository.yaml") as f:
            assert f.read() == f"uri: {up.bare}\n"
        # one that does not answer is kept: what it says is what branches/ fails with
        add(mount, "git://127.0.0.1:1/x", "dead")
        with pytest.raises(OSError):
            os.listdir(mount + "/projects/p/code/dead/branches")
        with open(mount + "/.mantik/errors") as f:
            assert "repository dead: git://127.0.0.1:1/x" in f.read()
        assert os.listdir(code + "/branches")


def test_a_remote_that_refuses_is_told_by_the_close(platform, up):
    """No such repository, no git there, a wrong login: the close fails, nothing is stored and the old
    text stays. A remote that is only away is kept (above); so is every text with the same uri."""
    tls = remotes.certificate(platform)
    platform.run("git", "config", "--global", "http.sslCAInfo", tls[0])
    folder, text = os.path.join(platform.dir, "folder"), os.path.join(platform.dir, "text")
    os.mkdir(folder)
    with open(text, "w") as f:
        f.write("hello\n")
    with platform.mount() as mount, remotes.web(up, user="ana:x", tls=tls) as (web, _):
        code = add(mount, up.bare)
        refused = [(up.bare + ".nowhere", errno.EREMOTEIO, "does not appear to be a git repository"),
                   (folder, errno.EREMOTEIO, "does not appear to be a git repository"),
                   (text, errno.EREMOTEIO, "a file is no repository"),
                   (web, errno.EACCES, "set up a git credential helper"),
                   (web.replace("https://", "https://ana:s3cr3t@"), errno.EACCES,
                    "the login was refused"),
                   (mount + "/projects", errno.EXDEV, "choose a directory outside")]
        for uri, code_, words in refused:
            for name in ("r", "fresh"):
                with pytest.raises(OSError) as e:
                    add(mount, uri, name)
                assert e.value.errno == code_, uri
                why = platform.ctl("why", f"/projects/p/code/{name}/repository.yaml").stdout
                assert words in why and "s3cr3t" not in why
            with open(code + "/repository.yaml") as f:
                assert f.read() == f"uri: {up.bare}\n"
        with open(mount + "/projects/p/code/fresh/repository.yaml") as f:
            assert "\nuri:\n" in f.read()
        os.rmdir(mount + "/projects/p/code/fresh")  # nothing has touched it
        assert os.listdir(code + "/branches")
        os.rename(up.bare, up.bare + ".away")
        with open(code + "/repository.yaml", "a") as f:  # a note is no new uri
            f.write("labels: [a]\n")
        with open(code + "/repository.yaml") as f:
            assert f.read() == f"uri: {up.bare}\nlabels: [a]\n"


def test_silent_server_stops_nobody_else(platform, up):
    """It accepts and says nothing: closing repository.yaml takes 5 s, `ls` dies of Ctrl-C within
    a second, everything else keeps its speed, branches/ is never shown empty."""
    with platform.mount() as mount, remotes.silent() as (port, _):
        add(mount, up.bare)
        begin = time.monotonic()
        code = add(mount, f"git://127.0.0.1:{port}/x", "silent")
        assert 3 < time.monotonic() - begin < 8
        looking = [platform.start("ls", code + "/branches") for _ in range(5)]
        time.sleep(0.5)  # they are to be in the middle of it
        slowest = 0
        for _ in range(20):
            begin = time.monotonic()
            assert sorted(os.listdir(mount + "/projects/p/code/r/branches"))
            slowest = max(slowest, time.monotonic() - begin)
        assert slowest < 0.5
        for process in looking[:3]:  # any of them, not just who came first
            begin = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert process.wait(5) != 0 and time.monotonic() - begin < 1
        for process in looking[3:]:
            out, _ = process.communicate(timeout=40)
            assert process.returncode != 0 and "timed out" in out and "main" not in out, out


def test_odd_names_through_the_mount(platform, up):
    names = [b"two\nlines", b"-rf", b"latin-\xe4", b" blank ", b"%41", b"quote'\""]
    for name in names:
        up.write(name, name)
    up.commit()
    with platform.mount() as mount:
        code = add(mount, up.bare)
        tree = os.fsencode(code + "/branches/main/")
        entries = os.listdir(tree)
        contents = set()
        for entry in entries:
            path = os.path.join(tree, entry)
            if os.path.isfile(path):
                with open(path, "rb") as f:
                    contents.add(f.read())
        assert set(names) <= contents


def test_big_directory_and_file(platform, up):
    for i in range(20000):
        with open(os.path.join(up.work, "src", f"f{i:05d}"), "w") as f:
            f.write("x" * (i % 10))
    big = os.urandom(1 << 20) * 40
    up.write("big", big)
    up.commit()
    with platform.mount() as mount:
        code = add(mount, up.bare)
        wait_for(lambda: os.path.exists(code + "/branches/main/big"), "the fetch", seconds=60)
        begin = time.monotonic()
        r = platform.run("ls", "-l", code + "/branches/main/src/")
        lines = [x for x in r.stdout.splitlines() if " f0" in x or " f1" in x]
        assert len(lines) == 20000
        assert time.monotonic() - begin < 60  # sanitizers, a busy machine: no bench
        with open(code + "/branches/main/big", "rb") as f:
            assert f.read() == big


def test_removal_keeps_repositories(platform, up):
    with platform.mount() as mount:
        code = add(mount, up.bare)
        subprocess.run(["rm", "-rf", code], stderr=subprocess.DEVNULL)
        subprocess.run(["find", code, "-delete"], stderr=subprocess.DEVNULL)
        assert os.readlink(code + "/branches/main")
        with open(code + "/repository.yaml") as f:
            assert up.bare in f.read()
        fresh = mount + "/projects/p/code/fresh"
        os.mkdir(fresh)
        os.rmdir(fresh)
        assert not os.path.exists(fresh)
