# SPDX-License-Identifier: Apache-2.0
"""Repositories from real servers: file, git daemon, http(s), ssh; and servers that misbehave."""
import os
import shutil
import subprocess

import pytest
import remotes
from mantik import wait_for
from remotes import code


@pytest.fixture
def up(platform):
    up = remotes.Upstream(platform)
    up.write("MLproject", "name: x\n")
    up.write("src/deep/train.py", "print(1)\n")
    up.commit("first")
    up.git("tag", "v1")
    up.git("push", "-q", "origin", "v1")
    up.push("feature/x")
    return up


def reads_all(platform, up, uri, env=None):
    """The whole of a repository by that uri."""
    head = up.head()
    code(platform, "add", "r", uri)
    assert code(platform, "branches", "r", env=env).refs() == {"main": head, "feature/x": head}
    assert code(platform, "tags", "r", env=env).refs() == {"v1": head}
    assert code(platform, "cat", "r", head, "src/deep/train.py", env=env).out == "print(1)\n"
    assert code(platform, "resolve", "r", "-", "-", env=env).out == f"{head} main\n"
    # what is pushed is seen at submission at once, and by looking soon
    up.write("new", "2\n")
    fresh = up.commit("second")
    assert code(platform, "resolve", "r", "main", "-", env=env).out == f"{fresh} main\n"
    assert code(platform, "cat", "r", fresh, "new", env=env).out == "2\n"


def test_file(platform, up):
    reads_all(platform, up, up.bare)


def test_file_url_and_working_tree(platform, up):
    code(platform, "add", "url", "file://" + up.bare)
    assert code(platform, "branches", "url").refs()["main"] == up.head()
    code(platform, "add", "work", up.work)
    assert code(platform, "branches", "work").refs() == {"main": up.head()}


def test_git_daemon(platform, up):
    with remotes.daemon(up) as uri:
        reads_all(platform, up, uri)


def test_http(platform, up):
    with remotes.web(up) as (uri, seen):
        reads_all(platform, up, uri)
        assert seen


def test_https_with_credential_helper(platform, up):
    """The user's own git configuration: helper and trusted certificate."""
    tls = remotes.certificate(platform)
    platform.run("git", "config", "--global", "http.sslCAInfo", tls[0])
    platform.run("git", "config", "--global", "credential.helper",
                 "!f() { test $1 = get && echo username=ana && echo password=s3cret; }; f")
    with remotes.web(up, user="ana:s3cret", tls=tls) as (uri, _):
        reads_all(platform, up, uri)


def test_https_with_token_in_the_uri(platform, up):
    """The token reaches the server and nothing else: no argv, no error, no file in clear."""
    tls = remotes.certificate(platform)
    platform.run("git", "config", "--global", "http.sslCAInfo", tls[0])
    with remotes.web(up, user="ana:glpat-s3cr3t", tls=tls) as (uri, _):
        secret = uri.replace("https://", "https://ana:glpat-s3cr3t@")
        reads_all(platform, up, secret)
        refused = secret.replace("s3cr3t", "wr0ng1")
        code(platform, "add", "bad", refused)
        r = code(platform, "branches", "bad", check=False)
        assert r.code == 1 and r.err.splitlines()[1].startswith("EACCES project p, repository bad: "
                                                                "https://ana:***@localhost:")
        assert "wr0ng1" not in r.err
    mirrors = os.path.join(platform.data, "git")
    found = subprocess.run(["grep", "-rlE", "s3cr3t|wr0ng1", mirrors], stdout=subprocess.PIPE)
    assert found.stdout == b""


def test_https_without_login_says_what_to_do(platform, up):
    tls = remotes.certificate(platform)
    platform.run("git", "config", "--global", "http.sslCAInfo", tls[0])
    with remotes.web(up, user="ana:x", tls=tls) as (uri, _):
        code(platform, "add", "r", uri)
        r = code(platform, "branches", "r", check=False)
    assert r.code == 1 and "EACCES project p, repository r: " + uri in r.err
    assert "set up a git credential helper" in r.err and r.ms < 10000


def test_https_untrusted_certificate(platform, up):
    with remotes.web(up, tls=remotes.certificate(platform)) as (uri, _):
        code(platform, "add", "r", uri)
        r = code(platform, "branches", "r", check=False)
    assert "EREMOTEIO" in r.err and "its certificate is not trusted" in r.err


