# SPDX-License-Identifier: Apache-2.0
"""What is changed in one mount or by mantikctl shows in another mount that has looked before: nobody tells
it, so it is how long the kernel believes what it was told (tests/unit/tree_golden.c: a second)."""
import os

from mantik import wait_for

SPEC = "code: {}\ncommand: 'true'\nname: n\nexperiment: e\n"


def read(*path):
    with open(os.path.join(*path)) as f:
        return f.read()


def test_what_another_mount_sees(platform):
    p = platform
    p.ctl("mkdir", "-p", "/projects/p/experiments/e")
    run = p.ctl("submit", "-p", "p", "-", input=SPEC).stdout.strip()
    p.ctl("wait", run)
    p.ctl("log-metric", "--run", run, "loss", "1")
    with p.mount() as one, p.mount(where=p.dir + "/two") as two:
        top = f"{two}/projects/p"
        there = f"{top}/runs/{run}"
        here = f"{one}/projects/p/runs/{run}"
        # what is done, what is looked at before and after, and what it is to be then
        steps = [
            (f"mkdir {one}/projects/new", lambda: os.path.isdir(f"{two}/projects/new"), True),
            ("mantikctl mkdir /projects/p/experiments/x",
             lambda: sorted(os.listdir(f"{top}/experiments")), ["e", "x"]),
            (f"mv {one}/projects/p/experiments/x {one}/projects/p/experiments/y",
             lambda: (os.path.exists(f"{top}/experiments/x"), os.path.exists(f"{top}/experiments/y")),
             (False, True)),
            (f"rmdir {one}/projects/p/experiments/y", lambda: os.path.exists(f"{top}/experiments/y"), False),
            (f"echo mine > {one}/projects/p/README.md", lambda: read(top, "README.md"), "mine\n"),
            # as long as before: only its time tells
            (f"echo ours > {one}/projects/p/README.md", lambda: read(top, "README.md"), "ours\n"),
            (f"mkdir {one}/projects/p/code/r", lambda: os.listdir(f"{top}/code"), ["r"]),
            (f"mantikctl set-tag --run {run} t 1", lambda: sorted(os.listdir(f"{there}/tags")), ["t"]),
            (f"echo 2 > {here}/tags/t", lambda: read(there, "tags/t"), "2\n"),
            (f"rm {here}/tags/t", lambda: os.path.exists(f"{there}/tags/t"), False),
            (f"mantikctl log-param --run {run} q 7", lambda: os.path.exists(f"{there}/params/q"), True),
            (f"echo 3 >> {here}/metrics/loss", lambda: read(there, "metrics/loss").count("\n"), 2),
            (f"mantikctl log-metric --run {run} loss 4", lambda: os.stat(f"{there}/metrics/loss").st_size
             == len(read(there, "metrics/loss")) and read(there, "metrics/loss").count("\n"), 3),
            ("true", lambda: read(there, "metrics.tsv").split("\n")[1].split("\t")[-1], "3"),
            ("true", lambda: read(top, "experiments/e/runs.tsv").split("\n")[1].split("\t")[-1], "4"),
            (f"echo delete > {here}/ctl", lambda: os.path.exists(there), False),
            ("true", lambda: os.listdir(f"{top}/experiments/e/runs"), []),
            (f"mv {one}/projects/p/runs/deleted/{run} {one}/projects/p/runs/", lambda: os.path.exists(there), True),
            (f"mantikctl submit -p p - < {p.dir}/spec", lambda: len(read(top, "runs/runs.tsv").split("\n")), 4),
            ("mantikctl wait latest", lambda: read(top, "runs/latest/status"), "FINISHED\n"),
            ("mantikctl delete /projects/p", lambda: "p" in os.listdir(f"{two}/projects"), False),
            ("mantikctl restore /projects/p", lambda: os.path.exists(f"{top}/experiments/e/runs/{run}"), True),
            (f"printf 'kind: git\\nurl: https://x.example\\n' > {one}/connections/x.yaml",
             lambda: os.path.exists(f"{two}/connections/x.yaml"), True),
        ]
        with open(f"{p.dir}/spec", "w") as f:
            f.write(SPEC)

        def look(at):
            try:
                return at()
            except (FileNotFoundError, IndexError) as error:
                return error

        for script, at, want in steps:
            before = look(at)
            p.sh(script)
            seen = []

            def is_seen():
                seen[:] = [look(at)]
                return seen[0] == want

            try:
                wait_for(is_seen, script)
            except AssertionError as error:
                raise AssertionError(f"{script}: before {before!r}, now {seen[0]!r}") from error
