# SPDX-License-Identifier: Apache-2.0
"""What a repository may hold, and how it is read: odd names, links, submodules, big files, big
directories, forced pushes, snapshots of checkouts."""
import hashlib
import os
import stat
import subprocess
import time

import pytest
import remotes
from remotes import code


@pytest.fixture
def up(platform):
    return remotes.Upstream(platform)


def add(platform, up, uri=None):
    code(platform, "add", "r", uri or up.bare)
    return code(platform, "branches", "r").refs()


def mirror(platform):
    folder = os.path.join(platform.data, "git")
    return [os.path.join(folder, x) for x in os.listdir(folder) if x.endswith(".git")][0]


def listing(platform, commit, path=""):
    """{name: (type, size)}, names as bytes."""
    out = code(platform, "ls", "r", commit, path, "-0", text=False).out
    found = {}
    for entry in out.split(b"\0")[:-1]:
        kind, size, name = entry.split(b" ", 2)
        found[name] = (kind.decode(), int(size))
    return found


def test_odd_names(platform, up):
    """Any bytes git can hold are names; contents and sizes are those of the file."""
    names = [b"plain", b"two\nlines", b"-rf", b"latin-\xe4\xf6", b"quote'\"$(id)`", b" blank ",
             "日本語".encode(), b"back\\slash", b"%41", b".hidden", b"x" * 255, b"tab\there"]
    for name in names:
        up.write(name, b"<" + name + b">\n")
        up.write(b"dir-" + name[:100] + b"/" + name, b"deep")
    commit = up.commit()
    add(platform, up)
    found = listing(platform, commit)
    for name in names:
        assert found[name] == ("f", len(name) + 3)
        assert found[b"dir-" + name[:100]] == ("d", 0)
        assert code(platform, "cat", "r", commit, name, text=False).out == b"<" + name + b">\n"
    assert len(found) == 2 * len(names)


def test_branch_names(platform, up):
    up.commit()
    odd = [b"feature/deep/er", b"caf\xe9", "ünï".encode(), b"with'quote", b"-".join([b"a"] * 60)]
    for name in odd:
        up.git("push", "-q", "origin", b"HEAD:refs/heads/" + name)
    code(platform, "add", "r", up.bare)
    out = code(platform, "branches", "r", text=False).out
    assert sorted(line[41:] for line in out.splitlines()) == sorted(odd + [b"main"])
    assert code(platform, "resolve", "r", b"caf\xe9", "-", text=False).out.startswith(
        up.head().encode())


def test_types_and_links(platform, up):
    """Executables, links out of the tree as their text, submodules as nothing to read."""
    up.write("run.sh", "#!/bin/sh\n", mode=0o755)
    os.symlink("/etc/passwd", os.path.join(up.work, "out"))
    os.symlink("../../../..", os.path.join(up.work, "up"))
    other = remotes.Upstream(platform, "other")
    other.write("inside")
    other.commit()
    up.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", other.bare, "sub")
    commit = up.commit()
    add(platform, up)
    found = listing(platform, commit)
    assert found[b"run.sh"] == ("x", 10)
    assert found[b"out"] == ("l", len("/etc/passwd"))
    assert found[b"up"] == ("l", len("../../../.."))
    assert found[b"sub"] == ("s", 0)
    assert code(platform, "cat", "r", commit, "out").out == "/etc/passwd"
    r = code(platform, "file", "r", commit, "out", check=False)
    assert "ELOOP out is a symbolic link" in r.err
    r = code(platform, "file", "r", commit, "../../etc/passwd", check=False)
    assert r.code == 1 and "ENOENT" in r.err
    r = code(platform, "file", "r", commit, "sub", check=False)
    assert "EISDIR sub is a submodule" in r.err


def test_hostile_tree(platform, up):
    """Names git itself would never write: not shown, not written out."""
    up.write("good", "good\n")
    up.commit()
    blob = up.git("rev-parse", "HEAD:good").strip()
    raw = b"".join(b"100644 " + name + b"\0" + bytes.fromhex(blob)
                   for name in (b"..", b".git", b"a/b", b"good"))
    tree = up.git("hash-object", "-t", "tree", "-w", "--literally", "--stdin", input=raw,
                  text=False).decode().strip()
    commit = up.git("commit-tree", "-m", "hostile", tree).strip()
    up.git("push", "-q", "--force", "origin", f"{commit}:refs/heads/main")
    add(platform, up)
    assert listing(platform, commit) == {b"good": ("f", 5)}
    where = os.path.join(platform.dir, "out")
    os.mkdir(where)
    out = code(platform, "export", "r", commit, where).out
    assert os.listdir(where) == ["good"] and ".. (not a file name)" in out


