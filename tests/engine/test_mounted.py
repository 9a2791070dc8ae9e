# SPDX-License-Identifier: Apache-2.0
"""Whole runs through a mount or the command line, with real specs: modules, mounts that come and go."""
import os

import pytest

from mantik import program, wait_for


def project(platform, where, repo):
    platform.sh(f"""
mkdir {where}/projects/p {where}/projects/p/code/r
echo 'uri: {repo}' > {where}/projects/p/code/r/repository.yaml""")
    return os.path.join(where, "projects/p/runs")


def submit(platform, runs, spec):
    path = os.path.join(platform.dir, "spec.yaml")
    with open(path, "w") as f:
        f.write(spec)
    name = platform.sh(f"cp {path} {runs}/new || {{ cat {runs}/new >&2; exit 1; }}; cat {runs}/new")
    return os.path.join(runs, name.stdout.strip())


def text(*path):
    with open(os.path.join(*path)) as f:
        return f.read()


def test_modules_of_lmod(platform):
    """Debian's lmod, a real module file."""
    if not os.path.exists("/usr/share/lmod/lmod/init/bash"):
        pytest.skip("no lmod")
    mods = os.path.join(platform.dir, "mods")
    repo = platform.repository(files={
        "MLproject": "name: x\nentry_points:\n  main:\n    command: \"hi; echo $FOO\"\n",
        "backend.yaml": f"Environment:\n  Modules: [hello/1.0]\n"
                        f"  Variables: {{MODULEPATH: {mods}, FOO: bar}}\n"
                        f"  PreRunCommandOnComputeNode: echo pre; command -v hi\n"})
    for path, content in {"mods/hello/1.0.lua": f'prepend_path("PATH", "{platform.dir}/bin")\n',
                          "bin/hi": "#!/bin/sh\necho hi from a module\n"}.items():
        path = os.path.join(platform.dir, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write(content)
        os.chmod(path, 0o755)
    with platform.mount() as where:
        runs = project(platform, where, repo)
        run = submit(platform, runs, "experiment: e\nbackend_config: backend.yaml\n")
        assert text(run, "wait") == "FINISHED\n", text(run, "logs/stderr")
        assert text(run, "logs/stdout") == f"pre\n{platform.dir}/bin/hi\nhi from a module\nbar\n"
        assert text(run, "logs/stderr") == ""


EPOCHS = """import os, time
for epoch in range(1, 9):
    with open(os.environ["MANTIK_RUN_DIR"] + "/metrics/loss", "a") as f:
        f.write(f"{epoch} {1 / epoch}\\n")
    print("epoch", epoch, flush=True)
    while not os.path.exists(f"WHERE/go{epoch}"):
        time.sleep(0.02)
"""


def test_one_point_an_epoch_whatever_happens_to_mount_and_mantikd(platform):
    """Unmounted at epoch 3, mantikd killed at 6, mounted again."""
    repo = platform.repository(files={
        "MLproject": "name: x\nentry_points:\n  main:\n    command: python3 train.py\n",
        "train.py": EPOCHS.replace("WHERE", platform.dir)})

    def go(*epochs):
        for epoch in epochs:
            open(f"{platform.dir}/go{epoch}", "w").close()

    with platform.mount() as where:
        run = submit(platform, project(platform, where, repo), "experiment: e\n")
        go(1, 2)
        wait_for(lambda: text(run, "logs/stdout").count("epoch") == 3, "epoch 3")
    go(3, 4, 5)
    record = os.path.join(platform.data, "runs")
    out = os.path.join(record, os.listdir(record)[0], "stdout")
    wait_for(lambda: text(out).count("epoch") == 6, "epoch 6")
    platform.kill_daemons("mantikd")
    go(6)
    with platform.mount() as where:
        wait_for(lambda: text(run, "logs/stdout").count("epoch") == 7, "epoch 7")
        go(7, 8)
        assert text(run, "wait") == "FINISHED\n"
        steps = [line.split("\t")[0] for line in text(run, "metrics/loss").splitlines()]
        assert steps == [str(i) for i in range(1, 9)]
        assert text(run, "logs/stdout") == "".join(f"epoch {i}\n" for i in range(1, 9))


def test_a_cancel_through_the_mount(platform):
    repo = platform.repository(files={
        "MLproject": "name: x\nentry_points:\n  main:\n    command: sleep 1000\n"})
    with platform.mount() as where:
        run = submit(platform, project(platform, where, repo), "experiment: e\n")
        wait_for(lambda: text(run, "status") == "RUNNING\n", "the job")
        platform.sh(f"echo cancel > {run}/ctl")
        assert text(run, "wait") == "KILLED\n"
        assert "\nreason: cancelled\n" in text(run, "info.yaml")


@pytest.mark.parametrize("by", ["cat wait", "mantikctl wait"])
def test_who_waits_for_a_run_keeps_it_going(platform, by):
    """mantikd is killed while the environment is built: no job is there whose end could bring it back."""
    repo = platform.repository(files={
        "MLproject": "name: x\npython_env: env.yaml\nentry_points:\n  main:\n    command: echo ran\n",
        "env.yaml": "dependencies: []\n"})
    with platform.mount() as where:
        run = submit(platform, project(platform, where, repo), "experiment: e\n")
        wait_for(lambda: "building the environment" in text(run, "logs/submission"), "the build")
        waiter = platform.start(*(["cat", run + "/wait"] if by == "cat wait" else
                                  [program("mantikctl"), "wait", os.path.basename(run)]))
        wait_for(lambda: platform.kill_daemons("mantikd"), "mantikd")
        assert text(run, "logs/submission").count("building") == 1
        assert waiter.communicate(timeout=120)[0] == "FINISHED\n", text(run, "info.yaml") + text(run, "logs/submission")
        assert text(run, "logs/stdout") == "ran\n"


def test_who_follows_a_live_file_brings_mantikd_back(platform):
    """tail -f alone, of a log and of a metric, opened before mantikd was killed; nobody else looks."""
    repo = platform.repository(files={
        "MLproject": "name: x\nentry_points:\n  main:\n    command: echo 1 1 >> $MANTIK_RUN_DIR/metrics/loss;"
                     " sleep 1000\n"})
    with platform.mount() as where:
        run = submit(platform, project(platform, where, repo), "experiment: e\n")
        wait_for(lambda: os.path.exists(f"{run}/metrics/loss"), "the first point")
        for file in ("logs/stdout", "metrics/loss"):
            follower = platform.start("tail", "-s", "0.1", "-f", f"{run}/{file}")
            killed = wait_for(lambda: platform.kill_daemons("mantikd"), "mantikd")
            wait_for(lambda: set(platform.daemons("mantikd")) - set(killed), f"mantikd again for who follows {file}", 60)
            follower.kill()
            follower.communicate()
        platform.sh(f"echo cancel > {run}/ctl")
