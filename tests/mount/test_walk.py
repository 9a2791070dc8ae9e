# SPDX-License-Identifier: Apache-2.0
"""The whole mounted tree as crawlers see it: complete, quiet, of true sizes, the same twice.

The platform has all that a tree can hold: runs that ended well and badly, one of uncommitted code,
one deleted, one waiting; keys that nest; artifacts with links and odd names; names in many scripts.
"""
import os
import stat
import subprocess

import pytest
from mantik import wait_for

# What may differ from one look to the next.
ABOUT = (".mantik/errors", ".mantik/log", ".mantik/stats.json")
ODD = ["a b", "-rf", "it's", 'q"x', "50%", "a\\b", "日本 é", "x" * 255, "$(touch x)", "*"]

ARTIFACTS = """name: artifacts
experiment: e
command: |
  mkdir -p out/sub out/empty; cd out
  echo hi > a; chmod +x a; ln -s a l; ln -s sub dirlink; ln -s ../sub sub/circle
  for name in 'sp ace' -dash .hidden "q'x" ünï '100%'; do echo "$name" > "./$name"; done; : > zero
  mkdir -p $MANTIK_RUN_DIR/metrics/train; cd $MANTIK_RUN_DIR
  echo 1 > metrics/train/loss; echo 2 > metrics/acc; mkdir -p tags; echo t > tags/t
artifacts: [out]
"""


def write(path, text):
    with open(path, "w") as f:
        f.write(text)


def submit(runs, spec):
    write(os.path.join(runs, "new"), spec)
    with open(os.path.join(runs, "new")) as f:
        name = f.read().strip()
    assert os.path.isdir(os.path.join(runs, name)), name
    return name


@pytest.fixture(scope="module")
def full(shared, shared_mount):
    runs = shared_mount.path("projects/p/runs")
    for name in ODD:
        os.mkdir(shared_mount.path("projects/p/experiments", name))
    dirty = os.path.join(shared.dir, "dirty")
    shared.run("cp", "-r", os.path.join(shared.dir, "repo"), dirty)
    write(os.path.join(dirty, "new file.txt"), "new\n")
    names = {
        "artifacts": submit(runs, ARTIFACTS),
        "failed": submit(runs, "name: it's a b\nexperiment: e\ncommand: exit 3\n"),
        "dirty": submit(runs, f"code: {{path: {dirty}}}\nexperiment: e\ncommand: ls\n"),
        "gone": submit(runs, "name: -gone\nexperiment: e\ncommand: 'true'\n"),
    }
    for name in names.values():
        assert shared.run("timeout", "60", "cat", os.path.join(runs, name, "wait")).stdout
    os.rename(os.path.join(runs, names["gone"]), os.path.join(runs, "deleted", names["gone"]))
    write(os.path.join(runs, names["failed"], "tags/a b"), "two\nlines\n")
    os.mkdir(os.path.join(runs, names["failed"], "tags/empty"))
    wait_for(lambda: os.path.exists(os.path.join(runs, names["artifacts"], "artifacts/out/a")),
             "the artifacts")
    return names


def everything(where):
    """{path: lstat} of all below; listing may not fail anywhere."""
    found = {}

    def fail(error):
        raise error
    for folder, dirs, files in os.walk(where, onerror=fail):
        for name in dirs + files:
            path = os.path.join(folder, name)
            found[os.path.relpath(path, where)] = os.lstat(path)
    return found


def test_every_size_is_the_bytes_read(full, shared_mount):
    wrong = []
    for name, st in everything(shared_mount.where).items():
        path = shared_mount.path(name)
        if stat.S_ISLNK(st.st_mode):
            if st.st_size != len(os.fsencode(os.readlink(path))):
                wrong.append(name)
        elif stat.S_ISREG(st.st_mode) and name not in ABOUT:
            with open(path, "rb") as f:
                text = f.read()
            if not st.st_size == len(text) == os.stat(path).st_size:
                wrong.append((name, st.st_size, len(text)))
    assert wrong == []


def test_wc_and_stat_agree(full, shared, shared_mount):
    """The same by the programs people have."""
    out = shared.sh("find . -type f ! -path './.mantik/*' -print0 | while IFS= read -r -d '' f; do "
                    "[ $(stat -c %s -- \"$f\") = $(wc -c < \"$f\") ] || echo \"$f\"; done",
                    cwd=shared_mount.where)
    assert (out.stdout, out.stderr) == ("", "")


@pytest.mark.parametrize("command", [
    "find . -ls", "ls -laR .", "du -a .", "grep -r FINISHED .", "grep -rI --include='*.yaml' status .",
    "tar -cf - . | tar -tf -", "find . -type f -print0 | xargs -0 cat", "find . -type l -ls",
    "find . -empty", "find . -newer README.txt", "stat -c '%n %s %Y' projects/p/runs/*", "ls -l projects/*/*/*",
    "find . -xtype l"])
def test_crawlers_are_quiet(full, shared, shared_mount, command):
    r = shared.sh(command, cwd=shared_mount.where, check=False)
    assert r.returncode == 0, r.stderr
    assert r.stderr == ""
    assert r.stdout or "xtype" in command


