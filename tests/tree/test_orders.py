# SPDX-License-Identifier: Apache-2.0
"""runs/new and ctl as files: when a text counts, who gets which answer, what is refused and why."""
import os
import signal
import subprocess
import threading

import pytest
from mantik import wait_for


@pytest.fixture(scope="module")
def runs(shared):
    """runs/ of a project whose jobs need no code."""
    with shared.mount() as where:
        os.mkdir(os.path.join(where, "projects/p"))
        yield os.path.join(where, "projects/p/runs")


def spec(name, command="true"):
    return f"name: {name}\nexperiment: e\ncommand: {command}\n"


def names(runs):
    fixed = {"new", "defaults.yaml", "latest", "runs.tsv", "deleted"}
    return set(os.listdir(runs)) - fixed


def write(path, text):
    with open(path, "w") as f:
        f.write(text)


def test_the_same_open_file_gives_the_answer(runs):
    with open(os.path.join(runs, "new"), "r+b", buffering=0) as f:
        f.write(spec("same-file").encode())
        answer = f.read().decode()
    assert answer.startswith("same-file.")
    assert answer.strip() in names(runs)


def test_the_session_that_wrote_reads_its_answer(shared, runs):
    """Two sessions write at once; each reads its own."""
    script = 'printf "%s" "$1" > "$2" && sleep 0.3 && cat "$2"'
    writers = [subprocess.Popen(["sh", "-c", script, "sh", spec(f"s{i}"), f"{runs}/new"],
                                start_new_session=True, stdout=subprocess.PIPE, text=True)
               for i in range(4)]
    for i, writer in enumerate(writers):
        assert writer.communicate(timeout=30)[0].startswith(f"s{i}.")


def test_a_refusal_says_why_and_makes_nothing(runs):
    before = names(runs)
    with pytest.raises(OSError) as error:
        write(f"{runs}/new", "nmae: x\ncommand: true\n")
    assert error.value.errno == 22
    with open(f"{runs}/new") as f:
        assert f.read() == 'error: runs/new:1: unknown key "nmae", did you mean "name"?\n'
    assert names(runs) == before


