# SPDX-License-Identifier: Apache-2.0
"""What Python tests share: a platform in a HOME of its own, programs run in it, waiting.

    def test_x(platform):
        platform.ctl("ls", "/projects")             # a finished process; fails loudly unless 0
        with platform.mount() as where: ...         # mantikfs, mounted and unmounted again
        wait_for(lambda: platform.ctl("status", run).stdout == "FINISHED\n", "the run's end")

Every program started here has the platform's directory in its environment, command line or working
directory; end() finds what is left by that, whatever session or process group it moved to.
"""
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("MANTIK_TEST_BUILD") or os.path.join(TOP, "build")
SAMPLE = os.path.join(TOP, "packaging", "examples", "sample")
# What tests/run builds with: programs that build go the same way.
COMPILER = {k: os.environ[k] for k in ("CC", "CCACHE_DIR") if k in os.environ}
# Words in a daemon's output that no test may leave behind.
SUSPICIOUS = re.compile(r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:|"
                        r"Assertion .* failed|double free|corrupted|BUG:")


def wait_for(condition, what, seconds=20, every=0.02):
    """The first true answer of condition(); an AssertionError that says what after seconds."""
    until = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > until:
            raise AssertionError(f"waited {seconds} s in vain for {what}")
        time.sleep(every)


def program(name):
    """The path of one of our programs in the build under test."""
    for folder in ("tools", "fs", "fs/fuse", "bin", "tests/mount"):
        path = os.path.join(BUILD, folder, name)
        if os.path.exists(path):
            return path
    raise AssertionError(f"{name} is not in {BUILD}: build it first (tests/run does)")


