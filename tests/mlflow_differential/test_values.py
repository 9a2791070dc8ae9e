# SPDX-License-Identifier: Apache-2.0
"""A parameter's value is never shell code: commands with hostile values are run by bash, and the
program gets exactly the value, at every place of a command where a placeholder is taken."""
import os
import pathlib
import re
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
    "option -c": "true -c; true train.py -c {x}; " + PRINT + " {x}",
    "script with -c": "f() {{ " + PRINT + ' "$3"; }}; f train.py -c {x}',
    "after 2>&1": PRINT + " {x} 2>&1",
    "after a second shell": "bash -c true && " + PRINT + " {x}",
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
    "shell in a variable": "$SHELL -c 'echo {x}'",
    "shell in a quoted variable": "\"$SHELL\" -c 'echo {x}'",
    "shell from a command": "$(which bash) -c 'echo {x}'",
    "second shell behind a redirection": "bash 2>&1 -c 'echo {x}'",
    "second shell behind another": "bash &>/dev/null -c 'echo {x}'",
    "second shell with a word": "bash -o pipefail -c 'echo {x}'",
    "program text": "python3 -u -c 'print({x})'",
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


def commands(tmp_path, template, values):
    """The final command, or `!` and the error, for each value; as bytes."""
    text = template.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    path = tmp_path / "MLproject"
    path.write_text(project(f'"{text}"', "x: string"), encoding="utf-8")
    done = subprocess.run([OURS, "--each", "x", path, "main"], capture_output=True, timeout=60,
                          input="".join(v + "\0" for v in values).encode(), check=True)
    answers = done.stdout.split(b"\0")[:-1]
    assert len(answers) == len(values), done.stderr
    return answers


def run(tmp_path, command):
    """What a command prints; it must not have made any file."""
    ran = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, timeout=30,
                         check=False)
    assert os.listdir(tmp_path) == ["MLproject"], (command, ran.stderr)
    return ran.stdout


@pytest.mark.parametrize("place", PLACES)
def test_value_arrives(tmp_path, place):
    for value, command in zip(HOSTILE, commands(tmp_path, PLACES[place], HOSTILE)):
        want = value
        if place.startswith("in $("):
            want = value + "."  # a point keeps line ends from being cut
        if place.startswith("part of"):
            want = f"a{value}b"
        if place == "bare after double":
            want = f"a{value}"
        assert not command.startswith(b"!"), command
        assert run(tmp_path, command) == f"[{want}]".encode(), (value, command)


@pytest.mark.parametrize("place", UNSAFE)
def test_value_is_refused(tmp_path, place):
    answers = commands(tmp_path, UNSAFE[place], HOSTILE + ["abc"])
    assert not answers.pop().startswith(b"!")
    for value, command in zip(HOSTILE, answers):
        if command.startswith(b"!"):
            assert b"{x} " in command and b"where a value may hold only" in command
        else:
            assert re.fullmatch(r"[A-Za-z0-9@%+=:,./_-]+", value)
            run(tmp_path, command)