def test_ssh_with_the_users_command(platform, up):
    with remotes.sshd(up) as (uri, ssh):
        reads_all(platform, up, uri, env={"GIT_SSH_COMMAND": ssh})


def test_ssh_command_of_the_configuration(platform, up):
    with remotes.sshd(up) as (uri, ssh):
        platform.run("git", "config", "--global", "core.sshCommand", ssh)
        code(platform, "add", "r", uri)
        assert code(platform, "branches", "r").refs()["main"] == up.head()


def test_ssh_never_asks(platform, up):
    """An unknown host key is a sentence, not a question."""
    with remotes.sshd(up) as (uri, ssh):
        port = ssh.split("-F ")[1]
        config = open(port).read().replace("StrictHostKeyChecking yes", "StrictHostKeyChecking ask")
        known = [line.split()[1] for line in config.splitlines() if "UserKnownHosts" in line][0]
        strange = os.path.join(platform.dir, "strange")
        with open(strange, "w") as f:
            f.write(config.replace(known, "/dev/null").replace("ControlMaster auto",
                                                               "ControlMaster no"))
        code(platform, "add", "r", uri)
        r = code(platform, "branches", "r", check=False,
                 env={"GIT_SSH_COMMAND": f"ssh -F {strange}"})
    assert "EACCES" in r.err and "connect once with ssh in a terminal" in r.err


@pytest.mark.parametrize("uri, words", [
    ("/no/such/repository", "EREMOTEIO project p, repository r: /no/such/repository: "),
    ("https://127.0.0.1:1/x", "EHOSTUNREACH project p, repository r: https://127.0.0.1:1/x: "),
    ("git://127.0.0.1:1/x", "EHOSTUNREACH"),
    ("ssh://127.0.0.1:1/x", "EHOSTUNREACH"),
    ("https://host.invalid/x", "EHOSTUNREACH"),
    ("ext::sh -c touch% /tmp/x", "EINVAL"),
])
def test_wrong_uri(platform, uri, words):
    code(platform, "add", "r", uri)
    r = code(platform, "branches", "r", check=False)
    assert r.code == 1 and r.out == "" and words in r.err, r.err


def test_configuration_cannot_allow_more(platform, up):
    """insteadOf and protocol.allow of a user's configuration do not open other transports."""
    marker = os.path.join(platform.dir, "marker")
    platform.run("git", "config", "--global", "protocol.ext.allow", "always")
    platform.run("git", "config", "--global", f"url.ext::touch {marker} #.insteadOf",
                 "https://trap.example/")
    code(platform, "add", "r", "https://trap.example/x")
    r = code(platform, "branches", "r", check=False)
    assert r.code == 1 and "EPERM" in r.err, r.err
    assert not os.path.exists(marker)


def test_hooks_and_templates_do_not_run(platform, up):
    marker = os.path.join(platform.dir, "marker")
    hooks = os.path.join(platform.dir, "hooks")
    for folder in (hooks, os.path.join(platform.dir, "template", "hooks")):
        os.makedirs(folder)
        for name in ("reference-transaction", "post-checkout", "post-merge", "fsmonitor"):
            with open(os.path.join(folder, name), "w") as f:
                f.write(f"#!/bin/sh\ntouch {marker}\n")
            os.chmod(f.name, 0o755)
    platform.run("git", "config", "--global", "core.hooksPath", hooks)
    platform.run("git", "config", "--global", "init.templateDir",
                 os.path.join(platform.dir, "template"))
    head = up.head()
    code(platform, "add", "r", up.bare)
    assert code(platform, "branches", "r").refs()["main"] == head
    assert not os.path.exists(marker)


def test_repository_of_another_owner(platform, up):
    if os.getuid():
        pytest.skip("needs root to give a repository away")
    shutil.chown(up.bare, "nobody")
    code(platform, "add", "r", up.bare)
    assert code(platform, "branches", "r").refs()["main"] == up.head()


