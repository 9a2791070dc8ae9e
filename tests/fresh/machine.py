# SPDX-License-Identifier: Apache-2.0
"""A fresh machine of a distribution: what debootstrap makes, in namespaces of its own.

Bootstraps are made once per release and kept ($MANTIK_TEST_MACHINES, usually
/var/tmp/mantik-machines), beside the packages that were fetched. A machine is an overlay above one:
what happens in it is gone with it. Process 1 of the machine is a sleeper; commands enter its
namespaces, so what they leave behind goes on after them and ends with the machine.

By hand: machine.py RELEASE makes one and gives a root shell in it.
"""
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import mantik  # noqa: E402

KEPT = os.environ.get("MANTIK_TEST_MACHINES") or "/var/tmp/mantik-machines"
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
# What debootstrap needs to know of a release; archive is a word in the address of a mirror.
RELEASES = {
    "bookworm": {"archive": "debian", "name": "Debian 12"},
    "trixie": {"archive": "debian", "name": "Debian 13"},
    "noble": {"archive": "ubuntu", "name": "Ubuntu 24.04", "components": "main,universe"},
}
LOGIN = ("env", "-i", "TERM=dumb", "LANG=C.UTF-8")
BOOT = r"""
set -e
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
cd "$2/root"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
for node in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0 fuse:10:229; do
	IFS=: read -r name major minor <<-END
		$node
	END
	mknod -m 666 "dev/$name" c "$major" "$minor"
done
ln -s /proc/self/fd dev/fd
ln -s pts/ptmx dev/ptmx
mkdir -p dev/pts dev/shm run/lock var/cache/apt/archives
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount --bind "$3" var/cache/apt/archives
mkdir -p run/old
pivot_root . run/old
cd /
umount -l run/old
rmdir run/old
echo fresh >/proc/sys/kernel/hostname
echo "127.0.0.1 localhost fresh" >/etc/hosts
exec chroot . sleep infinity
"""


class Missing(Exception):
    """Why no machine can be made here."""