def test_the_answer_in_every_program(shared, runs):
    """mantikctl and mounts tell each other's answers; whoever wrote last is told last."""
    def asked(path):
        return shared.ctl("cat", f"/projects/p/runs/{path}").stdout

    def ordered(name):
        return shared.ctl("cp", "-", "/projects/p/runs/new", input=spec(name)).stdout

    write(f"{runs}/new", spec("by-mount"))
    assert asked("new").startswith("by-mount.")
    answer = ordered("by-ctl")
    assert answer.startswith("by-ctl.")
    assert asked("new") == open(f"{runs}/new").read() == answer
    refused = shared.ctl("cp", "-", "/projects/p/runs/new", input="nmae: x\n", check=False)
    assert refused.returncode
    assert asked("new") == open(f"{runs}/new").read()
    assert asked("new").startswith('error: runs/new:1: unknown key "nmae"')

    # A session of its own reads its own, whatever others were told since.
    script = 'printf "%s" "$1" > "$2" && echo ready && read line && cat "$2"'
    other = subprocess.Popen(["sh", "-c", script, "sh", spec("other"), f"{runs}/new"], text=True,
                             start_new_session=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout.readline() == "ready\n"
    answer = ordered("newest")
    assert asked("new") == answer
    assert other.communicate("\n", timeout=30)[0].startswith("other.")

    run = answer.strip()
    with pytest.raises(OSError):
        write(f"{runs}/{run}/ctl", "dance\n")
    assert 'error: ctl: unknown word "dance"' in asked(f"{run}/ctl")
    before = asked(f"{run}/ctl")
    with shared.mount(where=os.path.join(shared.dir, "second")) as where:
        assert open(f"{where}/projects/p/runs/{run}/ctl").read() == before
        assert open(f"{where}/projects/p/runs/new").read() == answer


def test_several_writers_of_one_text(shared, runs):
    """`{ a; b; } > new`: the close of a child is not the end of the text."""
    shared.sh(f"{{ echo 'name: group'; sh -c 'echo experiment: e'; echo 'command: true'; }} > {runs}/new")
    assert [n for n in names(runs) if n.startswith("group.")]


def test_a_killed_writer_submits_nothing(shared, runs):
    before = names(runs)
    ready, tell = os.pipe()
    writer = subprocess.Popen(
        ["python3", "-c", "import os,sys,time\nf=os.open(sys.argv[1],os.O_WRONLY|os.O_TRUNC)\n"
         "os.write(f,b'name: half\\nexperiment: e\\ncommand: true\\n')\nos.write(int(sys.argv[2]),b'x')\n"
         "time.sleep(60)", f"{runs}/new", str(tell)], pass_fds=[tell])
    assert os.read(ready, 1) == b"x"
    writer.kill()
    writer.wait()
    errors = os.path.join(runs, "../../../.mantik/errors")
    wait_for(lambda: "writer was killed, nothing submitted" in open(errors).read(), "the note")
    assert names(runs) == before


def test_nothing_written_is_nothing(shared, runs):
    before = names(runs)
    shared.sh(f": > {runs}/new; cp /dev/null {runs}/new")
    assert names(runs) == before


def test_too_much_is_refused(runs):
    with pytest.raises(OSError) as error:
        write(f"{runs}/new", "#" * (2 << 20))
    assert error.value.errno == 27


def test_wait_ends_with_the_run_and_with_a_signal(runs):
    write(f"{runs}/new", spec("waited", "sleep 60"))
    with open(f"{runs}/new") as f:
        run = os.path.join(runs, f.read().strip())
    interrupted = subprocess.Popen(["cat", f"{run}/wait"])
    waiting = subprocess.Popen(["cat", f"{run}/wait"], stdout=subprocess.PIPE, text=True)
    interrupted.send_signal(signal.SIGINT)
    assert interrupted.wait(timeout=5) == -signal.SIGINT
    assert waiting.poll() is None
    with pytest.raises(OSError) as error:
        write(f"{run}/ctl", "delete\n")
    assert error.value.errno == 16
    write(f"{run}/ctl", "cancel\n")
    assert waiting.communicate(timeout=30)[0] == "KILLED\n"
    with open(f"{run}/ctl") as f:
        assert f.read() == "words: cancel rerun refresh clean delete restore\ncancel: asked\n"


def test_ctl_refuses_in_write(shared, runs):
    """bash loses the error of close, not that of write."""
    run = os.path.join(runs, sorted(names(runs))[0])
    done = shared.run("bash", "-c", f"echo explode > {run}/ctl", check=False)
    assert done.returncode != 0


def test_writers_at_once_are_independent(runs):
    errors = []

    def submit(i):
        try:
            write(f"{runs}/new", spec(f"many-{i}"))
        except OSError as e:
            errors.append(e)

    threads = [threading.Thread(target=submit, args=[i]) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors
    assert len([n for n in names(runs) if n.startswith("many-")]) == 8


def test_keys_of_a_run(runs):
    run = os.path.join(runs, sorted(names(runs))[0])
    os.makedirs(f"{run}/metrics/train")
    with open(f"{run}/metrics/train/loss", "a") as f:
        f.write("3 0.5\n")
    with open(f"{run}/metrics/train/loss", "a") as f:
        f.write("0.25\n")
    with open(f"{run}/metrics/train/loss") as f:
        lines = [line.split("\t")[:2] for line in f]
    assert lines == [["3", "0.5"], ["4", "0.25"]]
    with pytest.raises(OSError):
        with open(f"{run}/metrics/train/loss", "a") as f:
            f.write("a lot\n")
    write(f"{run}/tags/train", "good")
    assert open(f"{run}/tags/train").read() == "good\n"


def test_what_nothing_was_written_to_is_not_made(shared, runs):
    """touch of a new param or metric is an error; a tag without a value is one."""
    run = os.path.join(runs, sorted(names(runs))[0])
    for key in ("params/new", "metrics/new"):
        touched = shared.run("touch", f"{run}/{key}", check=False)
        assert touched.returncode and "Invalid argument" in touched.stderr, touched
        assert not os.path.exists(f"{run}/{key}")
        assert "nothing was made" in shared.ctl("why", f"{run}/{key}").stdout
    shared.sh(f"touch '{run}/tags/new'; echo 5 >> '{run}/metrics/new'; echo '' > '{run}/params/new'")
    assert open(f"{run}/tags/new").read() == open(f"{run}/params/new").read() == "\n"
    shared.sh(f"touch '{run}/metrics/new'; (echo 6; sh -c 'echo 7') >> '{run}/metrics/new';"
              f"(sh -c true; echo 8) >> '{run}/metrics/newer'")
    assert [line.split("\t")[1] for line in open(f"{run}/metrics/new")] == ["5", "6", "7"]
    assert open(f"{run}/metrics/newer").read().startswith("0\t8\t")


@pytest.mark.parametrize("name", ["a b\"c'", "-x", "日本", "%2Ehidden", "x" * 255, "$(touch x)"])
def test_hostile_names(shared, runs, name):
    projects = os.path.join(runs, "../..")
    os.mkdir(os.path.join(projects, name))
    assert name in os.listdir(projects)
    assert "project.yaml" in os.listdir(os.path.join(projects, name))
    os.rmdir(os.path.join(projects, name))
    assert name not in os.listdir(projects)


@pytest.mark.parametrize("name", ["..x", "a\nb", "%41", "x" * 256])
def test_impossible_names(runs, name):
    with pytest.raises(OSError):
        os.mkdir(os.path.join(runs, "../..", name))
