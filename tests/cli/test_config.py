# SPDX-License-Identifier: Apache-2.0
"""mantikctl config NAME VALUE and --unset: one line changed, everything else to the letter."""
import json
import os
import subprocess

import pytest

import mantik


def write(platform, text, name="config.yaml"):
    os.makedirs(platform.config, exist_ok=True)
    path = os.path.join(platform.config, name)
    with open(path, "w", newline="") as f:
        f.write(text)
    return path


def read(path):
    with open(path, newline="") as f:
        return f.read()


def test_the_first_option_makes_the_file(platform):
    path = os.path.join(platform.config, "config.yaml")
    assert platform.ctl("config", "slots", "3").stdout == f"slots\t3\t{path}:1\n"
    assert read(path) == "slots: 3\n" and os.stat(path).st_mode & 0o777 == 0o600
    assert platform.ctl("config", "slots").stdout == "3\n"
    assert os.listdir(platform.config) == ["config.yaml"]
    assert not os.path.exists(platform.data), "a platform was made by looking at options"


BEFORE = ("# how we work here\r\nslots: 3   # one for each of us\r\n\n"
          "\"cache_limit\": '5G'  # not 'more' # really\n"
          "work_dir: >\n  /scratch/ana\n# the end")


@pytest.mark.parametrize("args, change", [
    (["slots", "7"], ("slots: 3 ", "slots: 7 ")),
    (["cache_limit", "20G"], ("\"cache_limit\": '5G'", "cache_limit: 20G")),
    (["git_timeout", "500ms"], ("# the end", "# the end\ngit_timeout: 500ms\n")),
    (["data_dir", "/a b #c: d"], ("# the end", "# the end\ndata_dir: '/a b #c: d'\n")),
    (["--unset", "slots"], ("slots: 3   # one for each of us\r\n", "")),
])
def test_comments_and_other_lines_stay(platform, args, change):
    path = write(platform, BEFORE)
    os.chmod(path, 0o640)
    assert change[0] in BEFORE
    platform.ctl("config", *args)
    assert read(path) == BEFORE.replace(*change)
    assert os.stat(path).st_mode & 0o777 == 0o640 and os.listdir(platform.config) == ["config.yaml"]


@pytest.mark.parametrize("text, args, status, said", [
    ("slots: 3\n", ["slots", "-1"], 4, 'slots: "-1" is not a number of 0 … 4096'),
    ("slots: 3\n", ["slots", ""], 4, 'slots: "" is not a number'),
    ("slots: 3\n", ["slots", "4\ncancel_grace: 1s"], 4, "is not a number"),
    ("slots: 3\n", ["journal", "paper"], 4, "auto | wal | rollback"),
    ("slots: 3\n", ["data_dir", "here"], 4, '"here" is not an absolute path'),
    ("slots: 3\n", ["slot", "4"], 3, "there is no option slot"),
    ("slots: 3\n", ["--unset", "slot"], 3, "there is no option slot"),
    ("slots: 3\n", ["--unset", "journal"], 3, "config.yaml: journal is not set there"),
    ("slots: 3\n", ["--unset", "slots", "3"], 2, "--unset slots takes no value"),
    ("slots: 3\n", ["slots", "3", "4"], 2, 'too many operands, from "4" on'),
    ("{slots: 3, journal: wal}\n", ["slots", "4"], 4, "config.yaml:1: slots cannot be changed there"),
    ("work_dir: >\n  /a\n", ["work_dir", "/b"], 4, "edit the file by hand"),
    ("slot: 3\n", ["journal", "wal"], 4, 'config.yaml:1: unknown key "slot", did you mean "slots"?'),
    ("slots: [\n", ["journal", "wal"], 4, "config.yaml:"),
])
def test_what_is_refused_changes_nothing(platform, text, args, status, said):
    path = write(platform, text)
    r = platform.ctl("config", *args, check=False)
    assert r.returncode == status and said in r.stderr and r.stdout == "", r.stderr
    assert read(path) == text and os.listdir(platform.config) == ["config.yaml"]


