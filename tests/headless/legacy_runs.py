"""Running many old prompts as one, and the changes that tests make to a prompt first."""

from __future__ import annotations

import functools
import io
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from ipadapter_pack.tests import legacy_graphs
from ipadapter_pack.tests.headless.legacy_table import RENAMED
from ipadapter_pack.tests.headless.runs import narrow
from ipadapter_pack.tests.legacy_graphs.files import NAMES, copy, upload
from ipadapter_pack.workflows.runner.client import Client
from ipadapter_pack.workflows.runner.errors import RunError
from ipadapter_pack.workflows.runner.graphs import Graph
from PIL import Image

Inputs = dict[str, Any]
Change = Callable[["Runs", Graph], "Graph | None"]

PROMPTS: dict[str, Graph] = legacy_graphs.prompts()
PICTURED = [
    name
    for name, prompt in PROMPTS.items()
    if any(node["class_type"] == "SaveImage" for node in prompt.values())
]
PLAIN = " without references"
# What decides how much a reference acts, at nothing.
WEIGHTS = {
    "weight": 0.0, "weight_style": 0.0, "weight_composition": 0.0, "style_boost": 0.0,
    "composition_boost": 0.0, "image_weight": 0.0, "weights": "0.0, 0.0", "lora_strength": 0.0,
}  # fmt: skip
# Which preset of version 2's loaders finds which of the tiny files.
PRESETS = {
    "tiny.safetensors": "STANDARD (medium strength)",
    "tiny_plus.safetensors": "PLUS (high strength)",
    "tiny_faceid_plusv2.safetensors": "FACEID PLUS V2",
    "tiny_portrait.safetensors": "FACEID PORTRAIT (style transfer)",
}
# One for each kind of node that takes what a loader brings; encoding in full size takes long.
BROUGHT = [
    "v1/IPAdapterApply", "v1/IPAdapterApplyFaceID", "v2/IPAdapterAdvanced", "v2/IPAdapterEmbeds",
    "v2/IPAdapterFaceID", "v2/IPAdapterFromParams",
]  # fmt: skip
# They encode many pictures, which is done once where the encoder is one that is in use already.
SLOW = {
    "IPAdapterClipVisionEnhancer", "IPAdapterClipVisionEnhancerBatch", "IPAdapterTiled",
    "IPAdapterTiledBatch",
}  # fmt: skip


