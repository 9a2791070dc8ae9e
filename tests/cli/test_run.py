# SPDX-License-Identifier: Apache-2.0
"""tests/run itself: how results are counted, and that its checks can fail."""
import os
import shutil
import subprocess
import sys

import pytest

import mantik

sys.path.insert(0, os.path.join(mantik.TOP, "tests", "lib"))
import suites  # noqa: E402


@pytest.mark.parametrize("text, status, want", [
    ("1..2\nok 1 - a\nok 2 - b\n", 0, {"x:a": "passed", "x:b": "passed"}),
    ("1..2\nok 1 - a\n# why\nnot ok 2 - b\n", 1, {"x:a": "passed", "x:b": "failed"}),
    ("1..2\nok 1 - a\n", 0, {"x:a": "passed", "x:(program)": "failed"}),
    ("1..1\nok 1 - a\n", -11, {"x:a": "passed", "x:(program)": "failed"}),
    ("", 1, {"x:(program)": "failed"}),
    ("1..1\nok 1 - a # SKIP no fuse\n", 0, {"x:a": "skipped"}),
    ("1..0 # SKIP no git\n", 0, {"x": "skipped"}),
    ("no server here\n", 77, {"x": "skipped"}),
])
def test_tap_is_counted_by_the_test(text, status, want):
    assert {r.name: r.outcome for r in suites.tap(text, status, "x")} == want


@pytest.mark.parametrize("check, path, line, said", [
    ("banned", "core/base/buf.c", "void f(char *a) { strcpy(a, a); }", "strcpy() is banned"),
    ("layering", "core/base/buf.c", '#include "db/db.h"', "base may use"),
    ("layering", "core/base/buf.c", "#include <sqlite3.h>", "belongs to core/db/"),
    ("layering", "fs/tree/tree.h", '#include "core/core.h"', "include <mantik/...> only"),
    ("headers", "include/mantik/buf.h", "int f(struct nothing x);", "inside parameter list"),
])
def test_checks_can_fail(tmp_path, check, path, line, said):
    for folder in ("core", "fs", "include", "tests"):
        shutil.copytree(os.path.join(mantik.TOP, folder), tmp_path / folder)
    run = [sys.executable, "-B", str(tmp_path / "tests" / "lib" / check)]
    assert subprocess.run(run, stdout=subprocess.PIPE).returncode == 0
    with open(tmp_path / path, "a") as f:
        f.write(line + "\n")
    r = subprocess.run(run, stdout=subprocess.PIPE, text=True)
    assert r.returncode == 1
    assert said in r.stdout
