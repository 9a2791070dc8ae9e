# SPDX-License-Identifier: Apache-2.0
"""mantikctl's command line: how options are read, what exit statuses say."""
import json
import os

import pytest

import mantik


@pytest.mark.parametrize("args, status, said", [
    ([], 2, "no command"),
    (["help", "nonsense"], 2, 'unknown command "nonsense"'),
    (["nonsense"], 2, 'unknown command "nonsense"'),
    (["config", "--nonsense"], 2, "unknown, ambiguous or valueless option --nonsense"),
    (["config", "-x"], 2, "unknown option -x"),
    (["backup"], 2, "backup: needs FILE"),
    (["backup", "a", "b"], 2, 'too many operands, from "b" on'),
    (["mount", "-o"], 2, "-o needs a value"),
    (["config", "nonsense"], 3, "there is no option nonsense"),
])
def test_mistakes_are_told(shared, args, status, said):
    r = shared.ctl(*args, check=False)
    assert r.returncode == status
    assert said in r.stderr and r.stdout == ""


def test_config_tells_value_and_origin(platform):
    assert platform.ctl("config", "cancel_grace").stdout == "10s\n"
    assert "cancel_grace\t10s\tdefault\n" in platform.ctl("config").stdout
    listed = {o["name"]: o for o in json.loads(platform.ctl("config", "--json").stdout)}
    assert listed["cancel_grace"] == {"name": "cancel_grace", "value": "10s", "from": "default",
                                     "default": "10s"}


def test_directories_are_where_one_says(platform):
    data = os.path.join(platform.dir, "elsewhere")
    assert platform.ctl("-D", data, "config", "data_dir").stdout == data + "\n"
    platform.ctl("-D", data, "status")
    assert os.path.exists(os.path.join(data, "mantik.db"))


def test_backup_is_a_database_and_never_overwrites(platform):
    copy = os.path.join(platform.dir, "copy.db")
    platform.ctl("backup", copy)
    with open(copy, "rb") as f:
        assert f.read(15) == b"SQLite format 3"
    assert os.stat(copy).st_mode & 0o777 == 0o600
    r = platform.ctl("backup", copy, check=False)
    assert r.returncode == 4 and copy in r.stderr


def test_output_that_cannot_be_written_is_an_error(platform):
    with open("/dev/full", "w") as full:
        p = platform.start(mantik.program("mantikctl"), "config", stdout=full)
        assert p.wait(20) == 6


def test_config_comes_from_a_file(platform):
    os.makedirs(platform.config)
    path = os.path.join(platform.config, "config.yaml")
    with open(path, "w") as f:
        f.write("slots: 3\n")
    assert platform.ctl("config", "slots").stdout == "3\n"
    assert f"slots\t3\t{path}" in platform.ctl("config").stdout
    with open(path, "w") as f:
        f.write("slot: 3\n")
    r = platform.ctl("config", check=False)
    assert r.returncode == 4 and "config.yaml:1" in r.stderr and '"slots"' in r.stderr


def test_runs_that_do_not_exist(shared):
    for command in ("status", "wait", "log", "cancel", "restore", "delete", "du", "env"):
        r = shared.ctl(command, "none.00000000", check=False)
        assert r.returncode == 3 and "there is no run none.00000000" in r.stderr, command


def test_live_runs_of_an_empty_platform(shared):
    assert shared.ctl("status").stdout == "project\trun\tstatus\tsite\tsubmitted\tstarted\treason\n"
    assert json.loads(shared.ctl("status", "--json").stdout) == []
    assert shared.ctl("gc").stdout == "0 runs gone\n"


def test_help_of_a_command_by_either_way(shared):
    assert shared.ctl("help", "ls").stdout == shared.ctl("ls", "--help").stdout
    assert shared.ctl("help").stdout == shared.ctl("--help").stdout
