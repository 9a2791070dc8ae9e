# SPDX-License-Identifier: Apache-2.0
"""connections/ through a real mount and mantikctl: written, shown, edited, removed; logging in."""
import base64
import errno
import os
import pty
import re
import select
import time

import pytest

import mantik
from httpserve import reply, script
from mantik import wait_for

HEAD = "kind: git\nurl: https://forge.example\nuser: ana\n"


def write(path, text):
    with open(path, "w") as f:
        f.write(text)


def read(path):
    with open(path) as f:
        return f.read()


def refused(path, text):
    """The errno of a save, and what is there afterwards."""
    with pytest.raises(OSError) as e:
        write(path, text)
    return e.value.errno


def test_a_connection_is_a_file(platform):
    with platform.mount() as top:
        path = f"{top}/connections/forge.yaml"
        assert os.listdir(f"{top}/connections") == []
        write(path, HEAD + "password: hunter2  # of ana\n")
        assert read(path) == HEAD + "password: (set)  # of ana\n"
        st = os.stat(path)
        assert st.st_mode & 0o777 == 0o600 and st.st_size == len(read(path))
        stored = f"{platform.config}/connections/forge.yaml"
        assert read(stored) == HEAD + "password: (set)  # of ana\n"
        assert os.stat(stored).st_mode & 0o777 == 0o600
        assert os.stat(os.path.dirname(stored)).st_mode & 0o777 == 0o700
        assert os.stat(f"{platform.config}/vault").st_mode & 0o777 == 0o600
        assert platform.ctl("cat", "/connections/forge.yaml").stdout == read(path)
        assert platform.ctl("ls", "/connections").stdout.split() == ["forge.yaml"]
        platform.sh(f"cp '{path}' copy; cp copy '{path}'; cat '{path}' > again; cmp copy again")
        assert refused(f"{top}/connections/other.yaml", read(path)) == errno.EINVAL  # no secret
        assert not os.path.exists(f"{top}/connections/other.yaml")
        os.remove(path)
        assert os.listdir(f"{top}/connections") == [] and not os.path.exists(stored)


def test_errors_are_sentences(platform):
    with platform.mount() as top:
        path = f"{top}/connections/forge.yaml"
        write(path, HEAD)
        assert refused(path, HEAD + "pasword: hunter2\n") == errno.EINVAL
        why = platform.ctl("why", path).stdout
        assert 'connections/forge.yaml:4: unknown key "pasword", did you mean "password"?' in why
        assert refused(path, "kind: git\nurl: https://ana:hunter2@forge.example\n") == errno.EINVAL
        why = platform.ctl("why", path).stdout
        assert "forge.yaml:2: url: has a user or password in it; write the url without" in why
        assert read(path) == HEAD
        for name in ("x", "a:b.yaml", "-x.yaml"):
            with pytest.raises(OSError):
                write(f"{top}/connections/{name}", HEAD)
        assert "hunter2" not in read(f"{top}/.mantik/errors")
        with pytest.raises(OSError) as e:
            os.rename(path, f"{top}/connections/other.yaml")
        assert e.value.errno == errno.EPERM


def test_a_save_over_an_unread_version_is_refused(platform):
    with platform.mount() as top:
        path = f"{top}/connections/forge.yaml"
        write(path, HEAD)
        assert read(path) == HEAD
        platform.ctl("cp", "-", "/connections/forge.yaml", input=HEAD + "# other\n")
        wait_for(lambda: os.stat(path).st_size != len(HEAD), "the new size")
        assert refused(path, HEAD + "# mine\n") == errno.EBUSY
        why = platform.ctl("why", path).stdout
        assert re.search(r"was changed by \S+@\S+ \(pid \d+\) at 20", why), why
        assert read(path) == HEAD + "# other\n"
        write(path, HEAD + "# mine\n")
        assert read(path) == HEAD + "# mine\n"
        with open(os.path.join(platform.config, "connections/forge.yaml"), "a") as f:
            f.write("# by hand\n")
        wait_for(lambda: os.stat(path).st_size == len(HEAD + "# mine\n# by hand\n"), "the new size")
        assert refused(path, HEAD) == errno.EBUSY
        assert "was changed by another program, in the file itself, at 20" \
            in platform.ctl("why", path).stdout


