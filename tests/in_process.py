"""A real ComfyUI in the process of the tests, on the CPU: for the conftest of each folder."""

import os

import pytest
from ipadapter_pack.tests.comfyui import import_comfyui

import_comfyui("--cpu", "--use-pytorch-cross-attention")

import torch  # noqa: E402

# The models are so small that a second thread only waits.
THREADS = os.environ.get("IPADAPTER_REGIONS_THREADS", "1")
torch.set_num_threads(int(THREADS))


@pytest.fixture(autouse=True)
def inference_mode():
    """ComfyUI runs every node so."""
    with torch.inference_mode():
        yield
