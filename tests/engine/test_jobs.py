# SPDX-License-Identifier: Apache-2.0
"""Jobs from the journal to their final record: states, logs, the queue, cancelling."""
import os
import signal
import time

import pytest

from engine import Engine
from mantik import wait_for


@pytest.fixture
def engine(platform):
    return Engine(platform, slots=2)


def test_a_job_runs_to_its_end(engine):
    run = engine.submit("echo hello; echo oops >&2; pwd; exit 3")
    engine.daemon()
    assert run.wait() == "FAILED"
    row = run.row()
    assert (row["exit_code"], row["signal"], row["reason"]) == (3, None, "exit code 3")
    assert row["submitted"] <= row["started"] <= row["ended"]
    assert row["workdir"] == run.workdir and row["job_id"] and row["infrastructure"]
    assert run.file("stdout") == f"hello\n{run.workdir}\n"
    assert run.file("stderr") == "oops\n"
    assert "FAILED: exit code 3" in run.file("scheduler")
    assert not run.open
