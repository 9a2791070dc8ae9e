# SPDX-License-Identifier: Apache-2.0
"""tools/quickstart on machines that have nothing: a minimal system per distribution, where a user
without sudo, one with sudo and root take their turns. The tests of a machine go on from each other.
"""
import re
import time

import pytest

import machine as machines
from machine import Machine, Missing, RELEASES

pytestmark = pytest.mark.full
SOURCE = "/src/mantikfs"
# What --remove keeps (data, the sample, apt's own books and configuration) and what changes anyway.
NOISE = re.compile(r"/(proc|sys|dev|run|tmp|src)(/|$)|/var/(cache|log|lib/(apt|dpkg|systemd))(/|$)|"
                   r"/home/ana/\.(cache|local(/state|/share(/mantik(-sample)?(/.*)?)?)?)$|"
                   r"/etc/(?!mtab)|/usr/local/lib/python3|.*/__pycache__")


@pytest.fixture(scope="module", params=list(RELEASES), ids=lambda r: r)
def machine(request):
    try:
        m = Machine(request.param)
    except Missing as why:
        pytest.skip(f"{RELEASES[request.param]['name']}: {why}")
    try:
        m.put(SOURCE)
        m.run("root", "apt-get update -q && apt-get install -y -q --no-install-recommends sudo adduser && "
                      "echo 'ana ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/ana")
        for user in ("ana", "bo"):
            m.run(user, f"cp -r {SOURCE} ~/mantikfs")
        yield m
    finally:
        m.end()


def quickstart(machine, user, *args, check=True, before=""):
    where = SOURCE if user == "root" else "~/mantikfs"
    return machine.run(user, f"cd {where} && {before} tools/quickstart {' '.join(args)}", check=check)


def result(r):
    found = dict(line.split("=", 1) for line in r.stdout.splitlines()[-4:])
    assert list(found) == ["mount", "prefix", "project", "run"], r.stdout + r.stderr
    return found


def mounts(machine):
    text = machine.run("root", "cat /proc/self/mounts").stdout
    return re.findall(r"^\S+ (\S+) fuse\.mantikfs ", text, flags=re.M)


def packages(machine):
    text = machine.run("root", "dpkg-query -W -f '${Package} ${db:Status-Status}\\n'").stdout
    return {line.split()[0] for line in text.splitlines() if line.endswith(" installed")}


def files(machine):
    text = machine.run("root", "find / -xdev").stdout
    return {line for line in text.splitlines() if not NOISE.match(line)}


def wanted(*kinds):
    with open(f"{machines.mantik.TOP}/tests/packages.txt") as f:
        rows = [line.split("\t") for line in f if not line.startswith("#")]
    return [row[0] for row in rows if row[1] in kinds]


def works(machine, user, said, home):
    """The run is finished, whatever is read of it is there, and the mount serves other shells."""
    tree = said["mount"]
    run = f"{tree}/projects/sample/runs/{said['run']}"
    assert machine.run(user, f"cat {run}/status").stdout == "FINISHED\n"
    assert tree in mounts(machine)
    assert machine.run(user, f"{said['prefix']}/bin/mantikctl doctor").returncode == 0
    assert machine.run(user, f"ls {home}/mantik/projects").stdout == "sample\n"


def script(r):
    """The MLflow script's run is shown; where the machine does not reach an index, this is said."""
    if "pip does not reach its package index" in r.stdout:
        return False
    assert re.search(r"^line\.[0-9a-f]{8}\tFINISHED\t", r.stdout, flags=re.M), r.stdout + r.stderr
    assert len(re.findall(r"^\d+\t\S+\t\S+$", r.stdout, flags=re.M)) == 8 + 12
    return True


def test_without_sudo_each_missing_package_is_named(machine):
    before = files(machine)
    r = quickstart(machine, "bo", "--prefix", "~/.local", check=False)
    assert r.returncode == 1
    needed = [p for p in wanted("build", "run") if p not in packages(machine)]
    assert "libfuse3-dev" in needed and "meson" in needed
    assert re.findall(r"^missing package: (\S+) \(.+\)$", r.stderr, flags=re.M) == needed
    assert r.stderr.endswith(f"ask an administrator for: apt-get install {' '.join(needed)}\n")
    assert files(machine) == before


