# SPDX-License-Identifier: Apache-2.0
"""A mounted platform with a project `p`, a repository `code` of the sample and an experiment."""
import os

import pytest
from mantik import wait_for
from mount import Mount


class Mounted(Mount):
    def make_project(self):
        os.mkdir(self.path("projects/p"))
        os.mkdir(self.path("projects/p/experiments/e"))
        with open(self.path("projects/p/experiments/e/experiment.yaml"), "w") as f:
            f.write("note: not as mkdir left it\n")
        os.mkdir(self.path("projects/p/code/code"))
        repository = self.platform.repository()
        with open(self.path("projects/p/code/code/repository.yaml"), "w") as f:
            f.write(f"uri: {repository}\n")
        wait_for(lambda: os.path.exists(self.path("projects/p/code/code/branches/main/train.py")),
                 "the repository")


@pytest.fixture
def mounted(platform):
    with Mounted(platform, seconds=240) as m:
        m.make_project()
        yield m


@pytest.fixture(scope="module")
def shared_mount(shared):
    with Mounted(shared, seconds=600) as m:
        m.make_project()
        yield m