def test_a_directory_is_filled_in_but_written_as_given(platform):
    path = os.path.join(platform.config, "config.yaml")
    platform.ctl("config", "work_dir", "$HOME/work")
    assert read(path) == "work_dir: '$HOME/work'\n" or read(path) == "work_dir: $HOME/work\n"
    assert platform.ctl("config", "work_dir").stdout == platform.home + "/work\n"


def test_a_link_into_a_folder_of_dotfiles_stays_a_link(platform):
    kept = os.path.join(platform.home, "dotfiles.yaml")
    with open(kept, "w") as f:
        f.write("slots: 3\n")
    os.makedirs(platform.config)
    path = os.path.join(platform.config, "config.yaml")
    os.symlink(kept, path)
    platform.ctl("config", "slots", "4")
    assert os.readlink(path) == kept and read(kept) == "slots: 4\n"


def test_a_bad_directory_is_mended(platform):
    with open(os.path.join(platform.home, "file"), "w"):
        pass
    platform.ctl("config", "data_dir", "~/file/x")
    assert platform.ctl("ls", "/projects", check=False).returncode
    assert platform.ctl("config", "data_dir").stdout == platform.home + "/file/x\n"
    platform.ctl("config", "--unset", "data_dir")
    platform.ctl("ls", "/projects")


def test_what_the_machine_says_is_shown_again(platform):
    machine = os.path.join(platform.dir, "machine.yaml")
    with open(machine, "w") as f:
        f.write("slots: 2\n")
    env = {"MANTIK_SYSTEM_CONFIG": machine}
    assert platform.ctl("config", "slots", "9", env=env).stdout.startswith("slots\t9\t")
    assert platform.ctl("config", "-u", "slots", env=env).stdout == f"slots\t2\t{machine}:1\n"
    listed = {o["name"]: o for o in json.loads(platform.ctl("config", "-j", env=env).stdout)}
    assert listed["slots"]["from"] == f"{machine}:1"


def test_read_only_configuration(platform):
    if os.getuid() != 0:
        pytest.skip("needs root")
    path = write(platform, "slots: 3\n")
    r = platform.run("unshare", "-m", "sh", "-c",
                     f"mount --bind {platform.config} {platform.config} && "
                     f"mount -o remount,bind,ro {platform.config} && "
                     f"exec {mantik.program('mantikctl')} config slots 4", check=False)
    assert r.returncode == 6 and "Read-only file system" in r.stderr
    assert read(path) == "slots: 3\n"


def test_a_full_disk_leaves_the_old_file(platform):
    if os.getuid() != 0:
        pytest.skip("needs root")
    os.makedirs(platform.config)
    r = platform.run("unshare", "-m", "sh", "-c",
                     f"mount -t tmpfs -o size=16k,nr_inodes=16 none {platform.config}; cd {platform.config}\n"
                     "echo 'slots: 3' > config.yaml; head -c 1M /dev/zero > full 2>/dev/null\n"
                     f"{mantik.program('mantikctl')} config slots 4; echo $?; cat config.yaml; ls",
                     check=False)
    assert r.stdout == "6\nslots: 3\nconfig.yaml\nfull\n" and "No space left" in r.stderr


def test_many_at_once_lose_nothing(platform):
    names = [o["name"] for o in json.loads(platform.ctl("config", "-j").stdout)]
    values = {"slots": "4", "cancel_grace": "4s", "daemon_idle": "4s",
              "metadata_timeout": "4s", "git_refresh": "4s", "git_timeout": "4s"}
    assert set(values) <= set(names)
    started = [platform.start(mantik.program("mantikctl"), "config", k, v,
                              stdout=subprocess.DEVNULL) for k, v in values.items()]
    assert [p.wait(30) for p in started] == [0] * len(values)
    for name, value in values.items():
        assert platform.ctl("config", name).stdout == value + "\n"