EDITORS = {
    "sed": "sed -i 's/user: ana/user: bob/' {path}",
    "vim": "vim -nEsu NONE -c '%s/user: ana/user: bob/' -c wq {path}",
    "ex over a backup": "vim -nEsu NONE -c 'set backup backupcopy=no' -c '%s/user: ana/user: bob/' -c wq {path}",
    "rsync": "sed 's/user: ana/user: bob/' {path} > t && rsync -I t {path}",
    "cp": "sed 's/user: ana/user: bob/' {path} > t && cp t {path}",
    "tee": "sed 's/user: ana/user: bob/' {path} > t && tee {path} < t",
    "dd": "sed 's/user: ana/user: bob/' {path} > t && dd if=t of={path} status=none",
}


@pytest.mark.parametrize("editor", EDITORS)
def test_editors_keep_the_secret(platform, editor):
    command = EDITORS[editor]
    if not any(os.access(f"{d}/{command.split()[0]}", os.X_OK) for d in ("/usr/bin", "/bin")):
        pytest.skip(f"{command.split()[0]} is not installed")
    with platform.mount() as top:
        path = f"{top}/connections/forge.yaml"
        write(path, HEAD + "password: hunter2\n")
        platform.sh(command.format(path=path))
        assert read(path) == HEAD.replace("ana", "bob") + "password: (set)\n"
        assert os.listdir(f"{top}/connections") == ["forge.yaml"]
    assert b"hunter2" not in open(f"{platform.config}/connections/forge.yaml", "rb").read()


def test_new_ones_by_rsync_and_mv(platform):
    """mv of a file over a connection removes that first, as everywhere: its secret is gone then."""
    with platform.mount() as top:
        write(f"{platform.home}/n.yaml", HEAD + "token: hunter2\n")
        platform.run("rsync", "n.yaml", f"{top}/connections/")
        assert read(f"{top}/connections/n.yaml") == HEAD + "token: (set)\n"
        platform.run("mv", "n.yaml", f"{top}/connections/m.yaml")
        assert sorted(os.listdir(f"{top}/connections")) == ["m.yaml", "n.yaml"]
        write(f"{platform.home}/n.yaml", HEAD + "token: (set)\n")
        r = platform.run("mv", "n.yaml", f"{top}/connections/n.yaml", check=False)
        assert r.returncode and os.path.exists(f"{platform.home}/n.yaml")


def test_rm_rf_of_the_mount_leaves_connections(platform):
    with platform.mount() as top:
        write(f"{top}/connections/forge.yaml", HEAD + "password: hunter2\n")
        platform.run("rm", "-rf", top, check=False)
        assert read(f"{top}/connections/forge.yaml") == HEAD + "password: (set)\n"
        platform.run("find", top, "-xdev", "-delete", check=False)
        assert read(f"{top}/connections/forge.yaml") == HEAD + "password: (set)\n"
        platform.run("rm", f"{top}/connections/forge.yaml")
        assert os.listdir(f"{top}/connections") == []


# --- mantikctl login ----------------------------------------------------------------------------


def test_login_reads_standard_input(platform):
    platform.ctl("cp", "-", "/connections/forge.yaml", input=HEAD)
    platform.ctl("login", "forge", input="hunter2\nrest is not ours\n")
    assert platform.ctl("cat", "/connections/forge.yaml").stdout == HEAD + "password: (set)\n"
    r = platform.ctl("login", "forge", input="", check=False)
    assert r.returncode == 4 and "no password was given; nothing was changed" in r.stderr
    r = platform.ctl("login", "none", input="x\n", check=False)
    assert r.returncode == 3 and "write connections/none.yaml first" in r.stderr
    r = platform.ctl("login", "--token", "forge", input="x\n", check=False)
    assert r.returncode == 4 and "there is a password already" in r.stderr


