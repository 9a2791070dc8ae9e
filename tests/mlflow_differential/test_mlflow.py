# SPDX-License-Identifier: Apache-2.0
"""The same MLproject and parameters give the same final command as the newest MLflow; what differs
is in differences.py. MLflow lives in a venv of its own in the cache and is updated when PyPI can be
reached."""
import fcntl
import json
import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from differences import DIFFERENCES  # noqa: E402
from same import CASES, REFUSED  # noqa: E402

BUILD = pathlib.Path(os.environ.get("MANTIK_TEST_BUILD", "build"))
OURS = BUILD / "tests/mlflow_differential/final_command"


def ours(tmp_path, text, entry, values):
    path = tmp_path / "MLproject"
    path.write_text(text, encoding="utf-8")
    done = subprocess.run([OURS, path, entry, *(f"{k}={v}" for k, v in values.items() if k[0] != "@")],
                          capture_output=True, encoding="utf-8", timeout=30, check=False)
    if done.returncode == 0:
        return done.stdout
    assert done.returncode == 1, done.stderr
    return "!" + done.stderr.strip()


def newest_mlflow():
    """The Python of a venv with what mlflow needs, and the folder with the newest mlflow itself (its
    slim twin mlflow-skinny, which brings the needs, comes out later), or a skip with pip's words."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    venv = cache / "mantikfs-tests" / "mlflow"
    newest = cache / "mantikfs-tests" / "mlflow-newest"
    venv.parent.mkdir(parents=True, exist_ok=True)
    with open(venv.parent / "mlflow.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        python = venv / "bin/python"
        if not python.exists():
            subprocess.run(["/usr/bin/python3", "-m", "venv", "--clear", venv], check=True,
                           timeout=120)
        try:
            pip = subprocess.run([python, "-m", "pip", "install", "-q", "--upgrade",
                                  "--retries", "1", "--timeout", "15", "mlflow-skinny"],
                                 capture_output=True, encoding="utf-8", timeout=400, check=False)
            words = pip.stderr.strip().splitlines()[-1:] or [""]
            subprocess.run([python, "-m", "pip", "install", "-q", "--upgrade", "--no-deps",
                            "--retries", "1", "--timeout", "15", "--target", newest, "mlflow"],
                           capture_output=True, timeout=400, check=False)
        except subprocess.TimeoutExpired:
            words = ["no answer in 400 s"]
        there = subprocess.run([python, "-c", "import mlflow.projects"], check=False, timeout=60,
                               capture_output=True).returncode == 0
    if not there:
        pytest.skip(f"PyPI cannot be reached for mlflow: {words[0]}")
    return python, newest


def parts(entry_values):
    """differences.py may name an entry point among the values, and ask for MLflow's handling of
    paths (@storage)."""
    values = dict(entry_values)
    return values.pop("@entry", "main"), values


@pytest.fixture(scope="module")
def mlflow():
    """All answers of MLflow, asked at once: it takes seconds to import."""
    asked = [[text, entry, values] for _, text, entry, values in CASES + REFUSED]
    asked += [[text, *parts(values)] for _, _, text, values, _, _ in DIFFERENCES]
    env = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    env["MLFLOW_DISABLE_TELEMETRY"] = "true"
    python, newest = newest_mlflow()
    env["PYTHONPATH"] = str(newest)
    done = subprocess.run([python, HERE / "mlflow_commands.py"], input=json.dumps(asked),
                          capture_output=True, encoding="utf-8", timeout=300, check=False, env=env)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    servers = os.environ.get("MANTIK_TEST_SERVERS")
    if servers:
        with open(servers, "a", encoding="utf-8") as file:
            file.write(f"mlflow.projects {answer['version']}\n")
    return {json.dumps(a): r for a, r in zip(asked, answer["results"])}


def theirs(mlflow, text, entry, values):
    result = mlflow[json.dumps([text, entry, values])]
    return result["command"] if "command" in result else "!" + result["error"]


@pytest.mark.parametrize("text,entry,values", [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_same_command(mlflow, tmp_path, text, entry, values):
    got = ours(tmp_path, text, entry, values)
    assert got.strip() == theirs(mlflow, text, entry, values).strip()


@pytest.mark.parametrize("text,entry,values", [c[1:] for c in REFUSED],
                         ids=[c[0] for c in REFUSED])
def test_both_refuse(mlflow, tmp_path, text, entry, values):
    assert theirs(mlflow, text, entry, values).startswith("!")
    assert ours(tmp_path, text, entry, values).startswith("!")


@pytest.mark.parametrize("reason,text,values,their_command,our_command",
                         [d[1:] for d in DIFFERENCES], ids=[d[0] for d in DIFFERENCES])
def test_known_difference(mlflow, tmp_path, reason, text, values, their_command, our_command):
    entry, values = parts(values)
    assert reason
    for got, want in ((ours(tmp_path, text, entry, values), our_command),
                      (theirs(mlflow, text, entry, values), their_command)):
        if want.startswith("!"):
            assert got.startswith("!") and want[1:] in got
        else:
            assert got.strip() == want.strip()
