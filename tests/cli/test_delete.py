# SPDX-License-Identifier: Apache-2.0
"""delete, restore and gc of an experiment or a project, with all its runs or not at all; of its runs alone."""
import os
import pty
import subprocess

import pytest

import mantik


@pytest.fixture(scope="module")
def p(shared):
    return shared


def runs_of(p, project, below=""):
    found = p.ctl("ls", f"/projects/{project}/runs/{below}").stdout.split()
    return [name for name in found if "." in name and not name.endswith((".tsv", ".yaml"))]


def test_an_experiment_and_a_project(p):
    p.ctl("mkdir", "-p", "/projects/many/experiments/e 1")
    for i in range(3):
        p.ctl("submit", "-p", "many", "-", input=f"name: a{i}\ncode: {{}}\ncommand: 'true'\n"
              f"experiment: {'e 1' if i else 'other'}\n")
    p.ctl("wait", *runs_of(p, "many"))
    one, two, three = runs_of(p, "many")
    p.ctl("delete", "/projects/many/experiments/e 1/runs")
    assert runs_of(p, "many") == [one] and runs_of(p, "many", "deleted") == [two, three]
    table = p.ctl("cat", "/projects/many/experiments/e 1/runs.tsv").stdout
    assert table.count("\n") == 1
    p.ctl("restore", "/projects/many/experiments/e 1/runs")
    assert runs_of(p, "many") == [one, two, three]

    # one that is live: none is deleted
    live = p.ctl("submit", "-p", "many", "-", input="code: {}\ncommand: sleep 60\n").stdout.strip()
    r = p.ctl("delete", "/projects/many", check=False)
    assert r.returncode == 6 and f"/projects/many: {live} is " in r.stderr
    assert runs_of(p, "many", "deleted") == []
    p.ctl("cancel", live)
    p.ctl("wait", live, check=False)

    p.ctl("delete", "/projects/many/runs", one)
    assert runs_of(p, "many") == [] and len(runs_of(p, "many", "deleted")) == 4
    assert p.ctl("gc", "--older", "1h", "/projects/many").stdout == "0 runs gone\n"
    assert p.ctl("gc", "/projects/many/experiments/other").stdout == "1 run gone\n"
    p.ctl("restore", "/projects/many/runs/deleted")
    assert len(runs_of(p, "many")) == 3 and "e 1" in p.ctl("ls", "/projects/many/experiments").stdout
    for path in ("/projects/many/code", "/projects/none", "/projects/many/experiments/none",
                 "/projects/many/runs/none.00000000", "/projects", "/projects/many/project.yaml"):
        for verb in ("delete", "restore", "gc"):
            r = p.ctl(verb, path, check=False)
            assert r.returncode == 3 and r.stderr.count("\n") == 1, (verb, path, r.stderr)
    assert len(runs_of(p, "many")) == 3


def names(p, path):
    return p.ctl("ls", path).stdout.split()


def test_an_experiment_itself(p):
    """Gone from the tree with its runs; back by restore, by one of its runs, by mkdir; ended by gc."""
    p.ctl("mkdir", "-p", "/projects/one/experiments/e")
    p.ctl("cp", "-", "/projects/one/experiments/e/experiment.yaml", input="note: mine\n")
    p.ctl("submit", "-p", "one", "-", input="code: {}\ncommand: 'true'\nexperiment: e\n")
    run, = runs_of(p, "one")
    p.ctl("wait", run)
    where = "/projects/one/experiments"

    def delete():
        p.ctl("delete", f"{where}/e")
        assert names(p, where) == [] and runs_of(p, "one") == []
        assert p.ctl("ls", f"{where}/e", check=False).returncode == 3
        assert p.ctl("delete", f"{where}/e", check=False).returncode == 3
        assert runs_of(p, "one", "deleted") == [run]

    def is_back():
        assert names(p, where) == ["e"] and names(p, f"{where}/e/runs") == [run]
        assert "note: mine" in p.ctl("cat", f"{where}/e/experiment.yaml").stdout

    for back in (["restore", f"{where}/e"], ["restore", run]):
        delete()
        p.ctl(*back)
        is_back()
    delete()
    p.ctl("mkdir", f"{where}/e")
    assert names(p, where) == ["e"] and runs_of(p, "one", "deleted") == [run]
    delete()
    assert p.ctl("gc", "--older", "1h", f"{where}/e").stdout == "0 runs gone\n"
    assert p.ctl("gc", f"{where}/e").stdout == "1 run gone\n1 experiment gone\n"
    assert p.ctl("restore", f"{where}/e", check=False).returncode == 3
    p.ctl("mkdir", f"{where}/e")
    assert "mine" not in p.ctl("cat", f"{where}/e/experiment.yaml").stdout


