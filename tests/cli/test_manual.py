# SPDX-License-Identifier: Apache-2.0
"""--help, the tables, the manual and the completions tell the same."""
import fcntl
import glob
import os
import pty
import re
import shutil
import subprocess
import termios

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


TYPED = [("umo", "umount"), ("umount --la", "umount --lazy"), ("-D /x subm", "-D /x submit"),
         ("--data-dir /x submit --dr", "--data-dir /x submit --dry-run"), ("help takeo", "help takeover"),
         ("config git_ref", "config git_refresh"), ("submit spe", "submit spec.yaml"),
         ("-C fold", "-C folder")]
BEGIN = {
    "bash": ["bash", "--norc", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i", "-C"],
}
LOAD = {
    "bash": "source {made}/mantikctl; complete -p mantikctl; mantikctl() {{ echo \"RAN<$*>\"; }}",
    "zsh": "fpath=({made} $fpath); autoload -U compinit; compinit -u -D; "
           "mantikctl() {{ echo \"RAN<$*>\"; }}",
    "fish": "source {made}/mantikctl.fish; function mantikctl; echo \"RAN<$argv>\"; end",
}


@pytest.mark.parametrize("shell", SHELLS)
def test_tab_completes(platform, shell):
    """In the shell itself, on a terminal: a word, the tab key, and what the command then was."""
    if not shutil.which(shell):
        pytest.skip(f"{shell} is missing")
    os.makedirs(platform.home + "/folder")
    open(platform.home + "/spec.yaml", "w").close()
    ours, theirs = pty.openpty()
    load = LOAD[shell].format(made=MADE) + "; echo LOA''DED"
    begin = BEGIN[shell] + ([load] if shell == "fish" else [])
    c = subprocess.Popen(begin, stdin=theirs, stdout=theirs, stderr=theirs, cwd=platform.home,
                         env=platform.env | {"TERM": "xterm", "COLUMNS": "200"}, start_new_session=True,
                         preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    os.close(theirs)
    os.set_blocking(ours, False)
    seen = ""

    def said():
        nonlocal seen
        try:
            more = os.read(ours, 65536).decode(errors="replace")
        except (BlockingIOError, OSError):
            return seen
        if "\x1b[c" in more or "\x1b[0c" in more:  # a question to the terminal
            os.write(ours, b"\x1b[?62;c")
        seen += more
        return seen

    def typed(text):
        os.write(ours, text.encode())
    try:
        if shell != "fish":
            typed(load + "\n")
        mantik.wait_for(lambda: "LOADED" in said(), f"{shell} to begin", 30)
        for word, whole in TYPED:
            seen = ""
            typed(f"mantikctl {word}\t\r")
            mantik.wait_for(lambda: "RAN<" in said() and ">" in seen.split("RAN<")[-1],
                            f"{shell}: {word!r}", 20)
            assert re.search(rf"RAN<{re.escape(whole)}/?>", seen), seen
    finally:
        c.kill()
        c.wait()
        os.close(ours)


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


def test_manual_has_every_key_of_connections():
    told = page("mantik.yaml.5").split("\nCONNECTIONS\n", 1)[1].split("\nCONFIG.YAML\n", 1)[0]
    with open(os.path.join(mantik.TOP, "core/vault/connection_keys.c")) as f:
        source = f.read()
    for table in re.findall(r"mk_connection_key (\w+)\[\] = \{(.*?)\n\};", source, flags=re.S):
        keys = re.findall(r'(?:KEY|NEEDED)\("(\w+)"', table[1])
        if "LOGIN_KEYS" in table[1]:
            keys += ["password", "token", "token_file", "token_command"]
        section = told.split(f"\n   kind: {table[0]}\n", 1)[1].split("\n   kind: ", 1)[0]
        assert len(keys) > 5
        for key in keys:
            assert re.search(rf"^ +{key} \(", section, flags=re.M), key


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
                 "sbin/mount.mantikfs", "examples/train.yaml",
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
