# SPDX-License-Identifier: Apache-2.0
"""Copying into artifacts/ of a run of a real MLflow server, and editing its models: every way people
copy, what the server then has, what is refused and why; the server gone, the programs killed."""
import contextlib
import errno
import filecmp
import glob
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse

import pytest
from httpserve import free_port, nginx
from mantik import Platform, wait_for
from mounted import Mounted, read
from tracking import mlflow, starter


class Writer(Mounted):
    """A mount with a run of its own; there: its artifacts in the mount, stored: those at the server,
    as files of its own store."""

    def begin(self):
        self.experiment = self.api("experiments/create", {"name": f"copying {id(self)}"})[
            "experiment_id"]
        self.id = self.api("runs/create", {
            "experiment_id": self.experiment, "run_name": "copied", "start_time": 1})[
                "run"]["info"]["run_id"]
        self.api("runs/update", {"run_id": self.id, "status": "FINISHED", "end_time": 2})
        self.stored = f"{self.server.artifacts}/{self.experiment}/{self.id}/artifacts"

    @property
    def there(self):
        return f"{self.project}/runs/copied.{self.id[:8]}/artifacts"

    def sh(self, script, **more):
        """A script that finds the artifacts in $A."""
        return self.platform.run("bash", "-c", script, env={"A": self.there}, **more)

    def why(self):
        return self.platform.ctl("why").stdout

    def waiting(self):
        return glob.glob(f"{self.platform.data}/uploads/*")

    def held(self):
        """Descriptors the mount has of files on their way."""
        found = []
        for pid in self.daemons().split():
            for fd in glob.glob(f"/proc/{int(pid)}/fd/*"):
                with contextlib.suppress(OSError):
                    found += [t for t in [os.readlink(fd)] if "/uploads/" in t]
        return found

    def settle(self):
        """Everything is at the server."""
        wait_for(lambda: not self.waiting(), "the uploads to end", 60)

    def same(self, source, name):
        """The tree is in the mount at once, and at the server soon."""
        self.platform.run("diff", "-r", source, f"{self.there}/{name}")
        self.settle()
        check_files(source, f"{self.stored}/{name}")
        self.platform.run("diff", "-r", source, f"{self.there}/{name}")


def check_files(source, stored):
    """The same files; a store has no empty directories."""
    def files(top):
        return sorted(os.path.relpath(os.path.join(w, f), top)
                      for w, _, fs in os.walk(top) for f in fs)
    assert files(source) == files(stored)
    for name in files(source):
        assert filecmp.cmp(f"{source}/{name}", f"{stored}/{name}", shallow=False), name


@pytest.fixture(scope="module")
def writer():
    platform = Platform()
    try:
        with mlflow(platform, seed=False) as server:
            w = Writer(platform, server)
            w.begin()
            w.mount()
            yield w
            w.leave()
    finally:
        platform.end()


@pytest.fixture(scope="module")
def source(writer):
    """A tree of the sort that jobs leave."""
    top = os.path.join(writer.platform.dir, "source")
    os.makedirs(f"{top}/plots/deep er/größe")
    for name, size in (("model.bin", 3000001), ("empty", 0), ("plots/a b%20x.png", 4096),
                       ("plots/deep er/größe/日本.txt", 5), (".hidden", 7), ("100% done", 3)):
        with open(f"{top}/{name}".replace("%20", "+"), "wb") as f:
            f.write(os.urandom(size))
    os.utime(f"{top}/model.bin", (1500000000, 1500000000))
    os.chmod(f"{top}/model.bin", 0o750)
    return top


# --- the ways of copying -------------------------------------------------------------------------

@pytest.mark.parametrize("name, script", [
    ("cp-r", "cp -r {source} $A/cp-r"),
    ("cp-a", "cp -a {source} $A/cp-a"),
    ("rsync", "rsync -a {source}/ $A/rsync/"),
    ("tar", "mkdir $A/tar && tar -C {source} -cf - . | tar -C $A/tar -xf -"),
    ("python", "{python} -c \"import shutil; shutil.copytree('{source}', '$A/python')\""),
    ("install", "cd {source} && find . -type f -exec install -D {{}} $A/install/{{}} \\;"),
])
def test_a_tree(writer, source, name, script):
    if name == "rsync" and not shutil.which("rsync"):
        pytest.skip("rsync is not installed")
    writer.sh(script.format(source=source, python=sys.executable))
    writer.same(source, name)