class Platform:
    def __init__(self, folder=None):
        self.dir = folder or tempfile.mkdtemp(prefix="m.", dir="/var/tmp")
        self.home = os.path.join(self.dir, "home")
        self.logs = os.path.join(self.dir, "logs")
        self.mountpoint = os.path.join(self.home, "mantik")
        self.data = os.path.join(self.home, ".local/share/mantik")
        self.config = os.path.join(self.home, ".config/mantik")
        self.cache = os.path.join(self.home, ".cache/mantik")
        runtime = os.path.join(self.dir, "run")
        for path in (self.home, self.logs, runtime):
            os.makedirs(path, mode=0o700, exist_ok=True)
        folders = [os.path.join(BUILD, f) for f in ("tools", "fs/fuse", "fs")]
        self.env = {
            "HOME": self.home,
            "PATH": ":".join(folders + ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]),
            "XDG_RUNTIME_DIR": runtime,
            "MANTIKD": os.path.join(BUILD, "tools", "mantikd"),
            "USER": "ana", "LOGNAME": "ana", "LANG": "C.UTF-8", "TERM": "dumb",
            "GIT_AUTHOR_NAME": "Ana", "GIT_AUTHOR_EMAIL": "ana@example.org",
            "GIT_COMMITTER_NAME": "Ana", "GIT_COMMITTER_EMAIL": "ana@example.org",
            "ASAN_OPTIONS": f"log_path={self.logs}/asan:detect_leaks=1",
            "UBSAN_OPTIONS": f"log_path={self.logs}/ubsan:halt_on_error=1:print_stacktrace=1",
            "TSAN_OPTIONS": f"log_path={self.logs}/tsan",
        }

    # --- programs ------------------------------------------------------------------------------

    def run(self, *command, check=True, input=None, timeout=60, env=None, cwd=None, text=True):
        """Runs a program to its end in this platform's environment."""
        r = subprocess.run([str(c) for c in command], input=input, text=text, timeout=timeout,
                           stdin=subprocess.DEVNULL if input is None else None,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           errors="replace" if text else None,
                           cwd=cwd or self.home, env={**self.env, **(env or {})})
        if check and r.returncode:
            raise AssertionError(f"{' '.join(map(str, command))}: exit {r.returncode}\n"
                                 f"{r.stdout}\n{r.stderr}")
        return r

    def sh(self, script, **kwargs):
        return self.run("bash", "-euo", "pipefail", "-c", script, **kwargs)

    def ctl(self, *args, **kwargs):
        return self.run(program("mantikctl"), *args, **kwargs)

    def start(self, *command, **kwargs):
        """Starts a program that the test goes on beside; ended with the platform at the latest."""
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        kwargs.setdefault("stdout", subprocess.PIPE)
        kwargs.setdefault("stderr", subprocess.STDOUT)
        return subprocess.Popen([str(c) for c in command], text=True, cwd=self.home,
                                env=self.env, start_new_session=True, **kwargs)

    # --- the mount -----------------------------------------------------------------------------

    @contextlib.contextmanager
    def mount(self, *options, where=None):
        """Mounts with mantikfs (options: its command line), gives the mount point, unmounts."""
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            import pytest
            pytest.skip("no /dev/fuse")
        where = where or self.mountpoint
        os.makedirs(where, exist_ok=True)
        self.run(program("mantikfs"), *options, where)
        try:
            yield where
        finally:
            self.unmount(where)

    def mounts(self):
        with open("/proc/self/mounts") as f:
            found = [line.split()[1].replace("\\040", " ") for line in f]
        return [m for m in found if m.startswith(self.dir + "/")]

    def unmount(self, where):
        if where in self.mounts():
            subprocess.run(["fusermount3", "-u", where], check=False)
        if where in self.mounts():
            subprocess.run(["fusermount3", "-u", "-z", where], check=False)

    # --- things a test needs -------------------------------------------------------------------

    def repository(self, source=None, name="repo", files=None):
        """A git repository: a copy of a folder (default: the sample) or files {path: text}."""
        where = os.path.join(self.dir, name)
        if files is None:
            shutil.copytree(source or SAMPLE, where)
        else:
            for path, text in files.items():
                path = os.path.join(where, path)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "w") as f:
                    f.write(text)
        self.run("git", "-c", "init.defaultBranch=main", "init", "-q", cwd=where)
        self.commit(where)
        return where

    def commit(self, where, message="a commit"):
        self.run("git", "add", "-A", cwd=where)
        self.run("git", "commit", "-q", "-m", message, cwd=where)
        return self.run("git", "rev-parse", "HEAD", cwd=where).stdout.strip()

    # --- the end -------------------------------------------------------------------------------

    def processes(self):
        """Pids of whatever was started in this platform."""
        found, mine = [], self.dir.encode()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            if int(pid) == os.getpid():
                continue
            try:
                with open(f"/proc/{pid}/environ", "rb") as f:
                    about = f.read()
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    about += f.read()
                about += os.readlink(f"/proc/{pid}/cwd").encode(errors="surrogateescape")
            except OSError:
                continue
            if mine in about:
                found.append(int(pid))
        return found

    def daemons(self, name):
        """Pids of a program, its mantikfs or mantikd (no shepherds, who belong to their jobs) or what
        a job runs. Who ends meanwhile is none of them."""
        found = []
        for pid in self.processes():
            with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read().split(b"\0")
                if os.path.basename(words[0]) == name.encode() and b"--shepherd" not in words:
                    found.append(pid)
        return found

    def kill_daemons(self, name, with_signal=signal.SIGKILL):
        """daemons(), and each that was there got the signal."""
        pids = self.daemons(name)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, with_signal)
        return pids

    def end(self):
        for where in self.mounts():
            self.unmount(where)
        for sig, seconds in ((signal.SIGTERM, 3), (signal.SIGKILL, 10)):
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, sig)
            until = time.monotonic() + seconds
            while self.processes() and time.monotonic() < until:
                time.sleep(0.02)
        bad = self.suspicious()
        if os.environ.get("MANTIK_TEST_KEEP"):
            print(f"kept: {self.dir}", file=sys.stderr)
        else:
            subprocess.run(["chmod", "-R", "u+rwX", self.dir], stderr=subprocess.DEVNULL)
            shutil.rmtree(self.dir, ignore_errors=True)
        assert not bad, bad

    def suspicious(self):
        """The first lines in a log that no daemon may write."""
        for folder, _, files in os.walk(self.logs):
            for name in files:
                with open(os.path.join(folder, name), errors="replace") as f:
                    text = f.read()
                if SUSPICIOUS.search(text):
                    return f"{name}:\n{text[:6000]}"
        return None
