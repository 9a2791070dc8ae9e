# SPDX-License-Identifier: Apache-2.0
"""Mounted tests: a mantikfs of its own, watched.

    with Mount(platform) as m:                  # mantikfs in the foreground, its log in m.log()
        m.path("README.txt"); m.pid; m.threads()
    with Fake(platform, "metadata_timeout=1") as m:   # mantikfs-fake: see tests/mount/faketree.c
        m.counters()["lookup"]; m.command("wake")

A watchdog ends what hangs: it prints stacks, aborts the connection (after that nothing can hang in
the mount), kills the platform's processes, and the test fails. At the end the mount is taken away,
no process may be left in uninterruptible sleep, and the log is searched for suspicious words.
"""
import contextlib
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import threading
import time

from mantik import SUSPICIOUS, program, wait_for


def device(where):
    """The minor device number of what is mounted there, or None."""
    found = None
    with open("/proc/self/mountinfo") as f:
        for line in f:
            fields = line.split()
            if fields[4].replace("\\040", " ") == where:
                found = fields[2].split(":")[1]
    return found


def abort(where):
    """Ends a connection whatever its daemon does: whoever waits in it gets an error."""
    minor = device(where)
    if minor:
        with contextlib.suppress(OSError), open(f"/sys/fs/fuse/connections/{minor}/abort", "w") as f:
            f.write("1")


def state(pid):
    """One letter: R S D T Z; None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0]
    except OSError:
        return None


def stacks(pids):
    """What each thread of these processes does, as far as this machine tells."""
    out = []
    for pid in pids:
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/cmdline") as f:
                out.append(f"--- {pid} {state(pid)} {f.read().replace(chr(0), ' ')}")
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/stack") as f:
                    out.append(f"thread {task}\n{f.read()}")
        if shutil.which("gdb") and b"mantikfs" in (exe(pid) or b""):
            r = subprocess.run(["gdb", "-p", str(pid), "-batch", "-ex", "thread apply all bt 12"],
                               capture_output=True, text=True, timeout=60, check=False,
                               stdin=subprocess.DEVNULL)
            out.append(r.stdout[-20000:])
    return "\n".join(out)


def exe(pid):
    try:
        return os.readlink(f"/proc/{pid}/exe").encode()
    except OSError:
        return None


class Mount:
    program = "mantikfs"
    seconds = 120  # then the watchdog comes

    def __init__(self, platform, *options, args=(), where=None, seconds=None):
        self.platform = platform
        self.options = options
        self.args = args
        self.where = where or platform.mountpoint
        self.log_file = os.path.join(platform.logs, f"{os.path.basename(self.where)}.log")
        self.timer = threading.Timer(seconds or self.seconds, self.bark)
        self.timer.daemon = True
        self.barked = False
        self.process = None

    def bark(self):
        self.barked = True
        print(f"watchdog: {self.where}\n" + stacks(self.platform.processes()), file=sys.stderr)
        abort(self.where)
        for pid in self.platform.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def command_line(self):
        options = ["-o", ",".join(self.options)] if self.options else []
        return [program(self.program), "-f", *options, *self.args, self.where]

    def __enter__(self):
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            import pytest
            pytest.skip("no /dev/fuse")
        os.makedirs(self.where, exist_ok=True)
        self.timer.start()
        with open(self.log_file, "a") as log:
            self.process = self.platform.start(*self.command_line(), stdout=log,
                                               stderr=subprocess.STDOUT)
        wait_for(lambda: device(self.where) or self.process.poll() is not None, "the mount")
        assert self.process.poll() is None, self.log()
        # Mounted is not yet serving: the first answer is.
        self.platform.run("stat", "-f", self.where)
        return self

    def __exit__(self, kind, value, trace):
        try:
            self.end()
        finally:
            self.timer.cancel()
        assert not self.barked, "the watchdog came"
        # For good, that is: a program that is being started is there for a moment, too.
        stuck = lambda: [p for p in self.platform.processes() if state(p) == "D"]
        with contextlib.suppress(AssertionError):
            wait_for(lambda: not stuck(), "nobody stuck", 5)
        assert not stuck(), stacks(stuck())
        if kind is None:
            bad = SUSPICIOUS.search(self.log())
            assert not bad, self.log()[:6000]

    def end(self, sig=signal.SIGTERM, seconds=20):
        """Ends the daemon by a signal; gives its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            print(stacks([self.process.pid]), file=sys.stderr)
            abort(self.where)
            self.process.kill()
            self.process.wait(10)
            raise AssertionError(f"mantikfs did not end in {seconds} s") from None
        finally:
            if device(self.where):
                self.platform.unmount(self.where)
        return code

    def log(self):
        with open(self.log_file, errors="replace") as f:
            return f.read()

    @property
    def pid(self):
        return self.process.pid

    def path(self, *names):
        return os.path.join(self.where, *names)

    def threads(self):
        with open(f"/proc/{self.pid}/status") as f:
            for line in f:
                if line.startswith("Threads:"):
                    return int(line.split()[1])
        return 0


class Fake(Mount):
    program = "mantikfs-fake"

    def counters(self):
        with open(self.path("ctl")) as f:
            return {k: int(v) for k, v in (line.split() for line in f)}

    def command(self, word):
        with open(self.path("ctl"), "w") as f:
            f.write(word)

    def errors(self):
        with open(self.path("errors")) as f:
            return f.read()

    def wait_counter(self, name, value, seconds=20):
        wait_for(lambda: self.counters().get(name) == value, f"{name} = {value}", seconds)


def timed(f, *args, **kwargs):
    """Seconds and what f gave."""
    begin = time.monotonic()
    answer = f(*args, **kwargs)
    return time.monotonic() - begin, answer


def type_in(platform, command, keys, seconds=10):
    """Runs a program in a terminal of its own, types, gives what it showed and its exit code."""
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(platform.home)
        os.execvpe(command[0], command, {**platform.env, "TERM": "xterm", "LINES": "24"})
    shown, until = b"", time.monotonic() + seconds
    keys = list(keys)
    quiet = time.monotonic()
    while time.monotonic() < until:
        if select.select([fd], [], [], 0.05)[0]:
            try:
                data = os.read(fd, 65536)
            except OSError:  # its end of the terminal is closed
                break
            if not data:
                break
            shown += data
            quiet = time.monotonic()
        elif keys and shown and time.monotonic() - quiet > 0.2:  # it waits for us
            os.write(fd, keys.pop(0))
            quiet = time.monotonic()
    else:
        os.kill(pid, 9)
    os.close(fd)
    return shown.decode(errors="replace"), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
