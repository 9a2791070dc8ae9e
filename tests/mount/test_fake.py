# SPDX-License-Identifier: Apache-2.0
"""fs/fuse over a tree that misbehaves (faketree.c): a hung remote harms those who touch it only,
every wait can be interrupted, every metadata operation has a deadline, threads stay few."""
import contextlib
import os
import signal
import statistics
import subprocess
import time

import pytest
from mantik import program, wait_for
from mount import Fake, device, state, timed

# Workers of libfuse, main, signals, sweeper, four of a lane, four of the inline lane, a margin.
MOST_THREADS = 10 + 3 + 4 + 4 + 3
READER = """
import signal, sys, time
def alarm(*_): pass
if "timer" in sys.argv:
    signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
print("begin", flush=True)
t = time.monotonic()
try:
    print("got", repr(open(sys.argv[1]).read()), flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
except OSError as e:
    print("errno", e.errno, flush=True)
"""


@pytest.fixture
def fake(platform):
    with Fake(platform) as m:
        yield m


def cats(platform, paths):
    return [platform.start("cat", p) for p in paths]


def ends_within(processes, seconds):
    until = time.monotonic() + seconds
    return [p.wait(max(0.01, until - time.monotonic())) for p in processes]


def reader(platform, path, *words):
    p = platform.start("python3", "-c", READER, path, *words)
    assert p.stdout.readline() == "begin\n"
    return p


def waiting(fake, n):
    fake.wait_counter("waiting", n)


# --- a hung remote --------------------------------------------------------------------------------


def test_200_blocked_readers_leave_cached_files_fast_and_threads_few(platform, fake):
    readers = cats(platform, [fake.path(f"read:hang:a#{i}") for i in range(200)])
    waiting(fake, 200)
    times = []
    for i in range(20):
        subprocess.run(["sh", "-c", "echo 2 > /proc/sys/vm/drop_caches"], check=False)
        seconds, _ = timed(platform.run, "ls", "-l", fake.path("cached"))
        times.append(seconds)
    assert statistics.median(times) < 0.1, times
    assert fake.threads() <= MOST_THREADS
    for p in readers:
        p.send_signal(signal.SIGINT)
    assert set(ends_within(readers, 3)) == {-signal.SIGINT}
    waiting(fake, 0)


def test_other_lanes_go_on(platform, fake):
    readers = cats(platform, [fake.path(f"read:stuck:a#{i}") for i in range(20)])
    waiting(fake, 20)
    seconds, r = timed(platform.run, "cat", fake.path("read:delay:b:50"))
    assert r.stdout == "a text\n" and seconds < 1
    fake.command("release")
    wait_for(lambda: fake.command("release") or all(p.poll() is not None for p in readers), "all")
    assert {p.returncode for p in readers} == {0}


def test_punted_twice_to_different_lanes(platform, fake):
    readers = cats(platform, [fake.path(f"read:twice:a:b#{i}") for i in range(30)])
    assert {p.communicate(timeout=10)[0] for p in readers} == {"a text\n"}


def test_punted_for_ever_is_an_error_with_a_name(platform, fake):
    r = platform.run("cat", fake.path("read:loop:a"), check=False)
    assert "Input/output error" in r.stderr
    assert "wants a again and again" in fake.errors()


# --- interrupts -----------------------------------------------------------------------------------

WAITS = {
    "running": "read:hang:a",
    "open": "open:hang:a",
    "lookup": "lookup:hang:a/x",
    "readdir": "readdir:hang:a",
    "parked": "read:park",
    "parked open": "open:park",
}


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("what", WAITS)
def test_signal_ends_a_wait_at_once(platform, fake, what, sig):
    p = platform.start("ls" if what == "readdir" else "cat", fake.path(WAITS[what]))
    waiting(fake, 0) if "parked" in what else waiting(fake, 1)
    if "parked" in what:
        fake.wait_counter("parked", 1)
    p.send_signal(sig)
    seconds, code = timed(p.wait, 5)
    assert code == -sig and seconds < 0.5


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGKILL])
def test_signal_ends_a_queued_read_at_once(platform, fake, sig):
    cats(platform, [fake.path(f"read:stuck:a#{i}") for i in range(4)])
    waiting(fake, 4)
    fake.wait_counter("stuck", 4)
    p = platform.start("cat", fake.path("read:hang:a"))
    waiting(fake, 5)
    p.send_signal(sig)
    seconds, code = timed(p.wait, 5)
    assert code == -sig and seconds < 0.5
    fake.command("release")