def test_copies_are_complete_and_the_second_rsync_moves_nothing(full, shared, shared_mount):
    to = os.path.join(shared.dir, "whole")
    for copy in ("cp -a . {}/cp", "rsync -a ./ {}/rsync", "mkdir {}/tar && tar -cf - . | tar -C {}/tar -xf -"):
        shared.sh(f"mkdir -p {to}; " + copy.replace("{}", to), cwd=shared_mount.where)
    again = shared.run("rsync", "-ai", "--exclude=.mantik", shared_mount.where + "/", f"{to}/rsync/")
    assert again.stdout == ""
    again = shared.run("rsync", "-aic", "--exclude=.mantik", shared_mount.where + "/", f"{to}/rsync/")
    assert again.stdout == ""
    ours = {n: st for n, st in everything(shared_mount.where).items() if n not in ABOUT}
    for copy in ("cp", "rsync", "tar"):
        theirs = everything(os.path.join(to, copy))
        assert set(ours) <= set(theirs)
        for name, st in ours.items():
            a, b = shared_mount.path(name), os.path.join(to, copy, name)
            assert stat.S_IFMT(theirs[name].st_mode) == stat.S_IFMT(st.st_mode), name
            if stat.S_ISREG(st.st_mode):
                with open(a, "rb") as x, open(b, "rb") as y:
                    assert x.read() == y.read(), (copy, name)
                assert int(theirs[name].st_mtime) == int(st.st_mtime), name


def test_a_run_goes_out_by_cp_and_its_spec_comes_in_again(full, shared, shared_mount):
    runs, to = shared_mount.path("projects/p/runs"), os.path.join(shared.dir, "archive")
    shared.run("cp", "-r", os.path.join(runs, full["artifacts"]), to)
    with open(os.path.join(to, "artifacts/out/a")) as f:
        assert f.read() == "hi\n"
    shared.run("cp", os.path.join(to, "spec.yaml"), os.path.join(runs, "new"))
    with open(os.path.join(runs, "new")) as f:
        name = f.read().strip()
    assert name.startswith("artifacts.") and name != full["artifacts"]
    shared.run("timeout", "60", "cat", os.path.join(runs, name, "wait"))


def test_links_among_artifacts_lead_where_they_led(full, shared, shared_mount):
    out = shared_mount.path("projects/p/runs", full["artifacts"], "artifacts/out")
    assert os.readlink(f"{out}/dirlink") == "sub"
    assert os.readlink(f"{out}/dirlink/circle/circle") == "../sub"
    assert os.access(f"{out}/a", os.X_OK) and os.path.samefile(f"{out}/sub", f"{out}/dirlink")


def test_a_dirty_run_has_its_difference(full, shared_mount):
    run = shared_mount.path("projects/p/runs", full["dirty"])
    with open(f"{run}/code.diff") as f:
        assert "+new" in f.read()
    with pytest.raises(PermissionError):
        open(f"{run}/code.diff", "w")
    assert not os.path.exists(shared_mount.path("projects/p/runs", full["failed"], "code.diff"))


def test_telldir_and_seekdir(full, shared, shared_mount):
    """A listing can be left and gone on with anywhere, in a directory of any kind."""
    program = os.path.join(shared.dir, "seekdir")
    source = program + ".c"
    write(source, r"""
#include <dirent.h>
#include <stdio.h>
#include <string.h>
int main(int argc, char **argv)
{
	static char names[20000][256];
	static long at[20000];
	DIR *d = opendir(argv[1]);
	int n = 0, bad = 0;
	struct dirent *e;
	while (at[n] = telldir(d), (e = readdir(d)))
		strcpy(names[n++], e->d_name);
	for (int i = n - 1; i >= 0; i -= 1 + n / 50) {
		seekdir(d, at[i]);
		e = readdir(d);
		bad += !e || strcmp(e->d_name, names[i]);
	}
	rewinddir(d);
	for (int i = 0; (e = readdir(d)); i++)
		bad += strcmp(e->d_name, names[i]) != 0;
	closedir(d);
	printf("%d %d\n", n, bad);
	return argc > 2;
}
""")
    shared.run("gcc", "-o", program, source)
    for name in (".", "projects", "projects/p", "projects/p/experiments", "projects/p/runs",
                 "projects/p/code/code/branches", f"projects/p/runs/{full['artifacts']}",
                 f"projects/p/runs/{full['artifacts']}/artifacts/out",
                 f"projects/p/runs/{full['failed']}/tags", "projects/p/code/code/commits"):
        n, bad = map(int, shared.run(program, shared_mount.path(name)).stdout.split())
        assert n == len(os.listdir(shared_mount.path(name))) + 2 and bad == 0, name


def test_a_listing_while_entries_come_and_go(full, shared, shared_mount):
    """Nobody who was there all the time is left out or told twice."""
    where = shared_mount.path("projects/p/experiments")
    stay = set(os.listdir(where))
    changing = subprocess.Popen(["bash", "-c", "for i in $(seq 300); do mkdir b$i; rmdir b$i; done"],
                                cwd=where, stderr=subprocess.PIPE, text=True)
    while changing.poll() is None:
        names = os.listdir(where)
        assert len(names) == len(set(names)) and stay <= set(names)
    assert changing.communicate()[1] == "" and set(os.listdir(where)) == stay