def on_terminal(platform, answers, *command, env=None):
    """Runs a program on a terminal of its own; answers (prompt, text) in turn. All it showed."""
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(platform.home)
        os.execve(command[0], list(command), {**platform.env, **(env or {})})
    shown, until = b"", time.monotonic() + 30
    answers = list(answers)
    while time.monotonic() < until:
        if answers and answers[0][0].encode() in shown:
            # Not before the echo is off: the prompt comes after it.
            os.write(fd, answers.pop(0)[1].encode())
        if not select.select([fd], [], [], 0.1)[0]:
            continue
        try:
            data = os.read(fd, 4096)
        except OSError:
            break
        if not data:
            break
        shown += data
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(fd)
    return status, shown.decode(errors="replace")


def test_login_on_a_terminal_shows_nothing(platform):
    platform.ctl("cp", "-", "/connections/forge.yaml", input=HEAD)
    status, shown = on_terminal(platform, [("(not shown): ", "hunter2\n")],
                                mantik.program("mantikctl"), "login", "forge")
    assert status == 0 and "password for https://forge.example (not shown)" in shown, shown
    assert "hunter2" not in shown
    assert platform.ctl("cat", "/connections/forge.yaml").stdout == HEAD + "password: (set)\n"
    # Ctrl-C: nothing happened.
    before = open(f"{platform.config}/vault", "rb").read()
    status, shown = on_terminal(platform, [("(not shown): ", "half\x03")],
                                mantik.program("mantikctl"), "login", "forge")
    assert status == 130 and before == open(f"{platform.config}/vault", "rb").read()


# --- the vault ----------------------------------------------------------------------------------


def test_a_passphrase_is_asked_on_the_terminal(platform):
    platform.ctl("config", "vault_key", "passphrase")
    platform.ctl("cp", "-", "/connections/forge.yaml", input=HEAD)
    r = platform.run("setsid", mantik.program("mantikctl"), "login", "forge", input="hunter2\n",
                     check=False)
    assert r.returncode and "MANTIK_VAULT_PASSPHRASE_FILE" in r.stderr
    command = [mantik.program("mantikctl"), "login", "forge"]
    new = [("(not shown): ", "hunter2\n"), ("new passphrase of the vault: ", "correct horse\n")]
    status, shown = on_terminal(platform, new + [("the same again: ", "battery\n")], *command)
    assert status and "the two passphrases differ; nothing was changed" in shown
    assert not os.path.exists(f"{platform.config}/vault")
    status, shown = on_terminal(platform, new + [("the same again: ", "correct horse\n")], *command)
    assert status == 0 and "horse" not in shown and "hunter2" not in shown
    assert not os.path.exists(f"{platform.config}/vault.key")
    old = [("(not shown): ", "hunter3\n"), ("passphrase of the vault: ", "wrong\n")]
    status, shown = on_terminal(platform, old, *command)
    assert status and "the passphrase is wrong" in shown
    # A mount has nobody to ask: a file, closed to others, or a sentence.
    with platform.mount() as top:
        path = f"{top}/connections/forge.yaml"
        assert refused(path, HEAD + "password: new\n") == errno.ENOKEY
        assert "MANTIK_VAULT_PASSPHRASE_FILE before mounting" in platform.ctl("why", path).stdout
        assert read(path) == HEAD + "password: (set)\n"
        write(path, HEAD + "# no secret is touched\npassword: (set)\n")
    words = f"{platform.dir}/words"
    write(words, "correct horse\n")
    platform.env["MANTIK_VAULT_PASSPHRASE_FILE"] = words
    for mode, code in ((0o644, errno.ENOKEY), (0o600, 0)):
        os.chmod(words, mode)
        with platform.mount() as top:
            path = f"{top}/connections/forge.yaml"
            if code:
                assert refused(path, HEAD + "password: new\n") == code
            else:
                write(path, HEAD + "password: new\n")