@pytest.mark.parametrize("scheme", ["git", "http", "ssh"])
def test_silent_server(platform, scheme):
    """Accepts and stays silent: the option decides, a deadline and Ctrl-C do sooner; nothing of
    ours keeps running, and nobody is told that there are no branches."""
    remotes.option(platform, git_timeout="2s")
    with remotes.silent() as (port, held):
        uri = f"{scheme}://127.0.0.1:{port}/x"
        code(platform, "add", "r", uri)
        r = code(platform, "branches", "r", check=False)
        assert (r.code, r.out) == (1, "") and ("ETIMEDOUT" in r.err or "EHOSTUNREACH" in r.err)
        assert f"project p, repository r: {uri}: " in r.err and 1500 < r.ms < 5000, r.err
        assert held
        r = code(platform, "branches", "r", check=False, cancel=300)
        assert "EINTR" in r.err and r.ms < 1300
        r = code(platform, "branches", "r", check=False, deadline=300)
        assert "ETIMEDOUT" in r.err and r.ms < 1300
        r = code(platform, "resolve", "r", "main", "-", check=False, cancel=300)
        assert "EINTR" in r.err and r.ms < 1300
    wait_for(lambda: not remotes.git_processes(platform), "the programs to end")


def test_resolve_needs_the_remote_a_commit_does_not(platform, up):
    with remotes.daemon(up) as uri:
        code(platform, "add", "r", uri)
        head = up.head()
        assert code(platform, "resolve", "r", "main", "-").out == f"{head} main\n"
    r = code(platform, "resolve", "r", "main", "-", check=False)
    assert "EHOSTUNREACH the head of branch main must be asked for" in r.err
    assert code(platform, "resolve", "r", "-", head).out == f"{head} -\n"
    # looking goes on, from what is known
    assert code(platform, "branches", "r").refs()["main"] == head


def test_names_the_nearest_branch(platform, up):
    code(platform, "add", "r", up.bare)
    r = code(platform, "resolve", "r", "feature/y", "-", check=False)
    assert 'ENOENT project p, repository r: no branch "feature/y"' in r.err
    assert 'did you mean "feature/x"?' in r.err
    r = code(platform, "resolve", "r", "v1", "-", check=False)
    assert "v1 is a tag, not a branch" in r.err
    r = code(platform, "resolve", "r", "-", "0123456789" * 4, check=False)
    assert "ENOENT" in r.err and "no commit 0123456789" in r.err
    r = code(platform, "resolve", "r", "-", "nonsense", check=False)
    assert "EINVAL" in r.err


def test_looking_sees_a_push(platform, up):
    """git_refresh after the last answer a look fetches behind our back."""
    remotes.option(platform, git_refresh="1s")
    code(platform, "add", "r", up.bare)
    code(platform, "branches", "r")
    fresh = up.commit("later")
    r = code(platform, "watch", "r", "main", fresh, deadline=20000)
    assert r.ms < 10000
    up.git("push", "-q", "origin", ":feature/x")
    code(platform, "watch", "r", "feature/x", "", deadline=20000)


def test_many_processes_at_once(platform, up):
    """Several programs of a user fetch the same mirror: each gets the branches."""
    code(platform, "add", "r", up.bare)
    running = [platform.start(remotes.CODECTL, "branches", "r", stderr=subprocess.PIPE)
               for _ in range(8)]
    for process in running:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0 and f"{up.head()} main\n" in out, err


def test_killed_fetch_leaves_a_whole_mirror(platform, up):
    """The program dies in the middle of a fetch and its git is left behind: the next one ends that
    git, cleans up and fetches."""
    with remotes.silent() as (port, held):
        code(platform, "add", "r", up.bare)
        head = up.head()
        code(platform, "branches", "r")
        # a fetch that hangs while it holds the mirror
        hang = os.path.join(platform.dir, "hang")
        with open(hang, "w") as f:
            f.write("#!/bin/sh\ncase \"$*\" in *upload-pack*) "
                    f"if [ -e {platform.dir}/second ]; then exec sleep 1000; fi;; esac\n"
                    f"touch {platform.dir}/second\nshift $(($# - 1)); exec sh -c \"$1\"\n")
        os.chmod(hang, 0o755)
        up.commit("later")
        code(platform, "add", "r", f"ssh://x{up.bare}")
        env = {**platform.env, "GIT_SSH_COMMAND": hang, "GIT_SSH_VARIANT": "ssh"}
        process = subprocess.Popen([remotes.CODECTL, "branches", "r"], env=env,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: any(" fetch " in x for x in remotes.git_processes(platform)),
                 "the fetch")
        process.kill()
        process.wait()
        assert remotes.git_processes(platform)
        # what a killed git leaves
        mirror = [x for x in os.listdir(os.path.join(platform.data, "git"))
                  if x.endswith(".git")][0]
        mirror = os.path.join(platform.data, "git", mirror)
        for left in ("packed-refs.lock", "refs/heads/main.lock", "objects/pack/tmp_pack_XyZ"):
            os.makedirs(os.path.dirname(os.path.join(mirror, left)), exist_ok=True)
            open(os.path.join(mirror, left), "w").close()
        code(platform, "add", "r", up.bare)
        assert code(platform, "resolve", "r", "main", "-").out == f"{up.head()} main\n"
        assert not os.path.exists(os.path.join(mirror, "packed-refs.lock"))
        assert not os.path.exists(os.path.join(mirror, "objects/pack/tmp_pack_XyZ"))
        wait_for(lambda: not remotes.git_processes(platform), "the old git to end")
        platform.run("git", f"--git-dir={mirror}", "fsck", "--strict")
        assert code(platform, "commits", "r").refs() and head


