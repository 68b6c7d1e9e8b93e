"""Version 2's Python methods, for packs and scripts that call its classes instead of sending a graph.

``NODE_CLASS_MAPPINGS["IPAdapterAdvanced"]().apply_ipadapter(model, ipadapter, image=picture)``
takes what it took there, by position or by name, and returns as many values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import Parameter, Signature
from typing import Any, NamedTuple

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ...ipadapter.errors import pick
from ..loading.adapter import IPAdapterModelLoader
from ..loading.insightface import IPAdapterInsightFaceLoader
from ..shared.node import Node, check_number
from . import embed_apply, embed_files, embeds, enhancer, faces, images, loaders, params, styles
from .apply import IPAdapter, IPAdapterAdvanced, IPAdapterBatch, apply_simple
from .formulas.unified import COMMUNITY, FACES, PICTURES
from .place import ApplyInputs, apply
from .tiled import IPAdapterTiled, IPAdapterTiledBatch
from .weights import (
    IPAdapterCombineWeights,
    IPAdapterPromptScheduleFromWeightsStrategy,
    IPAdapterWeights,
    IPAdapterWeightsFromStrategy,
)


def register() -> None:
    """Give every class whose id version 2 had the method that it had there."""
    for node, method in METHODS.items():
        setattr(node, method.name, method.of(node))
        setattr(node, INPUT_TYPES, MenusAsLists(node))


class Method(NamedTuple):
    """A method of version 2. Its arguments have the names of our inputs."""

    name: str
    required: str  # in their order
    optional: Mapping[str, Any] = {}  # after them, with their defaults
    outputs: int = 1
    answer: Callable[..., Sequence[Any]] | None = None  # given all of them; else the node's execute

    def of(self, node: type[Node]) -> Callable[..., tuple[Any, ...]]:
        """The method of a class."""
        answer = self.answer or (lambda **inputs: node.execute(**inputs).args)
        signature = self.signature

        def method(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
            given = signature.bind(*args, **kwargs)
            given.apply_defaults()
            del given.arguments["self"]
            for name, value in given.arguments.items():
                check_number(value, name)
            values = [without_blocker(value) for value in answer(**given.arguments)]
            return (*values, *[None] * (self.outputs - len(values)))

        method.__name__ = self.name
        method.__signature__ = signature  # pyright: ignore[reportFunctionMemberAccess]
        return method

    @property
    def signature(self) -> Signature:
        kind = Parameter.POSITIONAL_OR_KEYWORD
        required = (Parameter(name, kind) for name in ("self", *self.required.split()))
        optional = (Parameter(name, kind, default=value) for name, value in self.optional.items())
        return Signature([*required, *optional])


def without_blocker(value: Any) -> Any:
    """None where a node blocks an output: it can only do so in a graph."""
    return None if isinstance(value, ExecutionBlocker) else value


INPUT_TYPES = "INPUT_TYPES"


class MenusAsLists:
    """``INPUT_TYPES``, whose menus are lists if an instance is asked, as other packs do. ComfyUI asks
    the class, and would refuse links to an input that is a list."""

    def __init__(self, node: type[Node]):
        self.node = node

    def __get__(self, instance: Node | None, owner: type[Node]) -> Callable[[], dict[str, Any]]:
        asked = getattr(super(self.node, owner), INPUT_TYPES)
        if instance is None:
            return asked
        return lambda: {
            need: {name: as_list(*value) for name, value in inputs.items()}
            for need, inputs in asked().items()
        }


def as_list(kind: str, *options: dict[str, Any]) -> tuple[Any, ...]:
    """An input as version 2's classes describe it."""
    return (options[0]["options"] if kind == io.Combo.io_type else kind), *options


OF_ALL_REGIONS = (  # the inputs of IPAdapter from Params
    "model", "ipadapter", "combine_embeds", "embeds_scaling", "image_negative", "clip_vision",
)  # fmt: skip


