# SPDX-License-Identifier: Apache-2.0
"""What a user of a mount sees of a server that fails, lies or sends hostile names: an errno with a
sentence within the time, never an empty listing or a wrong value."""
import base64
import errno
import os
import threading
import time

import pytest
from fakeflow import HTML, JSON, PAGE, T0, a_run, answer, fakeflow, pairs
from httpserve import reply
from mounted import read

FIXED = {"new", "defaults.yaml", "latest", "runs.tsv", "deleted"}


@pytest.fixture
def fake():
    with fakeflow() as f:
        yield f


@pytest.fixture
def top(platform, fake):
    with platform.mount("--tracking", fake.url) as where:
        yield f"{where}/projects/127.0.0.1"


def failed(act, within=15):
    """The errno of act(), which must fail in time."""
    begun = time.monotonic()
    with pytest.raises(OSError) as e:
        act()
    assert time.monotonic() - begun < within
    return e.value.errno


def runs(top):
    return set(os.listdir(f"{top}/runs")) - FIXED


FAULTS = {
    "500 HTML": (lambda: reply(500, PAGE, HTML), errno.EREMOTEIO, "500"),
    "503 text": (lambda: reply(503, "in maintenance\n", ["Content-Type: text/plain"]), errno.EBUSY,
                 "maintenance"),
    "429 for an hour": (lambda: reply(429, "slow down", ["Retry-After: 3600"]), errno.EBUSY, "429"),
    "403 host check": (lambda: reply(403, "Invalid Host header - possible DNS rebinding attack "
                                     "detected", ["Content-Type: text/plain"]), errno.EACCES,
                       "--allowed-hosts"),
    "401": (lambda: reply(401, "no", ["WWW-Authenticate: Basic realm=\"mlflow\""]), errno.ENOKEY,
            "mantikctl login"),
    "a login page": (lambda: reply(200, "<html>log in", HTML), errno.EREMOTEIO, "not as MLflow does"),
    "half a body": (lambda: reply(200, '{"experiments": [', JSON, length=1000) + b"", errno.EREMOTEIO,
                    ""),
    "no JSON": (lambda: answer('{"experiments": ['), errno.EREMOTEIO, "its answer is"),
    "closed": (lambda: None, errno.EREMOTEIO, ""),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_an_error_with_a_sentence(platform, fake, top, fault):
    make, code, words = FAULTS[fault]

    def once(request, connection, number):
        if fault == "half a body":
            connection.sendall(make())
            return None
        return make()
    for route, look in (("experiments/search", f"{top}/experiments"),
                        ("runs/search", f"{top}/runs")):
        fake.faults = {route: once}
        assert failed(lambda: os.listdir(look)) == code
        why = platform.ctl("why", look).stdout
        assert words in why and "127.0.0.1" in why, why
    fake.faults = {}

    def back():
        try:
            return runs(top) == {"r.00000001"}
        except OSError:
            return False
    from mantik import wait_for
    wait_for(back, "the server to be asked again", 70)
    for route, look in (("metrics/get-history", f"{top}/runs/r.00000001/metrics/loss"),
                        ("artifacts/list", f"{top}/runs/r.00000001/artifacts/f.txt")):
        fake.faults = {route: once}
        got = failed(lambda: read(look))
        assert got == code or (got == errno.ETIMEDOUT and fault in ("closed", "half a body"))
        assert got != code or words in platform.ctl("why", look).stdout
    fake.faults = {}
    wait_for(lambda: not os.system(f"cat '{top}/runs/r.00000001/metrics/loss' >/dev/null 2>&1"),
             "the metric", 70)
    assert read(f"{top}/runs/r.00000001/metrics/loss").startswith("0\t1\t2023-11-14T22:13:20.000Z\n")


def test_silence_fails_within_the_time(platform, fake, top):
    """No answer: the listing fails in metadata_timeout; what is not the server's goes on at once."""
    silent = threading.Event()

    def wait(request, connection, number):
        silent.wait(60)
        return None
    fake.faults = {"experiments/search": wait}
    try:
        other = os.path.join(os.path.dirname(top), "mine")
        os.mkdir(other)
        results = []
        thread = threading.Thread(target=lambda: results.append(
            failed(lambda: os.listdir(f"{top}/experiments"))))
        thread.start()
        for _ in range(50):
            begun = time.monotonic()
            os.mkdir(f"{other}/experiments/e{_}")
            os.listdir(f"{other}/experiments")
            read(f"{other}/experiments/e{_}/runs.tsv")
            assert time.monotonic() - begun < 1
        thread.join(20)
        assert results and results[0] in (errno.ETIMEDOUT, errno.EHOSTUNREACH)
    finally:
        silent.set()


def test_ctrl_c_ends_a_waiting_ls(platform, fake, top):
    silent = threading.Event()

    def wait(request, connection, number):
        silent.wait(60)
        return None
    fake.faults = {"experiments/search": wait}
    try:
        ls = platform.start("ls", f"{top}/experiments")
        until = time.monotonic() + 10
        while not fake.asked("experiments/search") and time.monotonic() < until:
            time.sleep(0.02)
        assert fake.asked("experiments/search") and ls.poll() is None
        begun = time.monotonic()
        ls.send_signal(2)
        ls.wait(5)
        assert time.monotonic() - begun < 1
    finally:
        silent.set()


def test_too_many_requests_are_waited_for(fake, top):
    fake.faults = {"runs/search": [reply(429, "", ["Retry-After: 1"])]}
    begun = time.monotonic()
    assert runs(top) == {"r.00000001"}
    assert 1 <= time.monotonic() - begun < 8


def test_every_connection_is_closed(fake, top):
    def closing(request, connection, number):
        path, _, query = request.path.partition("?")
        given = {"run_view_type": "ACTIVE_ONLY", "experiment_ids": ["1"]}
        if b"DELETED_ONLY" in request.body:
            given["run_view_type"] = "DELETED_ONLY"
        data = fake.ordinary(path.split("/mlflow/", 1)[-1], given)
        connection.sendall(data.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        return None
    fake.faults = {"experiments/search": closing, "runs/search": closing}
    assert runs(top) == {"r.00000001"} and os.listdir(f"{top}/experiments") == ["e"]


def test_numbers_of_all_shapes(fake, top):
    """Numbers as strings, bare NaN, members nobody knows, times before 1970 and after 2262."""
    fake.runs[0]["info"].update(start_time=str(T0), end_time=str(T0 + 2000), surprise={"a": [1]})
    fake.faults["metrics/get-history"] = answer(
        '{"metrics": [{"key": "loss", "value": "NaN", "timestamp": "%d", "step": "-3"},'
        '{"key": "loss", "value": NaN, "timestamp": %d, "step": 9007199254740993, "x": {}},'
        '{"key": "loss", "value": "-Infinity", "timestamp": -5, "step": "4"},'
        '{"key": "loss", "value": 1e999, "timestamp": 99999999999999999999, "step": 5},'
        '{"key": "loss", "value": 0.1, "timestamp": 9223372036854775807, "step": 6}]}' % (T0, T0))
    run = f"{top}/runs/r.00000001"
    lines = [line.split("\t") for line in read(f"{run}/metrics/loss").splitlines()]
    assert [line[:2] for line in lines] == [
        ["-3", "nan"], ["9007199254740993", "nan"], ["4", "-inf"], ["5", "inf"], ["6", "0.1"]]
    assert lines[0][2] == "2023-11-14T22:13:20.000Z" == lines[1][2]
    for _, _, date in lines:
        time.strptime(date, "%Y-%m-%dT%H:%M:%S.%fZ")
    assert os.stat(f"{run}/metrics/loss").st_size == len(read(f"{run}/metrics/loss"))
    assert "ended: 2023-11-14T22:13:22.000Z" in read(f"{run}/info.yaml").replace("'", "")


HOSTILE = ["..", ".", "/", "a/../../b", "nul\0here", "line\nfeed", "esc\x1b[31m", "x" * 300, "ü" * 200,
           "%2e%2e", "a%", "-rf", " ", "\u202ereversed", "a\\b", ".hidden", "CON", "#1", "\x7f",
           "\ud800 half", "new", "latest", "runs.tsv", "deleted", "defaults.yaml"]


def test_hostile_names_are_names(platform, fake, top):
    """Experiments, runs, keys and files named to break out: each can be listed, entered and read."""
    fake.experiments = [
        {"experiment_id": str(i), "name": name, "lifecycle_stage": "active", "creation_time": T0}
        for i, name in enumerate(HOSTILE)]
    keys = [{"key": name, "value": name} for name in HOSTILE
            if len(name.encode(errors="replace")) <= 250]
    fake.runs = [a_run(i + 1, name, experiment=str(i), params=keys, tags=keys,
                       metrics=[{"key": n, "value": 1.5, "timestamp": T0, "step": 0}
                                for n in map(lambda k: k["key"], keys)])
                 for i, name in enumerate(HOSTILE)]
    fake.files = [{"path": name, "is_dir": i % 3 == 0, "file_size": 5}
                  for i, name in enumerate(HOSTILE)]
    found = os.listdir(f"{top}/experiments".encode())
    assert len(found) == len(set(found)) == len(HOSTILE)
    for name in found:
        name.decode()
        assert len(name) <= 255 and b"/" not in name and b"\0" not in name
        assert name not in (b".", b"..")
        where = f"{top}/experiments/".encode() + name
        linked = os.listdir(where + b"/runs")
        assert len(linked) == 1
        assert os.path.samefile(where + b"/runs/" + linked[0],
                                f"{top}/runs/".encode() + linked[0])
    names = runs(top)
    assert len(names) == len(HOSTILE)
    assert all(n.rsplit(".", 1)[1] == f"{int(n.rsplit('.', 1)[1], 16):08x}" for n in names)
    run = next(n for n in names if n.endswith(".00000001"))
    for folder, dirs, files in os.walk(f"{top}/runs/{run}"):
        if "/artifacts" in folder:  # names as the job wrote them
            continue
        for name in files:
            assert "\n" not in name and "\x1b" not in name, name
            read(os.path.join(folder, name))
    assert read(f"{top}/runs/{run}/params/%2Ehidden") == ".hidden\n"
    tables = [f"{top}/runs/runs.tsv", f"{top}/experiments/%23x/runs.tsv"]
    head, *lines = read(tables[0]).split("\n")[:-1]
    assert len(lines) == len(HOSTILE)
    assert all(line.count("\t") == head.count("\t") for line in lines)
    outside = [n for n in os.listdir(os.path.dirname(top)) if n != "127.0.0.1"]
    assert not outside


def test_keys_that_no_entry_holds(fake, top):
    """Names over 255 bytes, escaped or not, end in a hash and open, also as directories and beside
    one, where other keys begin alike."""
    parts = ["x" * 300, "x" * 301, "x" * 255, "\x01" * 90, "\x01" * 91, "\u00fc" * 150]
    keys = ["plain", *parts, *(f"{part}/{part}" for part in parts),
            *(f"{part}/{part}/{parts[0]}" for part in parts)]
    values = pairs(**{key: f"{len(key)} {ord(key[0])} {key.count('/')}" for key in keys})
    fake.runs = [a_run(1, params=values, tags=values)]
    for folder in ("params", "tags"):
        seen = []
        for where, dirs, files in os.walk(f"{top}/runs/r.00000001/{folder}".encode()):
            assert len(set(dirs + files)) == len(dirs + files)
            assert all(len(name) <= 255 for name in dirs + files)
            for name in files:
                seen.append(read(os.path.join(where, name)))
        assert sorted(seen) == sorted(pair["value"] + "\n" for pair in values)
    assert failed(lambda: read(f"{top}/runs/r.00000001/params/" + "x" * 237 + "%~" + "0" * 16)) \
        == errno.ENOENT


def test_hostile_files(fake, top):
    """What is listed outside of the directory that was asked for is not shown."""
    fake.files = [{"path": p, "is_dir": False, "file_size": 5} for p in (
        "good.txt", "../up", "a/../b", "/etc/passwd", "", ".", "..", "deep/er", "nul\0x", "x" * 300,
        "line\nfeed", "esc\x1bx", "twice", "twice")]
    fake.contents = {"good.txt": b"good\n", "twice": b"twice"}
    names = os.listdir(f"{top}/runs/r.00000001/artifacts")
    assert {"good.txt", "twice"} <= set(names) and len(set(names)) == len(names)
    assert not any("/" in n or "\0" in n or n in (".", "..") for n in names)
    assert read(f"{top}/runs/r.00000001/artifacts/good.txt") == "good\n"


def test_a_file_that_is_not_as_long_as_listed(platform, fake, top):
    for listed, real in ((5, b"shrt"), (5, b"too long")):
        fake.files = [{"path": f"f{len(real)}", "is_dir": False, "file_size": listed}]
        fake.contents = {f"f{len(real)}": real}
        run = f"{top}/runs/r.00000001"
        time.sleep(0)
        path = f"{run}/artifacts/f{len(real)}"
        if not os.path.exists(path):  # the listing is kept 30 s
            continue
        code = failed(lambda: read(path))
        assert code in (errno.ESTALE, errno.EREMOTEIO, errno.EIO), code


def test_a_hundred_thousand_keys(fake, top):
    n = 100_000
    fake.runs[0]["data"]["params"] = [{"key": f"k{i:06}", "value": str(i)} for i in range(n)]
    run = f"{top}/runs/r.00000001"
    names = os.listdir(f"{run}/params")
    assert len(names) == n and read(f"{run}/params/k099999") == "99999\n"
    begun = time.monotonic()
    os.stat(f"{run}/params/k050000")
    assert time.monotonic() - begun < 5


def test_a_page_that_never_ends(platform, fake, top):
    """Tokens that turn in circles, and a list that always goes on."""
    fake.faults = {"experiments/search": answer({"experiments": fake.experiments,
                                                 "next_page_token": "again"})}
    assert failed(lambda: os.listdir(f"{top}/experiments"), 30) == errno.EREMOTEIO


def test_a_token_that_expires_between_two_pages(platform, fake):
    """401 in the middle of a listing: the command is asked for a new token, once."""
    fake.experiments = fake.experiments * 1
    issued = os.path.join(platform.dir, "token")
    with open(issued, "w") as f:
        f.write("one\n")
    valid = {"Bearer one"}

    def guarded(request, connection, number):
        if request.headers.get("authorization") not in valid:
            return reply(401, "expired", ["WWW-Authenticate: Bearer"])
        given = {"run_view_type": "DELETED_ONLY" if b"DELETED_ONLY" in request.body else "A",
                 "experiment_ids": ["1"]}
        route = request.path.partition("?")[0].split("/mlflow/", 1)[-1]
        if route == "runs/search" and given["run_view_type"] == "A":
            if b"page2" not in request.body:
                valid.clear()
                valid.add("Bearer two")
                with open(issued, "w") as f:
                    f.write("two\n")
                return answer({"runs": [a_run(1)], "next_page_token": "page2"})
            return answer({"runs": [a_run(2)]})
        return fake.ordinary(route, given)
    fake.faults = {"experiments/search": guarded, "runs/search": guarded}
    with platform.mount() as where:
        with open(f"{where}/connections/lab.yaml", "w") as f:
            f.write(f"kind: mlflow\nurl: {fake.url}\ntoken_command: [cat, {issued}]\n")
        assert runs(f"{where}/projects/lab") == {"r.00000001", "r.00000002"}


def basic(login):
    return "Basic " + base64.b64encode(login.encode()).decode()


def connection(where, text):
    with open(f"{where}/connections/lab.yaml", "w") as f:
        f.write(text)


def test_a_wrong_password(platform, fake):
    """EACCES, the connection and what to do; the right one is good at once."""
    fake.logins = {basic("ana:right")}
    text = f"kind: mlflow\nurl: {fake.url}\nuser: ana\n"
    with platform.mount() as where:
        lab = f"{where}/projects/lab"
        connection(where, text + "password: mistaken\n")
        for look in (f"{lab}/experiments", f"{lab}/runs", f"{lab}/models"):
            assert failed(lambda: os.listdir(look)) == errno.EACCES
            why = platform.ctl("why", look).stdout
            assert "EACCES" in why and "lab: " in why and "does not accept the password or token: " \
                "mantikctl login lab sets a new one" in why, why
            assert "mistaken" not in why
        # However often somebody looks, it is not offered again and again: accounts are locked for that.
        asked = len(fake.requests)
        for _ in range(30):
            assert failed(lambda: os.listdir(f"{lab}/experiments")) == errno.EACCES
        assert len(fake.requests) <= asked + 4
        assert "asked again in" in platform.ctl("why", f"{lab}/experiments").stdout
        assert "mistaken" not in read(f"{where}/.mantik/errors")
        r = platform.ctl("login", "lab", input="right\n")
        assert "right" not in r.stdout + r.stderr
        assert os.listdir(f"{lab}/experiments") == ["e"]
        assert runs(lab) == {"r.00000001"}


@pytest.mark.parametrize("kept", ["here", "in a file"])
def test_a_token_that_expires_under_a_mount(platform, fake, kept):
    """What was seen reads on; what was not says whose token it is. One that somebody renews in its
    file is taken from there, unseen."""
    fake.logins = {"Bearer one"}
    issued = os.path.join(platform.dir, "token")
    with open(issued, "w") as f:
        f.write("one\n")
    os.chmod(issued, 0o600)
    head = f"kind: mlflow\nurl: {fake.url}\n"
    with platform.mount() as where:
        lab = f"{where}/projects/lab"
        connection(where, head + ("token: one\n" if kept == "here" else f"token_file: {issued}\n"))
        assert runs(lab) == {"r.00000001"}
        assert read(f"{lab}/runs/r.00000001/params/lr") == "0.1\n"
        fake.logins = {"Bearer two"}
        with open(issued, "w") as f:
            f.write("two\n")
        unseen = f"{lab}/runs/r.00000001/metrics/loss"
        if kept == "here":
            assert failed(lambda: read(unseen)) == errno.EACCES
            why = platform.ctl("why", unseen).stdout
            assert "lab: " in why and "mantikctl login lab" in why, why
            assert failed(lambda: os.listdir(f"{lab}/runs/r.00000001/artifacts")) == errno.EACCES
            assert read(f"{lab}/runs/r.00000001/params/lr") == "0.1\n"
            assert runs(lab) == {"r.00000001"}
            platform.ctl("login", "lab", input="two\n")
        assert read(unseen).startswith("0\t1\t")
        assert os.listdir(f"{lab}/runs/r.00000001/artifacts") == ["f.txt"]
    assert not any(r.headers.get("authorization") not in ("Bearer one", "Bearer two")
                   for r in fake.requests)


def test_a_run_deleted_while_a_file_of_it_is_open(fake, top):
    run = f"{top}/runs/r.00000001"
    with open(f"{run}/params/lr") as f:
        fake.runs[0]["info"]["lifecycle_stage"] = "deleted"
        assert f.read() == "0.1\n"


def test_params_with_every_control_character(fake, top):
    value = "".join(map(chr, range(1, 32))) + "\x7f\u2028"
    fake.runs[0]["data"]["params"] = pairs(v=value)
    assert read(f"{top}/runs/r.00000001/params/v") == value + "\n"
