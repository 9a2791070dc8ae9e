# SPDX-License-Identifier: Apache-2.0
"""A token in a repository's uri is readable in repository.yaml and nowhere else: not in any
program's argv, not in an error, a log, .mantik/, code/, a run, nor in any file of ours but the
database that holds that text."""
import glob
import os
import subprocess
import threading

import pytest
import remotes
from test_submit_mount import project, submit

TOKEN = "glpat-c4narYc4narY"


@pytest.fixture
def up(platform):
    up = remotes.Upstream(platform)
    up.write("MLproject", "name: x\nentry_points:\n  main:\n    command: env; ps -ewwo args\n")
    up.commit("first")
    return up


class Watch:
    """Reads every argv of the machine as fast as it can."""

    def __init__(self):
        self.found, self.seen, self.stop = set(), 0, False
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.stop:
            for path in glob.glob("/proc/[0-9]*/cmdline"):
                try:
                    with open(path, "rb") as f:
                        text = f.read()
                except OSError:
                    continue
                self.seen += b"ls-remote" in text or b"\0fetch\0" in text
                if TOKEN.encode() in text:
                    self.found.add(text)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *args):
        self.stop = True
        self.thread.join()


def holders(where, *leave_out):
    """Files below a directory with the token in them; symbolic links are not followed."""
    r = subprocess.run(["grep", "-rlF", *(f"--exclude={x}" for x in leave_out), "-f", "-", where],
                       input=TOKEN, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                       timeout=120)
    return r.stdout.split()


def test_a_token_stays_where_it_was_written(platform, up):
    tls = remotes.certificate(platform)
    platform.run("git", "config", "--global", "http.sslCAInfo", tls[0])
    with remotes.web(up, user=f"ana:{TOKEN}", tls=tls) as (uri, seen), platform.mount() as mount, \
            Watch() as watch:
        secret = uri.replace("https://", f"https://ana:{TOKEN}@")
        where = project(mount, secret)
        assert os.listdir(where + "/code/r/branches") == ["main"]
        error, run = submit(platform, where, "entry_point: main\n")
        assert error is None, run
        platform.ctl("wait", run)
        error, said = submit(platform, where, "code: {branch: nope}\n")
        assert "no branch" in said and "https://ana:***@" in said
        up.write("x")
        up.commit("second")
        error, _ = submit(platform, where, "command: 'true'\n")
        assert error is None
        # Wrong ones, and what people mistype: refused, and told without the token.
        wrong = [secret.replace(TOKEN, TOKEN + "x"), secret.replace("/up.git", "/nowhere.git"),
                 secret.replace("https://", "htps://"), secret.replace("https://", "https:/"),
                 secret.replace("https://", "ssh://"), secret.replace("https://", ""),
                 secret.replace("https://", "/"), secret.replace("https://", "ext::https://"),
                 secret.replace("https://", "-"), secret.replace("localhost", "local host"),
                 secret.replace("localhost", "-oProxyCommand=x"),
                 f"{TOKEN}@localhost:up.git"]
        os.mkdir(where + "/code/wrong")
        for text in wrong:
            with pytest.raises(OSError):
                with open(where + "/code/wrong/repository.yaml", "w") as f:
                    f.write(f"uri: {text}\n")
            why = platform.ctl("why", "/projects/p/code/wrong/repository.yaml").stdout
            assert why and TOKEN not in why, text
        platform.ctl("doctor", check=False)
        assert holders(mount + "/.mantik") == []
        assert holders(where, "repository.yaml") == []
        assert holders(os.path.join(where, "runs", run)) == []
    assert watch.seen and not watch.found
    assert [x for x in seen if x[2]]  # it did reach the server
    assert holders(platform.home, "mantik.db*") == [] and holders(platform.logs) == []
