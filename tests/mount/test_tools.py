# SPDX-License-Identifier: Apache-2.0
"""Everyday tools give byte-identical files and the sizes they show are true."""
import filecmp
import hashlib
import mmap
import os
import re
import subprocess
import tarfile
import zipfile

import pytest

BIG = 5 * 1024 * 1024 + 321


@pytest.fixture(scope="module")
def tree(shared, shared_mount):
    """A commit's directory in the mount, and the same on disk: (mounted, original)."""
    where = os.path.join(shared.dir, "repo")
    os.makedirs(os.path.join(where, "deep/er"))
    with open(os.path.join(where, "deep/er/big.bin"), "wb") as f:
        seed = b"mantik"
        while f.tell() < BIG:
            seed = hashlib.sha256(seed).digest()
            f.write(seed * 64)
        f.truncate(BIG)
    for i in range(300):
        with open(os.path.join(where, f"deep/f{i:03}.txt"), "w") as f:
            f.write("".join(f"line {j} of {i}\n" for j in range(i)))
    with open(os.path.join(where, "deep/name with spaces ü"), "w") as f:
        f.write("needle\n")
    os.symlink("er/big.bin", os.path.join(where, "deep/link"))
    os.chmod(os.path.join(where, "train.py"), 0o755)
    sha = shared.commit(where, "more")
    return shared_mount.path("projects/p/code/code/commits", sha), where


def same(a, b):
    """All files and links of b (without .git) are in a, equal in bytes and kind."""
    out = []
    for folder, dirs, files in os.walk(b):
        dirs[:] = [d for d in dirs if d != ".git"]
        for name in files + dirs:
            theirs = os.path.join(folder, name)
            ours = os.path.join(a, os.path.relpath(theirs, b))
            if os.path.islink(theirs):
                if os.readlink(theirs) != os.readlink(ours):
                    out.append(ours)
            elif os.path.isdir(theirs):
                if sorted(set(os.listdir(theirs)) - {".git"}) != sorted(os.listdir(ours)):
                    out.append(ours)
            elif not filecmp.cmp(ours, theirs, shallow=False):
                out.append(ours)
    return out


def test_sizes_and_bytes(tree):
    assert same(*tree) == []
    ours, theirs = tree
    for name in ("train.py", "deep/er/big.bin", "deep/f007.txt"):
        st = os.stat(os.path.join(ours, name))
        assert st.st_size == os.path.getsize(os.path.join(theirs, name))
        assert st.st_blocks == (st.st_size + 511) // 512
    assert os.stat(os.path.join(ours, "train.py")).st_mode & 0o111
    assert not os.stat(os.path.join(ours, "digits.py")).st_mode & 0o111


@pytest.mark.parametrize("command", [
    "cp -r $0/. $1", "cp -a $0/. $1", "rsync -a $0/ $1", "tar -C $0 -cf - . | tar -C $1 -xf -",
    "rsync -a --inplace $0/ $1 && rsync -rlc --itemize-changes $0/ $1 | (! grep .)",
    "cd $0 && find . | cpio -pdm $1 2>/dev/null || cp -r $0/. $1",
    "cd $0 && zip -qry $1.zip . && cd $1 && python3 -c "
    "\"import zipfile,sys; zipfile.ZipFile(sys.argv[1]).testzip()\" $1.zip && cp -r $0/. $1",
])
def test_copies_are_whole(shared, tree, command, tmp_path):
    ours, theirs = tree
    to = os.path.join(shared.dir, "copy")
    shared.sh(f"chmod -R u+w {to} 2>/dev/null || true; rm -rf {to} {to}.zip; mkdir {to}")
    shared.sh(command.replace("$0", ours).replace("$1", to))
    shared.sh(f"chmod -R u+w {to}")
    assert same(to, theirs) == []


def test_archives_hold_true_sizes(shared, tree):
    ours, theirs = tree
    tar, archive = (os.path.join(shared.dir, n) for n in ("a.tar", "a.zip"))
    shared.run("tar", "-cf", tar, "-C", ours, ".")
    shared.sh(f"rm -f {archive}; cd {ours} && zip -qr {archive} .")
    size = os.path.getsize(os.path.join(theirs, "train.py"))
    with tarfile.open(tar) as t:
        assert t.getmember("./train.py").size == size
        assert t.getmember("./deep/er/big.bin").size == BIG
    with zipfile.ZipFile(archive) as z:
        assert z.getinfo("train.py").file_size == size
        assert z.testzip() is None


def test_search_and_count(shared, tree):
    ours, theirs = tree
    for command in ("grep -rl needle . | sort", "find . -type f | sort", "find . -empty | sort",
                    "find deep -name 'f0*' -size +1k | sort", "du -ab --exclude=.git deep/er | sort",
                    "wc -l $(find deep -name 'f*.txt' | sort)", "wc -c train.py digits.py",
                    "tail -n 3 train.py", "tail -c 10 deep/er/big.bin | od -c", "head -c 5 train.py",
                    "sha256sum train.py deep/er/big.bin", "file train.py MLproject || true",
                    "dd if=deep/er/big.bin bs=64k skip=3 count=2 2>/dev/null | md5sum",
                    "cmp train.py train.py && echo same", "sort deep/f250.txt | head -3",
                    "less train.py | cat", "vim -es -u NONE -R -c '%print' -c 'q!' train.py"):
        command = command.replace("-type f", "-type f -not -path './.git/*'")
        command = command.replace("-empty", "-empty -not -path './.git/*'")
        command = command.replace("grep -rl", "grep -rl --exclude-dir=.git")
        got, want = (shared.sh(command, cwd=cwd).stdout for cwd in (ours, theirs))
        if command.startswith("du"):  # directories have sizes of their own
            got, want = ("\n".join(l for l in t.splitlines() if "big" in l) for t in (got, want))
        assert got == want, command