def test_lfs_pointer(platform, up):
    pointer = ("version https://git-lfs.github.com/spec/v1\n"
               f"oid sha256:{'0' * 64}\nsize 123456789\n")
    up.write("data/model.bin", pointer)
    commit = up.commit()
    add(platform, up)
    assert code(platform, "cat", "r", commit, "data/model.bin").out == pointer
    r = code(platform, "file", "r", commit, "data/model.bin", check=False)
    assert "EREMOTEIO data/model.bin is kept in Git LFS" in r.err
    where = os.path.join(platform.dir, "out")
    os.mkdir(where)
    assert code(platform, "export", "r", commit, where).out == \
        "data/model.bin (in Git LFS, only its pointer is here)\n"


def test_export(platform, up):
    """The same tree as a checkout: bytes, bits, links; through no link; twice gives the same."""
    for i in range(300):
        up.write(f"d{i % 7}/f{i}", os.urandom(i * 37))
    up.write("run.sh", "#!/bin/sh\n", mode=0o755)
    up.write("figures/a.png")
    up.write("deep/figures/b.png")
    up.write("deep/skip.tmp")
    outside = os.path.join(platform.dir, "outside")
    os.mkdir(outside)
    os.symlink(outside, os.path.join(up.work, "link"))
    commit = up.commit()
    add(platform, up)
    where = os.path.join(platform.dir, "out")
    os.mkdir(where)
    for _ in range(2):
        code(platform, "export", "r", commit, where)
        r = subprocess.run(["diff", "-r", "--no-dereference", "--exclude=.git", up.work, where],
                           stdout=subprocess.PIPE, text=True)
        assert r.returncode == 0, r.stdout
        assert os.stat(os.path.join(where, "run.sh")).st_mode & 0o111 == 0o111
        # what lies in the way is replaced, never written through
        os.unlink(os.path.join(where, "run.sh"))
        os.symlink(os.path.join(outside, "run.sh"), os.path.join(where, "run.sh"))
        subprocess.run(["rm", "-r", os.path.join(where, "d1")], check=True)
        os.symlink(outside, os.path.join(where, "d1"))
    code(platform, "export", "r", commit, where)
    assert os.listdir(outside) == []
    other = os.path.join(platform.dir, "part")
    os.mkdir(other)
    code(platform, "export", "r", commit, other, "", "figures/", "*.tmp", "deep")
    found = set(os.listdir(other))
    assert "figures" not in found and "deep" in found  # without a slash it is a file's name
    assert os.listdir(os.path.join(other, "deep")) == []
    sub = os.path.join(platform.dir, "sub")
    os.mkdir(sub)
    code(platform, "export", "r", commit, sub, "deep")
    assert sorted(os.listdir(sub)) == ["figures", "skip.tmp"]
    r = code(platform, "export", "r", commit, sub, "nowhere", check=False)
    assert "ENOENT no directory nowhere" in r.err


def test_export_of_a_damaged_mirror(platform, up):
    """A folder that cannot be read is no folder that is not there."""
    up.write("a/b/f")
    commit = up.commit()
    add(platform, up)
    git = mirror(platform)
    packs = os.path.join(git, "objects", "pack")
    for name in os.listdir(packs):
        path = os.path.join(platform.dir, name)
        os.rename(os.path.join(packs, name), path)
        if name.endswith(".pack"):
            with open(path, "rb") as pack:
                subprocess.run(["git", "--git-dir", git, "unpack-objects", "-q"], stdin=pack,
                               check=True)
    tree = platform.run("git", "--git-dir", git, "rev-parse", commit + ":a").stdout.strip()
    loose = os.path.join(git, "objects", tree[:2], tree[2:])
    os.chmod(loose, 0o600)
    with open(loose, "r+b") as f:
        f.write(b"damaged")
    where = os.path.join(platform.dir, "out")
    os.mkdir(where)
    for folder in ("a/b", "a"):
        r = code(platform, "export", "r", commit, where, folder, check=False)
        assert r.code and "EIO mirror " in r.err, r.err