def test_redirection(writer):
    writer.sh("""echo one > $A/one
        { echo a; echo b >&2; (echo c); seq 3; } > $A/several 2> /dev/null
        : > $A/nothing; touch $A/touched; seq 100000 | tee $A/tee > /dev/null
        dd if=/dev/zero of=$A/dd bs=1000 count=1000 conv=fsync 2> /dev/null""")
    expected = {"one": "one\n", "several": "a\nc\n1\n2\n3\n", "nothing": "", "touched": "",
                "tee": "".join(f"{i}\n" for i in range(1, 100001)), "dd": "\0" * 1000000}
    for name, text in expected.items():
        assert read(f"{writer.there}/{name}") == text
    writer.settle()
    for name, text in expected.items():
        assert read(f"{writer.stored}/{name}") == text


def test_written_as_programs_write(writer):
    """Not from the beginning to the end: a zip, a header that comes last."""
    import zipfile
    with zipfile.ZipFile(f"{writer.there}/x.zip", "w") as z:
        z.writestr("a", "b" * 10000)
        z.writestr("c/d", "e")
    with open(f"{writer.there}/seeks", "w+b") as f:
        f.write(b"....")
        f.seek(1 << 20)
        f.write(b"end")
        f.seek(0)
        assert f.read(6) == b"....\0\0"
        f.seek(0)
        f.write(b"head")
        f.truncate((1 << 20) + 2)
        assert os.fstat(f.fileno()).st_size == (1 << 20) + 2
        # while it is written it is seen in this mount, and at the server it is not
        assert "seeks" in os.listdir(writer.there)
        assert not os.path.exists(f"{writer.stored}/seeks")
    # renamed when it is done, as careful programs do
    with open(f"{writer.there}/.result.Xy12Zq", "x") as f:
        f.write("result")
    assert not os.path.exists(f"{writer.stored}/.result.Xy12Zq")
    os.rename(f"{writer.there}/.result.Xy12Zq", f"{writer.there}/result")
    writer.settle()
    assert zipfile.ZipFile(f"{writer.stored}/x.zip").read("a") == b"b" * 10000
    with open(f"{writer.stored}/seeks", "rb") as f:
        data = f.read()
    assert data[:4] == b"head" and data[-2:] == b"en" and len(data) == (1 << 20) + 2
    assert read(f"{writer.stored}/result") == "result"
    assert not glob.glob(f"{writer.stored}/.r*")


# --- what is refused -----------------------------------------------------------------------------

def refused(act):
    with pytest.raises(OSError) as e:
        act()
    return e.value.errno


def test_names(writer):
    for name, words in (("100%25.txt", "a % with two digits"), ("a#b", "a #"),
                        ("x\x01y", "control character")):
        assert refused(lambda: open(f"{writer.there}/{name}", "w")) == errno.EINVAL
        assert words in writer.why() and "give it another name" in writer.why()
        assert refused(lambda: os.mkdir(f"{writer.there}/{name}")) == errno.EINVAL
    r = writer.sh("cp /etc/hostname $A/100%25.txt", check=False)
    assert r.returncode and "Invalid argument" in r.stderr


def test_what_is_there_stays(writer):
    path = f"{writer.there}/stays"
    with open(path, "w") as f:
        f.write("first")
    for _ in range(2):  # on its way, and there
        assert refused(lambda: open(path, "w")) == errno.EEXIST
        assert "stay as they were logged" in writer.why()
        assert refused(lambda: open(path, "a")) == errno.EEXIST
        assert refused(lambda: os.truncate(path, 0)) == errno.EPERM
        assert refused(lambda: os.unlink(path)) == errno.EPERM
        assert refused(lambda: os.rename(path, path + "2")) == errno.EPERM
        assert refused(lambda: os.mkdir(path)) == errno.EEXIST
        assert read(path) == "first"
        writer.settle()
    assert refused(lambda: os.symlink("stays", f"{writer.there}/link")) == errno.EPERM
    assert refused(lambda: open(f"{writer.there}/stays/below", "w")) in (
        errno.ENOTDIR, errno.EEXIST)
    assert read(f"{writer.stored}/stays") == "first"


