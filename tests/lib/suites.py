# SPDX-License-Identifier: Apache-2.0
"""Builds and runs the suites and counts every single test; started by tests/run.

A suite is a name and a function that gives results; `SUITES` below is the whole list. Each result
is one test: a TAP line of a C program or of a check, or a case of pytest. A program that crashes,
hangs or prints less than it planned is a failure of its own.
"""
import argparse
import atexit
import collections
import fnmatch
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CI = os.environ.get("CI") == "true"
JOBS = os.environ.get("JOBS") or str(os.cpu_count() or 2)

FULL_ONLY = {"fresh"}  # suites of which every test is a long run
Result = collections.namedtuple("Result", "name outcome detail")  # passed | failed | skipped

# Several at a time, each a file after the other: most tests wait most of the time. More than four
# would only starve each other: many a test starts servers of its own.
WORKERS = (["-n", str(min(int(JOBS), 4)), "--dist", "loadfile"]
           if importlib.util.find_spec("xdist") else [])

BUILDS = {
    "asan": ["-Dbuildtype=debugoptimized", "-Db_sanitize=address,undefined", "-Db_lundef=false"],
    "tsan": ["-Dbuildtype=debugoptimized", "-Db_sanitize=thread", "-Db_lundef=false"],
    "release": ["-Dbuildtype=release"],
}


def say(text):
    print(f"== {text}", flush=True)


def build(kind):
    """Configures and builds build-KIND; gives its path, or None after saying why not."""
    path = os.path.join(TOP, f"build-{kind}")
    say(f"build-{kind}")
    if not os.path.exists(os.path.join(path, "build.ninja")):
        command = ["meson", "setup", path, "-Dwerror=true", *BUILDS[kind]]
        if subprocess.run(command, cwd=TOP, stdout=subprocess.DEVNULL).returncode:
            print(open(os.path.join(path, "meson-logs", "meson-log.txt"), errors="replace").read())
            return None
    if subprocess.run(["ninja", "-C", path, "-j", JOBS, "--quiet"], cwd=TOP).returncode:
        return None
    return path


def tap(text, status, prefix):
    """Results of a TAP text; status is how the program ended."""
    results, planned, notes = [], None, []
    for line in text.splitlines():
        plan = re.match(r"1\.\.(\d+)(\s*# SKIP\s*(.*))?", line)
        case = re.match(r"(not )?ok\b\s*(\d+)?\s*-?\s*(.*)", line)
        if plan:
            planned = int(plan[1])
            if planned == 0 and plan[2]:
                results.append(Result(prefix, "skipped", plan[3]))
        elif case:
            name, _, skip = case[3].partition("# SKIP")
            outcome = "failed" if case[1] else "skipped" if skip else "passed"
            detail = skip.strip() if skip else "\n".join(notes)
            results.append(Result(f"{prefix}:{name.strip()}", outcome, detail))
            notes = []
        elif line.startswith("#"):
            notes.append(line)
    if status == 77 and not results:
        return [Result(prefix, "skipped", text.strip() or "exit 77 without a reason")]
    said_no = any(r.outcome == "failed" for r in results)
    n_cases = len([r for r in results if r.name != prefix])
    if planned is None or n_cases != planned or (status and not said_no):
        tail = "\n".join(text.splitlines()[-40:])
        results.append(Result(f"{prefix}:(program)", "failed",
                              f"ended with {status} after {n_cases} of {planned} tests\n{tail}"))
    return results


