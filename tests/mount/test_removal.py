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


def test_a_tag_goes_alone_but_not_with_its_run(shared, shared_mount):
    runs = shared_mount.path("projects/p/runs")
    with open(f"{runs}/new", "w") as f:
        f.write("name: tagged\nexperiment: e\ncommand: 'true'\n")
    with open(f"{runs}/new") as f:
        run = os.path.join(runs, f.read().strip())
    shared.run("timeout", "60", "cat", f"{run}/wait")
    shared.sh("echo good > tags/review; mkdir -p tags/a/b; echo 1 > tags/a/b/c; touch tags/empty",
              cwd=run)
    for again in range(3):
        for remover, remove in REMOVERS.items():
            if remover == "node" and not shutil.which("node"):
                continue
            remove(shared, run)
            assert snapshot(f"{run}/tags") == {"review": b"good\n", "a": None, "a/b": None,
                                               "a/b/c": b"1\n", "empty": b"\n"}, remover
    shared.sh("rm tags/review; rm -r tags/a; ls tags", cwd=run)
    assert snapshot(f"{run}/tags") == {"empty": b"\n"}
    shared.sh("! rmdir tags", cwd=run)
    shared.sh("rm -r tags || true", cwd=run)
    assert snapshot(f"{run}/tags") == {}
    shared.sh("echo v > params/p; ! rm params/p; echo 1 > metrics/m; ! rm metrics/m; cat params/p metrics/m",
              cwd=run)
    why = shared.ctl("why", f"/{os.path.relpath(run, shared_mount.where)}/params/p").stdout
    assert "stays: it belongs to its run" in why


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


def test_a_great_remover_does_not_push_the_other_errors_out(shared, shared_mount):
    def errors():
        with open(shared_mount.path(".mantik/errors")) as f:
            return f.read().splitlines()
    for i in range(40):
        os.makedirs(shared_mount.path(f"projects/p/experiments/x{i}"), exist_ok=True)
        with open(shared_mount.path(f"projects/p/experiments/x{i}/experiment.yaml"), "w") as f:
            f.write("note: kept\n")
    before = len(errors())
    r = shared.run("find", shared_mount.path("projects/p/experiments"), "-delete", check=False)
    assert r.stderr.count("cannot delete") > 80
    assert len(errors()) == before + 16
    assert errors()[-1].rstrip().endswith("(what else this process is refused to remove is not listed)")
    shared.run("rm", "-f", shared_mount.path("projects/p/README.md"), check=False)
    assert "README.md stays" in errors()[-1]


def test_mv_to_an_impossible_name_says_so(shared, shared_mount):
    e = shared_mount.path("projects/p/experiments/e")
    r = shared.run("mv", e, os.path.join(os.path.dirname(e), ".e"), check=False)
    assert "not permitted" in r.stderr and "itself" not in r.stderr
    assert "write %2Ee" in shared.ctl("why", "/projects/p/experiments/e").stdout
