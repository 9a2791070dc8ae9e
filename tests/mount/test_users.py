# SPDX-License-Identifier: Apache-2.0
"""An ordinary user mounts with fusermount3; who may enter, and who may change what."""
import os
import shutil
import subprocess

import pytest
from mantik import program
from mount import Mount

USER = 65534  # nobody: fusermount3 wants a user with a name
AS_USER = f"setpriv --reuid {USER} --regid {USER} --clear-groups"


def need_root():
    if os.getuid() != 0:
        pytest.skip("needs root to become another user")


def script(platform, text):
    """Runs a script in a mount namespace of its own, where everybody may open /dev/fuse."""
    need_root()
    if not shutil.which("unshare") or not shutil.which("fusermount3"):
        pytest.skip("needs unshare and fusermount3")
    os.chmod(platform.dir, 0o755)
    home = os.path.join(platform.dir, "theirs")
    head = f"""
        mount --make-rprivate /
        mknod {platform.dir}/fuse c 10 229 && chmod 666 {platform.dir}/fuse
        mount --bind {platform.dir}/fuse /dev/fuse
        mkdir -p {home}/mantik {home}/run
        chmod 777 {platform.logs}
        chown -R {USER}:{USER} {home}
        export HOME={home} XDG_RUNTIME_DIR={home}/run
        as() {{ {AS_USER} "$@"; }}
        M=$HOME/mantik
        mantikfs={program("mantikfs")}
    """
    r = platform.run("unshare", "-m", "bash", "-euo", "pipefail", "-c", head + text, check=False)
    assert r.returncode == 0, r.stdout + r.stderr
    return r.stdout


def test_ordinary_user_mounts_works_and_unmounts(platform):
    out = script(platform, """
        as $mantikfs -o no_daemon $M
        as mkdir $M/projects/x
        as sh -c "echo 'summary: mine' > $M/projects/x/project.yaml"
        as cat $M/projects/x/project.yaml
        as stat -c %U $M/projects/x/project.yaml
        ls $M 2>&1 && echo ROOT-MAY-ENTER
        as fusermount3 -u $M
        grep " $M " /proc/self/mountinfo && echo STILL-MOUNTED
        true
    """.replace("ls $M 2>&1 &&", "! ls $M 2>&1 ||").replace("grep", "! grep").replace(
        "&& echo STILL", "|| echo STILL"))
    assert "summary: mine\nnobody\n" in out
    assert "Permission denied" in out
    assert "ROOT-MAY-ENTER" not in out and "STILL-MOUNTED" not in out


def test_directory_of_somebody_else_is_refused(platform):
    out = script(platform, """
        mkdir $HOME/not && chown 0:0 $HOME/not
        as $mantikfs -o no_daemon $HOME/not 2>&1 || echo refused
    """)
    assert "cannot be mounted" in out and "refused" in out


def test_allow_other_lets_in_with_modes(platform):
    need_root()
    os.chmod(platform.dir, 0o755)
    os.chmod(platform.home, 0o755)
    with Mount(platform, "allow_other", "no_daemon") as m:
        os.mkdir(m.path("projects/x"))

        def user(command):
            return subprocess.run([*AS_USER.split(), "sh", "-c", command], capture_output=True,
                                  text=True, check=False, cwd="/")
        assert "project.yaml" in user(f"ls {m.path('projects/x')}").stdout
        for command in ("mkdir {}/projects/y", "echo a: b > {}/projects/x/project.yaml",
                        "rm {}/projects/x/project.yaml"):
            assert "Permission denied" in user(command.format(m.where)).stderr, command


def test_without_allow_other_nobody_else_enters(platform):
    need_root()
    os.chmod(platform.dir, 0o755)
    os.chmod(platform.home, 0o755)
    with Mount(platform, "no_daemon") as m:
        r = subprocess.run([*AS_USER.split(), "ls", m.where], capture_output=True, text=True,
                           check=False, cwd="/")
        assert r.returncode and "Permission denied" in r.stderr


def test_read_only(platform):
    with Mount(platform, "no_daemon") as m:
        os.mkdir(m.path("projects/x"))
    with Mount(platform, "ro", "no_daemon") as m:
        assert os.listdir(m.path("projects")) == ["x"]
        for command in ("mkdir projects/y", "echo a: b > projects/x/project.yaml",
                        "rmdir projects/x", "mv projects/x projects/z"):
            r = platform.sh(command, cwd=m.where, check=False)
            assert r.returncode and "Read-only file system" in r.stderr, command


def test_mount_helper_takes_what_mount_gives(platform):
    helper = os.path.join(platform.dir, "mount.mantikfs")
    os.symlink(program("mantikfs"), helper)
    os.makedirs(platform.mountpoint, exist_ok=True)
    platform.run(helper, "none", platform.mountpoint, "-n", "-o",
                 "rw,noauto,user,no_daemon,x-systemd.automount,nosuid")
    try:
        assert "projects" in os.listdir(platform.mountpoint)
    finally:
        platform.unmount(platform.mountpoint)


def test_systemd_is_told_when_it_works(platform):
    import socket
    path = os.path.join(platform.dir, "notify")
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.bind(path)
    s.settimeout(20)
    platform.env["NOTIFY_SOCKET"] = path
    with Mount(platform, "no_daemon"):
        assert s.recv(100) == b"READY=1"