def test_a_command_gives_the_passphrase(platform):
    platform.ctl("config", "vault_key", "command")
    platform.ctl("config", "vault_command", f"echo x >> {platform.dir}/asked; echo correct horse")
    with platform.mount() as top:
        for i in range(3):
            write(f"{top}/connections/c{i}.yaml", HEAD + f"password: hunter{i}\n")
        assert read(f"{platform.dir}/asked") == "x\n"
    platform.ctl("config", "vault_command", "sleep 60")
    with platform.mount() as top:
        begun = time.monotonic()
        code = refused(f"{top}/connections/c0.yaml", HEAD + "password: new\n")
        assert code in (errno.ETIMEDOUT, errno.ENOKEY) and time.monotonic() - begun < 15
        assert read(f"{top}/connections/c0.yaml") == HEAD + "password: (set)\n"


def test_a_key_others_may_read_is_refused(platform):
    platform.ctl("cp", "-", "/connections/forge.yaml", input=HEAD + "password: hunter2\n")
    os.chmod(f"{platform.config}/vault.key", 0o644)
    r = platform.ctl("login", "forge", input="new\n", check=False)
    assert r.returncode and "vault.key: others may read the key (mode 0644" in r.stderr
    with platform.mount() as top:
        assert refused(f"{top}/connections/forge.yaml", HEAD + "password: new\n") == errno.ENOKEY


def test_doctor_looks_at_connections(platform):
    platform.ctl("cp", "-", "/connections/forge.yaml", input=HEAD + "password: hunter2\n")
    platform.ctl("cp", "-", "/connections/open.yaml", input=HEAD)
    out = platform.ctl("doctor", check=False).stdout
    assert "ok    connection forge: git, https://forge.example\n" in out
    os.chmod(f"{platform.config}/vault.key", 0o644)
    write(f"{platform.config}/connections/hand.yaml", HEAD + "password: hunter2\n")
    out = platform.ctl("doctor", check=False).stdout
    assert "FAIL  connection connection forge: " in out and "others may read the key" in out
    assert "ok    connection open: git" in out
    assert "FAIL  connection connections/hand.yaml: the password stands there in plain" in out
    assert "hunter2" not in out


# --- mantikfs --tracking ------------------------------------------------------------------------


def test_tracking_makes_a_connection(platform):
    login = {"MLFLOW_TRACKING_USERNAME": "ana", "MLFLOW_TRACKING_PASSWORD": "hunter2"}
    platform.env.update(login)
    with platform.mount("--tracking", "http://127.0.0.1:1/pre/") as top:
        assert os.listdir(f"{top}/connections") == ["127.0.0.1.yaml"]
        assert read(f"{top}/connections/127.0.0.1.yaml") == (
            "kind: mlflow\nurl: http://127.0.0.1:1/pre\nuser: ana  # from "
            "MLFLOW_TRACKING_USERNAME\npassword: (set)\n")
        assert read(f"{top}/.mantik/connections/127.0.0.1").startswith(
            "kind: mlflow\nurl: http://127.0.0.1:1/pre\nhealth: ")
    with platform.mount("-o", "tracking=http://127.0.0.1:1/pre") as top:
        assert os.listdir(f"{top}/connections") == ["127.0.0.1.yaml"]
    platform.ctl("mount", "--tracking=http://127.0.0.1:2")
    try:
        assert sorted(os.listdir(f"{platform.mountpoint}/connections")) == [
            "127.0.0.1-2.yaml", "127.0.0.1.yaml"]
        out = platform.ctl("mount", "--tracking", "http://127.0.0.1:3").stdout
        assert "is mounted already" in out and "http://127.0.0.1:3 is the connection 127.0.0.1-3" in out
        assert os.path.exists(f"{platform.mountpoint}/connections/127.0.0.1-3.yaml")
        r = platform.ctl("mount", "--tracking", "http://a:hunter2@h", check=False)
        assert r.returncode == 4 and "hunter2" not in r.stdout + r.stderr
    finally:
        platform.ctl("umount")


