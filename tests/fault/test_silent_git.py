# SPDX-License-Identifier: Apache-2.0
"""A git server that accepts and stays silent: those who ask for it wait, interruptibly, and nobody
else does; nothing is ever shown as empty because it could not be asked."""
import os
import signal
import socket
import subprocess
import threading
import time

import pytest

from mantik import wait_for


class Silent:
    """Accepts connections, reads what comes and never says a word."""

    def __init__(self):
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(300)
        self.port = self.listener.getsockname()[1]
        self.connections = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                self.connections.append(self.listener.accept()[0])
            except OSError:
                return

    def close(self):
        self.listener.close()
        for c in self.connections:
            c.close()


@pytest.fixture
def silent():
    server = Silent()
    yield server
    server.close()


@pytest.fixture
def mounted(platform):
    with platform.mount() as where:
        os.mkdir(where + "/projects/p")
        yield where


def add(where, uri, name="far"):
    """Seconds that closing repository.yaml took."""
    os.mkdir(f"{where}/projects/p/code/{name}")
    begin = time.monotonic()
    with open(f"{where}/projects/p/code/{name}/repository.yaml", "w") as f:
        f.write(f"uri: {uri}\n")
    return time.monotonic() - begin


def test_closing_repository_yaml_returns_after_5_s(mounted, silent):
    assert add(mounted, f"git://127.0.0.1:{silent.port}/x.git") < 7


def test_ls_of_branches_dies_on_ctrl_c_within_a_second(platform, mounted, silent):
    add(mounted, f"git://127.0.0.1:{silent.port}/x.git")
    reader = platform.start("ls", f"{mounted}/projects/p/code/far/branches")
    wait_for(lambda: silent.connections, "git to connect")
    time.sleep(0.3)  # it is a reader that waits, not one that has failed: seen by poll below
    assert reader.poll() is None, reader.stdout.read()
    begin = time.monotonic()
    reader.send_signal(signal.SIGINT)
    reader.wait(timeout=5)
    assert time.monotonic() - begin < 1
    assert reader.returncode != 0


def test_branches_are_never_an_empty_directory(mounted):
    """Nobody listens there: ls fails, it does not show nothing."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    with pytest.raises(OSError):
        add(mounted, f"git://127.0.0.1:{port}/x.git")
        os.listdir(f"{mounted}/projects/p/code/far/branches")


def test_200_blocked_readers_do_not_slow_a_cached_ls(platform, mounted, silent):
    add(mounted, f"git://127.0.0.1:{silent.port}/x.git")
    branches = f"{mounted}/projects/p/code/far/branches"
    readers = [subprocess.Popen(["ls", f"{branches}/b{i}"], stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL) for i in range(200)]
    try:
        wait_for(lambda: silent.connections, "git to connect")
        os.listdir(mounted + "/projects/p/runs")
        took = []
        for _ in range(50):
            begin = time.monotonic()
            subprocess.run(["ls", mounted + "/projects/p/runs"], check=True,
                           stdout=subprocess.DEVNULL)
            took.append(time.monotonic() - begin)
        pid = platform.daemons("mantikfs")[0]
        threads = len(os.listdir(f"/proc/{pid}/task"))
        assert threads < 60, threads
        assert sorted(took)[25] < 0.1, took
    finally:
        for r in readers:
            r.send_signal(signal.SIGINT)
        begin = time.monotonic()
        for r in readers:
            r.wait(timeout=20)
    assert time.monotonic() - begin < 5, "200 readers did not die on SIGINT"
