# SPDX-License-Identifier: Apache-2.0
"""Real editors on every editable text: content equal, nothing left behind, seen by a second mount
within a second; an invalid save is refused, with the old text intact."""
import os
import shutil
import subprocess

import pytest
from mantik import wait_for
from mount import Mount, type_in

TEXTS = ["project.yaml", "README.md", "experiments/e/experiment.yaml",
         "code/code/repository.yaml", "runs/defaults.yaml"]
LINE = "# a line of mine"
NODE = """
const fs = require('fs');
const text = fs.readFileSync(process.argv[1], 'utf8');
const fd = fs.openSync(process.argv[1], 'w');
fs.writeSync(fd, process.argv[2] + '\\n' + text);
fs.fdatasyncSync(fd);
fs.closeSync(fd);
"""
EMACS = """(progn (find-file "{path}") (goto-char (point-min)) (insert "{line}\\n") (save-buffer))"""


def need(name):
    if not shutil.which(name):
        pytest.skip(f"no {name}")


def vim(p, path, line, *more):
    need("vim")
    return p.run("vim", "-es", "-N", *more, "-c", f"1s/^/{line}\\r/", "-c", "wq", path, check=False)


def by_vim(p, path, line):
    return vim(p, path, line, "-u", "NONE")


def by_vim_backup(p, path, line):
    return vim(p, path, line, "--cmd", "set backup writebackup swapfile")


def by_nano(p, path, line):
    need("nano")
    shown, code = type_in(p, ["nano", "-I", "-L", path],
                          [line.encode() + b"\r", b"\x0f", b"\r", b"\x18", b"n"])
    return subprocess.CompletedProcess([], code or "Error writing" in shown, shown, shown)


def by_emacs(p, path, line):
    need("emacs")
    return p.run("emacs", "-Q", "--batch", "--eval", EMACS.format(path=path, line=line), check=False)


def by_sed(p, path, line):
    return p.run("sed", "-i", f"1i {line}", path, check=False)


def by_perl(p, path, line):
    need("perl")
    return p.run("perl", "-i", "-pe", f"print qq({line}\\n) if $. == 1", path, check=False)


def by_patch(p, path, line):
    need("patch")
    with open(path) as f:
        first = f.readline()
    return p.run("patch", path, check=False,
                 input=f"--- a\n+++ b\n@@ -1,1 +1,2 @@\n+{line}\n {first}")


def by_node(p, path, line):
    need("node")
    return p.run("node", "-e", NODE, path, line, check=False)


def by_cp(p, path, line):
    return p.sh('{ echo "$1"; cat "$0"; } > new && cp new "$0"'.replace("$0", path).replace(
        '"$1"', f"'{line}'"), check=False)


def by_rename(p, path, line):
    scratch = os.path.join(os.path.dirname(path), ".mine.a1B2c3")
    r = p.sh(f"{{ echo '{line}'; cat {path}; }} > {scratch} && mv {scratch} {path}", check=False)
    if os.path.exists(scratch):  # refused: mv leaves what it could not move
        os.unlink(scratch)
    return r


def by_rsync(p, path, line):
    need("rsync")
    return p.sh(f"{{ echo '{line}'; cat {path}; }} > new && rsync --ignore-times new {path}",
                check=False)


def by_python(p, path, line):
    script = ("import sys\nold=open(sys.argv[1]).read()\n"
              "with open(sys.argv[1],'w') as f: f.write(sys.argv[2]+'\\n'+old)")
    return p.run("python3", "-c", script, path, line, check=False)


EDITORS = [by_vim, by_vim_backup, by_nano, by_emacs, by_sed, by_perl, by_patch, by_node, by_cp,
           by_rename, by_rsync, by_python]


def read(path):
    with open(path) as f:
        return f.read()


@pytest.fixture(scope="module")
def second(shared, shared_mount):
    with Mount(shared, where=os.path.join(shared.dir, "second"), seconds=600) as m:
        yield m


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("editor", EDITORS)
def test_edit(shared, shared_mount, second, editor, text):
    path = shared_mount.path("projects/p", text)
    names, before = os.listdir(os.path.dirname(path)), read(path)
    other = second.path("projects/p", text)
    assert read(other) == before
    r = editor(shared, path, LINE)
    assert r.returncode == 0, r.stderr
    assert read(path) == f"{LINE}\n{before}"
    wait_for(lambda: read(other) == f"{LINE}\n{before}", "the other mount", 1)
    assert sorted(os.listdir(os.path.dirname(path))) == sorted(names)
    with open(path, "w") as f:
        f.write(before)


@pytest.mark.parametrize("text", [t for t in TEXTS if t.endswith(".yaml")])
@pytest.mark.parametrize("editor", EDITORS)
def test_invalid_save_is_refused(shared, shared_mount, editor, text):
    path = shared_mount.path("projects/p", text)
    names, before = os.listdir(os.path.dirname(path)), read(path)
    r = editor(shared, path, "nonsense_key: [1, 2")
    assert r.returncode != 0 or "nvalid argument" in r.stdout + r.stderr, (r.stdout, r.stderr)
    assert read(path) == before
    assert sorted(os.listdir(os.path.dirname(path))) == sorted(names)
    errors = read(shared_mount.path(".mantik/errors")).splitlines()
    assert [e for e in errors[-5:] if os.path.basename(text) in e and "EINVAL" in e], errors[-5:]


def test_save_over_a_version_not_read_is_refused(shared, shared_mount, second):
    path, other = (m.path("projects/p/project.yaml") for m in (shared_mount, second))
    mine = open(path, "r+")
    old = mine.read()
    wait_for(lambda: read(other) == old, "the text of now", 2)
    with open(other, "w") as f:
        f.write("summary: theirs\n")
    mine.seek(0)
    with pytest.raises(OSError) as e:
        mine.truncate()
        mine.write("summary: mine\n")
        mine.close()
    assert e.value.errno == 16  # EBUSY
    wait_for(lambda: read(path) == "summary: theirs\n", "theirs", 2)
    with open(path, "w") as f:
        f.write(old)


def test_close_in_one_mount_though_open_in_another(shared_mount, second):
    """A text has one inode number in every mount: a descriptor of the other is no copy of ours, so
    the close is the end of the text and says what is wrong with it."""
    path, other = (m.path("projects/p/project.yaml") for m in (shared_mount, second))
    before = read(path)
    with open(path, "r+"):
        with pytest.raises(OSError) as e:
            with open(other, "w") as f:
                f.write("nonsense_key: 1\n")
        assert e.value.errno == 22  # EINVAL
    assert read(path) == before


def test_unknown_names_are_refused(shared_mount):
    for name in ("new.yaml", "notes.txt", "x"):
        with pytest.raises(PermissionError):
            open(shared_mount.path("projects/p", name), "w")


def test_scratch_files_are_seen_by_nobody_else(shared_mount, second):
    path = shared_mount.path("projects/p/.project.yaml.swp")
    with open(path, "w") as f:
        f.write("x")
    assert read(path) == "x"
    assert ".project.yaml.swp" not in os.listdir(second.path("projects/p"))
    os.unlink(path)
