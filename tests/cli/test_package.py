# SPDX-License-Identifier: Apache-2.0
"""The Debian package: built from a copy of the sources, checked by lintian, tried."""
import os
import re
import shutil
import subprocess

import pytest

import mantik


def run(*command, **kwargs):
    r = subprocess.run([str(c) for c in command], text=True, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, **kwargs)
    assert r.returncode == 0, r.stdout[-6000:]
    return r.stdout


@pytest.fixture(scope="module")
def package():
    """The directory the package was built in: the .deb, `x` (its files), `control` (its scripts)."""
    for program in ("dpkg-buildpackage", "dh"):
        if not shutil.which(program):
            pytest.skip(f"{program} is missing")
    platform = mantik.Platform()
    top = os.path.join(platform.dir, "mantikfs")
    shutil.copytree(mantik.TOP, top, symlinks=True,
                    ignore=shutil.ignore_patterns(".git", "build*", "__pycache__"))
    os.symlink("packaging/debian", os.path.join(top, "debian"))
    env = {**os.environ, "HOME": platform.home, "LC_ALL": "C.UTF-8"}
    if shutil.which("ccache"):
        env |= {"CC": "ccache gcc", "CCACHE_DIR": os.environ.get("CCACHE_DIR", os.path.expanduser("~/.cache/ccache"))}
    run("dpkg-buildpackage", "-b", "-us", "-uc", "-j2", cwd=top, env=env, timeout=500)
    deb, = (f for f in os.listdir(platform.dir) if re.fullmatch(r"mantikfs_.*\.deb", f))
    run("dpkg", "-x", deb, "x", cwd=platform.dir)
    run("dpkg", "-e", deb, "control", cwd=platform.dir)
    yield platform
    platform.end()


def test_what_is_in_it(package):
    files = {os.path.relpath(os.path.join(d, f), package.dir + "/x")
             for d, _, names in os.walk(package.dir + "/x") for f in names}
    for name in ("usr/bin/mantikfs", "usr/bin/mantikctl", "usr/bin/mantikd", "usr/sbin/mount.mantikfs",
                 "usr/share/man/man1/mantikfs.1.gz", "usr/share/man/man7/mantikfs.7.gz",
                 "usr/share/man/man1/mantikctl.1.gz", "usr/share/man/man5/mantik.yaml.5.gz",
                 "usr/share/man/man8/mount.mantikfs.8.gz", "usr/lib/systemd/user/mantikfs.service",
                 "usr/share/bash-completion/completions/mantikctl", "usr/share/mantikfs/examples/train.yaml",
                 "usr/share/doc/mantikfs/copyright", "usr/share/mantikfs/updatedb-prune"):
        assert name in files
    assert os.readlink(package.dir + "/x/usr/sbin/mount.mantikfs") == "../bin/mantikfs"
    assert run(package.dir + "/x/usr/bin/mantikctl", "--version") == "mantikctl 0.1.0\n"


def test_lintian_finds_nothing(package):
    if not shutil.which("lintian"):
        pytest.skip("lintian is missing")
    changes, = (f for f in os.listdir(package.dir) if f.endswith(".changes"))
    out = run("lintian", "--allow-root", "--fail-on", "error,warning", changes, cwd=package.dir)
    assert not re.search("^[EW]: ", out, re.M), out


def test_nobody_gets_a_mount_without_asking(package):
    with open(package.dir + "/control/postinst") as f:
        text = f.read()
    assert "systemd" not in text and "updatedb-prune\n" in text
    with open(package.dir + "/control/prerm") as f:
        assert "updatedb-prune --remove\n" in f.read()


def test_updatedb_is_told_at_installation_and_removal(package):
    """The package's own scripts, in a namespace where /etc/updatedb.conf is a copy."""
    if os.getuid() != 0:
        pytest.skip("needs root")
    conf = os.path.join(package.dir, "etc")
    os.makedirs(conf, exist_ok=True)
    with open(conf + "/updatedb.conf", "w") as f:
        f.write('PRUNEFS="NFS afs"\n')
    script = (f"set -e; mount --bind {package.dir}/etc /etc\n"
              f"mount -t tmpfs none /usr/share; mkdir /usr/share/mantikfs\n"
              f"cp {package.dir}/x/usr/share/mantikfs/updatedb-prune /usr/share/mantikfs/\n"
              f"sh {package.dir}/control/postinst configure; cat /etc/updatedb.conf\n"
              f"sh {package.dir}/control/postinst configure 0.1.0; cat /etc/updatedb.conf\n"
              f"sh {package.dir}/control/prerm upgrade 0.2; cat /etc/updatedb.conf\n"
              f"sh {package.dir}/control/prerm remove; cat /etc/updatedb.conf\n")
    out = run("unshare", "-m", "sh", "-c", script, cwd="/")
    assert out == 'PRUNEFS="NFS afs fuse.mantikfs"\n' * 3 + 'PRUNEFS="NFS afs"\n'


@pytest.mark.parametrize("unit", ["mantikfs.service", "mantikd.service"])
def test_units(package, unit):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is missing")
    where = os.path.join(package.dir, "units")
    os.makedirs(where, exist_ok=True)
    with open(f"{package.dir}/x/usr/lib/systemd/user/{unit}") as f:
        text = f.read()
    assert "ExecStart=/usr/bin/mantik" in text
    with open(os.path.join(where, unit), "w") as f:
        f.write(text.replace("/usr/bin/mantik", package.dir + "/x/usr/bin/mantik"))
    out = run("systemd-analyze", "--user", "--man=no", "verify", os.path.join(where, unit),
              env=package.env)
    assert out == ""