def test_directories(writer):
    where = f"{writer.there}/made"
    os.makedirs(f"{where}/deep")
    assert os.listdir(where) == ["deep"] and "made" in os.listdir(writer.there)
    assert refused(lambda: os.rmdir(where)) == errno.ENOTEMPTY
    os.rmdir(f"{where}/deep")
    os.rmdir(where)
    assert "made" not in os.listdir(writer.there)
    os.mkdir(where)
    with open(f"{where}/f", "w") as f:
        f.write("1")
    assert refused(lambda: os.rmdir(where)) == errno.ENOTEMPTY
    assert refused(lambda: shutil.rmtree(where)) in (errno.EPERM, errno.ENOTEMPTY)
    writer.settle()
    assert read(f"{writer.stored}/made/f") == "1"


def test_a_writer_that_is_killed(writer):
    """Half a file is no artifact."""
    for sig in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        p = writer.platform.start("bash", "-c", f"exec cat /dev/zero > {writer.there}/half")
        wait_for(lambda: os.path.exists(f"{writer.there}/half"), "it to begin")
        wait_for(lambda: os.stat(f"{writer.there}/half").st_size > 1 << 20, "it to go on")
        p.send_signal(sig)
        p.wait(20)
        wait_for(lambda: not os.path.exists(f"{writer.there}/half"), "it to be gone")
    writer.settle()
    assert not os.path.exists(f"{writer.stored}/half")
    # nor does the mount hold the disk it took, or that of what was sent
    wait_for(lambda: not writer.held(), "the bytes to be let go")


def test_a_server_that_refuses_the_file(writer):
    """What is in front of it takes small ones only: the close says so, and nothing is left."""
    port = free_port()
    with nginx(writer.platform, f"""server {{ listen 127.0.0.1:{port}; client_max_body_size 10k;
        location / {{ proxy_pass {writer.server.url}; }} }}""", "small"):
        other = os.path.join(writer.platform.dir, "other")
        os.makedirs(other)
        with writer.platform.mount("--tracking", f"http://localhost:{port}", where=other):
            runs = f"{other}/projects/localhost/runs"
            name = [n for n in os.listdir(runs) if n.startswith("copied.")]
            there = f"{runs}/{name[0]}/artifacts"
            shutil.copy("/bin/true", f"{writer.platform.dir}/program")
            r = writer.platform.run("cp", f"{writer.platform.dir}/program", f"{there}/large",
                                    check=False)
            assert r.returncode and "File too large" in r.stderr
            assert "client_max_body_size" in writer.why()
            assert not os.path.exists(f"{there}/large")
            assert not writer.waiting()
            with open(f"{there}/small", "w") as f:
                f.write("x")
            wait_for(lambda: os.path.exists(f"{writer.stored}/small"), "the small one")