def apply_pictures(  # noqa: PLR0913
    ipadapter_params: params.Params | None,
    image_style: Any,
    image_composition: Any,
    weight_style: float,
    weight_composition: float,
    expand_style: bool,
    weight_type: str,
    layer_weights: str | None,
    style_boost: float | None,
    composition_boost: float | None,
    enhance_tiles: int,
    enhance_ratio: float,
    weight_kolors: float,
    unfold_batch: bool = False,
    **inputs: Any,
) -> Sequence[Any]:
    """Version 2's one method for most nodes: what it is given decides which of them it is."""
    if ipadapter_params is not None:
        shared = {name: inputs[name] for name in OF_ALL_REGIONS}
        node = params.IPAdapterFromParams
        return node.execute(ipadapter_params=ipadapter_params, **shared).args
    inputs |= {
        "layer_weights": layer_weights or "",
        "token_scale": weight_kolors,
        "unfold_batch": unfold_batch,
    }
    if image_style is not None:
        rest = {name: value for name, value in inputs.items() if name not in ("image", "weight")}
        return styles.IPAdapterStyleComposition.execute(
            image_style=image_style,
            image_composition=image_style if image_composition is None else image_composition,
            weight_style=weight_style,
            weight_composition=weight_composition,
            expand_style=expand_style,
            **rest,
        ).args
    second = None
    if style_boost is not None:
        weight_type, second = "style transfer precise", style_boost
    elif composition_boost is not None:
        weight_type, second = "composition precise", composition_boost
    elif "style and composition" in weight_type:
        second = weight_composition
    inputs |= {"weight_type": weight_type, "second": second}
    if enhance_tiles > 1:
        tiles = {"enhance_tiles": enhance_tiles, "enhance_ratio": enhance_ratio}
        return enhancer.IPAdapterClipVisionEnhancer.execute(**tiles, **inputs).args
    return apply(ApplyInputs(**inputs))


def load_models(
    model: Any, preset: str, lora_strength: float, provider: str, ipadapter: Any
) -> Sequence[Any]:
    """Version 2's one method for three loaders: each knows the presets of all."""
    names = pick({**PICTURES, **FACES, **COMMUNITY}, preset, "preset")
    return loaders.load(model, names, lora_strength, provider).args


def weights_of_frames(weights_strategy: Any, image: Any, **settings: Any) -> Sequence[Any]:
    """Version 2's one method for a new strategy and for one that is there."""
    if weights_strategy is None:
        return IPAdapterWeights.execute(image, **settings).args
    return IPAdapterWeightsFromStrategy.execute(weights_strategy, image).args


RANGE = "start_at end_at"
SCALING = {"embeds_scaling": "V only"}
APPLY = Method(
    "apply_ipadapter",
    "model ipadapter",
    {
        "start_at": 0.0, "end_at": 1.0, "weight": 1.0, "weight_style": 1.0,
        "weight_composition": 1.0, "expand_style": False, "weight_type": "linear",
        "combine_embeds": "concat", "weight_faceidv2": None, "image": None, "image_style": None,
        "image_composition": None, "image_negative": None, "clip_vision": None, "attn_mask": None,
        "insightface": None, **SCALING, "layer_weights": None, "ipadapter_params": None,
        "encode_batch_size": 0, "style_boost": None, "composition_boost": None,
        "enhance_tiles": 1, "enhance_ratio": 1.0, "weight_kolors": 1.0,
    },
    outputs=2,
    answer=apply_pictures,
)  # fmt: skip
UNFOLDED = APPLY._replace(answer=partial(apply_pictures, unfold_batch=True))
SIMPLE = Method(
    "apply_ipadapter", f"model ipadapter image weight {RANGE} weight_type", {"attn_mask": None},
    outputs=2, answer=apply_simple,
)  # fmt: skip
EMBEDS = Method(
    "apply_ipadapter", f"model ipadapter pos_embed weight weight_type {RANGE}",
    {"neg_embed": None, "attn_mask": None, "clip_vision": None, **SCALING}, outputs=2,
)  # fmt: skip
TILED = Method(
    "apply_tiled", f"model ipadapter image weight weight_type {RANGE} sharpening",
    {
        "combine_embeds": "concat", "image_negative": None, "attn_mask": None, "clip_vision": None,
        **SCALING, "encode_batch_size": 0,
    },
    outputs=3,
)  # fmt: skip
LOAD = Method(
    "load_models", "model preset", {"lora_strength": 0.0, "provider": "CPU", "ipadapter": None},
    outputs=2, answer=load_models,
)  # fmt: skip
WEIGHTS = Method(
    "weights", "",
    {
        "weights": "", "timing": "custom", "frames": 0, "start_frame": 0, "end_frame": 9999,
        "add_starting_frames": 0, "add_ending_frames": 0, "method": "full batch",
        "weights_strategy": None, "image": None,
    },
    outputs=6, answer=weights_of_frames,
)  # fmt: skip

