"""Version 2's regions: pictures with masks and texts, applied one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ...ipadapter.errors import IPAdapterError
from ..regions.apply import check_settings
from ..regions.conditioning import Conditioning, in_mask, with_frames_of
from ..shared.checks import check_image, check_mask
from ..shared.node import Node
from .encode import CONCAT
from .place import Settings, apply_picture, encoders_of
from .sockets import WEIGHT, Socket, model_output, number, old_node, sockets
from .weight_types import WeightTypeNode

ParamsSocket = io.Custom("IPADAPTER_PARAMS")

# Each region's settings in a list, by the names that version 2 gave them: other packs join them too.
Params = Mapping[str, list[Any]]
KEYS = ("image", "attn_mask", "weight", "weight_type", "start_at", "end_at")


def params_output(tooltip: str) -> Any:
    return ParamsSocket.Output(display_name="IPADAPTER_PARAMS", tooltip=tooltip)


REGION: dict[str, Socket] = {
    "image_weight": number("image_weight", 1.0, -1.0, 3.0, 0.05, WEIGHT),
    "prompt_weight": number(
        "prompt_weight", 1.0, 0.0, 10.0, 0.05,
        "How strongly the texts count inside mask; 0 is not at all. Without mask it does nothing.",
    ),
    "mask": partial(
        io.Mask.Input, "mask",
        tooltip="White: picture and texts act here. Black: they do not. Without: everywhere.",
    ),
    "positive": partial(
        io.Conditioning.Input, "positive", tooltip="A text that counts only inside mask."
    ),
    "negative": partial(
        io.Conditioning.Input, "negative", tooltip="A negative text that counts only inside mask."
    ),
}  # fmt: skip


class IPAdapterRegionalConditioning(WeightTypeNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return old_node(
            "IPAdapterRegionalConditioning",
            "IPAdapter Regional Conditioning",
            "One region: a picture and texts that act in the same mask.",
            sockets(
                "image image_weight prompt_weight weight_type start_at end_at | mask positive "
                "negative",
                REGION,
            ),
            [
                params_output("For IPAdapter Combine Params or IPAdapter from Params."),
                io.Conditioning.Output(
                    display_name="POSITIVE", tooltip="positive inside mask; empty without it."
                ),
                io.Conditioning.Output(
                    display_name="NEGATIVE", tooltip="negative inside mask; empty without it."
                ),
            ],
            "IPAdapter Region",
        )

    @classmethod
    def execute(  # noqa: PLR0913
        cls,
        image: Tensor,
        image_weight: float = 1.0,
        prompt_weight: float = 1.0,
        weight_type: str = "linear",
        start_at: float = 0.0,
        end_at: float = 1.0,
        mask: Tensor | None = None,
        positive: Conditioning | None = None,
        negative: Conditioning | None = None,
    ) -> io.NodeOutput:
        check_image(image, "image")
        if mask is not None:
            mask = check_mask(mask, "mask")
        mask = check_settings(mask, start_at, end_at, "region")
        texts = (
            None if text is None else in_mask(text, mask, prompt_weight)
            for text in (positive, negative)
        )
        region = (image, mask, image_weight, weight_type, start_at, end_at)
        params = {key: [value] for key, value in zip(KEYS, region, strict=True)}
        return io.NodeOutput(params, *texts)


class IPAdapterCombineParams(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        five = {
            f"params_{i}": partial(
                ParamsSocket.Input,
                f"params_{i}",
                tooltip="From IPAdapter Regional Conditioning, or from another of these.",
            )
            for i in range(1, 6)
        }
        return old_node(
            "IPAdapterCombineParams",
            "IPAdapter Combine Params",
            "Joins regions, for IPAdapter from Params.",
            sockets("params_1 params_2 | params_3 params_4 params_5", five),
            [params_output("All regions, in this order.")],
            SUCCESSOR,
        )

    @classmethod
    def execute(
        cls,
        params_1: Params,
        params_2: Params,
        params_3: Params | None = None,
        params_4: Params | None = None,
        params_5: Params | None = None,
    ) -> io.NodeOutput:
        given = {"params_1": params_1, "params_2": params_2}
        more = {"params_3": params_3, "params_4": params_4, "params_5": params_5}
        given |= {name: params for name, params in more.items() if params is not None}
        for name, params in given.items():
            check_params(params, name)
        every = given.values()
        joined = {key: [value for params in every for value in params[key]] for key in KEYS}
        return io.NodeOutput(joined)


def check_params(value: Any, name: str) -> None:
    """Refuse what does not have the same number of each setting."""
    listed = isinstance(value, Mapping) and all(isinstance(value.get(key), list) for key in KEYS)
    if not listed or len({len(value[key]) for key in KEYS}) > 1:
        raise IPAdapterError(
            f"{name}: a {type(value).__name__} is no region; connect IPAdapter Regional Conditioning"
        )


class IPAdapterFromParams(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        params = partial(
            ParamsSocket.Input,
            "ipadapter_params",
            tooltip="From IPAdapter Regional Conditioning or IPAdapter Combine Params.",
        )
        return old_node(
            "IPAdapterFromParams",
            "IPAdapter from Params",
            "Puts the pictures of regions into a model, one after the other.",
            sockets(
                "model ipadapter params combine_embeds embeds_scaling | image_negative clip_vision "
                "compat",
                {"params": params},
            ),
            [model_output()],
            SUCCESSOR,
        )

    @classmethod
    def execute(  # noqa: PLR0913
        cls,
        model: Any,
        ipadapter: Any,
        ipadapter_params: Params,
        combine_embeds: str = CONCAT,
        embeds_scaling: str = "V only",
        image_negative: Tensor | None = None,
        clip_vision: Any = None,
        compat: str | None = None,
    ) -> io.NodeOutput:
        check_params(ipadapter_params, "ipadapter_params")
        encoders = encoders_of(ipadapter, clip_vision)
        if image_negative is not None:
            check_image(image_negative, "image_negative")
        shared = {
            "combine_embeds": combine_embeds,
            "embeds_scaling": embeds_scaling,
            "compat": compat,
        }
        regions = zip(*(ipadapter_params[key] for key in KEYS), strict=True)
        for i, (image, *region) in enumerate(regions, 1):
            settings = Settings(**dict(zip(KEYS[1:], region, strict=True)), **shared)
            try:
                model, _ = apply_picture(model, encoders, image, image_negative, settings)
            except IPAdapterError as error:
                raise IPAdapterError(f"params {i}: {error}") from error
        return io.NodeOutput(with_frames_of(model, ipadapter_params["attn_mask"]))


SUCCESSOR = "Apply IPAdapter Regions"

NODES = [IPAdapterRegionalConditioning, IPAdapterCombineParams, IPAdapterFromParams]