def test_a_server_that_refuses_it_later(writer):
    """The close has said that it is safe: it stays, with the reason, until somebody gives it up."""
    port = free_port()
    server = f"""server {{ listen 127.0.0.2:{port}; client_max_body_size 10k;
        location / {{ proxy_pass {writer.server.url}; }} }}"""
    data = os.urandom(30000)
    p = writer.platform
    other = os.path.join(p.dir, "later")
    os.makedirs(other)
    with contextlib.ExitStack() as stack:
        with nginx(p, server, "open"):
            stack.enter_context(p.mount("--tracking", f"http://127.0.0.2:{port}", where=other))
            runs = f"{other}/projects/127.0.0.2/runs"
            name = [n for n in os.listdir(runs) if n.startswith("copied.")]
            os.listdir(f"{runs}/{name[0]}/artifacts")
        path = f"{runs}/{name[0]}/artifacts/kept"
        with open(path, "wb") as f:
            f.write(data)
        # meanwhile somebody else logs one of the same name
        taken = f"{runs}/{name[0]}/artifacts/taken"
        with open(taken, "w") as f:
            f.write("ours")
        os.makedirs(writer.stored, exist_ok=True)
        with open(f"{writer.stored}/taken", "w") as f:
            f.write("theirs")
        with nginx(p, server, "again"):
            unsent = f"{other}/.mantik/unsent"
            wait_for(lambda: read(unsent).count("\trefused: ") == 2, "the refusals", 60)
            assert "client_max_body_size" in read(unsent)
            assert "kept here" in p.ctl("why", path).stdout
            assert "somebody else has logged taken" in p.ctl("why", taken).stdout
            assert read(taken) == "ours" and read(f"{writer.stored}/taken") == "theirs"
            assert len(writer.waiting()) == 2
            with open(path, "rb") as f:
                assert f.read() == data
            p.ctl("discard", "--yes", path, taken)
            assert not writer.waiting()
            wait_for(lambda: not os.path.exists(path) and read(taken) == "theirs",
                     "what the server has")
            assert read(unsent).count("\n") == 1
    assert not os.path.exists(f"{writer.stored}/kept")


# --- without the server, and without us ----------------------------------------------------------

def stopped(writer):
    starter("stop", writer.server.folder)


def started(writer):
    port = writer.server.url.rsplit(":", 1)[1]
    writer.server.__dict__.update(starter("start", writer.server.folder, port))


def test_the_server_is_away(writer, source):
    os.listdir(writer.there)
    stopped(writer)
    try:
        writer.sh(f"cp -r {source} $A/away", timeout=60)
        with open(f"{writer.there}/late.txt", "w") as f:
            f.write("late")
        writer.platform.run("diff", "-r", source, f"{writer.there}/away")
        assert read(f"{writer.there}/late.txt") == "late"
        before = len(writer.waiting())
        assert before == 1 + sum(len(f) for _, _, f in os.walk(source))
        # nobody of ours is left, and the mount is another one: all of it is still there
        writer.leave()
        for pid in writer.platform.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not writer.platform.processes(), "everybody to be gone")
        writer.enter()
        assert len(writer.waiting()) == before
        writer.platform.run("diff", "-r", source, f"{writer.there}/away")
    finally:
        started(writer)
    writer.settle()
    check_files(source, f"{writer.stored}/away")
    assert read(f"{writer.stored}/late.txt") == "late"
    writer.platform.run("diff", "-r", source, f"{writer.there}/away")


@pytest.mark.full
def test_a_gibibyte(writer):
    """Whole, and ls of something else answers meanwhile."""
    source = os.path.join(writer.platform.dir, "big")
    with open(source, "wb") as f:
        for _ in range(64):
            f.write(os.urandom(16 << 20))
    copying = writer.platform.start("cp", source, f"{writer.there}/big")
    while copying.poll() is None:
        begun = time.monotonic()
        writer.platform.run("ls", f"{writer.project}/experiments")
        assert time.monotonic() - begun < 2
    assert copying.returncode == 0
    wait_for(lambda: not writer.waiting(), "the upload to end", 300)
    writer.platform.run("cmp", source, f"{writer.stored}/big", timeout=300)
    writer.platform.run("cmp", source, f"{writer.there}/big", timeout=300)


@pytest.mark.full
def test_killed_while_it_sends(writer):
    """mantikd is killed again and again: every file arrives whole."""
    top = os.path.join(writer.platform.dir, "many")
    os.makedirs(top, exist_ok=True)
    for i in range(30):
        with open(f"{top}/{i}", "wb") as f:
            f.write(os.urandom(20000 + i))

    def daemons():
        r = subprocess.run(["pgrep", "-f", "mantikd"], stdout=subprocess.PIPE, text=True)
        return [int(p) for p in r.stdout.split() if int(p) in writer.platform.processes()]
    copying = writer.platform.start("cp", "-r", top, f"{writer.there}/many")
    kills = 0
    while copying.poll() is None:
        for pid in daemons():
            os.kill(pid, signal.SIGKILL)
            kills += 1
        wait_for(lambda: daemons() or copying.poll() is not None, "mantikd again", 60)
    assert copying.returncode == 0 and kills
    writer.platform.run("diff", "-r", top, f"{writer.there}/many")  # brings it back
    writer.settle()
    check_files(top, f"{writer.stored}/many")
    writer.platform.run("diff", "-r", top, f"{writer.there}/many")


