"""How tests reach the code: as the package ``ipadapter_pack``, as ComfyUI sees the folder."""

import gc
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

gc.disable()  # while modules are imported, which stay

ROOT = Path(__file__).resolve().parent.parent

if "ipadapter_pack" not in sys.modules:
    package = ModuleType("ipadapter_pack")
    package.__path__ = [str(ROOT)]
    sys.modules["ipadapter_pack"] = package

ASKING = {
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
}  # the files whose tests use the fixture "client", a running ComfyUI
BROWSER = "tests/browser/"  # those of the fixture "url", another one

settings.register_profile("quick", max_examples=25, derandomize=True, deadline=None)
settings.register_profile("full", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def file_of(nodeid):
    return nodeid.split("::")[0]


def group_of(nodeid):
    """What runs in one process: all that ask the same ComfyUI, else a file."""
    file = file_of(nodeid)
    if file in ASKING:
        return "asking"
    return "browser" if file.startswith(BROWSER) else file


def pytest_collection_modifyitems(items):
    """The two long rows of tests come first, and begin side by side."""
    for item in items:
        if "client" in item.fixturenames and file_of(item.nodeid) not in ASKING:
            raise pytest.UsageError(f"{file_of(item.nodeid)} belongs into ASKING of {__file__}")
    rows = ["asking", "browser"]
    items.sort(key=lambda item: [*rows, group_of(item.nodeid)].index(group_of(item.nodeid)))


def pytest_collection_finish():
    """What was imported is never looked through for garbage: it is most of what there is."""
    gc.freeze()
    gc.enable()


class OneServer(LoadFileScheduling):
    """By file; all that ask the same ComfyUI in the same process, so that one serves them."""

    def _split_scope(self, nodeid):
        return group_of(nodeid)


def pytest_xdist_make_scheduler(config, log):
    return OneServer(config, log)
