"""What tests of the sampling path share."""

from __future__ import annotations

from typing import Any

import comfy.context_windows
import torch
from ipadapter_pack.nodes.loading.adapter import LoadedAdapter
from ipadapter_pack.nodes.regions.apply import ApplyIPAdapter
from ipadapter_pack.nodes.regions.schedule import IPAdapterSchedule
from ipadapter_pack.tests import tiny
from torch import Tensor

ENCODER = tiny.clip_vision()


def adapter(layout: str = "SD1.5", kind: str = "base", seed: int = 0) -> LoadedAdapter:
    return adapter_for(tiny.shared_model(layout), kind, seed)


def adapter_for(model: Any, kind: str = "base", seed: int = 0) -> LoadedAdapter:
    return LoadedAdapter(tiny.adapter_file(tiny.widths(model), kind, seed), "tiny.safetensors")


def apply(model: Any, loaded: Any, image: Tensor | int | None = 0, /, **inputs: Any) -> Any:
    """The Apply node, called as ComfyUI calls it, with a Schedule node for what that one takes."""
    picture = tiny.picture(image) if isinstance(image, int) else image
    inputs = with_schedule(inputs)
    inputs = {"clip_vision": ENCODER, "image": picture, **inputs}
    return ApplyIPAdapter.execute(ipadapter=loaded, model=model, **inputs)[0]


SCHEDULED = ("second_weight", "layer_weights", "frame_weights", "step_weights", "step_masks")


def with_schedule(inputs: dict[str, Any]) -> dict[str, Any]:
    """With what IPAdapter Schedule makes of its inputs, where there are any."""
    scheduled = {name: inputs[name] for name in SCHEDULED if name in inputs}
    rest = {name: value for name, value in inputs.items() if name not in scheduled}
    return rest | {"schedule": IPAdapterSchedule.execute(**scheduled)[0]} if scheduled else rest


def left_half(height: int = 64, width: int = 64) -> Tensor:
    mask = torch.zeros(1, height, width)
    mask[..., : width // 2] = 1
    return mask


def in_windows(model: Any, length: int, overlap: int) -> Any:
    """A clone that samples a long batch in windows, as core's Context Windows node sets it up."""
    core = comfy.context_windows
    model = model.clone()
    model.model_options["context_handler"] = core.IndexListContextHandler(
        context_schedule=core.get_matching_context_schedule("standard_static"),
        fuse_method=core.get_matching_fuse_method("flat"),
        context_length=length, context_overlap=overlap, dim=0,
    )  # fmt: skip
    return model


class Layers:
    """Records what each layer's patch is given and returns, by wrapping it as a pack would."""

    def __init__(self, model: Any):
        self.calls: list[tuple[Any, dict[str, Any], Tensor, Tensor]] = []
        replaced = model.model_options["transformer_options"]["patches_replace"]["attn2"]
        for key, patch in replaced.items():
            model.set_model_attn2_replace(self._recording(key, patch), *key)

    def _recording(self, key: Any, patch: Any) -> Any:
        def replacement(q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any]) -> Tensor:
            out = patch(q, k, v, extra_options)
            bare = {name: o for name, o in extra_options.items() if name != "ipadapter_regions"}
            self.calls.append((key, extra_options, out, patch(q, k, v, bare)))
            return out

        return replacement
