"""How tests reach the code: as the package ``ipadapter_pack``, as ComfyUI sees the folder."""

import os
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

ROOT = Path(__file__).resolve().parent.parent

if "ipadapter_pack" not in sys.modules:
    package = ModuleType("ipadapter_pack")
    package.__path__ = [str(ROOT)]
    sys.modules["ipadapter_pack"] = package

SERVERS = {"client", "url"}  # the fixtures that are a running ComfyUI
ASKING = {
    "tests/browser/test_legacy_encoder.py",
    "tests/browser/test_legacy_graphs.py",
    "tests/browser/test_workflows.py",
    "tests/headless/test_authoring.py",
    "tests/headless/test_legacy_graphs.py",
    "tests/headless/test_legacy_table.py",
    "tests/headless/test_legacy_weights.py",
    "tests/headless/test_one_file.py",
    "tests/headless/test_preview.py",
    "tests/headless/test_reference_workflows.py",
    "tests/headless/test_region_workflows.py",
    "tests/headless/test_run.py",
    "tests/headless/test_workflows.py",
}  # the files whose tests use one

settings.register_profile("quick", max_examples=25, derandomize=True, deadline=None)
settings.register_profile("full", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def file_of(nodeid):
    return nodeid.split("::")[0]


def pytest_collection_modifyitems(items):
    """Files that ask a ComfyUI come first: they are the longest row of tests."""
    for item in items:
        if SERVERS & set(item.fixturenames) and file_of(item.nodeid) not in ASKING:
            raise pytest.UsageError(f"{file_of(item.nodeid)} belongs into ASKING of {__file__}")
    items.sort(key=lambda item: file_of(item.nodeid) not in ASKING)


class OneServer(LoadFileScheduling):
    """By file; all that ask a ComfyUI in the same process, so that one serves them."""

    def _split_scope(self, nodeid):
        return "asking" if file_of(nodeid) in ASKING else file_of(nodeid)


def pytest_xdist_make_scheduler(config, log):
    return OneServer(config, log)
