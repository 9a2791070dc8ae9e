# SPDX-License-Identifier: Apache-2.0
"""Fixtures of all Python suites; what they give is in tests/lib/mantik.py."""
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import mantik  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "full: a long run, only with tests/run --full")


def pytest_collection_modifyitems(config, items):
    if os.environ.get("MANTIK_TEST_FULL"):
        return
    items[:] = [item for item in items if not item.get_closest_marker("full")]


@pytest.fixture
def platform():
    """A platform of its own in a fresh HOME: programs run in it end with the test."""
    p = mantik.Platform()
    yield p
    p.end()


@pytest.fixture(scope="module")
def shared():
    """The same for all tests of a file."""
    p = mantik.Platform()
    yield p
    p.end()
