"""Image encoders that ComfyUI's own loader does not know, through the library open_clip."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import comfy.clip_vision
import comfy.model_management
import comfy.model_patcher
import folder_paths
import torch
import torch.nn.functional as F
from comfy_api.latest import io
from einops import rearrange
from torch import Tensor

from ...ipadapter.errors import IPAdapterError
from ...ipadapter.preprocess import fit_to_encoder, rgb, without_alpha
from ...ipadapter.vision_layouts import vision_tensors
from ..shared.files import full_path, read_file
from ..shared.inputs import ADVANCED
from ..shared.node import Node
from ..shared.notices import warn
from .openclip_towers import (
    AUTO,
    architectures,
    build,
    fill_buffers,
    import_open_clip,
    misfit,
    normalization,
    recognize,
)


class LoadOpenCLIPVision(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterOpenCLIPVisionLoader",
            display_name="Load CLIP Vision (OpenCLIP)",
            category=ADVANCED,
            description="Loads an image encoder that ComfyUI's Load CLIP Vision cannot load or "
            "loads wrongly: other sizes, quickgelu, EVA and SigLIP. Needs the Python package "
            "open_clip_torch. ViT-H and ViT-bigG of the published adapters need no more than "
            "Load CLIP Vision.",
            search_aliases=["open_clip", "openclip", "clip vision", "eva", "siglip", "quickgelu"],
            inputs=[
                io.Combo.Input(
                    "clip_name",
                    options=folder_paths.get_filename_list("clip_vision"),
                    tooltip="A file in models/clip_vision, in open_clip's layout (its text half "
                    "may be there and stays on disk) or, for plain ViTs, in that of transformers.",
                ),
                io.Combo.Input(
                    "architecture",
                    options=architectures(),
                    default=AUTO,
                    tooltip="What the file is, by open_clip's name. auto reads it from the file's "
                    "tensors. They do not tell gelu from quickgelu: then the node lists the names "
                    "to choose from.",
                ),
            ],
            outputs=[
                io.ClipVision.Output(
                    display_name="clip_vision", tooltip="The encoder, as Load CLIP Vision gives it."
                )
            ],
        )

    @classmethod
    def execute(cls, clip_name: str, architecture: str = AUTO) -> io.NodeOutput:
        path = full_path("clip_vision", clip_name)
        return io.NodeOutput(load_open_clip_vision(path, architecture))


class OpenCLIPVision:
    """The value of a CLIP_VISION socket, with what core's ClipVisionModel has."""

    def __init__(self, visual: torch.nn.Module, mean: Iterable[float], std: Iterable[float]):
        self.image_size: int = visual.image_size[0]  # pyright: ignore[reportIndexIssue, reportAttributeAccessIssue]
        self.image_mean, self.image_std = list(mean), list(std)
        self.load_device = comfy.model_management.text_encoder_device()
        self.dtype = compute_dtype(self.load_device)
        self.model = Tower(visual.to(self.dtype))
        self.patcher = comfy.model_patcher.CoreModelPatcher(
            self.model,
            load_device=self.load_device,
            offload_device=comfy.model_management.text_encoder_offload_device(),
        )

    def encode_image(self, image: Tensor, crop: bool = True) -> comfy.clip_vision.Output:
        """Encode pictures [images, H, W, 3+]; without ``crop`` they are squashed to a square. Alpha
        is not read, as in core."""
        comfy.model_management.load_models_gpu([self.patcher])
        pixels = self.pixel_values(without_alpha(image).to(self.load_device), crop)
        there = comfy.model_management.intermediate_device()
        last, penultimate, embeds, _ = self.model(pixel_values=pixels)
        output = comfy.clip_vision.Output()
        output["last_hidden_state"] = last.to(there)
        output["penultimate_hidden_states"] = penultimate.to(there)
        output["image_embeds"] = embeds.to(there)
        output["image_sizes"] = [pixels.shape[1:]] * len(pixels)
        output["mm_projected"] = None
        return output

    def pixel_values(self, image: Tensor, crop: bool) -> Tensor:
        """[images, H, W, 3+] -> normalized [images, 3, size, size], from 8 bits as in core."""
        if crop:
            square = fit_to_encoder(image, self.image_size)
            pixels = rearrange(square, "images h w c -> images c h w")
        else:
            size = (self.image_size, self.image_size)
            pixels = F.interpolate(rgb(image), size=size, mode="bicubic", antialias=True)
        pixels = (255 * pixels).clamp(0, 255).round() / 255
        mean, std = (pixels.new_tensor(x).view(3, 1, 1) for x in (self.image_mean, self.image_std))
        return (pixels - mean) / std


