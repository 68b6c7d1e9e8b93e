"""The ComfyUI of headless/ in this process, for what other packs do beside this one."""

import pytest
import torch
from ipadapter_pack.tests.comfyui import import_comfyui

import_comfyui("--cpu", "--use-pytorch-cross-attention")


@pytest.fixture(autouse=True)
def inference_mode():
    """ComfyUI runs every node so."""
    with torch.inference_mode():
        yield
