# SPDX-License-Identifier: Apache-2.0
"""Nothing is destroyed by accident: recursive removers leave everything whole."""
import os
import shutil

import pytest

RMTREE = "import shutil,sys; shutil.rmtree(sys.argv[1], ignore_errors=True)"
NODE = "require('fs').rm(process.argv[1], {recursive: true, force: true}, () => {})"
REMOVERS = {
    "rm -rf": lambda p, path: p.run("rm", "-rf", path, check=False),
    "find -delete": lambda p, path: p.run("find", path, "-delete", check=False),
    "rmtree": lambda p, path: p.run("python3", "-c", RMTREE, path, check=False),
    "node": lambda p, path: p.run("node", "-e", NODE, path, check=False),
    "rm -r .": lambda p, path: p.sh("rm -rf -- * .[!.]*", cwd=path, check=False),
}


def snapshot(where):
    """Every path with its text, or where it leads."""
    found = {}
    for folder, dirs, files in os.walk(where):
        for name in dirs + files:
            path = os.path.join(folder, name)
            key = os.path.relpath(path, where)
            if os.path.islink(path):
                found[key] = os.readlink(path)
            elif os.path.isdir(path):
                found[key] = None
            else:
                with open(path, "rb") as f:
                    found[key] = f.read()
    return found


@pytest.mark.parametrize("remover", REMOVERS)
@pytest.mark.parametrize("what", ["projects/p", "projects/p/experiments/e", "projects/p/runs",
                                  "projects/p/code/code", "projects", "sites"])
def test_removers_leave_all_whole(shared, shared_mount, remover, what):
    if remover == "node" and not shutil.which("node"):
        pytest.skip("no node")
    before = snapshot(shared_mount.path("projects"))
    REMOVERS[remover](shared, shared_mount.path(what))
    assert snapshot(shared_mount.path("projects")) == before
    assert os.path.isdir(shared_mount.path(what))


def test_single_removals_say_why(shared, shared_mount):
    p = shared_mount.path("projects/p")
    for name in ("project.yaml", "README.md", "runs/new", "runs/defaults.yaml",
                 "experiments/e/experiment.yaml"):
        with pytest.raises(PermissionError):
            os.unlink(os.path.join(p, name))
    for name in ("", "runs", "code", "code/code", "experiments"):
        with pytest.raises(OSError) as e:
            os.rmdir(os.path.join(p, name))
        assert e.value.errno == 39  # ENOTEMPTY


def test_what_mkdir_left_untouched_goes_again(shared_mount):
    for name in ("projects/untouched", "projects/p/experiments/untouched",
                 "projects/p/code/untouched"):
        path = shared_mount.path(name)
        os.mkdir(path)
        assert os.path.isdir(path)
        os.rmdir(path)
        assert not os.path.exists(path)