def test_a_user_with_sudo_and_back(machine):
    had, before = packages(machine), files(machine)
    r = quickstart(machine, "ana")
    first, logged = result(r), script(r)
    assert not logged or "mlflow-skinny goes to /home/ana/.local/share/mantik-mlflow " in r.stdout
    assert first["mount"] == "/home/ana/mantik" and first["prefix"] == "/usr/local"
    works(machine, "ana", first, "/home/ana")
    assert set(wanted("build", "run", "more")) <= packages(machine)
    assert machine.run("root", "find /home/ana/mantikfs -user root").stdout == ""

    began = time.monotonic()
    r = quickstart(machine, "ana")
    assert time.monotonic() - began < 60
    again = result(r)
    assert script(r) or not logged
    assert {**again, "run": ""} == {**first, "run": ""} and again["run"] != first["run"]
    runs = machine.run("ana", "ls -d ~/mantik/projects/sample/runs/digits-*").stdout.split()
    assert {r.rsplit("/", 1)[1] for r in runs} == {first["run"], again["run"]}
    assert mounts(machine) == ["/home/ana/mantik"]

    # the same from another prefix, though what root wrote is in the build
    elsewhere = result(quickstart(machine, "ana", "--prefix", "~/.local"))
    assert elsewhere["prefix"] == "/home/ana/.local" and mounts(machine) == ["/home/ana/mantik"]

    busy = machine.run("ana", "cd ~/mantik && ~/mantikfs/tools/quickstart --remove", check=False)
    assert busy.returncode == 1 and "end what uses it" in busy.stderr
    r = quickstart(machine, "ana", "--remove")
    assert "removed; kept: /home/ana/.local/share/mantik and " in r.stdout
    assert mounts(machine) == [] and packages(machine) == had, r.stdout
    now = files(machine)
    assert sorted(now - before) == [] and sorted(before - now) == []
    assert machine.run("ana", "ls ~/.local/share/mantik/mantik.db ~/.local/share/mantik-sample/MLproject")
    assert "mantikd" not in machine.run("root", "readlink /proc/[0-9]*/exe", check=False).stdout


def test_root(machine):
    r = quickstart(machine, "root")
    said = result(r)
    assert said["mount"] == "/root/mantik" and said["prefix"] == "/usr/local"
    assert not script(r) or "mlflow-skinny goes to /usr/local/share/mantikfs/mlflow " in r.stdout
    works(machine, "root", said, "/root")


def test_without_sudo_with_the_packages(machine):
    said = result(quickstart(machine, "bo", "--prefix", "~/.local"))
    assert said["mount"] == "/home/bo/mantik" and said["prefix"] == "/home/bo/.local"
    works(machine, "bo", said, "/home/bo")
    again = result(quickstart(machine, "bo"))
    assert {**again, "run": ""} == {**said, "run": ""} and again["run"] != said["run"]
    machine.run("root", "mv /etc/mtab /etc/mtab.away")
    for command in ("umount", "doctor"):
        r = machine.run("bo", f"~/.local/bin/mantikctl {command}", check=False)
        assert r.returncode and "ln -s ../proc/self/mounts /etc/mtab" in r.stdout + r.stderr
    machine.run("root", "mv /etc/mtab.away /etc/mtab")
    machine.run("bo", "~/.local/bin/mantikctl umount")
    assert machine.run("root", "find /home/bo -xdev -not -user bo").stdout == ""


@pytest.mark.parametrize("spoil, sentence", [
    ("rm /dev/fuse", '/dev/fuse does not exist: load it with "modprobe fuse" as root'),
    ("chmod 600 /dev/fuse", "/dev/fuse cannot be opened (Permission denied): ask for access to it"),
], ids=["no-fuse", "no-rights"])
def test_without_a_mount_mantikctl_does_the_job(machine, spoil, sentence):
    machine.run("root", spoil)
    try:
        r = quickstart(machine, "bo")
    finally:
        machine.run("root", "[ -e /dev/fuse ] || mknod /dev/fuse c 10 229; chmod 666 /dev/fuse")
    said = result(r)
    assert sentence in r.stderr and said["mount"] == "none"
    assert "epoch 8 of 8: loss" in r.stdout and f"\n{said['run']}\tFINISHED\t" in r.stdout
    script(r)
    assert machine.run("bo", f"~/.local/bin/mantikctl status {said['run']}").stdout == "FINISHED\n"


def test_root_that_may_not_mount(machine):
    machine.run("root", "fusermount3 -u ~/mantik")
    r = machine.run("root", f"cd {SOURCE} && setpriv --bounding-set -sys_admin --inh-caps -sys_admin "
                            "tools/quickstart")
    said = result(r)
    assert said["mount"] == "none" and "--cap-add SYS_ADMIN" in r.stderr, r.stderr


def test_the_suites_that_need_no_mount(machine):
    r = machine.run("root", f"cd {SOURCE} && tests/run checks unit", check=False, timeout=1800)
    assert r.returncode == 0, r.stdout[-6000:] + r.stderr[-2000:]
    assert re.fullmatch(r"\d+ passed, 0 failed, \d+ skipped", r.stdout.splitlines()[-1])