def test_big_file(platform, up):
    """300 MB: read whole and right, in little memory, written to the cache once."""
    block = os.urandom(1 << 20)
    path = os.path.join(up.work, "big.bin")
    digest = hashlib.sha256()
    with open(path, "wb") as f:
        for i in range(300):
            piece = block[i:] + block[:i]
            f.write(piece)
            digest.update(piece)
    up.git("config", "core.compression", "0")
    commit = up.commit()
    add(platform, up)
    assert listing(platform, commit)[b"big.bin"] == ("f", 300 << 20)
    for cold in (True, False):
        with open(os.path.join(platform.dir, "got"), "wb") as out:
            r = subprocess.run([remotes.CODECTL, "cat", "r", commit, "big.bin"], stdout=out,
                               stderr=subprocess.PIPE, text=True, env=platform.env)
        assert r.returncode == 0, r.stderr
        with open(out.name, "rb") as f:
            assert hashlib.file_digest(f, "sha256").digest() == digest.digest() \
                if hasattr(hashlib, "file_digest") else \
                hashlib.sha256(f.read()).digest() == digest.digest()
        kib = int(r.stderr.split("kib=")[1].split()[0])
        assert kib < 150 * 1024, r.stderr
    cached = os.listdir(os.path.join(platform.cache, "blobs"))
    assert len(cached) == 1 and len(cached[0]) == 40
    where = os.path.join(platform.dir, "out")
    os.mkdir(where)
    code(platform, "export", "r", commit, where)
    assert os.path.getsize(os.path.join(where, "big.bin")) == 300 << 20


def test_cache_limit(platform, up):
    """Big files share the cache: what was not read for longest goes, every read is right."""
    remotes.option(platform, cache_limit="40M")
    contents = {f"f{i}": os.urandom(1 << 20) * 12 for i in range(5)}
    for name, content in contents.items():
        up.write(name, content)
    commit = up.commit()
    add(platform, up)
    names = {up.git("rev-parse", f"HEAD:{name}").strip(): name for name in contents}
    for name in ("f0", "f1", "f2", "f0", "f3", "f4"):
        assert code(platform, "cat", "r", commit, name, text=False).out == contents[name]
        folder = os.path.join(platform.cache, "blobs")
        assert sum(os.path.getsize(os.path.join(folder, x)) for x in os.listdir(folder)) <= 40 << 20
    assert sorted(names[x] for x in os.listdir(folder)) == ["f0", "f3", "f4"]


def test_50000_files_in_one_directory(platform, up):
    """True sizes for all of them in reasonable time; one name is found without waiting long."""
    for i in range(50000):
        with open(os.path.join(up.work, f"file-{i:05d}.txt"), "w") as f:
            f.write("x" * (i % 100))
    commit = up.commit()
    add(platform, up)
    begin = time.monotonic()
    found = listing(platform, commit)
    seconds = time.monotonic() - begin
    assert len(found) == 50000
    assert all(found[b"file-%05d.txt" % i] == ("f", i % 100) for i in range(50000))
    print(f"50000 files listed with sizes in {seconds:.2f} s")
    assert seconds < 10


def test_forced_push_keeps_what_was_pinned(platform, up):
    up.write("a")
    up.commit("base")
    up.write("b", "precious\n")
    lost = up.commit("to be lost")
    refs = add(platform, up)
    assert refs["main"] == lost
    code(platform, "pin", "r", lost)
    up.git("reset", "-q", "--hard", "HEAD~1")
    up.write("c")
    up.git("add", "-A")
    up.git("commit", "-q", "-m", "instead")
    up.push("main", "--force")
    fresh = up.head()
    assert code(platform, "resolve", "r", "main", "-").out == f"{fresh} main\n"
    # the worst that could happen: a prune and gc on both sides
    for where in (up.bare, mirror(platform)):
        platform.run("git", f"--git-dir={where}", "reflog", "expire", "--expire=now", "--all")
        platform.run("git", f"--git-dir={where}", "gc", "--quiet", "--prune=now")
    assert code(platform, "branches", "r").refs() == {"main": fresh}
    assert code(platform, "cat", "r", lost, "b").out == "precious\n"
    assert lost in code(platform, "commits", "r").out
    assert code(platform, "resolve", "r", "-", lost).out == f"{lost} -\n"


def test_deleted_branch(platform, up):
    remotes.option(platform, git_refresh="1s")
    up.commit()
    up.push("gone")
    up.git("push", "-q", "origin", "HEAD:refs/heads/x")
    assert set(add(platform, up)) == {"main", "gone", "x"}
    up.git("push", "-q", "origin", ":gone", ":x")
    up.git("push", "-q", "origin", "HEAD:refs/heads/x/y")  # a name that was a file
    r = code(platform, "resolve", "r", "gone", "-", check=False)
    assert "ENOENT" in r.err and 'no branch "gone"' in r.err
    code(platform, "watch", "r", "x/y", up.head(), deadline=10000)
    assert set(code(platform, "branches", "r").refs()) == {"main", "x/y"}