class Runs:
    def __init__(self, client: Client):
        self.client = client
        self.known = client.object_info()
        self.found: dict[str, Any] = {}
        upload(client.upload)

    def get(self, name: str, change: Change) -> np.ndarray:
        """Pictures [count, H, W, 3] of a changed prompt; all are changed so and run at once."""
        label = f"{change.__name__} {name}"
        if label not in self.found:
            together = change in TOGETHER
            prompts = {
                f"{each.__name__} {other}": each(self, PROMPTS[other])
                for each in (TOGETHER if together else (change,))
                for other in PICTURED
                if not together or (other in BROUGHT) == (name in BROUGHT)
            }
            self.found |= self.run(
                {
                    label: prompt if together else narrow(prompt)
                    for label, prompt in prompts.items()
                    if prompt
                }
            )
        picture = self.found[label]
        if isinstance(picture, RunError):
            raise picture
        return picture

    def run(self, prompts: dict[str, Graph]) -> dict[str, Any]:
        """Pictures, or the error, by name."""
        try:
            return self.pictures(prompts)
        except RunError as error:
            if len(prompts) == 1:
                return dict.fromkeys(prompts, error)
            names = list(prompts)
            halves = names[: len(names) // 2], names[len(names) // 2 :]
            parts = (self.run({name: prompts[name] for name in half}) for half in halves)
            return functools.reduce(dict.__or__, parts)

    def pictures(self, prompts: dict[str, Graph]) -> dict[str, Any]:
        found: dict[str, list[np.ndarray]] = {}
        for picture in self.client.run(merged(prompts), progress=False):
            pixels = np.asarray(Image.open(io.BytesIO(picture.data)).convert("RGB"), np.float32)
            found.setdefault(picture.node, []).append(pixels / 255)
        return {name: np.stack(each) for name, each in found.items()}

    def optional(self, kind: str) -> list[str]:
        return self.known[kind]["input_order"].get("optional", [])


def merged(prompts: dict[str, Graph]) -> Graph:
    """One prompt; the pictures of each part have its name for a title."""
    numbers = itertools.count(1)
    whole: Graph = {}
    for name, prompt in prompts.items():
        ids = {key: str(next(numbers)) for key in prompt}
        for key, node in prompt.items():
            inputs = {
                socket: [ids[value[0]], value[1]] if isinstance(value, list) else value
                for socket, value in node["inputs"].items()
            }
            kind = node["class_type"]
            title = name if kind == "SaveImage" else f"{name} {kind}"
            whole[ids[key]] = {"class_type": kind, "inputs": inputs, "_meta": {"title": title}}
    return whole


def changed(prompt: Graph, change: Callable[[str, Inputs], Inputs]) -> Graph:
    """A copy in which ``change`` made each node's inputs, from its class and what they were."""
    return {
        key: {**node, "inputs": change(kind_of(node), node["inputs"])}
        for key, node in prompt.items()
    }


def kind_of(node: dict[str, Any]) -> str:
    """Its class, as this pack calls it."""
    kind = node["class_type"]
    return RENAMED[kind] if "image_1" in node["inputs"] and kind in RENAMED else kind


def as_written(runs: Runs, prompt: Graph) -> Graph:
    return prompt


def from_files(runs: Runs, prompt: Graph) -> Graph:
    """As it is written, with the loaders of ComfyUI."""
    return prompt


def from_other_files(runs: Runs, prompt: Graph) -> Graph:
    """The same pictures under names that make ComfyUI do all of it once more."""
    renamed = {name: copy(name) for name in NAMES}
    return changed(prompt, lambda _, i: {k: renamed.get(str(v), v) for k, v in i.items()})


def at_weight_zero(runs: Runs, prompt: Graph) -> Graph:
    def zero(_: str, inputs: Inputs) -> Inputs:
        return {k: v if isinstance(v, list) else WEIGHTS.get(k, v) for k, v in inputs.items()}

    return changed(prompt, zero)


def without_references(runs: Runs, prompt: Graph) -> Graph:
    """Sampled with the checkpoint's own model."""
    plain = {"model": [key_of(prompt, "CheckpointLoaderSimple"), 0]}
    return changed(prompt, lambda kind, i: {**i, **plain} if kind == "KSampler" else i)


def key_of(prompt: Graph, kind: str) -> str:
    return next(key for key, node in prompt.items() if node["class_type"] == kind)


def as_version_2(runs: Runs, prompt: Graph) -> Graph | None:
    """With the switch in every node that has it; None where none has."""
    has = {k for k in map(kind_of, prompt.values()) if "compat" in runs.optional(k)}
    return changed(prompt, lambda k, i: {**i, "compat": "v2"} if k in has else i) if has else None


def from_pipeline(runs: Runs, prompt: Graph) -> Graph | None:
    """With a loader that brings encoders; None where the prompt has such a one already."""
    loaders = {key for key, node in prompt.items() if node["class_type"] == "IPAdapterModelLoader"}
    if not loaders:
        return None

    def connect(kind: str, inputs: Inputs) -> Inputs:
        brought = {"clip_vision", "insightface"} & set(runs.optional(kind))
        if kind in SLOW:
            brought = set()
        return {
            name: [value[0], 1] if isinstance(value, list) and value[0] in loaders else value
            for name, value in inputs.items()
            if name not in brought or "ipadapter" not in inputs
        }

    load = auto_loader if "IPAdapterApply" in str(prompt) else unified_loader
    model = [key_of(prompt, "CheckpointLoaderSimple"), 0]
    new = {key: load(prompt[key]["inputs"]["ipadapter_file"], model) for key in loaders}
    return changed(prompt, connect) | new


def unified_loader(file: str, model: list[Any]) -> dict[str, Any]:
    inputs: Inputs = {"model": model, "preset": PRESETS[file]}
    if "FACEID" not in PRESETS[file]:
        return {"class_type": "IPAdapterUnifiedLoader", "inputs": inputs}
    inputs |= {"lora_strength": 0.0, "provider": "CPU"}
    return {"class_type": "IPAdapterUnifiedLoaderFaceID", "inputs": inputs}


def auto_loader(file: str, model: list[Any]) -> dict[str, Any]:
    inputs = {"model": model, "preset": file, "lora_strength": 1.0, "provider": "CPU"}
    return {"class_type": "IPAdapterAutoLoader", "inputs": inputs}


TOGETHER = (from_files, from_pipeline)  # in one run, so that adapters know what was encoded
