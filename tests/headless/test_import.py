"""Importing the pack costs ComfyUI's start nothing but its own lines of Python."""

import json
import subprocess
import sys

import pytest
from ipadapter_pack.tests.conftest import ROOT


@pytest.fixture(scope="module")
def seen():
    """What a fresh interpreter saw while ComfyUI's own loader loaded the pack."""
    script = ROOT / "tests" / "bench" / "start.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_import_registers_every_node(seen):
    assert seen["loaded"]
    assert "IPAdapterApply" in seen["nodes"]
    # Older packs' ids are what they are.
    ours = ("IPAdapter", "IPAAdapterFaceIDBatch", "PrepImageFor", "InsightFaceLoader")
    assert all(node.startswith(ours) for node in seen["nodes"])


def test_menus_are_made_without_importing_what_they_name(seen):
    """It costs seconds, which every start of ComfyUI would wait for."""
    assert seen["imported"] == []


def test_import_runs_no_tensor_operation(seen):
    assert seen["operations"] == []


def test_import_starts_no_cuda_and_connects_to_nothing(seen):
    assert seen["refused"] == []