def test_empty_repository(platform, up):
    """Nothing was ever committed: no branches is the truth; what to do is said at submission."""
    assert add(platform, up) == {}
    assert code(platform, "log", "r").out == ""
    r = code(platform, "resolve", "r", "-", "-", check=False)
    assert "ENOENT" in r.err and "has no branch yet" in r.err
    up.commit()
    assert code(platform, "resolve", "r", "-", "-").out == f"{up.head()} main\n"


def test_shallow_upstream(platform, up):
    for i in range(5):
        up.write("n", f"{i}\n")
        up.commit(f"number {i}")
    shallow = os.path.join(platform.dir, "shallow")
    platform.run("git", "clone", "-q", "--depth=2", "file://" + up.bare, shallow)
    assert add(platform, up, shallow)["main"] == up.head()
    log = code(platform, "log", "r").out.splitlines()
    assert len(log) == 2 and log[0].endswith("  number 4")
    assert code(platform, "cat", "r", up.head(), "n").out == "4\n"


def test_default_branch_and_log(platform, up):
    up.commit("one\ttab")
    up.git("push", "-q", "origin", "HEAD:refs/heads/trunk")
    platform.run("git", f"--git-dir={up.bare}", "symbolic-ref", "HEAD", "refs/heads/trunk")
    add(platform, up)
    assert code(platform, "resolve", "r", "-", "-").out == f"{up.head()} trunk\n"
    line = code(platform, "log", "r").out
    assert line.startswith(up.head() + " 20") and line.endswith("Z Ana  one tab\n")
    code(platform, "add", "r", up.bare, "main")
    assert code(platform, "resolve", "r", "-", "-").out == f"{up.head()} main\n"
    for i in range(220):
        up.git("commit", "-q", "--allow-empty", "-m", f"n{i}")
    up.push()
    code(platform, "resolve", "r", "main", "-")
    assert len(code(platform, "log", "r").out.splitlines()) == 200


def test_mlprojects(platform, up):
    for path in ("MLproject", "b/MLproject", "a/deep/MLproject", "a/MLproject.txt"):
        up.write(path)
    os.symlink("MLproject", os.path.join(up.work, "b", "mlproject"))
    commit = up.commit()
    add(platform, up)
    assert code(platform, "mlprojects", "r", commit).out.split() == \
        ["MLproject", "a/deep/MLproject", "b/MLproject"]


def test_a_commit_no_branch_shows(platform, up):
    """A pull request's head, or one pushed away: asked for by its id."""
    up.write("pr", "pr\n")
    up.git("add", "-A")
    up.git("commit", "-q", "-m", "pr")
    commit = up.head()
    up.git("push", "-q", "origin", "HEAD:refs/pull/1/head")
    up.git("commit", "-q", "--allow-empty", "-m", "x")
    up.push()
    with remotes.web(up) as (uri, _):
        add(platform, up, uri)
        assert code(platform, "cat", "r", commit, "pr").out == "pr\n"
        r = code(platform, "ls", "r", "f" * 40, check=False)
        assert "ENOENT" in r.err


def test_repository_rows(platform, up):
    """rmdir takes only what a mkdir left untouched."""
    code(platform, "add", "fresh")
    code(platform, "rename", "fresh", "renamed")
    code(platform, "add", "other")
    r = code(platform, "rename", "other", "renamed", check=False)
    assert "EEXIST" in r.err
    code(platform, "remove", "other")
    assert "ENOENT" in code(platform, "show", "other", check=False).err
    r = code(platform, "remove", "renamed", check=False)
    assert "ENOTEMPTY" in r.err
    up.commit()
    add(platform, up)
    assert "ENOTEMPTY" in code(platform, "remove", "r", check=False).err
    r = code(platform, "add", "nl\nx", check=False)
    assert "EINVAL" in r.err
    assert code(platform, "branches", "renamed").out == ""


# --- code: {path: DIR} ---------------------------------------------------------------------------