def test_stuck_thread_is_left_behind_and_replaced(platform, fake):
    readers = cats(platform, [fake.path(f"read:stuck:a#{i}") for i in range(4)])
    fake.wait_counter("stuck", 4)
    for p in readers:
        p.kill()
    assert set(ends_within(readers, 1)) == {-signal.SIGKILL}
    assert fake.counters()["late"] == 4
    # All four threads are stuck, yet the lane works.
    assert platform.run("cat", fake.path("read:delay:a:10"), timeout=5).stdout == "a text\n"
    fake.command("release")
    fake.wait_counter("late", 0)
    fake.wait_counter("handles", 1)  # of ctl


def test_python_gets_keyboardinterrupt_with_and_without_a_timer(platform, fake):
    for words in ([], ["timer"]):
        for path in ("read:hang:a", "read:park", "open:hang:a", "read:stuck:b"):
            p = reader(platform, fake.path(path), *words)
            wait_for(lambda: sum(fake.counters()[k] for k in ("waiting", "parked")) == 1, path)
            p.send_signal(signal.SIGINT)
            seconds, out = timed(lambda: p.stdout.readline())
            assert out == "interrupted\n" and seconds < 0.7, (path, words, seconds)
            p.wait(5)
            wait_for(lambda: sum(fake.counters()[k] for k in ("waiting", "parked")) == 0, "end")
    fake.command("release")


def test_interval_timer_does_not_starve(platform, fake):
    before = fake.counters()["read"]
    p = reader(platform, fake.path("read:delay:a:800"), "timer")
    seconds, out = timed(lambda: p.stdout.readline())
    assert out == "got 'a text\\n'\n" and seconds < 3
    # Asked once, and not again for each signal (one more read finds the end, counters() are two).
    assert fake.counters()["read"] - before <= 8


def test_stop_and_continue_is_no_interrupt(platform, fake):
    p = reader(platform, fake.path("read:delay:a:700"))
    p.send_signal(signal.SIGSTOP)
    time.sleep(0.3)
    p.send_signal(signal.SIGCONT)
    assert p.stdout.readline() == "got 'a text\\n'\n"


# --- changes: an errno means nothing happened -----------------------------------------------------


def test_running_change_is_not_answered_for_by_ctrl_c_but_by_kill(platform, fake):
    script = ("import os,sys\ntry: os.unlink(sys.argv[1])\n"
              "except KeyboardInterrupt: print('interrupted')\nexcept OSError as e: print(e.errno)")
    p = platform.start("python3", "-c", script, fake.path("unlink:stuck:a"))
    fake.wait_counter("stuck", 1)
    p.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        p.wait(0.6)
    p.kill()
    assert p.wait(0.5) == -signal.SIGKILL
    fake.command("release")
    fake.wait_counter("late", 0)


def test_durable_change_interrupted_is_success(platform, fake):
    script = ("import os,sys,signal\nsignal.signal(signal.SIGINT, lambda *_: None)\n"
              "fd=os.open(sys.argv[1], os.O_WRONLY)\nos.write(fd, b'x')\n"
              "try: os.close(fd); print('ok')\nexcept OSError as e: print(e.errno)")
    for name, said in (("flush:durable", "ok\n"), ("flush:park", "4\n")):
        p = platform.start("python3", "-c", script, fake.path(name))
        fake.wait_counter("parked", 1)
        p.send_signal(signal.SIGINT)
        seconds, out = timed(p.stdout.readline)
        assert (out, seconds < 0.7) == (said, True), name
        fake.wait_counter("parked", 0)


