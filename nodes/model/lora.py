"""The LoRA that belongs to a FaceID adapter: for the model's own attention, all of its layers."""

from __future__ import annotations

import uuid
from typing import Any

import comfy.lora
import comfy.lora_convert
from torch import Tensor

from ...ipadapter.checkpoint import LORA
from ...ipadapter.errors import IPAdapterError
from ..shared.notices import warn
from .layers import spatial_transformers, unet_blocks, unet_of

WEIGHTS = {"q": "to_q", "k": "to_k", "v": "to_v", "out": "to_out.0"}


def apply_face_lora(model: Any, lora: dict[str, Tensor], strength: float, file: str) -> Any:
    """A clone of the model with the LoRA inside an adapter checkpoint; the model where it has none.

    ``lora``: ``N.to_{q,k,v,out}_lora.{down,up}.weight``, where N counts the model's attentions in
    the order of adapter files, self-attention (even) and cross-attention (odd) in turn.
    The weight of a layer becomes W + strength * up @ down: tencent-ailab/IP-Adapter at 62e4af9,
    ip_adapter/attention_processor_faceid.py.
    """
    if not lora or strength == 0:
        return model
    names = attention_names(model)
    parts = [(LORA.findall(key)[0], tensor) for key, tensor in lora.items()]
    count = 1 + max(int(number) for (number, _, _), _ in parts)
    if count != len(names):
        raise IPAdapterError(
            f"{file}: its LoRA is for {count} attentions, the model has {len(names)}; choose an "
            "adapter for this base model"
        )
    renamed = {
        f"{names[int(number)]}.{WEIGHTS[which]}.lora_{half}.weight": tensor
        for (number, which, half), tensor in parts
    }
    added, patches = _add(model, renamed, strength, file)
    if patches:
        added.set_attachments(OURS, (*added.attachments.get(OURS, ()), *patches))
    return added


def apply_lora(model: Any, content: object, strength: float, file: str) -> Any:
    """A clone of the model with a LoRA that is a file of its own, given what that holds."""
    if not isinstance(content, dict) or not content:
        raise IPAdapterError(f"{file} is no LoRA: it holds a {type(content).__name__}")
    return _add(model, content, strength, file)[0]


def attention_names(model: Any) -> list[str]:
    """The attentions of the model's transformers, in the order of adapter files."""
    return [
        f"diffusion_model.{path}.{name}.transformer_blocks.{index}.attn{number}"
        for _, _, path, block in unet_blocks(unet_of(model))
        for name, spatial in spatial_transformers(block)
        for index in range(len(spatial.transformer_blocks))
        for number in (1, 2)
    ]


def _add(model: Any, lora: dict[str, Tensor], strength: float, file: str) -> tuple[Any, list[Any]]:
    """A clone with the LoRA, and what has been added; the model and nothing where it has it."""
    targets = comfy.lora.model_lora_keys_unet(model.model, {})
    lora = comfy.lora_convert.convert_lora(lora)
    patches = comfy.lora.load_lora(lora, targets, log_missing=False)
    used = {key for patch in patches.values() for key in getattr(patch, "loaded_keys", ())}
    if not used:
        raise IPAdapterError(f"{file}: nothing in this LoRA fits the model")
    if len(used) < len(lora):
        warn(f"{file}: {len(lora) - len(used)} of its {len(lora)} tensors fit nothing in the model")
    _check_shapes(model, patches, file)
    missing = {key: patch for key, patch in patches.items() if not _carries(model, key, patch)}
    if not missing:
        warn(f"the model already carries the LoRA of {file}: it is not applied a second time")
        return model, []
    model = model.clone()
    model.add_patches(missing, strength)
    return model, list(missing.values())


OURS = "ipadapter_regions_lora"  # those patches of a model that came with an adapter


def remove_face_lora(model: Any) -> Any:
    """A clone of the model without the LoRAs that came with adapters; the model where none did."""
    ours = {id(patch) for patch in model.attachments.get(OURS, ())}
    if not ours:
        return model
    model = model.clone()
    kept = {
        key: [entry for entry in entries if id(entry[1]) not in ours]
        for key, entries in model.patches.items()
    }
    model.patches = {key: entries for key, entries in kept.items() if entries}
    model.patches_uuid = uuid.uuid4()
    del model.attachments[OURS]
    return model


def _check_shapes(model: Any, patches: dict[str, Any], file: str) -> None:
    weights = model.model.state_dict()
    for key, patch in patches.items():
        halves = getattr(patch, "weights", ())[:2]
        shape = tuple(weights[key].shape)
        if len(halves) < 2 or len(shape) != 2:
            continue  # another kind of patch, or a convolution: ComfyUI's own to judge
        rows, columns = len(halves[0]), halves[1][0].numel()
        if (rows, columns) != shape:
            raise IPAdapterError(
                f"{file}: its LoRA is for another model: {rows} x {columns} for {key}, which is "
                f"{shape[0]} x {shape[1]} here"
            )


def _carries(model: Any, key: str, patch: Any) -> bool:
    """Whether one of the LoRAs on this weight is the same, up to its file's precision."""
    return any(_same(patch, entry[1]) for entry in model.patches.get(key, ()))


def _same(ours: Any, theirs: Any) -> bool:
    mine, other = (getattr(patch, "weights", ())[:2] for patch in (ours, theirs))
    return len(mine) == len(other) == 2 and all(map(_alike, mine, other))


def _alike(a: Tensor, b: Any) -> bool:
    """Equal, but for the precision in which either is stored (float8 keeps four bits)."""
    if a is b:
        return True
    if not isinstance(b, Tensor) or a.shape != b.shape:
        return False
    a, b = a.float(), b.to(a.device).float()
    return bool((a - b).norm() <= 0.1 * a.norm())
