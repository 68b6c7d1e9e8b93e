"""The public names of ComfyUI_IPAdapter_plus, from a survey of its versions, not from our code."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple


class Input(NamedTuple):
    name: str
    type: str
    default: Any = None  # None: not given; of a menu, the first
    low: float | None = None
    high: float | None = None
    step: float | None = None
    choices: tuple[str, ...] | None = None  # of a menu; None: files
    more: bool = False  # a node may offer further choices

    @property
    def is_widget(self) -> bool:
        return self.type in ("FLOAT", "INT", "STRING", "BOOLEAN", "COMBO")


class Row(NamedTuple):
    required: list[Input]
    optional: list[Input]
    outputs: list[tuple[str, str | None]]  # type, and the name where it is not the type

    @property
    def inputs(self) -> list[Input]:
        return [*self.required, *self.optional]


def number(name: str, default: float, low: float, high: float, step: float = 0.05) -> Input:
    return Input(name, "FLOAT", default, low, high, step)


def integer(
    name: str, default: int, low: int = 0, high: int = 9999, step: int | None = None
) -> Input:
    return Input(name, "INT", default, low, high, step)


def menu(name: str, *choices: str, default: str | None = None, more: bool = False) -> Input:
    return Input(name, "COMBO", default, choices=choices, more=more)


def files(name: str) -> Input:
    return Input(name, "COMBO")


def sockets(names: str, type: str) -> list[Input]:
    return [Input(name, type) for name in names.split()]


def text(name: str, default: str = "") -> Input:
    return Input(name, "STRING", default)


def switch(name: str, default: bool = False) -> Input:
    return Input(name, "BOOLEAN", default)


def gives(*types: str, **named: str) -> list[tuple[str, str | None]]:
    """Outputs: those without a name, then name=type."""
    return [*((type, None) for type in types), *((type, name) for name, type in named.items())]


# Inputs that many nodes have.
MODEL, IPADAPTER = Input("model", "MODEL"), Input("ipadapter", "IPADAPTER")
IMAGE, NEGATIVE = Input("image", "IMAGE"), Input("image_negative", "IMAGE")
ENCODER, FACES = Input("clip_vision", "CLIP_VISION"), Input("insightface", "INSIGHTFACE")
MASK = Input("attn_mask", "MASK")
HEAD = [MODEL, IPADAPTER]
RANGE = [number("start_at", 0, 0, 1, 0.001), number("end_at", 1, 0, 1, 0.001)]
TYPES = menu(
    "weight_type", "linear", "ease in", "ease out", "ease in-out", "reverse in-out",
    "weak input", "weak output", "weak middle", "strong middle", "style transfer", "composition",
    "strong style transfer", "style and composition", "style transfer precise",
    "composition precise",
)  # fmt: skip
COMBINE = menu("combine_embeds", "concat", "add", "subtract", "average", "norm average")
SCALING = menu("embeds_scaling", "V only", "K+V", "K+V w/ C penalty", "K+mean(V) w/ C penalty")
SHARPENING = number("sharpening", 0, 0, 1)
BATCH = integer("encode_batch_size", 0, 0, 4096)
OPTIONAL = [NEGATIVE, MASK, ENCODER]
FACE_OPTIONAL = [*OPTIONAL, FACES]
PROVIDERS = ("CPU", "CUDA", "ROCM")
weight_3, weight_5 = (partial(number, default=1, low=-1, high=high) for high in (3, 5))
boost = partial(number, low=-5, high=5)
frames = partial(integer, step=1)

FACE = [weight_3("weight"), weight_5("weight_faceidv2")]
FACE_END = [TYPES, COMBINE, *RANGE, SCALING]
FACE_OUT = gives("MODEL", face_image="IMAGE")
TILES_OUT = gives("MODEL", tiles="IMAGE", masks="MASK")
TWO = [
    *HEAD, *sockets("image_style image_composition", "IMAGE"), weight_5("weight_style"),
    weight_5("weight_composition"), switch("expand_style"),
]  # fmt: skip
EMBEDS = [*HEAD, Input("pos_embed", "EMBEDS"), weight_3("weight"), TYPES, *RANGE, SCALING]
EMBEDS_OPTIONAL = [Input("neg_embed", "EMBEDS"), MASK, ENCODER]
ENHANCE = integer("enhance_tiles", 2, 1, 16)
STYLE = Row(
    [*HEAD, IMAGE, weight_5("weight"), boost("style_boost", 1), COMBINE, *RANGE, SCALING],
    OPTIONAL, gives("MODEL"),
)  # fmt: skip
COMPOSITION = Row(
    [*HEAD, IMAGE, weight_5("weight"), boost("composition_boost", 0), COMBINE, *RANGE, SCALING],
    OPTIONAL, gives("MODEL"),
)  # fmt: skip
LOADED = gives(model="MODEL", ipadapter="IPADAPTER")
SCHEDULE_OUT = gives(
    weights="FLOAT", weights_invert="FLOAT", total_frames="INT", image_1="IMAGE", image_2="IMAGE",
    weights_strategy="WEIGHTS_STRATEGY",
)  # fmt: skip
PARAMS = "IPADAPTER_PARAMS"
PREPARE = Row(
    [
        IMAGE,
        menu("interpolation", "LANCZOS", "BICUBIC", "HAMMING", "BILINEAR", "BOX", "NEAREST"),
        menu("crop_position", "top", "bottom", "left", "right", "center", "pad"),
        SHARPENING,
    ],
    [], gives("IMAGE"),
)  # fmt: skip

V2: dict[str, Row] = {
    "IPAdapter": Row(
        [
            *HEAD, IMAGE, weight_3("weight"), *RANGE,
            menu("weight_type", "standard", "prompt is more important", "style transfer"),
        ],
        [MASK], gives("MODEL"),
    ),
    "IPAdapterAdvanced": Row(
        [*HEAD, IMAGE, weight_5("weight"), TYPES, COMBINE, *RANGE, SCALING],
        OPTIONAL, gives("MODEL"),
    ),
    "IPAdapterBatch": Row(
        [*HEAD, IMAGE, weight_5("weight"), TYPES, *RANGE, SCALING, BATCH],
        OPTIONAL, gives("MODEL"),
    ),
    "IPAdapterFaceID": Row([*HEAD, IMAGE, *FACE, *FACE_END], FACE_OPTIONAL, FACE_OUT),
    "IPAdapterFaceIDKolors": Row(
        [*HEAD, IMAGE, *FACE, weight_5("weight_kolors"), *FACE_END], FACE_OPTIONAL, FACE_OUT
    ),
    "IPAAdapterFaceIDBatch": Row([*HEAD, IMAGE, *FACE, *FACE_END], FACE_OPTIONAL, FACE_OUT),
    "IPAdapterTiled": Row(
        [*HEAD, IMAGE, weight_3("weight"), TYPES, COMBINE, *RANGE, SHARPENING, SCALING],
        OPTIONAL, TILES_OUT,
    ),
    "IPAdapterTiledBatch": Row(
        [*HEAD, IMAGE, weight_3("weight"), TYPES, *RANGE, SHARPENING, SCALING, BATCH],
        OPTIONAL, TILES_OUT,
    ),
    "IPAdapterEmbeds": Row(EMBEDS, EMBEDS_OPTIONAL, gives("MODEL")),
    "IPAdapterEmbedsBatch": Row(EMBEDS, EMBEDS_OPTIONAL, gives("MODEL")),
    "IPAdapterStyleComposition": Row(
        [*TWO, COMBINE._replace(default="average"), *RANGE, SCALING], OPTIONAL, gives("MODEL")
    ),
    "IPAdapterStyleCompositionBatch": Row([*TWO, *RANGE, SCALING], OPTIONAL, gives("MODEL")),
    "IPAdapterMS": Row(
        [
            *HEAD, IMAGE, weight_5("weight"), weight_5("weight_faceidv2"), *FACE_END,
            text("layer_weights"),
        ],
        FACE_OPTIONAL, gives("MODEL"),
    ),
    "IPAdapterClipVisionEnhancer": Row(
        [
            *HEAD, IMAGE, weight_5("weight"), TYPES, COMBINE, *RANGE, SCALING, ENHANCE,
            number("enhance_ratio", 1, 0, 1),
        ],
        OPTIONAL, gives("MODEL"),
    ),
    "IPAdapterClipVisionEnhancerBatch": Row(
        [
            *HEAD, IMAGE, weight_5("weight"), TYPES, *RANGE, SCALING, ENHANCE,
            number("enhance_ratio", 0.5, 0, 1), BATCH,
        ],
        OPTIONAL, gives("MODEL"),
    ),
    "IPAdapterFromParams": Row(
        [*HEAD, Input("ipadapter_params", PARAMS), COMBINE, SCALING],
        [NEGATIVE, ENCODER], gives("MODEL"),
    ),
    "IPAdapterPreciseStyleTransfer": STYLE,
    "IPAdapterPreciseStyleTransferBatch": STYLE,
    "IPAdapterPreciseComposition": COMPOSITION,
    "IPAdapterPreciseCompositionBatch": COMPOSITION,
    "IPAdapterUnifiedLoader": Row(
        [
            MODEL,
            menu(
                "preset", "LIGHT - SD1.5 only (low strength)", "STANDARD (medium strength)",
                "VIT-G (medium strength)", "PLUS (high strength)", "PLUS FACE (portraits)",
                "FULL FACE - SD1.5 only (portraits stronger)",
            ),
        ],
        [IPADAPTER], LOADED,
    ),
    "IPAdapterUnifiedLoaderFaceID": Row(
        [
            MODEL,
            menu(
                "preset", "FACEID", "FACEID PLUS - SD1.5 only", "FACEID PLUS V2",
                "FACEID PORTRAIT (style transfer)",
                "FACEID PORTRAIT UNNORM - SDXL only (strong)",
            ),
            number("lora_strength", 0.6, 0, 1, 0.01),
            menu("provider", *PROVIDERS, "DirectML", "OpenVINO", "CoreML"),
        ],
        [IPADAPTER], gives("MODEL", ipadapter="IPADAPTER"),
    ),
    "IPAdapterModelLoader": Row([files("ipadapter_file")], [], gives("IPADAPTER")),
    "IPAdapterInsightFaceLoader": Row(
        [
            menu("provider", *PROVIDERS, more=True),
            menu("model_name", "buffalo_l", "antelopev2", more=True),
        ],
        [], gives("INSIGHTFACE"),
    ),
    "IPAdapterUnifiedLoaderCommunity": Row(
        [MODEL, menu("preset", "Composition", "Kolors")], [IPADAPTER], LOADED
    ),
    "IPAdapterEncoder": Row(
        [IPADAPTER, IMAGE, number("weight", 1, -1, 3, 0.01)],
        [Input("mask", "MASK"), ENCODER], gives(pos_embed="EMBEDS", neg_embed="EMBEDS"),
    ),
    "IPAdapterCombineEmbeds": Row(
        [
            Input("embed1", "EMBEDS"),
            menu("method", "concat", "add", "subtract", "average", "norm average", "max", "min"),
        ],
        sockets("embed2 embed3 embed4 embed5", "EMBEDS"), gives("EMBEDS"),
    ),
    "IPAdapterNoise": Row(
        [
            menu("type", "fade", "dissolve", "gaussian", "shuffle"),
            number("strength", 1, 0, 1),
            frames("blur", 0, high=32),
        ],
        [Input("image_optional", "IMAGE")], gives("IMAGE"),
    ),
    "PrepImageForClipVision": PREPARE,
    "IPAdapterSaveEmbeds": Row(
        [Input("embeds", "EMBEDS"), text("filename_prefix", "IP_embeds")], [], []
    ),
    "IPAdapterLoadEmbeds": Row([files("embeds")], [], gives("EMBEDS")),
    "IPAdapterWeights": Row(
        [
            text("weights", "1.0, 0.0"),
            menu(
                "timing", "custom", "linear", "ease_in_out", "ease_in", "ease_out", "random",
                default="linear",
            ),
            frames("frames", 0), frames("start_frame", 0), frames("end_frame", 9999),
            frames("add_starting_frames", 0), frames("add_ending_frames", 0),
            menu(
                "method", "full batch", "shift batches", "alternate batches", default="full batch"
            ),
        ],
        [IMAGE], SCHEDULE_OUT,
    ),
    "IPAdapterCombineWeights": Row(
        [number("weights_1", 0, 0, 1), number("weights_2", 0, 0, 1)],
        [], gives(weights="FLOAT", count="INT"),
    ),
    "IPAdapterWeightsFromStrategy": Row(
        [Input("weights_strategy", "WEIGHTS_STRATEGY")], [IMAGE], SCHEDULE_OUT
    ),
    "IPAdapterPromptScheduleFromWeightsStrategy": Row(
        [Input("weights_strategy", "WEIGHTS_STRATEGY"), text("prompt")],
        [], gives(prompt_schedule="STRING"),
    ),
    "IPAdapterRegionalConditioning": Row(
        [
            IMAGE, weight_3("image_weight"), number("prompt_weight", 1, 0, 10), TYPES, *RANGE,
        ],
        [Input("mask", "MASK"), *sockets("positive negative", "CONDITIONING")],
        gives(PARAMS, POSITIVE="CONDITIONING", NEGATIVE="CONDITIONING"),
    ),
    "IPAdapterCombineParams": Row(
        sockets("params_1 params_2", PARAMS), sockets("params_3 params_4 params_5", PARAMS),
        gives(PARAMS),
    ),
}  # fmt: skip

OLD_TYPES = menu("weight_type", "original", "linear", "channel penalty")
OLD_NOISE = number("noise", 0, 0, 1, 0.01)
OLD_HEAD = [IPADAPTER, ENCODER, IMAGE, MODEL]
UNFOLD = switch("unfold_batch")
share = partial(number, default=1, low=0, high=1, step=0.01)

V1: dict[str, Row] = {
    "IPAdapterModelLoader": V2["IPAdapterModelLoader"],
    "IPAdapterApply": Row(
        [*OLD_HEAD, weight_3("weight"), OLD_NOISE, OLD_TYPES, *RANGE, UNFOLD],
        [MASK], gives("MODEL"),
    ),
    "IPAdapterTilesMasked": Row(
        [
            *OLD_HEAD, number("weight", 0.7, -1, 3), OLD_NOISE, OLD_TYPES, *RANGE,
            frames("short_side_tiles", 1, high=12), number("tile_weight", 0.6, 0, 1),
        ],
        [], gives("MODEL"),
    ),
    "IPAdapterApplyFaceID": Row(
        [
            IPADAPTER, ENCODER, FACES, IMAGE, MODEL, weight_3("weight"), OLD_NOISE, OLD_TYPES,
            *RANGE, switch("faceid_v2"), weight_3("weight_v2"), UNFOLD,
        ],
        [MASK], gives("MODEL"),
    ),
    "IPAdapterApplyEncoded": Row(
        [
            IPADAPTER, Input("embeds", "EMBEDS"), MODEL, weight_3("weight"), OLD_TYPES, *RANGE,
            UNFOLD,
        ],
        [MASK], gives("MODEL"),
    ),
    "PrepImageForClipVision": PREPARE,
    "IPAdapterEncoder": Row(
        [ENCODER, Input("image_1", "IMAGE"), switch("ipadapter_plus"), OLD_NOISE, share("weight_1")],
        [
            *sockets("image_2 image_3 image_4", "IMAGE"),
            *(share(f"weight_{i}") for i in (2, 3, 4)),
        ],
        gives("EMBEDS"),
    ),
    "IPAdapterSaveEmbeds": Row(
        [Input("embeds", "EMBEDS"), text("filename_prefix", "embeds/IPAdapter")], [], []
    ),
    "IPAdapterLoadEmbeds": V2["IPAdapterLoadEmbeds"],
    "IPAdapterBatchEmbeds": Row(sockets("embed1 embed2", "EMBEDS"), [], gives("EMBEDS")),
    "InsightFaceLoader": Row([menu("provider", *PROVIDERS)], [], gives("INSIGHTFACE")),
    "PrepImageForInsightFace": Row(
        [
            IMAGE,
            menu("crop_position", "center", "top", "bottom", "left", "right"),
            SHARPENING,
            switch("pad_around", True),
        ],
        [], gives("IMAGE"),
    ),
}  # fmt: skip

# Under which id this pack has what version 1 called by a name that means another node in version 2.
RENAMED = {"IPAdapterEncoder": "IPAdapterEncoderV1"}
BOTH = {**{RENAMED.get(name, name): row for name, row in V1.items()}, **V2}
