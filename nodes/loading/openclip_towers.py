"""The architectures of open_clip: their names without importing it, their towers without weights."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...ipadapter.errors import IPAdapterError

AUTO = "auto"
# What the menu begins with, and all it holds while open_clip is not installed.
USUAL = (
    "ViT-H-14", "ViT-H-14-quickgelu", "ViT-bigG-14", "ViT-bigG-14-quickgelu",
    "ViT-L-14", "ViT-L-14-quickgelu", "ViT-L-14-336", "ViT-L-14-336-quickgelu",
    "ViT-B-16", "ViT-B-16-quickgelu", "ViT-B-32", "ViT-B-32-quickgelu",
    "ViT-g-14", "EVA02-L-14", "EVA02-L-14-336", "EVA02-E-14-plus",
    "ViT-SO400M-14-SigLIP-384", "ViT-SO400M-16-SigLIP2-384",
)  # fmt: skip


def import_open_clip() -> Any:
    try:
        import open_clip  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as error:
        raise IPAdapterError(
            f"open_clip cannot be imported ({error}): install it into ComfyUI's Python with "
            f'"{sys.executable}" -m pip install "open_clip_torch>=3.3,<4" (torchvision must be '
            "installed already, as for ComfyUI; otherwise pip replaces your torch), then restart"
        ) from error
    except RuntimeError as error:  # torchvision's, when made for another torch
        raise IPAdapterError(
            f"open_clip cannot be imported ({error}): torchvision does not fit torch, reinstall both"
        ) from error
    return open_clip


def architectures() -> list[str]:
    """The menu: auto, the usual ones, then all others by name. Does not import open_clip."""
    return [AUTO, *in_order(name for name, vision in model_configs() if gives_tokens(vision))]


def model_configs() -> list[tuple[str, dict[str, Any]]]:
    """Names and vision halves of the configurations that open_clip brings; else the usual names."""
    try:
        spec = importlib.util.find_spec("open_clip")
    except (ImportError, ValueError):  # something else by that name
        spec = None
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        return [(name, {}) for name in USUAL]
    files = Path(folders[0], "model_configs").glob("*.json")
    configs = {file.stem: json.loads(file.read_text()) for file in files}
    return [(name, row["vision_cfg"]) for name, row in configs.items() if "vision_cfg" in row]


def in_order(names: Iterable[str]) -> list[str]:
    def place(name: str) -> tuple[Any, ...]:
        usual = USUAL.index(name) if name in USUAL else len(USUAL)
        digits = re.split(r"(\d+)", name.lower())  # text and numbers in turn: 9 before 14
        return usual, [int(part) if part.isdigit() else part for part in digits]

    return sorted(names, key=place)


def gives_tokens(vision: Mapping[str, Any]) -> bool:
    """Transformers do; ResNet, ConvNeXt, Swin and FastViT give maps, which no adapter reads."""
    trunk = vision.get("timm_model_name")
    return trunk.startswith(("vit", "eva")) if trunk else isinstance(vision.get("layers", 1), int)


def recognize(open_clip: Any, tensors: Mapping[str, Tensor], file: str) -> str:
    """The one architecture that the tensors fit, shape by shape."""
    fitting: list[str] = []
    seen: set[str] = set()
    is_trunk = any(key.startswith("trunk.") for key in tensors)
    for name in in_order(open_clip.list_models()):
        config = open_clip.get_model_config(name)
        vision = config["vision_cfg"]
        tower = {key: value for key, value in vision.items() if key not in TRAINING_ONLY}
        details = [tower, config["embed_dim"], config.get("quick_gelu", False)]
        same = json.dumps([*details, normalization(open_clip, name)], sort_keys=True)
        if is_trunk != ("timm_model_name" in vision) or same in seen or not gives_tokens(vision):
            continue
        seen.add(same)
        if misfit(build(open_clip, name), tensors) is None:
            fitting.append(name)
    if not fitting:
        raise IPAdapterError(
            f"{file} fits no architecture that open_clip {open_clip.__version__} knows: update "
            "open_clip_torch, or get another encoder"
        )
    if len(fitting) > 1:
        raise IPAdapterError(
            f"architecture: the tensors of {file} fit {' and '.join(fitting)}; choose the one "
            "that its publisher names"
        )
    return fitting[0]


TRAINING_ONLY = {"output_tokens", "timm_drop", "timm_drop_path", "timm_model_pretrained"}


def build(open_clip: Any, architecture: str) -> Any:
    """A vision tower without weights. Nothing is allocated, nothing is downloaded."""
    config = open_clip.get_model_config(architecture)
    if config is None or not gives_tokens(config["vision_cfg"]):
        raise IPAdapterError(
            f"architecture: {architecture} is unknown to open_clip {open_clip.__version__}, or no "
            "transformer; choose one from the list"
        )
    vision = {**config["vision_cfg"], "timm_model_pretrained": False}
    with torch.device("meta"):
        # The smallest text half; the real one may want a configuration from the network.
        clip = open_clip.CustomTextCLIP(
            config["embed_dim"], vision, {"layers": 1}, quick_gelu=config.get("quick_gelu", False)
        )
    return clip.visual


def misfit(visual: torch.nn.Module, tensors: Mapping[str, Tensor]) -> str | None:
    """The first difference in names or shapes between a tower and a file's tensors."""
    needed = visual.state_dict()
    for key, tensor in needed.items():
        shape = list(tensor.shape)
        if key not in tensors:
            return f"the file has no {key}, which should be {shape}"
        if tensors[key].shape != tensor.shape:
            return f"{key} is {list(tensors[key].shape)} in the file and should be {shape}"
        if tensors[key].is_floating_point() != tensor.is_floating_point():
            return f"{key} holds {str(tensors[key].dtype).removeprefix('torch.')} numbers"
    for key in tensors:
        if key not in needed:
            return f"the file also has {key} {list(tensors[key].shape)}"
    return None


def fill_buffers(visual: torch.nn.Module) -> None:
    """Compute what is in no file, such as rotary positions: the meta device kept only its shape."""
    for module in visual.modules():
        empty = {name: b for name, b in module.named_buffers(recurse=False) if b.is_meta}
        if not empty:
            continue
        if not hasattr(module, "init_non_persistent_buffers"):
            raise IPAdapterError(
                "the installed timm is too old for this architecture: update it with "
                f'"{sys.executable}" -m pip install --upgrade timm'
            )
        for name, buffer in empty.items():
            setattr(module, name, torch.empty_like(buffer, device="cpu"))
        module.init_non_persistent_buffers()  # pyright: ignore[reportCallIssue]


def normalization(open_clip: Any, architecture: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of the pixels, as most published weights of this architecture want it."""
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    published = (open_clip.get_pretrained_cfg(architecture, tag) for tag in tags)
    counted = Counter((tuple(p["mean"]), tuple(p["std"])) for p in published if p.get("mean"))
    default = (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    return counted.most_common(1)[0][0] if counted else default