def frozen(folder):
    """Everything about a folder that must not change: names, types, modes, times, bytes."""
    found = {}
    for where, dirs, files in os.walk(os.fsencode(folder)):
        for name in dirs + files:
            path = os.path.join(where, name)
            st = os.lstat(path)
            content = b""
            if stat.S_ISLNK(st.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(st.st_mode):
                with open(path, "rb") as f:
                    content = f.read()
            found[path] = (st.st_mode, st.st_mtime_ns, st.st_size, st.st_ino, content)
    return found


def snapshot(platform, path, **kwargs):
    r = code(platform, "snapshot", "-", path, **kwargs)
    if r.code:
        return r
    first, _, diff = r.out.partition("\n")
    repository, commit, head, dirty = first.split()
    return repository, commit, head, dirty == "dirty", diff


def test_snapshot(platform, up):
    """Tracked as it is now, untracked, not ignored; the checkout stays as it was to the byte."""
    up.write(".gitignore", "*.log\nbig/\n")
    up.write(".gitattributes", "*.f filter=trap\n*.txt text eol=crlf\n")
    up.write("train.py", "print(1)\n")
    up.write("gone.py")
    up.write("sub/dir/x.txt", "one\ntwo\n")
    head = up.commit()
    marker = os.path.join(platform.dir, "marker")
    up.git("config", "filter.trap.clean", f"touch {marker}; cat")
    up.git("config", "core.fsmonitor", f"touch {marker}")
    before = frozen(up.work)
    repository, commit, found, dirty, diff = snapshot(platform, up.work)
    assert (found, dirty, diff) == (head, False, "")
    assert frozen(up.work) == before
    up.write("train.py", "print(2)\n")
    up.write("new file.f", b"\0binary\xff")
    up.write("noise.log")
    up.write("big/thing")
    up.write("run.sh", "#!/bin/sh\n", mode=0o755)
    os.symlink("/nowhere", os.path.join(up.work, "link"))
    os.unlink(os.path.join(up.work, "gone.py"))
    os.utime(os.path.join(up.work, "sub/dir/x.txt"), (1, 1))  # would refresh an index
    before = frozen(up.work)
    repository, commit, found, dirty, diff = snapshot(platform, up.work)
    assert frozen(up.work) == before and not os.path.exists(marker)
    assert (found, dirty) == (head, True)
    for words in ("-print(1)\n+print(2)", "new file.f", "deleted file mode 100644", "run.sh"):
        assert words in diff, diff
    assert "noise" not in diff and "big" not in diff and "x.txt" not in diff
    where = os.path.join(platform.dir, "out")
    os.mkdir(where)
    code(platform, "export", repository, commit, where)
    assert sorted(os.listdir(where)) == [".gitattributes", ".gitignore", "link", "new file.f",
                                         "run.sh", "sub", "train.py"]
    with open(os.path.join(where, "new file.f"), "rb") as f:
        assert f.read() == b"\0binary\xff"
    assert os.readlink(os.path.join(where, "link")) == "/nowhere"
    # the hidden mirror is nobody's repository
    assert "ENOENT" in code(platform, "show", repository, check=False).err
    assert code(platform, "resolve", repository, "-", commit).out == f"{commit} -\n"


def test_snapshot_of_a_folder_below_a_checkout(platform, up):
    up.write("other")
    up.write("part/a", "1\n")
    up.commit()
    up.write("part/a", "2\n")
    _, commit, head, dirty, diff = snapshot(platform, os.path.join(up.work, "part"))
    assert dirty and head == up.head() and "other" not in diff and "-1\n+2" in diff


def test_snapshot_of_a_plain_folder(platform):
    folder = os.path.join(platform.dir, "plain")
    os.makedirs(os.path.join(folder, "a/b"))
    for path in ("x", "a/y", "a/b/z"):
        with open(os.path.join(folder, path), "w") as f:
            f.write(path)
    os.mkfifo(os.path.join(folder, "pipe"))
    repository, commit, head, dirty, diff = snapshot(platform, folder)
    assert (head, dirty, diff) == ("-", True, "")
    assert code(platform, "cat", repository, commit, "a/b/z").out == "a/b/z"


def test_snapshot_of_a_checkout_without_a_commit(platform):
    folder = os.path.join(platform.dir, "fresh")
    platform.run("git", "init", "-q", folder)
    with open(os.path.join(folder, "a"), "w") as f:
        f.write("1\n")
    _, commit, head, dirty, diff = snapshot(platform, folder)
    assert head == "-" and dirty and "+1" in diff


@pytest.mark.parametrize("path, words", [
    ("relative", "EINVAL"),
    ("/no/such/folder", "ENOENT"),
    ("/etc/passwd", "ENOTDIR"),
])
def test_snapshot_refused(platform, path, words):
    r = snapshot(platform, path, check=False)
    assert r.code == 1 and words in r.err and path in r.err, r.err
