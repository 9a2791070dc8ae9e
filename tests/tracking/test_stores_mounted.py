# SPDX-License-Identifier: Apache-2.0
"""The whole mount on stores without a server: what test_mount.py compares on servers, on mlruns/ and
mlflow.db of each release; not touched by it; and all of it once more when the folder is gone."""
import os

import pytest
from mantik import Platform
from test_mount import Seeded, full, test_all_of_it_without_the_server, test_shown  # noqa: F401
from tracking import FIRST, NEWEST, OLD, Store, everything

STORES = [
    pytest.param((FIRST, "files"), id="1.30-files"),
    pytest.param((OLD, "files"), id="2.9-files", marks=full),
    pytest.param((NEWEST, "files"), id="newest-files", marks=full),
    pytest.param((OLD, "sqlite"), id="2.9-sqlite", marks=full),
    pytest.param((NEWEST, "sqlite"), id="newest-sqlite"),
]


class SeededStore(Seeded):
    def __init__(self, platform, store):
        super().__init__(platform, store, (store.version, ("--file-store",) if store.kind == "files"
                                           else ()))
        self.old, self.first = store.version != NEWEST, store.version == FIRST
        self.colon = "" if self.old else ":"

    def stop(self):
        assert everything(self.server.folder) == self.before, "the store was touched"
        away = self.server.folder + ".away"
        os.rename(self.server.folder, away)
        self.server.artifacts = os.path.join(away, "mlruns")


@pytest.fixture(scope="module", params=STORES)
def seeded(request):
    platform, (version, kind) = Platform(), request.param
    try:
        store = Store(os.path.join(platform.dir, "work"), version, kind)
        it = SeededStore(platform, store)
        it.before = everything(store.folder)
        # As a person has it in front of them.
        it.mount(os.path.relpath(store.path, platform.home) if kind == "files" else store.url)
        yield it
        it.leave()
    finally:
        platform.end()