def test_mmap(tree):
    ours, theirs = (os.path.join(t, "deep/er/big.bin") for t in tree)
    with open(ours, "rb") as a, open(theirs, "rb") as b:
        with mmap.mmap(a.fileno(), 0, prot=mmap.PROT_READ) as x, \
             mmap.mmap(b.fileno(), 0, prot=mmap.PROT_READ) as y:
            assert x[:] == y[:]
        with mmap.mmap(a.fileno(), 0, flags=mmap.MAP_PRIVATE) as x:
            assert x[-100:] == open(theirs, "rb").read()[-100:]


def test_reads_at_odd_places(tree):
    ours, theirs = (os.path.join(t, "deep/er/big.bin") for t in tree)
    a, b = os.open(ours, os.O_RDONLY), os.open(theirs, os.O_RDONLY)
    for offset in (0, 1, 4095, 131071, 1048577, BIG - 1, BIG, BIG + 5):
        for size in (1, 4096, 200000, 3000000):
            assert os.pread(a, size, offset) == os.pread(b, size, offset), (offset, size)
    os.close(a), os.close(b)


def test_every_text_of_the_tree_has_a_true_size(shared, shared_mount):
    """What stat shows is what is read, all over the mount; and everything can be listed."""
    for folder, dirs, files in os.walk(shared_mount.where):
        for name in files:
            path = os.path.join(folder, name)
            if os.path.basename(folder) == ".mantik" or name in ("new", "ctl"):
                continue  # they change while they are read
            with open(path, "rb") as f:
                size = os.fstat(f.fileno()).st_size
                assert len(f.read()) == size == os.stat(path).st_size, path
        for name in dirs:
            os.stat(os.path.join(folder, name))


def test_inodes_are_unique_and_stable(shared, shared_mount):
    def inodes():
        found = {}
        for folder, dirs, files in os.walk(shared_mount.where):
            for name in dirs + files:
                path = os.path.join(folder, name)
                found[path] = os.lstat(path).st_ino
        return found
    first = inodes()
    assert len(set(first.values())) == len(first)
    subprocess.run(["sh", "-c", "echo 2 > /proc/sys/vm/drop_caches"], check=False)
    again = inodes()
    assert {p: i for p, i in again.items() if p in first} == first


def test_df_and_stat_f(shared, shared_mount):
    out = shared.run("stat", "-f", "-c", "%T %s", shared_mount.where).stdout.split()
    assert int(out[-1]) > 0
    assert "mantikfs" in shared.run("df", shared_mount.where).stdout
    with open("/proc/self/mounts") as f:
        assert any(l.split()[2] == "fuse.mantikfs" for l in f if shared_mount.where in l)


def test_what_the_tree_does_not_do(shared, shared_mount):
    p = shared_mount.path("projects/p")
    for command, word in (("mkfifo x", "not permitted"), ("ln project.yaml x", "not permitted"),
                          ("setfattr -n user.a -v b project.yaml 2>&1 || "
                           "python3 -c \"import os; os.setxattr('project.yaml', 'user.a', b'b')\"",
                           "not supported"),
                          ("mv project.yaml runs/", "not permitted"),
                          ("ln -s a x", "not permitted")):
        r = shared.sh(command, cwd=p, check=False)
        assert r.returncode and word in (r.stdout + r.stderr), (command, r.stdout, r.stderr)


def test_ls_asks_for_no_xattrs_twice(shared, shared_mount):
    """ENOSYS is remembered by the kernel: a listing costs listings, not a request an entry."""
    import json

    def requests():
        with open(shared_mount.path(".mantik/stats.json")) as f:
            return sum(json.load(f)["requests"].values())
    where = shared_mount.path("projects/p/code/code/commits")
    where = os.path.join(where, sorted(os.listdir(where))[0], "")
    shared.run("ls", "-l", where)
    before = requests()
    shared.run("ls", "-l", where)
    assert requests() - before < 25


def test_trace_is_switched_on_and_off(shared, shared_mount):
    trace, readme = shared_mount.path(".mantik/trace"), shared_mount.path("projects/p/README.md")
    shared.sh(f"echo on > {trace}; cat {readme}; "
              f"rm {readme} || true; echo off > {trace}")
    with open(trace) as f:
        lines = f.read().splitlines()
    assert [l for l in lines if " open /projects/p/README.md" in l and l.endswith(": ok")], lines
    assert [l for l in lines if " unlink /projects/p/README.md" in l and l.endswith(": EPERM")], lines
    assert not [l for l in lines if "/.mantik/trace" in l]
    shared.run("cat", readme)
    with open(trace) as f:
        assert f.read().splitlines() == lines
    with pytest.raises(OSError) as e, open(trace, "w") as f:
        f.write("maybe\n")
    assert e.value.errno == 22


def test_trace_of_components(shared, shared_mount):
    trace = shared_mount.path(".mantik/trace")
    code = shared_mount.path("projects/p/code/traced")
    os.mkdir(code)
    shared.sh(f"echo exec db > {trace}")
    shared.run("cp", "/dev/stdin", code + "/repository.yaml", check=False,
               input="uri: http://ana:hunter2secret@127.0.0.1:9/x\n")
    shared.sh(f"echo off > {trace}")
    with open(trace) as f:
        lines = [l.split(" ", 1)[1] for l in f.read().splitlines()]
    new = [l for l in lines if not l.startswith("fuse ")]
    assert [l for l in new if re.match(r"exec #\d+ git .* pid \d+ \d+ us: ", l)], lines
    assert [l for l in new if re.match(r"db( #\d+)? \d+ writes", l)], lines
    assert "hunter2secret" not in "".join(lines)