# --- deadlines ------------------------------------------------------------------------------------


# A change that runs and hears nothing is waited for (see above): no unlink:stuck.
@pytest.mark.parametrize("op,how", [
    (op, how) for op in ("lookup", "readdir", "opendir", "unlink")
    for how in ("hang", "stuck", "park") if (op, how) != ("unlink", "stuck")])
def test_metadata_has_a_deadline(platform, op, how):
    with Fake(platform, "metadata_timeout=600ms") as fake:
        path = fake.path(f"{op}:{how}" + ("" if how == "park" else ":a"))
        command = {"lookup": ["stat", path + "/x"], "unlink": ["rm", path]}.get(op, ["ls", path])
        seconds, r = timed(platform.run, *command, check=False, env={"LC_ALL": "C"})
        assert "Connection timed out" in r.stderr and 0.5 < seconds < 2.5, (r.stderr, seconds)
        assert "ETIMEDOUT" in fake.errors()
        fake.command("release")


def test_deadline_counts_the_queue(platform):
    with Fake(platform, "metadata_timeout=1") as fake:
        cats(platform, [fake.path(f"read:stuck:a#{i}") for i in range(4)])
        fake.wait_counter("stuck", 4)
        lookups = [platform.start("stat", fake.path(f"lookup:hang:a#{i}/x")) for i in range(30)]
        seconds, codes = timed(ends_within, lookups, 5)
        assert set(codes) == {1} and seconds < 2.5
        fake.command("release")


def test_hung_lookup_blocks_its_directory_no_longer_than_the_deadline(platform):
    with Fake(platform, "metadata_timeout=500ms") as fake:
        platform.start("stat", fake.path("lookup:stuck:a", "x"))
        fake.wait_counter("stuck", 1)
        seconds, r = timed(platform.run, "ls", fake.path("lookup:stuck:a"))
        assert "f49" in r.stdout and seconds < 2
        fake.command("release")


# --- parking --------------------------------------------------------------------------------------


def test_parked_readers_cost_no_threads_and_wake_together(platform, fake):
    readers = cats(platform, [fake.path(f"read:park#{i}") for i in range(100)])
    fake.wait_counter("parked", 100)
    before = fake.threads()
    assert before <= MOST_THREADS
    fake.command("wake")
    seconds, codes = timed(ends_within, readers, 5)
    assert set(codes) == {0} and seconds < 1.5
    fake.wait_counter("parked", 0)


def test_parked_until_its_time(platform, fake):
    seconds, r = timed(platform.run, "cat", fake.path("read:parkms:300"))
    assert r.stdout == "a text\n" and 0.3 <= seconds < 1.5


# --- counting -------------------------------------------------------------------------------------


def test_late_results_are_taken_back(platform):
    """A lookup and an open answered by the sweeper, done later: no node, no handle is left."""
    with Fake(platform, "metadata_timeout=300ms") as fake:
        names = ["lookup:stuck:a/x", "opendir:stuck:a", "readdir:stuck:a"]
        for name in names:
            platform.run("ls", fake.path(name), check=False)
        p = platform.start("cat", fake.path("open:stuck:a"))
        fake.wait_counter("stuck", 4)
        p.kill()
        p.wait(2)
        subprocess.run(["sh", "-c", "echo 2 > /proc/sys/vm/drop_caches"], check=False)
        fake.command("release")
        fake.wait_counter("late", 0)

        def few():
            subprocess.run(["sh", "-c", "echo 2 > /proc/sys/vm/drop_caches"], check=False)
            c = fake.counters()
            return c["nodes"] <= 3 and c["handles"] == 1  # root, ctl and perhaps errors
        if os.access("/proc/sys/vm/drop_caches", os.W_OK):
            wait_for(few, f"nothing left: {fake.counters()}")


