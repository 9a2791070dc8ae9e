# SPDX-License-Identifier: Apache-2.0
"""What mantikctl does with runs, without a mount: the whole job of an evening at a terminal."""
import json
import os
import pty
import signal
import stat
import subprocess
import time

import pytest

import mantik
from mantik import wait_for

SPEC = """\
name: {name}
command: {command}
"""


@pytest.fixture(scope="module")
def p(shared):
    shared.ctl("mkdir", "/projects/a", "/projects/b")
    return shared


def submit(p, command, name="job", project="a", more="", **kwargs):
    """Submits a command; gives the run's name."""
    spec = SPEC.format(name=name, command=json.dumps(command)) + more
    return p.ctl("submit", "-p", project, "-", input=spec, **kwargs).stdout.strip()


def test_submit_wait_log_status(p):
    run = submit(p, "echo out; echo err >&2")
    assert run.startswith("job.")
    assert p.ctl("wait", run).stdout == "FINISHED\n"
    r = p.ctl("log", run)
    assert (r.stdout, r.stderr) == ("out\n", "err\n")
    assert p.ctl("status", run).stdout == "FINISHED\n"
    info = json.loads(p.ctl("status", "--json", run).stdout)
    assert info["status"] == "FINISHED"
    assert p.ctl("cat", f"/projects/a/runs/{run}/logs/stdout").stdout == "out\n"
    assert p.ctl("status", f"/projects/a/runs/{run}/logs", run[-8:], check=False).returncode in (0, 3)


@pytest.mark.parametrize("command, status, word", [
    ("exit 3", 10, "FAILED"), ("sleep 300", 11, "KILLED"), ("true", 0, "FINISHED")])
def test_wait_tells_by_its_exit_status(p, command, status, word):
    run = submit(p, command)
    if word == "KILLED":
        wait_for(lambda: p.ctl("status", run).stdout == "RUNNING\n", "the run's start")
        p.ctl("cancel", run)
    r = p.ctl("wait", run, check=False)
    assert (r.returncode, r.stdout) == (status, word + "\n")


def test_wait_gives_up_after_its_timeout(p):
    run = submit(p, "sleep 300")
    r = p.ctl("wait", "--timeout", "0.3", run, check=False)
    assert r.returncode == 124 and "has not ended" in r.stderr
    p.ctl("cancel", run)
    assert p.ctl("wait", run, check=False).returncode == 11
    assert p.ctl("cancel", run, check=False).returncode == 6  # it has ended already


def test_interrupt_ends_a_wait_at_once_and_not_the_run(p):
    run = submit(p, "sleep 300")
    w = p.start(mantik.program("mantikctl"), "wait", run)
    time.sleep(0.5)  # nothing to see from outside: interrupted before waiting is as good
    began = time.monotonic()
    w.send_signal(signal.SIGINT)
    assert w.wait(10) == 130 and time.monotonic() - began < 1
    assert p.ctl("status", run).stdout in ("SCHEDULED\n", "RUNNING\n")
    p.ctl("cancel", run)


def test_a_run_is_named_in_many_ways(p):
    run = submit(p, "true")
    p.ctl("wait", run)
    uid = json.loads(p.ctl("status", "--json", run).stdout)["id"]
    for name in (run, uid, "anything." + uid[:8], f"/projects/a/runs/{run}", "latest",
                 f"/projects/a/runs/{run}/logs/stdout", "/projects/a/runs/latest",
                 f"{p.mountpoint}/projects/a/runs/{run}", f"~/mantik/projects/a/runs/{run}"):
        r = p.ctl("status", name.replace("~", p.home))
        assert r.stdout == "FINISHED\n", name
    for name in ("nothing.00000000", "/projects/a", "/projects/none/runs/x", "/projects/a/runs"):
        r = p.ctl("status", name, check=False)
        assert r.returncode == 3 and "\n" == r.stderr[-1], name


def test_parameters_site_and_dry_run(p):
    spec = "command: echo {x} {y}\nparameters: {x: 1, y: 2}\nname: n-{x}\n"
    runs = p.ctl("status").stdout
    r = p.ctl("submit", "-p", "a", "-n", "-P", "x=7", "-", input=spec)
    assert "n-7" in r.stdout and p.ctl("status").stdout == runs
    run = p.ctl("submit", "-p", "a", "-P", "x=7", "--site", "local", "-", input=spec).stdout.strip()
    assert run.startswith("n-7.")
    p.ctl("wait", run)
    assert p.ctl("log", run).stdout == "7 2\n"
    r = p.ctl("submit", "-p", "a", "--site", "nowhere", "-", input=spec, check=False)
    assert r.returncode in (3, 4) and "nowhere" in r.stderr
    assert p.ctl("submit", "-P", "x", "-p", "a", "-", input=spec, check=False).returncode == 2
    answer = json.loads(p.ctl("submit", "--json", "-p", "a", "-", input=spec).stdout)
    assert answer["dry_run"] is False and answer["runs"][0].startswith("n-1.")


