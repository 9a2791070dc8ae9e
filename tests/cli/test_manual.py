# SPDX-License-Identifier: Apache-2.0
"""--help, the tables, the manual and the completions tell the same."""
import glob
import os
import re
import shutil
import subprocess

import pytest

import mantik

MAN = os.path.join(mantik.TOP, "packaging", "man")
MADE = os.path.join(mantik.BUILD, "packaging")
SHELLS = {"bash": "mantikctl", "zsh": "_mantikctl", "fish": "mantikctl.fish"}


def tables():
    """{command: (operands, {option: value})}; the global options are command ''."""
    out = subprocess.run([mantik.program("mantikctl"), "--generate", "table"], check=True,
                         stdout=subprocess.PIPE, text=True).stdout
    found = {"": ("", {})}
    for line in out.splitlines():
        command, option, value = line.split("\t")
        if option:
            found[command][1][option] = value
        else:
            found[command] = (value, {})
    return found


def page(name):
    path = os.path.join(MADE, name) if os.path.exists(os.path.join(MADE, name)) \
        else os.path.join(MAN, name)
    if not shutil.which("mandoc"):
        pytest.skip("mandoc is missing")
    text = subprocess.run(["mandoc", "-T", "utf8", "-O", "width=200", path], check=True, text=True,
                          stdout=subprocess.PIPE).stdout
    return re.sub(r".\x08", "", text)


def commands_of(text):
    """{command: text of its part} of mantikctl(1)."""
    part = text.split("\nCOMMANDS\n", 1)[1].split("\nENVIRONMENT\n", 1)[0]
    parts = re.split(r"^   (\S+)$", part, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def test_manual_has_every_command_and_option():
    manual = commands_of(page("mantikctl.1"))
    table = tables()
    assert list(manual) == [c for c in table if c]
    for command, text in manual.items():
        told = set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", text, flags=re.M))
        assert told == set(table[command][1]), command


@pytest.mark.parametrize("command", [c for c in tables() if c])
def test_help_has_every_option(command):
    out = subprocess.run([mantik.program("mantikctl"), command, "--help"], check=True, text=True,
                         stdout=subprocess.PIPE).stdout
    operands, options = tables()[command]
    assert out.splitlines()[0].endswith((" " + operands) if operands else
                                        (" [OPTION ...]" if options else command))
    told = set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", out, flags=re.M))
    assert told == set(options) | {"--help"}
    assert max(map(len, out.splitlines())) <= 120


def test_help_lists_every_command():
    out = subprocess.run([mantik.program("mantikctl"), "--help"], check=True, text=True,
                         stdout=subprocess.PIPE).stdout
    assert re.findall(r"^  ([a-z-]+) {2,}", out, flags=re.M) == [c for c in tables() if c]


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_is_valid_and_complete(shell):
    path = os.path.join(MADE, SHELLS[shell])
    with open(path) as f:
        text = f.read()
    for command, (_, options) in tables().items():
        for word in filter(None, [command, *options]):
            assert word.lstrip("-") in text, word
    if not shutil.which(shell):
        pytest.skip(f"{shell} is missing")
    subprocess.run([shell, "-n", path], check=True)


def test_bash_completes_commands_and_options(platform):
    script = (f"source {MADE}/mantikctl; COMP_WORDS=(mantikctl $1); "
              "[ $# = 1 ] || COMP_WORDS=(mantikctl $1 $2); COMP_CWORD=$#; _mantikctl 2>/dev/null; "
              "echo ${COMPREPLY[@]}")
    assert platform.run("bash", "-c", script, "x", "umo").stdout == "umount\n"
    assert platform.run("bash", "-c", script, "x", "umount", "--la").stdout == "--lazy\n"


@pytest.mark.parametrize("path", sorted(glob.glob(MAN + "/*.[0-9]") + glob.glob(MADE + "/*.[0-9]")))
def test_manual_pages_have_no_mistakes(path):
    if not shutil.which("mandoc"):
        pytest.skip("mandoc is missing")
    r = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", path], stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True)
    assert r.stdout == ""


def test_manual_has_every_option_of_the_configuration(platform):
    told = page("mantik.yaml.5").split("\nCONFIG.YAML\n", 1)[1]
    for line in platform.ctl("config").stdout.splitlines():
        assert re.search(rf"^ +{line.split()[0]} \(", told, flags=re.M), line


def test_manual_of_mantikfs_has_every_option():
    try:
        program = mantik.program("mantikfs")
    except AssertionError:
        pytest.skip("mantikfs is not built")
    out = subprocess.run([program, "--help"], check=True, text=True,
                         stdout=subprocess.PIPE).stdout
    manual = page("mantikfs.1").split("\nOPTIONS\n", 1)[1].split("\nFILES\n", 1)[0]
    told = set(re.findall(r"^ +(?:-\w, (--[a-z-]+)|-o ([a-z_]+)|(--[a-z-]+))", manual, flags=re.M))
    has = set(re.findall(r"^ +(?:-\w )? +(--[a-z-]+)|^  -o  ([a-z_]+)", out, flags=re.M))
    assert {"".join(t) for t in told} == {"".join(h) for h in has}


def test_every_public_file_is_installed(platform):
    where = os.path.join(platform.dir, "destination")
    platform.run("meson", "install", "-C", mantik.BUILD, "--no-rebuild", "--quiet",
                 env={"DESTDIR": where})
    found = [os.path.relpath(os.path.join(d, f), where) for d, _, files in os.walk(where)
             for f in files + [x for x in os.listdir(d) if os.path.islink(os.path.join(d, x))]]
    for name in ("bin/mantikctl", "man1/mantikctl.1", "man1/mantikfs.1", "man7/mantikfs.7",
                 "man5/mantik.yaml.5", "man8/mantikd.8", "completions/mantikctl",
                 "site-functions/_mantikctl", "vendor_completions.d/mantikctl.fish",
                 "systemd/user/mantikfs.service", "systemd/user/mantikd.service", "bin/mantikfs", "bin/mantikd",
                 "bin/mount.mantikfs", "examples/train.yaml",
                 "examples/sample/MLproject", "doc/mantikfs/LICENSE"):
        assert any(path.endswith("/" + name) for path in found), name


def test_updatedb_is_kept_out_once_and_put_back(tmp_path):
    conf, script = tmp_path / "updatedb.conf", os.path.join(mantik.TOP, "packaging", "debian",
                                                            "updatedb-prune.sh")
    conf.write_text('PRUNE_BIND_MOUNTS="yes"\nPRUNEFS="NFS afs"\n')
    for _ in range(2):
        subprocess.run([script, conf], check=True)
    assert conf.read_text() == 'PRUNE_BIND_MOUNTS="yes"\nPRUNEFS="NFS afs fuse.mantikfs"\n'
    subprocess.run([script, "--remove", conf], check=True)
    assert conf.read_text() == 'PRUNE_BIND_MOUNTS="yes"\nPRUNEFS="NFS afs"\n'
