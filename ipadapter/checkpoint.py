"""Reading an adapter file: from what a loader returns to tensors that can be trusted.

Both published forms are accepted: flat keys (``image_proj.latents``, as in .safetensors) and nested
dictionaries (``{"image_proj": {"latents": ...}}``, as in .bin). Kolors' files call the second half
``adapter_modules``. FaceID's also hold a LoRA, between the keys and values of the layers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from .errors import IPAdapterError
from .tensors import check_stored, damaged, not_finite

MAX_ELEMENTS = 2**28  # of one tensor: four times the largest published (a portrait projection)


class Checkpoint(NamedTuple):
    """The parts of an IP-Adapter."""

    image_proj: dict[str, Tensor]  # picture features -> image tokens
    ip_adapter: dict[str, Tensor]  # image tokens -> keys and values, per layer
    lora: dict[str, Tensor]  # for the model's own attention; FaceID has one

    @property
    def layer_numbers(self) -> list[int]:
        """Numbers of the layers in the file's order: input, output, middle blocks."""
        return sorted(int(key.split(".")[0]) for key in self.ip_adapter if _is_key(key))


def read_checkpoint(content: object, file: str) -> Checkpoint:
    """Check and normalize a loaded adapter file.

    ``content`` is what was loaded, ``file`` the name to use in messages.
    Raises IPAdapterError, naming the file, when it holds something else or is damaged.
    """
    if not isinstance(content, Mapping):
        kind = type(content).__name__
        raise IPAdapterError(f"{file} is not an IP-Adapter: it holds a {kind}, not named tensors")
    content = cast("Mapping[Any, Any]", content)
    halves = _halves(content)
    if not halves["image_proj"] or not halves["ip_adapter"]:
        raise IPAdapterError(f"{file} is not an IP-Adapter: {_what_is(content)}")
    names = [f"{half}.{key}" for half, tensors in halves.items() for key in tensors]
    other = _first_match(OTHER_ADAPTERS, names)
    if other:
        raise IPAdapterError(f"{file} is {other}, which this version does not support")
    for half, tensors in halves.items():
        for key, tensor in tensors.items():
            tensors[key] = _check_tensor(f"{half}.{key}", tensor, file)
    layers = halves["ip_adapter"]
    lora = {key: tensor for key, tensor in layers.items() if LORA.search(key)}
    layers = {key: tensor for key, tensor in layers.items() if key not in lora}
    checkpoint = Checkpoint(halves["image_proj"], layers, lora)
    _check_layers(checkpoint, file)
    _check_lora(lora, file)
    return checkpoint


HALVES = {
    "image_proj": "image_proj",
    "ip_adapter": "ip_adapter",
    "adapter_modules": "ip_adapter",
}
NUMBER = "(0|[1-9][0-9]{0,3})"
LORA = re.compile(rf"^{NUMBER}\.to_(q|k|v|out)_lora\.(down|up)\.weight$")


def _halves(content: Mapping[Any, Any]) -> dict[str, dict[str, Any]]:
    halves: dict[str, dict[str, Any]] = {"image_proj": {}, "ip_adapter": {}}
    for key, value in content.items():
        half, _, rest = str(key).partition(".")
        if half not in HALVES:
            continue
        half = HALVES[half]
        if rest:
            halves[half][rest] = value
        elif isinstance(value, Mapping):
            inner = cast("Mapping[Any, Any]", value)
            halves[half].update({str(k): v for k, v in inner.items()})
    return halves