def test_which_project_is_asked_for_when_it_is_not_clear(p):
    r = p.ctl("submit", "-", input="command: 'true'\n", check=False)
    assert r.returncode == 4 and "a, b" in r.stderr
    r = p.ctl("submit", "-p", "nope", "-", input="command: 'true'\n", check=False)
    assert r.returncode == 3 and "nope" in r.stderr


def test_a_refused_spec_makes_nothing_and_names_the_line(p):
    before = p.ctl("ls", "/projects/a/runs").stdout
    for spec, said in (("command: 'true'\nnme: x\n", '2: unknown key "nme", did you mean "name"'),
                       ("data: [x]\ncommand: 'true'\n", "not supported yet: data (line 1)"), ("", "")):
        r = p.ctl("submit", "-p", "a", "-", input=spec, check=False)
        assert r.returncode == 4 and said in r.stderr and r.stdout == ""
    assert p.ctl("ls", "/projects/a/runs").stdout == before


def test_status_alone_is_all_that_lives_everywhere(p):
    runs = {submit(p, "sleep 300", project=project): project for project in ("a", "b")}
    table = [line.split("\t") for line in p.ctl("status").stdout.splitlines()]
    assert table[0] == ["project", "run", "status", "site", "submitted", "started", "reason"]
    assert runs.items() <= {row[1]: row[0] for row in table[1:]}.items()
    only = p.ctl("status", "-p", "b").stdout.splitlines()
    assert [line.split("\t")[0] for line in only[1:]] == ["b"]
    assert {r["id"] for r in json.loads(p.ctl("status", "--json").stdout)}
    p.ctl("cancel", *runs)
    p.ctl("wait", *runs, check=False)
    assert not set(runs) & {line.split("\t")[1] for line in p.ctl("status").stdout.splitlines()}


def test_log_follows_to_the_end(p):
    go = os.path.join(p.dir, "go")
    run = submit(p, f"echo one; while [ ! -e {go} ]; do sleep 0.05; done; echo two")
    log = p.start(mantik.program("mantikctl"), "log", "-f", run)
    assert log.stdout.readline() == "one\n"
    open(go, "w").close()
    assert log.stdout.readline() == "two\n"
    assert log.wait(20) == 0
    assert p.ctl("log", "-n", "1", "-l", "stdout", run).stdout == "two\n"
    assert p.ctl("log", "-l", "nothing", run, check=False).returncode == 2


def test_rerun_is_the_same_again(p):
    run = submit(p, "echo same")
    p.ctl("wait", run)
    again = p.ctl("rerun", run).stdout.strip()
    assert again != run
    p.ctl("wait", again)
    assert p.ctl("log", again).stdout == "same\n"
    assert json.loads(p.ctl("status", "-j", again).stdout)["rerun_of"] == run


def test_delete_restore_gc(p):
    run, live = submit(p, "echo precious"), submit(p, "sleep 300")
    p.ctl("wait", run)
    assert p.ctl("delete", live, check=False).returncode == 6
    p.ctl("cancel", live)
    p.ctl("delete", run)
    assert run not in p.ctl("ls", "/projects/a/runs").stdout
    assert run in p.ctl("ls", "/projects/a/runs/deleted").stdout
    p.ctl("restore", run)
    assert p.ctl("log", run).stdout == "precious\n"
    assert p.ctl("restore", run, check=False).returncode == 3
    p.ctl("delete", run)
    assert p.ctl("gc", "--older", "1h").stdout == "0 runs gone\n"
    assert p.ctl("gc").stdout == "1 run gone\n"
    assert p.ctl("status", run, check=False).returncode == 3
    assert p.ctl("gc", "--older", "soon", check=False).returncode == 2


def test_delete_asks_on_a_terminal(p):
    run = submit(p, "true")
    p.ctl("wait", run)
    for answer, status in ((b"n\n", 1), (b"y\n", 0)):
        ours, theirs = pty.openpty()
        c = subprocess.Popen([mantik.program("mantikctl"), "delete", run], stdin=theirs,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=p.env)
        os.write(ours, answer)
        assert b"delete 1 run" in c.communicate(timeout=20)[1]
        assert c.returncode == status
        os.close(ours)
        os.close(theirs)
    assert run in p.ctl("ls", "/projects/a/runs/deleted").stdout