# --- models --------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def models(writer):
    name = "wind & größe"
    writer.api("registered-models/create", {"name": name, "description": "of the wind"})
    for _ in range(2):
        writer.api("model-versions/create", {
            "name": name, "source": f"runs:/{writer.id}/m", "run_id": writer.id})
    wait_for(lambda: name in os.listdir(f"{writer.project}/models"), "the model", 60, every=0.5)
    return f"{writer.project}/models/{name}"


def model_of(writer, models):
    name = urllib.parse.quote(os.path.basename(models))
    model = writer.api(f"registered-models/get?name={name}")["registered_model"]
    return model, {a["alias"]: a["version"] for a in model.get("aliases", [])}


def version_of(writer, models, version):
    name = urllib.parse.quote(os.path.basename(models))
    return writer.api(f"model-versions/get?name={name}&version={version}")["model_version"]


def edit(path, change):
    text = read(path)
    with open(path, "w") as f:
        f.write(change(text))


def leads_to(link, target):
    """The kernel keeps names for a moment."""
    wait_for(lambda: os.path.lexists(link) and os.readlink(link) == target, f"{link} -> {target}")


def test_model_yaml(writer, models):
    one, two = f"{models}/1/model.yaml", f"{models}/2/model.yaml"
    edit(one, lambda t: t.replace("aliases: []", "aliases: [best, old]")
         .replace("\ndescription:", "\ndescription: |\n  the first\n  of two"))
    assert model_of(writer, models)[1] == {"best": "1", "old": "1"}
    assert version_of(writer, models, 1)["description"] == "the first\nof two\n"
    leads_to(f"{models}/best", "1")
    # an alias is one version's: taking it for another one takes it from the first
    writer.sh(f"sed -i 's/^aliases:.*/aliases: [best]/' '{two}'")
    assert model_of(writer, models)[1] == {"best": "2", "old": "1"}
    leads_to(f"{models}/best", "2")
    assert "aliases: [old]" in read(one)
    # what is left out stays
    with open(two, "w") as f:
        f.write("model_description: of all winds\n")
    model, aliases = model_of(writer, models)
    assert model["description"] == "of all winds" and aliases == {"best": "2", "old": "1"}
    assert "model_description: of all winds" in read(one)
    edit(one, lambda t: t.replace("aliases: [old]", "aliases: []"))
    assert model_of(writer, models)[1] == {"best": "2"}
    assert sorted(os.listdir(models)) == ["1", "2", "best"]
    assert "aliases: []" in read(one) and "aliases: [best]" in read(two)


def test_model_yaml_refused(writer, models):
    path = f"{models}/1/model.yaml"
    before = read(path)

    def refuse(change, error, words):
        assert refused(lambda: edit(path, change)) == error
        assert words in writer.why(), writer.why()
        assert read(path) == before
    refuse(lambda t: t.replace("version: 1", "version: 2").replace("version: '1'", "version: 2"),
           errno.EINVAL, "version is not changed here")
    refuse(lambda t: t + "more: 1\n", errno.EINVAL, 'unknown key "more"')
    refuse(lambda t: t.replace("aliases: []", "aliases: [a, a]"), errno.EINVAL, "twice")
    # by the server, in its words; and what was there is there again
    refuse(lambda t: t.replace("aliases: []", "aliases: [not an alias]"), errno.EINVAL,
           "nvalid alias name")
    assert model_of(writer, models)[1] == {"best": "2"}


def test_model_yaml_without_the_server(writer, models):
    path = f"{models}/2/model.yaml"
    read(path), os.listdir(models)
    stopped(writer)
    try:
        edit(path, lambda t: t.replace("aliases: [best]", "aliases: [best, late]"))
        assert "late" in read(path)
        leads_to(f"{models}/late", "2")
    finally:
        started(writer)
    wait_for(lambda: model_of(writer, models)[1] == {"best": "2", "late": "2"}, "the alias", 90)