def mirror(release):
    """The archive this machine itself uses, or the one that $MANTIK_TEST_<ARCHIVE> names."""
    archive = RELEASES[release]["archive"]
    named = os.environ.get(f"MANTIK_TEST_{archive.upper()}")
    if named:
        return named
    found = subprocess.run(["apt-get", "indextargets", "--format", "$(SITE)|$(REPO_URI)"],
                           text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    uris = re.findall(rf"^[^|]*\|(https?://\S+/{archive})/?$", found, flags=re.M)
    if not uris:
        raise Missing(f"apt has no {archive} archive here: name one by MANTIK_TEST_{archive.upper()}")
    return uris[0]


def bootstrap(release):
    """The folder of a release's minimal system, made when missing."""
    where = os.path.join(KEPT, release)
    if os.path.exists(where):
        return where
    if os.getuid() != 0:
        raise Missing("making a machine needs root")
    if not shutil.which("debootstrap"):
        raise Missing("no debootstrap")
    archive = mirror(release)
    os.makedirs(KEPT, exist_ok=True)
    about, made = RELEASES[release], tempfile.mkdtemp(prefix=f"{release}.", dir=KEPT)
    r = subprocess.run(["debootstrap", "--variant=minbase",     # nothing but apt
                        f"--components={about.get('components', 'main')}", release, made,
                        archive], text=True, errors="replace",
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if r.returncode:
        shutil.rmtree(made)
        raise Missing(f"debootstrap {release}: " + " / ".join(r.stdout.splitlines()[-2:]))
    os.chmod(made, 0o755)
    try:
        os.rename(made, where)
    except OSError:     # another session was faster
        shutil.rmtree(made)
    return where


class Machine:
    """A machine with nothing but a minimal system, the users `ana` (may use sudo) and `bo`."""

    def __init__(self, release):
        lower = bootstrap(release)
        packages = os.path.join(KEPT, f"{release}.packages")
        os.makedirs(os.path.join(packages, "partial"), exist_ok=True)
        self.release = release
        self.dir = tempfile.mkdtemp(prefix="fresh.", dir="/var/tmp")
        self.root = os.path.join(self.dir, "root")
        for name in ("root", "upper", "work"):
            os.mkdir(os.path.join(self.dir, name))
        os.chmod(os.path.join(self.dir, "upper"), 0o755)
        self.upper = os.path.join(self.dir, "upper")
        os.makedirs(os.path.join(self.upper, "etc/dpkg/dpkg.cfg.d"))
        with open(os.path.join(self.upper, "etc/dpkg/dpkg.cfg.d/fast"), "w") as f:
            f.write("force-unsafe-io\n")   # a machine that crashes is thrown away
        # the network is this machine's: its names, and whom it trusts behind a proxy for TLS
        shutil.copy("/etc/resolv.conf", os.path.join(self.upper, "etc/resolv.conf"))
        if os.path.exists(AUTHORITIES):
            shutil.copy(AUTHORITIES, os.path.join(self.upper, "etc/authorities.crt"))
            with open(os.path.join(self.upper, "etc/pip.conf"), "w") as f:
                f.write("[global]\ncert = /etc/authorities.crt\n")
        self.init = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--ipc", "--uts",
             "sh", "-c", BOOT, "boot", lower, self.dir, packages],
            stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            self.pid = mantik.wait_for(self._sleeper, "the machine to start", 30)
        except AssertionError:
            self.end()
            raise Missing("namespaces or overlay cannot be made here")
        self.run("root", "useradd -m -s /bin/bash ana && useradd -m -s /bin/bash bo")

    def _sleeper(self):
        """The pid of the machine's process 1 once it sleeps, as seen from outside."""
        if self.init.poll() is not None:
            raise AssertionError("it ended")
        with open(f"/proc/{self.init.pid}/task/{self.init.pid}/children") as f:
            child = f.read().strip()
        if not child:
            return None
        with open(f"/proc/{child}/comm") as f:
            return int(child) if f.read() == "sleep\n" else None

    def command(self, user, script):
        """A login shell of a user: nothing of our own environment reaches it."""
        return ["nsenter", "-t", str(self.pid), "-m", "-p", "-i", "-u", "-r", "-w", *LOGIN,
                "su", "-l", user, "-c", script]

    def put(self, where):
        """This project's files, committed or not, as a clone would have them."""
        files = subprocess.run(["git", "-C", mantik.TOP, "ls-files", "-z", "--cached", "--others",
                                "--exclude-standard", "--deduplicate"],
                               check=True, stdout=subprocess.PIPE).stdout.split(b"\0")
        files = [f for f in files if f and os.path.lexists(os.path.join(os.fsencode(mantik.TOP), f))]
        tar = subprocess.Popen(["tar", "-C", mantik.TOP, "--null", "-T", "-", "-c"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        into = subprocess.Popen(self.command("root", f"mkdir -p {where}; tar -C {where} --no-same-owner -x"),
                                stdin=tar.stdout)
        tar.stdout.close()
        tar.stdin.write(b"\0".join(files))
        tar.stdin.close()
        if tar.wait() or into.wait():
            raise AssertionError("the project could not be copied into the machine")

    def run(self, user, script, check=True, timeout=1200):
        r = subprocess.run(self.command(user, script), text=True, errors="replace",
                           timeout=timeout, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if check and r.returncode:
            raise AssertionError(f"{user}: {script}: exit {r.returncode}\n{r.stdout}\n{r.stderr}")
        return r

    def end(self):
        if self.init.poll() is None:
            self.init.send_signal(signal.SIGKILL)   # --kill-child: and with it process 1 and all
            self.init.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


if __name__ == "__main__":
    machine = Machine(sys.argv[1])
    try:
        print(f"nsenter -t {machine.pid} -m -p -i -u -r -w    ({machine.upper})", flush=True)
        subprocess.run(machine.command("root", "exec bash -i") if len(sys.argv) < 3
                       else ["sleep", sys.argv[2]])
    finally:
        machine.end()