METHODS: dict[type[Node], Method] = {
    IPAdapter: SIMPLE,
    IPAdapterAdvanced: APPLY,
    IPAdapterBatch: UNFOLDED,
    faces.IPAdapterFaceID: APPLY,
    faces.IPAdapterFaceIDKolors: APPLY,
    faces.IPAAdapterFaceIDBatch: UNFOLDED,
    styles.IPAdapterStyleComposition: APPLY,
    styles.IPAdapterStyleCompositionBatch: UNFOLDED,
    styles.IPAdapterPreciseStyleTransfer: APPLY,
    styles.IPAdapterPreciseStyleTransferBatch: UNFOLDED,
    styles.IPAdapterPreciseComposition: APPLY,
    styles.IPAdapterPreciseCompositionBatch: UNFOLDED,
    styles.IPAdapterMS: APPLY,
    enhancer.IPAdapterClipVisionEnhancer: APPLY,
    enhancer.IPAdapterClipVisionEnhancerBatch: UNFOLDED,
    params.IPAdapterFromParams: APPLY,
    embed_apply.IPAdapterEmbeds: EMBEDS,
    embed_apply.IPAdapterEmbedsBatch: EMBEDS,
    IPAdapterTiled: TILED,
    IPAdapterTiledBatch: TILED,
    loaders.IPAdapterUnifiedLoader: LOAD,
    loaders.IPAdapterUnifiedLoaderFaceID: LOAD,
    loaders.IPAdapterUnifiedLoaderCommunity: LOAD,
    IPAdapterModelLoader: Method("load_ipadapter_model", "ipadapter_file"),
    # Version 2 wanted both; Inspire leaves the second out.
    IPAdapterInsightFaceLoader: Method(
        "load_insightface", "provider", {"model_name": loaders.BUFFALO}
    ),
    embeds.IPAdapterEncoder: Method(
        "encode", "ipadapter image weight", {"mask": None, "clip_vision": None}, outputs=2
    ),
    embeds.IPAdapterCombineEmbeds: Method(
        "batch", "embed1 method", {f"embed{i}": None for i in range(2, 1 + embeds.MOST_EMBEDS)}
    ),
    embed_files.IPAdapterSaveEmbeds: Method("save", "embeds filename_prefix"),
    embed_files.IPAdapterLoadEmbeds: Method("load", "embeds"),
    images.IPAdapterNoise: Method("make_noise", "type strength blur", {"image_optional": None}),
    images.PrepImageForClipVision: Method(
        "prep_image", "image",
        {"interpolation": "LANCZOS", "crop_position": "center", "sharpening": 0.0},
    ),
    IPAdapterWeights: WEIGHTS,
    IPAdapterWeightsFromStrategy: WEIGHTS,
    IPAdapterPromptScheduleFromWeightsStrategy: Method(
        "prompt_schedule", "weights_strategy", {"prompt": ""}
    ),
    IPAdapterCombineWeights: Method("combine", "weights_1 weights_2", outputs=2),
    params.IPAdapterRegionalConditioning: Method(
        "conditioning", f"image image_weight prompt_weight weight_type {RANGE}",
        {"mask": None, "positive": None, "negative": None}, outputs=3,
    ),
    params.IPAdapterCombineParams: Method(
        "combine", "params_1 params_2", {f"params_{i}": None for i in (3, 4, 5)}
    ),
}  # fmt: skip