def test_a_project_itself(p):
    """With a repository, texts and snapshots; who stands in it can make nothing there any more."""
    p.ctl("mkdir", "-p", "/projects/whole/code/r")
    p.ctl("cp", "-", "/projects/whole/code/r/repository.yaml", input=f"uri: {p.repository(name='whole')}\n")
    p.ctl("cp", "-", "/projects/whole/README.md", input="mine\n")
    spec = f"code: {{path: {p.dir}/whole}}\ncommand: 'true'\nexperiment: a\n"
    run = p.ctl("submit", "-p", "whole", "-", input=spec).stdout.strip()
    p.ctl("mkdir", "/projects/whole/experiments/b")
    p.ctl("wait", run)
    with p.mount() as where:
        inside = os.open(f"{where}/projects/whole", os.O_PATH)
        p.ctl("delete", f"{where}/projects/whole")
        mantik.wait_for(lambda: "whole" not in os.listdir(f"{where}/projects"), "the project to go")
        for path, flags in (("experiments/c", None), ("code/s", None), ("runs/new", os.O_WRONLY)):
            with pytest.raises(OSError):
                if flags is None:
                    os.mkdir(path, dir_fd=inside)
                else:
                    fd = os.open(path, flags, dir_fd=inside)
                    try:
                        os.write(fd, b"code: {}\ncommand: 'true'\n")
                        os.fsync(fd)
                    finally:
                        os.close(fd)
        os.close(inside)
    assert p.ctl("submit", "-p", "whole", "-", input=spec, check=False).returncode == 3
    assert run not in p.ctl("ls", "/projects").stdout
    p.ctl("restore", "/projects/whole")
    assert names(p, "/projects/whole/experiments") == ["a", "b"] and runs_of(p, "whole") == [run]
    assert p.ctl("cat", "/projects/whole/README.md").stdout == "mine\n"
    p.ctl("delete", "/projects/whole")
    p.ctl("restore", run)
    assert names(p, "/projects/whole/experiments") == ["a"] and runs_of(p, "whole") == [run]
    p.ctl("delete", "/projects/whole")
    assert p.ctl("gc", "/projects/whole").stdout == "1 run gone\n2 experiments gone\n1 project gone\n"
    p.ctl("mkdir", "/projects/whole")
    assert p.ctl("cat", "/projects/whole/README.md").stdout != "mine\n"
    assert names(p, "/projects/whole/code") == []
    p.ctl("gc")
    p.ctl("doctor")


def test_a_project_is_asked_for_on_a_terminal(p):
    p.ctl("mkdir", "/projects/asked")
    for _ in range(2):
        p.ctl("submit", "-p", "asked", "-", input="code: {}\ncommand: 'true'\n")
    p.ctl("wait", *runs_of(p, "asked"))
    for answer, status, left in ((b"n\n", 1, 2), (b"y\n", 0, 0)):
        ours, theirs = pty.openpty()
        c = subprocess.Popen([mantik.program("mantikctl"), "delete", "/projects/asked"], stdin=theirs,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=p.env)
        os.write(ours, answer)
        assert b"delete 2 runs and what is named (restore brings them back)? [y/N]" in c.communicate(timeout=20)[1]
        assert c.returncode == status
        assert len(runs_of(p, "asked")) == left if left else "asked" not in names(p, "/projects")
