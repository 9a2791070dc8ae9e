# SPDX-License-Identifier: Apache-2.0
"""Our tracking server in a platform of its own, and a real one for all tests of a file."""
import pytest
from httpserve import free_port
from rest import Ours
from tracking import starter


@pytest.fixture
def ours(platform):
    server = Ours(platform).start()
    yield server
    server.stop()


@pytest.fixture
def rest(ours):
    return ours.rest()


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("real"))
    yield starter("start", folder, str(free_port()))
    starter("stop", folder)
