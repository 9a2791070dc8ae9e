# SPDX-License-Identifier: Apache-2.0
"""Code in the working directory, and the environments a commit asks for: venv, conda."""
import os
import stat
import zipfile

import pytest

from engine import Engine
from mantik import wait_for


@pytest.fixture
def engine(platform):
    return Engine(platform, slots=2)


def wheel(name):
    """A real wheel with one module, made by hand: pip installs it without any index."""
    import io
    data = io.BytesIO()
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(data, "w") as z:
        z.writestr(f"{name}.py", f"WORD = '{name} was installed'\n")
        z.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        z.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\n"
                                    "Tag: py3-none-any\n")
        z.writestr(f"{info}/RECORD", "")
    return data.getvalue()


def with_wheel(engine, yaml, requirements="./hello_a-1.0-py3-none-any.whl\n"):
    where = engine.platform.repository(files={"sub/python_env.yaml": yaml,
                                              "sub/requirements.txt": requirements}, name="env")
    with open(os.path.join(where, "sub", "hello_a-1.0-py3-none-any.whl"), "wb") as f:
        f.write(wheel("hello_a"))
    commit = engine.platform.commit(where)
    git = os.path.join(engine.platform.data, "git", "e.git")
    engine.platform.run("git", "clone", "-q", "--bare", where, git)
    with engine.db() as db:
        id = db.execute("INSERT INTO repositories (project_id, name, uri, mirror, created, changed)"
                        " VALUES (1, 'e', ?, 'e.git', 0, 0)", (where,)).lastrowid
    return {"repository_id": id, "commit": commit, "directory": "sub",
            "python_env": "sub/python_env.yaml"}


def test_the_commit_lies_in_the_working_directory(engine):
    plan = engine.code({"a/MLproject": "name: x\n", "a/run.py": "print(1)\n", "big.bin": "x",
                        "figures/f.png": "x", ".mantik/metrics/evil": "1\n"},
                       links={"out": "/etc"})
    run = engine.submit("pwd; ls -A .. ; ls -A $MANTIK_RUN_DIR",
                        plan={**plan, "directory": "a", "exclude": ["*.bin", "figures/"]})
    engine.daemon()
    assert run.wait() == "FINISHED", run.file("submission")
    assert run.file("stdout").split() == [run.workdir + "/a", ".mantik", "a", "out",
                                          "job_script", "metrics", "params", "tags"]
    assert run.points("evil") == []
    assert f"commit {plan['commit']} is in {run.workdir}" in run.file("submission")
    assert os.readlink(run.workdir + "/out") == "/etc"
    assert stat.S_IMODE(os.stat(run.workdir).st_mode) == 0o700


def test_a_directory_through_a_link_out_is_refused(engine):
    plan = engine.code({"f": "x"}, links={"out": "/etc"})
    run = engine.submit("pwd", plan={**plan, "directory": "out"})
    engine.daemon()
    assert run.wait() == "FAILED"
    assert run.row()["reason"].startswith("out: cannot run there"), run.row()["reason"]
    assert run.file("stdout") == ""


def test_a_python_env_is_built_once(engine):
    plan = with_wheel(engine, "python: '3'\ndependencies: [-r requirements.txt]\n"
                      .replace("'3'", f"'{'.'.join(map(str, __import__('sys').version_info[:2]))}'"))
    first, second = engine.submit(
        "python -c 'import hello_a, sys; print(hello_a.WORD, sys.prefix)'; echo $VIRTUAL_ENV",
        plan=plan, count=2)
    engine.daemon()
    for run in (first, second):
        assert run.wait(120) == "FINISHED", run.file("submission") + run.file("stderr")
    line, env = first.file("stdout").splitlines()
    assert line == f"hello_a was installed {env}" and env.startswith(engine.platform.cache + "/envs/")
    assert second.file("stdout") == first.file("stdout")
    notes = first.file("submission") + second.file("submission")
    assert notes.count("building the environment") == 1, notes
    assert not any("hello_a was" in p for p in os.listdir(engine.platform.cache + "/envs"))


def test_what_pip_said_is_the_reason_and_no_ruin_is_used(engine):
    plan = with_wheel(engine, "dependencies: ['./absent-1.0-py3-none-any.whl']\n")
    run = engine.submit("echo ran", plan=plan)
    engine.daemon()
    assert run.wait(120) == "FAILED"
    assert "pip: exit code 1: " in run.row()["reason"] and "absent" in run.file("submission")
    assert run.file("stdout") == ""
    assert [n for n in os.listdir(engine.platform.cache + "/envs") if not n.endswith(".lock")] == []


def test_a_killed_build_is_begun_anew(engine):
    plan = with_wheel(engine, "dependencies: [-r requirements.txt]\n")
    run = engine.submit("python -c 'import hello_a; print(hello_a.WORD)'", plan=plan)
    engine.daemon()
    envs = os.path.join(engine.platform.cache, "envs")
    wait_for(lambda: os.path.isdir(envs) and any(os.path.exists(f"{envs}/{n}/bin/python")
                                                 for n in os.listdir(envs)), "half an environment")
    engine.kill()
    assert not any(os.path.exists(f"{envs}/{n}/.complete") for n in os.listdir(envs))
    engine.daemon()
    assert run.wait(120) == "FINISHED", run.file("submission") + run.file("stderr")
    assert run.file("stdout") == "hello_a was installed\n"


def test_a_cancel_ends_the_build(engine):
    plan = with_wheel(engine, "dependencies: [-r requirements.txt]\n")
    run = engine.submit("echo ran", plan=plan)
    engine.daemon()
    wait_for(lambda: "building the environment" in run.file("submission"), "the build")
    run.cancel()
    assert run.wait(20) == "KILLED"
    assert run.file("stdout") == ""


def test_another_python_is_refused_with_both_versions(engine):
    plan = with_wheel(engine, "python: '2.6'\n")
    run = engine.submit("echo ran", plan=plan)
    engine.daemon()
    assert run.wait() == "FAILED"
    assert "sub/python_env.yaml asks for python 2.6; this machine has 3." in run.row()["reason"]


CONDA = """#!/bin/sh
# A recording stub of conda: it makes the directory and tells how it was called.
echo "$0 $* ($CONDA_ALWAYS_YES)" >> {record}
while [ $# -gt 0 ]; do [ "$1" = -p ] && mkdir -p "$2/bin"; shift; done
"""


def test_a_stub_of_conda_gets_the_right_command(engine, platform):
    """A stub, not conda: only the command line and the variables are looked at."""
    tools = os.path.join(platform.dir, "tools")
    record = os.path.join(platform.dir, "record")
    os.makedirs(tools)
    with open(os.path.join(tools, "micromamba"), "w") as f:
        f.write(CONDA.format(record=record))
    os.chmod(os.path.join(tools, "micromamba"), 0o755)
    plan = engine.code({"conda.yaml": "dependencies: [python=3.10]\n"})
    run = engine.submit("echo $CONDA_PREFIX; echo $PATH", plan={**plan, "conda_env": "conda.yaml"})
    engine.daemon(PATH=tools + ":" + platform.env["PATH"])
    assert run.wait() == "FINISHED", run.file("submission")
    prefix, path = run.file("stdout").splitlines()
    assert path.startswith(prefix + "/bin:")
    with open(record) as f:
        assert f.read() == f"{tools}/micromamba create -y -p {prefix} -f {run.workdir}/conda.yaml (true)\n"
