"""A real ComfyUI in this process, on the CPU."""

import pytest
from ipadapter_pack.tests.comfyui import import_comfyui

import_comfyui("--cpu", "--use-pytorch-cross-attention")

import torch  # noqa: E402

torch.set_num_threads(1)  # the models are so small that a second thread only waits


@pytest.fixture(autouse=True)
def inference_mode():
    """ComfyUI runs every node so."""
    with torch.inference_mode():
        yield