# What people pick by mistake: a pattern in the keys, and what to do instead.
OTHER_FILES = {
    r"^model\.diffusion_model\.": "it is a full checkpoint (load it with Load Checkpoint)",
    r"lora_(up|down|A|B)\b|\.lora\.|^lora_": "it is a LoRA (load it with Load LoRA)",
    r"ip_adapter_double_stream|^double_blocks\.": "it is a Flux adapter or model",
    r"\.processor\.to_k_ip\.": "it is in the layout of diffusers (IP-Adapter-Art and others)",
    r"ip_adapter_clip_len|kv_proj_ip_adapter": "it is an adapter for HunyuanDiT",
    r"ip_cross_attns\.|\bip_gate\b": "it is an adapter for Anima",
    r"^(pulid_|id_adapter)": "it is a PuLID model",
    r"^(vision_model|visual)\.": "it is a CLIP vision model (load it with Load CLIP Vision)",
    r"^(control_model|input_hint_block|controlnet_)": "it is a ControlNet",
    r"^(down_blocks|up_blocks|input_blocks|output_blocks)\.": "it is a diffusion model",
    r"^(first_stage_model|encoder|decoder)\.": "it is a VAE or an encoder",
}


# Adapters of both halves for other base models.
OTHER_ADAPTERS = {
    r"image_proj\.time_|ip_adapter\.\d+\.norm_ip\.": "an adapter for SD3.5",
    r"ip_adapter\.\d+\.norm_(added_)?[kqv]\b": "an adapter for Flux",
}


def _what_is(content: Mapping[Any, Any]) -> str:
    keys = [str(key) for key in content]
    shown = ", ".join(keys[:3]) or "nothing"
    unknown = f"image_proj and ip_adapter were expected, it holds {shown}"
    return _first_match(OTHER_FILES, keys) or unknown


def _first_match(kinds: Mapping[str, str], keys: list[str]) -> str | None:
    found = (what for kind, what in kinds.items() if any(re.search(kind, key) for key in keys))
    return next(found, None)


def _check_tensor(key: str, tensor: object, file: str) -> Tensor:
    """The tensor; refuses what the loader lets through but would hurt later."""
    if isinstance(tensor, Tensor) and (tensor.numel() > MAX_ELEMENTS or tensor.ndim > 3):
        raise damaged(key, f"has the shape {tuple(tensor.shape)}", file)
    stored = check_stored(key, tensor, file)
    if stored.dtype not in (torch.float16, torch.bfloat16, torch.float32):
        raise damaged(key, f"holds {str(stored.dtype).removeprefix('torch.')} numbers", file)
    found = None if stored.is_meta or not stored.numel() else not_finite(stored)
    if found:
        raise damaged(key, f"contains {found}", file)
    return stored


def _is_key(name: str) -> bool:
    return re.fullmatch(rf"{NUMBER}\.to_k_ip\.weight", name) is not None


def _check_layers(checkpoint: Checkpoint, file: str) -> None:
    """Every layer has a key and a value projection of one shape."""
    numbers = checkpoint.layer_numbers
    if not numbers:
        raise IPAdapterError(f"{file} is not an IP-Adapter: no layer has a to_k_ip")
    contexts: set[int] = set()
    for number in numbers:
        k = checkpoint.ip_adapter[f"{number}.to_k_ip.weight"]
        v = checkpoint.ip_adapter.get(f"{number}.to_v_ip.weight")
        if v is None or k.ndim != 2 or k.shape != v.shape:
            raise IPAdapterError(f"{file} is damaged: layer {number} has no matching key and value")
        contexts.add(k.shape[1])
    if len(contexts) > 1:
        raise IPAdapterError(f"{file} is damaged: its layers read tokens of widths {contexts}")


def _check_lora(lora: dict[str, Tensor], file: str) -> None:
    """Every ``down`` [rank, columns] has its ``up`` [rows, rank], and the other way round."""
    for key, tensor in lora.items():
        down = tensor if ".down." in key else lora.get(key.replace(".up.", ".down."))
        up = tensor if ".up." in key else lora.get(key.replace(".down.", ".up."))
        fits = up is not None and down is not None and up.ndim == down.ndim == 2
        if up is None or down is None or not fits or up.shape[1] != down.shape[0]:
            raise IPAdapterError(f"{file} is damaged: ip_adapter.{key} has no matching half")