def compute_dtype(device: torch.device) -> torch.dtype:
    """Core's choice for text encoders, except where open_clip's layers cannot compute in it: unlike
    core's they do not cast their weights, and float16 on a CPU is slow and not complete."""
    if comfy.model_management.is_device_cpu(device):
        return torch.float32
    dtype = comfy.model_management.text_encoder_dtype(device)
    return dtype if dtype in (torch.float32, torch.bfloat16) else torch.float16


class Tower(torch.nn.Module):
    """An open_clip vision tower that is called, and answers, as core's CLIP vision models."""

    def __init__(self, visual: Any):
        super().__init__()
        self.visual = visual

    def forward(
        self, pixel_values: Tensor, attention_mask: None = None, intermediate_output: int = -2
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        """[images, 3, size, size] -> float32 last and intermediate hidden states
        [images, tokens, width], image_embeds [images, dim]. The last ones are normed where core's
        are: not those of CLIP, but those of SigLIP and other timm trunks."""
        # ComfyUI divides only its own kind of layers among devices; what it left behind follows.
        self.to(pixel_values.device)
        pixels = pixel_values.to(next(self.parameters()).dtype)
        states = trunk_states if hasattr(self.visual, "trunk") else vit_states
        last, hidden, embeds = states(self.visual, pixels, intermediate_output)
        return last.float(), hidden.float(), embeds.float(), None


def vit_states(visual: Any, pixels: Tensor, layer: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels [images, 3, size, size] -> the last hidden states and those of a layer, both [images,
    tokens, width], and the embedding [images, width]."""
    out = visual.forward_intermediates(
        pixels, indices=[layer, -1], output_fmt="NLC", output_extra_tokens=True
    )
    parts = zip(out["image_intermediates_prefix"], out["image_intermediates"], strict=True)
    hidden = [torch.cat(part, dim=1) for part in parts]
    return hidden[-1], hidden[0], out["image_features"]


def trunk_states(visual: Any, pixels: Tensor, layer: int) -> tuple[Tensor, Tensor, Tensor]:
    """As ``vit_states``, of a tower from timm: pixels [images, 3, size, size]."""
    trunk, prefixed = visual.trunk, visual.trunk.num_prefix_tokens > 0
    last, (hidden,) = trunk.forward_intermediates(
        pixels, indices=[layer], output_fmt="NLC", return_prefix_tokens=prefixed
    )
    if prefixed:
        patches, prefix = hidden
        hidden = torch.cat([prefix, patches], dim=1)
    return last, hidden, visual.head(trunk.forward_head(last))


def load_open_clip_vision(path: str, architecture: str = AUTO) -> OpenCLIPVision:
    """Load the vision tower of a file. IPAdapterError names the file when it does not fit."""
    open_clip = import_open_clip()
    file = os.path.basename(path)
    tensors = vision_tensors(read_file(path), file)
    if architecture == AUTO:
        architecture = recognize(open_clip, tensors, file)
        warn(f"{file} is loaded as {architecture}")
    visual = build(open_clip, architecture)
    problem = misfit(visual, tensors)
    if problem:
        raise IPAdapterError(
            f"{file} does not fit the architecture {architecture}: {problem}; choose another"
        )
    visual.load_state_dict(tensors, assign=True)
    fill_buffers(visual)
    visual.eval().requires_grad_(False)
    return OpenCLIPVision(visual, *normalization(open_clip, architecture))


NODES = [LoadOpenCLIPVision]
