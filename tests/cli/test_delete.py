# SPDX-License-Identifier: Apache-2.0
"""delete, restore and gc of an experiment or a project: all its runs, or none."""
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
    p.ctl("delete", "/projects/many/experiments/e 1")
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

    p.ctl("delete", "/projects/many", one)
    assert runs_of(p, "many") == [] and len(runs_of(p, "many", "deleted")) == 4
    assert p.ctl("gc", "--older", "1h", "/projects/many").stdout == "0 runs gone\n"
    assert p.ctl("gc", "/projects/many/experiments/other").stdout == "1 run gone\n"
    p.ctl("restore", "/projects/many")
    assert len(runs_of(p, "many")) == 3 and "e 1" in p.ctl("ls", "/projects/many/experiments").stdout
    for path in ("/projects/many/code", "/projects/none", "/projects/many/experiments/none",
                 "/projects/many/runs/none.00000000", "/projects", "/projects/many/project.yaml"):
        for verb in ("delete", "restore", "gc"):
            r = p.ctl(verb, path, check=False)
            assert r.returncode == 3 and r.stderr.count("\n") == 1, (verb, path, r.stderr)
    assert len(runs_of(p, "many")) == 3


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
        assert b"delete 2 runs (restore brings them back)? [y/N]" in c.communicate(timeout=20)[1]
        assert c.returncode == status and len(runs_of(p, "asked")) == left