def checks(args):
    results = []
    for name in ("layering", "banned", "headers"):
        path = os.path.join(TOP, "tests", "lib", name)
        r = subprocess.run([sys.executable, "-B", path], cwd=TOP, text=True, errors="replace",
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        results += tap(r.stdout, r.returncode, name)
    return results


def meson_test(kind, prefix):
    path = build(kind)
    if not path:
        return [Result(f"{prefix}:build-{kind}", "failed", "does not build")]
    say(f"unit tests, build-{kind}")
    env = dict(os.environ)
    env.setdefault("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0")
    env.setdefault("UBSAN_OPTIONS", "halt_on_error=1:print_stacktrace=1")
    env.setdefault("TSAN_OPTIONS", "halt_on_error=1:second_deadlock_stack=1")
    env["MANTIK_TEST_BUILD"] = path
    command = ["meson", "test", "-C", path, "--no-rebuild", "--num-processes", JOBS,
               "--timeout-multiplier", "4"]
    if kind == "tsan":
        # gcc 12's thread sanitizer cannot place its shadow under wide address randomisation.
        command = ["setarch", "-R", *command, "--suite", "unit"]
    log = os.path.join(path, "meson-logs", "testlog.json")
    if os.path.exists(log):
        os.unlink(log)
    r = subprocess.run(command, cwd=TOP, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True, errors="replace")
    if not os.path.exists(log):
        return [Result(f"{prefix}:meson", "failed", r.stdout)]
    results = []
    for line in open(log, errors="replace"):
        test = json.loads(line)
        name = f"{prefix}/{test['name'].split(' / ')[-1]}"
        text = test.get("stdout") or ""
        if test["result"] == "TIMEOUT":
            text += "\n(timed out)"
        found = tap(text, test["returncode"], name)
        bad = [r for r in found if r.outcome == "failed"]
        if bad and test.get("stderr"):
            last = found.index(bad[-1])
            found[last] = bad[-1]._replace(detail=bad[-1].detail + "\n" + test["stderr"][-6000:])
        results += found
    return results


def unit(args):
    return meson_test("asan", "unit")


def threads(args):
    return meson_test("tsan", "threads")


def wait_for_packages():
    """Packages of single tests were being installed meanwhile (tests/run)."""
    pid = os.environ.get("MANTIK_TEST_INSTALLER")
    if not pid:
        return
    told = False
    while os.path.exists(f"/proc/{pid}"):
        with open(f"/proc/{pid}/stat") as f:
            if f.read().rsplit(")", 1)[1].split()[0] == "Z":
                break
        if not told:
            say("waiting for packages")
            told = True
        time.sleep(0.5)


def fetch_servers():
    """Starts the big downloads, as soon as their packages are there: who needs one waits for it."""
    sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
    from tracking import FIRST, NEWEST, OLD
    script = ('while kill -0 "$MANTIK_TEST_INSTALLER" 2>/dev/null; do sleep 1; done; for release; do '
              'MLFLOW_TEST_VERSION=$release nice tests/servers/mlflow fetch; done')
    with open(os.path.join(TOP, "build-logs", "fetch.log"), "w") as log:
        return subprocess.Popen(["bash", "-c", script, "fetch", NEWEST, OLD, FIRST], cwd=TOP,
                                stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def pytest_suite(name, kind="asan", folder=None, files=("",), full=None):
    """full: the files with --full, where they are others."""
    folder = folder or name

    def run(args):
        path = build(kind)
        if not path:
            return [Result(f"{name}:build-{kind}", "failed", "does not build")]
        wait_for_packages()
        say(f"tests/{folder}, build-{kind}")
        report = os.path.join(TOP, "build-logs", f"{name}.xml")
        if os.path.exists(report):
            os.unlink(report)
        env = dict(os.environ, MANTIK_TEST_BUILD=path, PYTHONDONTWRITEBYTECODE="1",
                   PYTHONPATH=os.path.join(TOP, "tests", "lib"))
        if args.full:
            env["MANTIK_TEST_FULL"] = "1"
        command = ["/usr/bin/python3", "-m", "pytest", "-p", "no:cacheprovider", "-q", "-ra",
                   "--tb=short", *WORKERS, f"--junitxml={report}",
                   *(os.path.join("tests", folder, f) for f in
                     (full if full and args.full else files))]
        if kind == "tsan":
            command = ["setarch", "-R", *command]
        if args.k:
            command += ["-k", args.k]
        r = subprocess.run(command, cwd=TOP, env=env)
        if r.returncode == 5 and args.k:
            return []
        if not os.path.exists(report):
            return [Result(f"{name}:pytest", "failed", f"ended with {r.returncode}")]
        results = []
        for case in xml.etree.ElementTree.parse(report).getroot().iter("testcase"):
            title = f"{name}/{case.get('classname', '').rsplit('.', 1)[-1]}:{case.get('name')}"
            skip = case.find("skipped")
            bad = case.find("failure") if case.find("failure") is not None else case.find("error")
            if bad is not None:
                results.append(Result(title, "failed", bad.get("message") or ""))
            elif skip is not None:
                results.append(Result(title, "skipped", skip.get("message") or ""))
            else:
                results.append(Result(title, "passed", ""))
        if r.returncode not in (0, 1) and not any(x.outcome == "failed" for x in results):
            results.append(Result(f"{name}:pytest", "failed", f"ended with {r.returncode}"))
        return results
    return run


def suites():
    """In the order they run: cheap and telling first."""
    found = {"checks": checks, "unit": unit}
    for name in sorted(os.listdir(os.path.join(TOP, "tests"))):
        folder = os.path.join(TOP, "tests", name)
        if os.path.isdir(folder) and any(fnmatch.fnmatch(f, "test_*.py")
                                         for f in os.listdir(folder)):
            found[name] = pytest_suite(name)
    found["threads"] = threads
    found["mount-threads"] = pytest_suite("mount-threads", "tsan", "mount",
                                          ("test_fake.py", "test_live.py", "test_load.py"))
    found["tracking-threads"] = pytest_suite(
        "tracking-threads", "tsan", "tracking",
        ("test_writing.py::test_a_loop_of_appends",
         "test_writing.py::test_two_mounts_write_one_metric"),
        ("test_writing.py", "test_copying.py", "test_mount.py"))
    return found


def allowed_skips():
    allowed = []
    with open(os.path.join(TOP, "tests", "allowed-skips.tsv")) as f:
        for line in f:
            if line.strip() and not line.startswith("#"):
                fields = line.rstrip("\n").split("\t")
                if len(fields) != 3 or not all(fields):
                    raise SystemExit(f"tests/allowed-skips.tsv: not three fields: {line.strip()}")
                allowed.append(fields[0])
    return allowed


def like_a_terminal():
    """What a test may count on however this was started: behind `nohup` or `&` Ctrl-C and hang-up
    are ignored, a service may have blocked more or come with a umask of its own."""
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGTSTP, signal.SIGUSR1,
                   signal.SIGUSR2, signal.SIGCHLD, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.umask(0o022)


def main():
    like_a_terminal()
    known = suites()
    parser = argparse.ArgumentParser(prog="tests/run", description="Builds and runs the tests.")
    parser.add_argument("suite", nargs="*", help="only these: " + " ".join(known))
    parser.add_argument("-k", metavar="NAME", help="only tests with NAME (as pytest -k)")
    parser.add_argument("--full", action="store_true", help="the long runs, too")
    args = parser.parse_args()
    for name in args.suite:
        if name not in known:
            parser.error(f"no suite {name}; there are: {' '.join(known)}")
        if name in FULL_ONLY and not args.full:
            parser.error(f"{name} takes long: it runs with --full only")

    os.environ.setdefault("CCACHE_DIR", os.path.join(TOP, ".cache", "ccache"))
    if shutil.which("ccache") and "CC" not in os.environ:
        os.environ["CC"] = "ccache gcc" if shutil.which("gcc") else "ccache cc"
    os.makedirs(os.path.join(TOP, "build-logs"), exist_ok=True)
    servers = os.environ["MANTIK_TEST_SERVERS"] = os.path.join(TOP, "build-logs", "servers.tsv")
    open(servers, "w").close()
    seeded = os.environ["MANTIK_TEST_SEEDED"] = tempfile.mkdtemp(dir="/var/tmp", prefix="m.")
    atexit.register(shutil.rmtree, seeded, True)
    if not args.suite:
        atexit.register(fetch_servers().terminate)

    results, began = [], time.monotonic()
    if not args.suite and not build("release"):
        results.append(Result("build-release", "failed", "does not build"))
    for name in args.suite or [n for n in known if args.full or n not in FULL_ONLY]:
        results += known[name](args)

    if CI:
        allowed = allowed_skips()
        results = [r if r.outcome != "skipped" or any(fnmatch.fnmatchcase(r.name, a) for a in allowed)
                   else r._replace(outcome="failed", detail=f"skip that is not allowed: {r.detail}")
                   for r in results]
    by = {o: [r for r in results if r.outcome == o] for o in ("passed", "failed", "skipped")}
    for r in by["skipped"]:
        print(f"skipped {r.name}: {r.detail}")
    for r in by["failed"]:
        print(f"FAILED {r.name}")
        print("".join(f"    {line}\n" for line in r.detail.splitlines()), end="")
    used = sorted(set(open(servers)))
    if used:
        print("real servers used:")
        print("".join(f"    {line}" for line in used), end="")
    print(f"({time.monotonic() - began:.0f} s)")
    print(f"{len(by['passed'])} passed, {len(by['failed'])} failed, {len(by['skipped'])} skipped",
          flush=True)
    return 1 if by["failed"] or not by["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
