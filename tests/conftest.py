"""How tests reach the code: as the package ``ipadapter_pack``, as ComfyUI sees the folder."""

import os
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings
from xdist.scheduler import LoadGroupScheduling

ROOT = Path(__file__).resolve().parent.parent

if "ipadapter_pack" not in sys.modules:
    package = ModuleType("ipadapter_pack")
    package.__path__ = [str(ROOT)]
    sys.modules["ipadapter_pack"] = package

SERVERS = {"client", "url"}  # the fixtures that are a running ComfyUI

settings.register_profile("quick", max_examples=25, derandomize=True, deadline=None)
settings.register_profile("full", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_collection_modifyitems(items):
    """What asks a ComfyUI over HTTP comes first and in one process: it needs one server."""
    for item in items:
        if SERVERS & set(item.fixturenames):
            item.add_marker(pytest.mark.xdist_group("http"))
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)


class ByFile(LoadGroupScheduling):
    """Tests of one group, or else of one file, run in the same process."""

    def _split_scope(self, nodeid):
        return super()._split_scope(nodeid).split("::")[0]


def pytest_xdist_make_scheduler(config, log):
    return ByFile(config, log)