def test_release_may_wait_in_a_lane(platform, fake):
    assert platform.run("cat", fake.path("release:stuck:a")).stdout == "a text\n"
    fake.wait_counter("stuck", 1)
    assert platform.run("cat", fake.path("README")).stdout == "a text\n"
    fake.command("release")
    fake.wait_counter("handles", 1)


def test_errors_are_recorded_once_and_everyday_ones_not(platform, fake):
    platform.run("cat", fake.path("read:fail:5"), check=False)
    platform.run("cat", fake.path("open:fail:13"), check=False)
    platform.run("stat", fake.path("nothing"), check=False)
    assert fake.errors().splitlines() == ["/read:fail:5\tEIO\tread fails as asked",
                                          "/open:fail:13\tEACCES\topen fails as asked"]


# --- the end --------------------------------------------------------------------------------------


def test_unmount_while_busy_ends_everybody(platform):
    with Fake(platform) as fake:
        readers = cats(platform, [fake.path(f"read:hang:a#{i}") for i in range(20)])
        waiting(fake, 20)
        readers += cats(platform, [fake.path(f"read:park#{i}") for i in range(20)])
        fake.wait_counter("parked", 20)
        seconds, code = timed(fake.end)
        assert code == 0 and seconds < 4
        ends_within(readers, 2)
        assert device(fake.where) is None


def test_unmount_with_a_stuck_thread_ends_all_the_same(platform):
    with Fake(platform) as fake:
        readers = cats(platform, [fake.path(f"read:stuck:a#{i}") for i in range(8)])
        fake.wait_counter("stuck", 4)
        seconds, code = timed(fake.end)
        assert code == 0 and seconds < 9
        ends_within(readers, 2)


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGHUP])
def test_signals_unmount(platform, sig):
    with Fake(platform) as fake:
        assert fake.end(sig) == 0
        assert device(fake.where) is None


def test_unmounted_from_outside(platform):
    with Fake(platform) as fake:
        platform.run("fusermount3", "-u", fake.where)
        assert fake.process.wait(5) == 0


# --- starting -------------------------------------------------------------------------------------


def start(platform, *args, code=1):
    r = platform.run(program("mantikfs-fake"), *args, check=False)
    assert r.returncode == code, r.stderr
    assert r.stderr.count("\n") <= 1
    return r.stderr


def test_background_returns_when_it_works(platform):
    where = os.path.join(platform.dir, "a b")
    os.mkdir(where)
    start(platform, where, code=0)
    try:
        assert sorted(os.listdir(where)) == ["README", "cached"]
        assert "mounted there already" in start(platform, where)
        with open("/proc/self/mountinfo") as f:
            line = next(l for l in f if "a\\040b" in l)
        assert "fuse.mantikfs mantikfs " in line and "nosuid,nodev,noatime" in line
    finally:
        platform.unmount(where)


def test_what_cannot_be_mounted_is_one_line(platform):
    missing = os.path.join(platform.dir, "missing")
    assert "there is no such directory" in start(platform, missing)
    assert "is not a directory" in start(platform, "/etc/passwd")
    assert "lies inside the mount point" in start(
        platform, "-o", f"data={platform.home}/d", platform.home)
    assert "unknown option -o wrong" in start(platform, "-o", "wrong", missing, code=2)
    assert "not a time" in start(platform, "-o", "metadata_timeout=soon", missing, code=2)
    assert "no mount point" in start(platform, code=2)


def test_stale_mount_is_taken_away(platform):
    with Fake(platform) as fake:
        fake.process.kill()
        fake.process.wait()
        with pytest.raises(OSError):
            os.listdir(fake.where)
        start(platform, fake.where, code=0)
        assert "README" in os.listdir(fake.where)
        platform.unmount(fake.where)