def test_values_are_logged_from_outside(p):
    run = submit(p, "true")
    p.ctl("wait", run)
    p.ctl("log-metric", "-r", run, "loss", "0.5")
    p.ctl("log-metric", "-r", run, "loss", "-0.25", "7")
    p.ctl("log-metric", "-r", run, "loss", "-", input="8 nan\n1e-3\n")
    history = [line.split("\t")[:2] for line in
               p.ctl("cat", f"/projects/a/runs/{run}/metrics/loss").stdout.splitlines()]
    assert [step for step, _ in history][1:] == ["7", "8", "9"]
    assert [value for _, value in history] == ["0.5", "-0.25", "nan", "0.001"]
    p.ctl("log-param", "-r", run, "layers/first", "64")
    p.ctl("set-tag", "-r", run, "colour", "blue sky")
    assert p.ctl("cat", f"/projects/a/runs/{run}/params/layers/first").stdout == "64\n"
    assert p.ctl("cat", f"/projects/a/runs/{run}/tags/colour").stdout == "blue sky\n"
    for args, status in ((("log-metric", "-r", run, "loss", "x"), 4),
                         (("log-metric", "-r", run, "loss", "1", "x"), 4),
                         (("log-param", "-r", run, "layers/first", "32"), 4),
                         (("set-tag", "-r", run, "..", "x"), 4),
                         (("set-tag", "-r", "none.00000000", "a", "x"), 3),
                         (("set-tag", "a", "x"), 2)):
        assert p.ctl(*args, check=False).returncode == status, args


def test_values_are_logged_from_inside_a_job(p):
    ctl = mantik.program("mantikctl")
    run = submit(p, f"{ctl} log-metric train/loss 0.5 && {ctl} log-metric train/loss 0.25 && "
                    f"{ctl} log-param size 3 && {ctl} set-tag mood good")
    assert p.ctl("wait", run, check=False).stdout == "FINISHED\n", p.ctl("log", run).stderr
    lines = p.ctl("cat", f"/projects/a/runs/{run}/metrics/train/loss").stdout.splitlines()
    assert [line.split("\t")[1] for line in lines] == ["0.5", "0.25"]
    assert p.ctl("cat", f"/projects/a/runs/{run}/params/size").stdout == "3\n"
    assert p.ctl("cat", f"/projects/a/runs/{run}/tags/mood").stdout == "good\n"


def test_cp_submits_and_copies_out(p):
    spec = os.path.join(p.dir, "spec.yaml")
    with open(spec, "w") as f:
        f.write("command: echo hello > out.txt\nartifacts: [out.txt]\nname: cp\n")
    run = p.ctl("cp", spec, "/projects/a/runs/new").stdout.strip()
    assert run.startswith("cp.")
    assert p.ctl("cat", f"/projects/a/runs/{run}/wait").stdout == "FINISHED\n"
    out = os.path.join(p.dir, "out")
    p.ctl("cp", "-r", f"/projects/a/runs/{run}", out)
    with open(os.path.join(out, "artifacts/out.txt")) as f:
        assert f.read() == "hello\n"
    with open(os.path.join(out, "status")) as f:
        assert f.read() == "FINISHED\n"
    assert os.path.islink(os.path.join(out, "workdir"))
    p.ctl("cp", f"/projects/a/runs/{run}/status", p.dir)
    assert os.path.exists(os.path.join(p.dir, "status"))
    r = p.ctl("cp", f"/projects/a/runs/{run}", p.dir, check=False)
    assert r.returncode == 4 and "-r" in r.stderr
    assert p.ctl("cp", spec, p.dir, check=False).returncode == 4
    with open(spec, "a") as f:
        f.write("nonsense: 1\n")
    r = p.ctl("cp", spec, "/projects/a/runs/new", check=False)
    assert r.returncode == 4 and 'unknown key "nonsense"' in r.stderr
    assert 'unknown key "nonsense"' in p.ctl("why", "/projects/a/runs/new").stdout


def test_ls_as_ls(p):
    assert p.ctl("ls").stdout == "README.txt\nconnections\nprojects\nsites\n"
    assert ".mantik\n" in p.ctl("ls", "-a", "/").stdout
    assert p.ctl("ls", "/projects").stdout == "a\nb\n"
    assert p.ctl("ls", "-d", "/projects").stdout == "/projects\n"
    line = p.ctl("ls", "-l", "/README.txt").stdout.split()
    assert line[0] == "-r--r--r--" and int(line[4]) == len(p.ctl("cat", "/README.txt").stdout)
    r = p.ctl("ls", "/projects/none", check=False)
    assert r.returncode == 3 and "/projects/none" in r.stderr


def test_env_is_for_a_shell(p):
    run = submit(p, "sleep 300")
    wait_for(lambda: p.ctl("status", run).stdout == "RUNNING\n", "the run's start")
    out = p.ctl("env", run).stdout
    r = p.run("bash", "-c", out + 'echo 1 >> "$MANTIK_RUN_DIR/metrics/seen"; echo $MANTIK_DATA_DIR')
    assert r.stdout == p.data + "\n"
    wait_for(lambda: p.ctl("cat", f"/projects/a/runs/{run}/metrics/seen", check=False).returncode == 0,
             "the metric")
    p.ctl("cancel", run)


