# SPDX-License-Identifier: Apache-2.0
"""What the source checks share: the C files of the project, and their answer as one TAP line."""
import os
import re

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDERS = ("include", "core", "fs", "tools", "tests", "packaging")


def c_files(suffixes=(".c", ".h")):
    for folder in FOLDERS:
        for where, folders, files in os.walk(os.path.join(TOP, folder)):
            folders.sort()
            for name in sorted(files):
                if name.endswith(suffixes):
                    yield os.path.relpath(os.path.join(where, name), TOP)


def read(path):
    with open(os.path.join(TOP, path), encoding="utf-8") as f:
        return f.read()


def without_comments(text):
    """Comments and texts become blanks, lines stay where they are."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match[0])
    return re.sub(r'/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.S)


def report(name, problems):
    problems = list(problems)
    print("1..1")
    for problem in problems:
        print(f"# {problem}")
    print(f"{'not ok' if problems else 'ok'} 1 - {name}")
    return 1 if problems else 0