GIT_CONNECTION = "kind: git\nurl: {}\nuser: ana\npassword: s3cr3t-canary\n"


def server_of(uri):
    return uri.rsplit("/", 1)[0]


def test_https_with_a_connection(platform, up):
    """The vault's login reaches its own server through git and shows nowhere on this machine."""
    tls = remotes.certificate(platform)
    platform.run("git", "config", "--global", "http.sslCAInfo", tls[0])
    watch = os.path.join(platform.dir, "seen")
    wrapper = os.path.join(platform.dir, "bin", "git")
    os.makedirs(os.path.dirname(wrapper))
    with open(wrapper, "w") as f:  # what any process of the machine could read of git and its own
        f.write(f'#!/bin/bash\nprintf "%s\\n" "$@" >> {watch}\nenv >> {watch}\n'
                f'exec {shutil.which("git")} "$@"\n')
    os.chmod(wrapper, 0o755)
    platform.env["PATH"] = os.path.dirname(wrapper) + ":" + platform.env["PATH"]
    with remotes.web(up, user="ana:s3cr3t-canary", tls=tls) as (uri, seen):
        platform.ctl("cp", "-", "/connections/forge.yaml",
                     input=GIT_CONNECTION.format(server_of(uri)))
        reads_all(platform, up, uri)
        assert any(given for _, _, given in seen)
        text = open(watch).read()
        assert "ls-remote" in text and "fetch" in text and "s3cr3t" not in text
        # A wrong one is the server's refusal, not a question.
        platform.ctl("login", "forge", input="wr0ng\n")
        code(platform, "add", "bad", uri + "?again")
        r = code(platform, "branches", "bad", check=False)
        assert "EACCES" in r.err and "wr0ng" not in r.err


def test_a_redirect_gets_no_login(platform, up):
    """git follows a redirect to another server; the connection's login does not."""
    with remotes.web(up, user="ana:s3cr3t-canary") as (uri, seen):
        class Redirect(remotes.http.server.BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def do_GET(self):
                self.send_response(302)
                self.send_header("Location", server_of(uri) + self.path)
                self.send_header("Content-Length", "0")
                self.end_headers()

        server = remotes.http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirect)
        remotes.threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            here = f"http://127.0.0.1:{server.server_port}"
            platform.ctl("cp", "-", "/connections/forge.yaml", input=GIT_CONNECTION.format(here))
            code(platform, "add", "r", here + "/" + os.path.basename(uri))
            r = code(platform, "branches", "r", check=False)
            assert r.code == 1 and "EACCES" in r.err
            assert seen and not any(given for _, _, given in seen)
        finally:
            server.shutdown()
            server.server_close()


def test_a_connection_named_by_the_repository(platform, up):
    with remotes.web(up, user="ana:s3cr3t-canary") as (uri, seen), platform.mount() as top:
        for name, password in (("a", "wr0ng"), ("b", "s3cr3t-canary")):
            with open(f"{top}/connections/{name}.yaml", "w") as f:
                f.write(GIT_CONNECTION.format(server_of(uri)).replace("s3cr3t-canary", password))
        os.makedirs(f"{top}/projects/p/code/r")
        path = f"{top}/projects/p/code/r/repository.yaml"
        for text, words in ((f"uri: {uri}\n", "the login was refused"),
                            (f"uri: {uri}\nconnection: c\n", "there is no connection c"),
                            (f"uri: {uri.replace('localhost', '127.0.0.1')}\nconnection: b\n",
                             "connection b is for")):
            with pytest.raises(OSError):
                with open(path, "w") as f:
                    f.write(text)
            assert words in platform.ctl("why", path).stdout
        with open(path, "w") as f:
            f.write(f"uri: {uri}\nconnection: b\n")
        assert "main" in os.listdir(f"{top}/projects/p/code/r/branches")