def test_du_knows_a_working_directory(p):
    run = submit(p, "head -c 3000000 /dev/urandom > big")
    p.ctl("wait", run)
    sizes = {what: int(size) for size, what, _ in
             (line.split("\t") for line in p.ctl("du", run).stdout.splitlines())}
    assert 3000000 < sizes["workdir"] < 3200000
    for part in ("models", "uploads"):
        os.makedirs(f"{p.data}/{part}", exist_ok=True)
        with open(f"{p.data}/{part}/big", "wb") as f:
            f.write(bytes(500000))
    whole = {line.split("\t")[1]: int(line.split("\t")[0]) for line in p.ctl("du").stdout.splitlines()}
    for part in ("models", "uploads"):
        os.unlink(f"{p.data}/{part}/big")
        assert whole.pop(part) >= 500000
    assert whole.keys() == {"database", "records", "mirrors", "workdirs", "cache"}


def test_cp_takes_standard_input_and_output(p):
    run = p.ctl("cp", "-", "/projects/a/runs/new", input="code: {}\ncommand: echo yes\n").stdout.strip()
    p.ctl("wait", run)
    assert p.ctl("cp", f"/projects/a/runs/{run}/logs/stdout", "-").stdout == "yes\n"
    assert p.ctl("cp", f"/projects/a/runs/{run}/status", f"/projects/a/runs/{run}/logs/stdout",
                 "-").stdout == "FINISHED\nyes\n"
    assert not os.path.exists(os.path.join(p.home, "-"))


def test_cp_of_several_needs_a_directory(p):
    run = submit(p, "true")
    p.ctl("wait", run)
    top, out = f"/projects/a/runs/{run}/", os.path.join(p.dir, "one-file")
    for target in (out, "/projects/a/project.yaml"):
        if target == out:
            open(out, "w").close()
        r = p.ctl("cp", top + "status", top + "spec.yaml", target, check=False)
        assert r.returncode == 4 and "is no directory" in r.stderr
    with open(out) as f:
        assert f.read() == ""


@pytest.mark.parametrize("args", [["cp", "nofile", "/projects/a/runs/new"], ["cp", ".", "/projects/a/runs/new"],
                                  ["cat", "-"], ["cat", "nofile"], ["submit", "-p", "a", "nofile"]])
def test_an_error_names_the_operand_once(p, args):
    r = p.ctl(*args, check=False)
    word = args[-2] if args[-1].endswith("/new") else args[-1]
    assert r.returncode in (3, 4) and r.stderr.startswith(f"mantikctl: {word}: ") and \
        not r.stderr.startswith(f"mantikctl: {word}: {word}: ")


def test_without_a_mount_is_the_same_tree(p):
    """Every name with type, mode, size and link, and every text, seen by mantikctl and in a mount."""
    run = submit(p, "echo x; echo 1 > $MANTIK_RUN_DIR/metrics/m; echo y > out", more="artifacts: [out]\n")
    p.ctl("wait", run)
    with p.mount() as where:
        def there(path):
            found = []
            for name in sorted(os.listdir(where + path)):
                st = os.lstat(f"{where}{path}/{name}")
                link = f" -> {os.readlink(f'{where}{path}/{name}')}" if stat.S_ISLNK(st.st_mode) else ""
                found.append((stat.filemode(st.st_mode), st.st_size, name + link))
            return found

        def here(path):
            found = []
            for line in p.ctl("ls", "-la", path or "/").stdout.splitlines():
                mode, _, _, _, size, _, name = line.split(None, 6)
                if name not in (".", ".."):
                    found.append((mode, int(size), name))
            return sorted(found, key=lambda f: f[2].split(" -> ")[0])
        todo, seen = [""], 0
        while todo:
            path = todo.pop()
            if path in ("/.mantik", "/sites/local"):  # about the mount itself, and the time of day
                continue
            assert here(path) == there(path), path
            for mode, size, name in there(path):
                seen += 1
                if mode[0] == "d":
                    todo.append(f"{path}/{name}")
                elif mode[0] == "-" and mode[1] == "r" and name not in ("ctl", "new") and run in path:
                    with open(f"{where}{path}/{name}") as f:
                        assert f.read() == p.ctl("cat", f"{path}/{name}").stdout
        assert seen > 60
        out = os.path.join(p.dir, "copies")
        os.makedirs(out)
        p.ctl("cp", "-r", f"/projects/a/runs/{run}", out)
        p.run("cp", "-r", f"{where}/projects/a/runs/{run}", out + "/mount")
        p.run("diff", "-r", "--no-dereference", f"{out}/{run}", out + "/mount")
