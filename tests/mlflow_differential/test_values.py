# SPDX-License-Identifier: Apache-2.0
"""A parameter's value is never shell code: commands with hostile values are run by bash, and the
program gets exactly the value, at every place of a command where a placeholder is taken."""
import os
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from same import VALUES, project  # noqa: E402

BUILD = pathlib.Path(os.environ.get("MANTIK_TEST_BUILD", "build"))
OURS = (BUILD / "tests/mlflow_differential/final_command").resolve()

HOSTILE = [v for v in VALUES if v] + [
    "$(touch pwned)", "`touch pwned`", "';touch pwned;'", '";touch pwned;"', "\\';touch pwned;'",
    '\\";touch pwned;"', "\ntouch pwned\n", "&& touch pwned", "|| touch pwned", "| touch pwned",
    "${x:-$(touch pwned)}", "$((a[$(touch pwned)]))", "a[$(touch pwned)]", ")touch pwned(", "\\",
    "\\\\", "'\\''", "\"'\"'", "<(touch pwned)", ">pwned", "$'\\n'touch pwned", "\r\ntouch pwned",
    "EOF\ntouch pwned", "x; touch pwned #", "}; touch pwned; {", ";;esac;touch pwned",
    "(touch pwned)", "!touch pwned", "*", "~root", "{a,b}", "-n", "=", "a\x01b", "a\u2028b",
]

# Where the value arrives whole: a command that prints its last argument between brackets.
PRINT = "printf '[%s]'"
PLACES = {
    "bare": PRINT + " {x}",
    "double": PRINT + ' "{x}"',
    "single": PRINT + " '{x}'",
    "part of a word": PRINT + " a{x}b",
    "part of double": PRINT + ' "a{x}b"',
    "part of single": PRINT + " 'a{x}b'",
    "bare after double": PRINT + ' "a"{x}',
    "in $( )": PRINT + ' "$(printf %s. {x})"',
    'in $(" ")': PRINT + ' "$(printf %s. "{x}")"',
    "in a subshell": "(" + PRINT + " {x})",
    "after a list": "true && " + PRINT + " {x}",
    "after a pipe": ": | " + PRINT + " {x}",
    "assignment": "y={x}; " + PRINT + ' "$y"',
    "env": "env y={x} " + PRINT + " {x}",
    "for": "for i in {x}; do " + PRINT + ' "$i"; done',
}
# Where only plain values are taken.
UNSAFE = {
    "backticks": "echo `echo {x}`",
    "double backticks": 'echo "`echo {x}`"',
    "parameter expansion": "echo ${{a:-{x}}}",
    "parameter expansion in quotes": 'echo "${{a:-{x}}}"',
    "ansi quotes": "echo $'{x}'",
    "arithmetic": "echo $(( {x} ))",
    "arithmetic command": "(( {x} )) ; echo",
    "test": "[[ {x} -eq 1 ]] ; echo",
    "let": "let y={x} ; echo",
    "eval": "eval echo {x}",
    "eval in quotes": 'eval "echo {x}"',
    "second shell": "bash -c 'echo {x}'",
    "second shell in double quotes": 'bash -c "echo {x}"',
    "second shell with options": "/bin/sh -ec 'echo {x}'",
    "second shell behind": "env A=1 bash -c 'echo {x}'",
    "substitution for a second shell": 'bash -c "echo $(echo {x})"',
    "comment": "echo # {x}",
    "behind a backslash": "echo \\{x}",
    "behind a dollar": "echo ${x}",
    "behind a dollar in quotes": 'echo "${x}"',
    "case": "case {x} in a) echo {x};; esac",
    "case in a substitution": 'echo "$(case x in a) echo {x};; esac)"',
    "trap": "trap 'echo {x}' EXIT",
    "here-document": "cat <<EOF\n{x}\nEOF\n",
}


def command(tmp_path, template, value):
    text = template.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    path = tmp_path / "MLproject"
    path.write_text(project(f'"{text}"', "x: string"), encoding="utf-8")
    return subprocess.run([OURS, path, "main", f"x={value}"], capture_output=True, timeout=30,
                          check=False)


@pytest.mark.parametrize("place", PLACES)
def test_value_arrives(tmp_path, place):
    for value in HOSTILE:
        done = command(tmp_path, PLACES[place], value)
        assert done.returncode == 0, (value, done.stderr)
        ran = subprocess.run(["bash", "-c", done.stdout], cwd=tmp_path, capture_output=True,
                             timeout=30, check=False)
        want = value
        if place.startswith("in $("):
            want = value + "."  # a point keeps line ends from being cut
        if place.startswith("part of"):
            want = f"a{value}b"
        if place == "bare after double":
            want = f"a{value}"
        assert ran.stdout == f"[{want}]".encode(), (value, done.stdout, ran.stderr)
        assert sorted(os.listdir(tmp_path)) == ["MLproject"], (value, done.stdout)


@pytest.mark.parametrize("place", UNSAFE)
def test_value_is_refused(tmp_path, place):
    for value in HOSTILE:
        done = command(tmp_path, UNSAFE[place], value)
        if value in ("=", "-n"):
            assert done.returncode == 0
            continue
        if done.returncode == 0:
            # plain after all
            ran = subprocess.run(["bash", "-c", done.stdout], cwd=tmp_path, capture_output=True,
                                 timeout=30, check=False)
            assert sorted(os.listdir(tmp_path)) == ["MLproject"], (value, done.stdout, ran.stderr)
            assert not set(value) & set("$`\"'\\;|&<>()[]{}*?#~!\n ")
        else:
            assert b"{x} " in done.stderr and "where a value may hold only" in done.stderr.decode()
    plain = command(tmp_path, UNSAFE[place], "abc")
    assert plain.returncode == 0, plain.stderr