def asked(platform, files=None, **env):
    """What a new mount of a new server sends it: (Authorization, workspace); and its connection."""
    folder = os.path.join(platform.home, ".mlflow")
    os.makedirs(folder, exist_ok=True)
    write(f"{folder}/credentials", files or "")
    answer = reply(200, '{"experiments": []}', ["Content-Type: application/json"])
    with script(answer) as s:
        given = {name: value.replace("THIS", s.url) for name, value in env.items()}
        before, platform.env = platform.env, {**platform.env, **given}
        try:
            with platform.mount("--tracking", s.url) as top:
                for name in os.listdir(f"{top}/connections"):
                    text = read(f"{top}/connections/{name}")
                    if f"url: {s.url}\n" in text:
                        break
                os.listdir(f"{top}/projects/{name[:-5]}/experiments")
        finally:
            platform.env = before
    headers = s.requests[0].headers
    return headers.get("authorization"), headers.get("x-mlflow-workspace"), text


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_tracking_asks_as_mlflow_would(platform):
    """Its variables and its file, in its order; for the server they are meant for and no other."""
    user = {"MLFLOW_TRACKING_USERNAME": "ana", "MLFLOW_TRACKING_PASSWORD": "pä:ss"}
    token = {"MLFLOW_TRACKING_TOKEN": "tok"}
    more = {"MLFLOW_WORKSPACE": "team-a"}
    kept = "[mlflow]\nmlflow_tracking_username = eva\nmlflow_tracking_password: 50%% = x\n"
    assert asked(platform)[:2] == (None, None)
    assert asked(platform, **user, **token)[:2] == (basic("ana", "pä:ss"), None)
    assert asked(platform, **token, **more)[:2] == ("Bearer tok", "team-a")
    header, _, text = asked(platform, kept, **token)
    assert header == basic("eva", "50% = x") and "user: eva  # from ~/.mlflow/credentials\n" in text
    assert asked(platform, kept, MLFLOW_TRACKING_PASSWORD="new")[0] == basic("eva", "new")
    assert asked(platform, MLFLOW_TRACKING_USERNAME="ana")[0] is None
    assert asked(platform, MLFLOW_TRACKING_URI="THIS/prefix", **user)[0] == basic("ana", "pä:ss")
    # The secret of another server is not this one's.
    for uri in ("https://other.example", "http://127.0.0.1:1", "./mlruns", "databricks"):
        header, workspace, text = asked(
            platform, kept, MLFLOW_TRACKING_URI=uri, MLFLOW_TRACKING_SERVER_CERT_PATH="/ca.pem",
            MLFLOW_TRACKING_CLIENT_CERT_PATH="/me.pem", **user, **token, **more)
        assert (header, workspace, text.count("\n")) == (None, None, 2), (uri, text)


@pytest.mark.parametrize("url, words", [
    ("http://ana:hunter2@h:5000", "the url has a user or password in it"),
    ("h:5000", "is no URL"),
    ("ftp://h", "http:// or https://"),
    ("", "needs a value"),
])
def test_tracking_refuses_what_is_no_url(platform, url, words):
    os.makedirs(platform.mountpoint)
    r = platform.run(mantik.program("mantikfs"), "--tracking", url, platform.mountpoint, check=False)
    assert r.returncode and words in r.stderr and "hunter2" not in r.stderr
    assert not os.path.exists(f"{platform.config}/connections")


# --- what jobs get ------------------------------------------------------------------------------


def test_jobs_get_the_limits_back(platform):
    """mantikfs, mantikctl and mantikd leave no core file; a job may."""
    platform.env["ASAN_OPTIONS"] += ":disable_coredump=0"  # it sets the limit to 0 by itself
    script = ("ulimit -S -n 700; ulimit -S -c 9; "
              f"{mantik.program('mantikctl')} mkdir /projects/p; cd /; "
              "printf 'name: x\\ncommand: ulimit -S -c; ulimit -S -n\\n' | "
              f"{mantik.program('mantikctl')} submit -p p -")
    name = platform.sh(script).stdout.strip().splitlines()[-1].split("/")[-1]
    platform.ctl("wait", name, check=False)
    out = platform.ctl("log", name).stdout
    assert out.split() == ["9", "700"]