def test_silent_mount_is_named(platform):
    with Fake(platform) as fake:
        time.sleep(1.1)  # attributes the kernel knows
        fake.process.send_signal(signal.SIGSTOP)
        try:
            seconds, said = timed(start, platform, fake.where)
            assert "does not answer" in said and seconds < 5
        finally:
            fake.process.send_signal(signal.SIGCONT)


def test_without_rights_it_says_what_to_do(platform):
    if os.getuid() != 0:
        pytest.skip("needs root to become somebody without rights")
    if os.stat("/dev/fuse").st_mode & 0o006:
        pytest.skip("everybody may open /dev/fuse here")
    where = os.path.join(platform.dir, "theirs")
    os.mkdir(where)
    for path in (platform.dir, platform.home, where):
        os.chmod(path, 0o777)
    r = platform.run("setpriv", "--reuid", "65534", "--clear-groups", program("mantikfs-fake"),
                     where, check=False, env={"XDG_RUNTIME_DIR": where + "/.."})
    assert r.returncode == 1
    assert "chmod 0666 /dev/fuse" in r.stderr and "mantikctl" in r.stderr


def test_help_names_every_option(platform):
    text = platform.run(program("mantikfs-fake"), "--help").stdout
    for word in ("--foreground", "--trace", "ro", "data=DIR", "cache=DIR", "metadata_timeout=TIME",
                 "allow_other", "auto_unmount", "log=FILE"):
        assert word in text


def test_trace_tells_what_was_asked(platform):
    with Fake(platform, "trace=fuse") as fake:
        platform.run("cat", fake.path("read:twice:a:b"))
        wait_for(lambda: "lane b 2 punts" in fake.log(), "the trace")
        assert " read /read:twice:a:b " in fake.log()


# --- load -----------------------------------------------------------------------------------------


def load(platform, fake, seconds):
    """Everything at once; interrupted readers all the time."""
    script = f"""
        end=$((SECONDS + {seconds}))
        cd {fake.where}
        (while [ $SECONDS -lt $end ]; do ls -l . cached >/dev/null; cat README cached/* >/dev/null; done) &
        (while [ $SECONDS -lt $end ]; do cat read:delay:a:20 read:twice:b:c read:parkms:30 >/dev/null; done) &
        (while [ $SECONDS -lt $end ]; do timeout -s INT 0.05 cat read:hang:a#$RANDOM; done) &
        (while [ $SECONDS -lt $end ]; do timeout -s KILL 0.05 cat open:hang:b#$RANDOM; done) 2>/dev/null &
        (while [ $SECONDS -lt $end ]; do timeout 0.05 cat read:park#$RANDOM; echo wake > ctl; done) &
        (while [ $SECONDS -lt $end ]; do timeout 0.05 stat lookup:hang:d#$RANDOM/x; done) >/dev/null 2>&1 &
        (while [ $SECONDS -lt $end ]; do timeout -s KILL 0.05 ls readdir:stuck:e; echo release > ctl; done) >/dev/null 2>&1 &
        (while [ $SECONDS -lt $end ]; do cat ctl errors >/dev/null; echo 2 > /proc/sys/vm/drop_caches; done) 2>/dev/null &
        wait
    """
    return platform.start("bash", "-c", script)


def test_mixed_load_and_unmount_in_between(platform):
    with Fake(platform, "metadata_timeout=1") as fake:
        p = load(platform, fake, 8)
        time.sleep(6)
        assert fake.threads() < 60
        assert fake.end() == 0
        with contextlib.suppress(subprocess.TimeoutExpired):
            p.wait(10)
        assert state(p.pid) != "D"


@pytest.mark.full
def test_mixed_load_for_a_minute(platform):
    with Fake(platform, "metadata_timeout=1") as fake:
        p = load(platform, fake, 60)
        p.wait(120)
        fake.command("release")
        wait_for(lambda: fake.command("release") or fake.counters()["late"] == 0, "late ones")
        assert platform.run("ls", fake.path("cached")).stdout.count("\n") == 50
