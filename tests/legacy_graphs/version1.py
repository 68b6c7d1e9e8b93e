"""Version 1's nodes, of 2023."""

from __future__ import annotations

from .build import Node
from .files import STACKED
from .scene import Scene


def two_masks(g: Scene) -> None:
    first = g.node(
        "IPAdapterApply", [0.7, 0.5, "channel penalty", 0.0, 1.0, False],
        image=g.picture(), attn_mask=g.mask(), **g.on_model(),
    )  # fmt: skip
    second = g.node(
        "IPAdapterApply", [0.8, 0.0, "linear", 0.0, 0.7, False],
        ipadapter=g.adapter("_plus"), clip_vision=g.clip_vision, image=g.picture(1), model=first,
    )  # fmt: skip
    g.save(second)


def unfolded(g: Scene) -> None:
    every = g.node(
        "IPAdapterApply", [1.0, 0.0, "original", 0.0, 1.0, True], image=g.batch(), **g.on_model()
    )
    g.save(every, 2)


def prepared(g: Scene) -> None:
    image = g.node("PrepImageForClipVision", ["BICUBIC", "center", 0.0], image=g.picture())
    applied = g.node(
        "IPAdapterApply", [0.7, 0.0, "linear", 0.0, 1.0, False], image=image, **g.on_model()
    )
    g.save(applied)


def tiles(g: Scene) -> None:
    tiled = g.node(
        "IPAdapterTilesMasked", [0.7, 0.0, "original", 0.0, 1.0, 1, 0.6],
        image=g.picture(), **g.on_model(),
    )  # fmt: skip
    g.save(tiled)


def faces(g: Scene) -> None:
    face = g.node(
        "IPAdapterApplyFaceID", [0.8, 0.0, "original", 0.0, 1.0, True, 1.0, False],
        attn_mask=g.mask(), **g.on_face(),
    )  # fmt: skip
    g.save(face)


def prepared_face(g: Scene) -> None:
    image = g.node("PrepImageForInsightFace", ["center", 0.0, True], image=g.person())
    face = g.node(
        "IPAdapterApplyFaceID", [0.8, 0.0, "original", 0.0, 1.0, False, 1.0, False],
        **g.on_face("_portrait") | {"image": image},
    )  # fmt: skip
    g.save(face)


def encoded(g: Scene, number: int = 0) -> Node:
    return g.node(
        "IPAdapterEncoder", [False, 0.0, 1.0, 1.0, 1.0, 1.0],
        clip_vision=g.clip_vision, image_1=g.picture(number),
    )  # fmt: skip


def apply_encoded(g: Scene, embeds: Node, kind: str = "") -> None:
    reference = g.node(
        "IPAdapterApplyEncoded", [0.9, "linear", 0.0, 1.0, False],
        ipadapter=g.adapter(kind), embeds=embeds, model=g.checkpoint, attn_mask=g.mask(),
    )  # fmt: skip
    g.save(reference)


def encoder(g: Scene) -> None:
    embeds = g.node(
        "IPAdapterEncoder", [True, 0.3, 0.9, 0.6, 1.0, 1.0],
        clip_vision=g.clip_vision, image_1=g.picture(0), image_2=g.picture(1),
    )  # fmt: skip
    apply_encoded(g, embeds, "_plus")


def just_encoded(g: Scene) -> None:
    apply_encoded(g, encoded(g))


def batched(g: Scene) -> None:
    apply_encoded(g, g.node("IPAdapterBatchEmbeds", embed1=encoded(g), embed2=encoded(g, 1)))


def saved(g: Scene) -> None:
    g.node("IPAdapterSaveEmbeds", ["embeds/IPAdapter"], embeds=encoded(g))


def loaded(g: Scene) -> None:
    apply_encoded(g, g.node("IPAdapterLoadEmbeds", [STACKED]))


GRAPHS = {
    "IPAdapterModelLoader": unfolded,
    "IPAdapterApply": two_masks,
    "IPAdapterTilesMasked": tiles,
    "IPAdapterApplyFaceID": faces,
    "IPAdapterApplyEncoded": just_encoded,
    "PrepImageForClipVision": prepared,
    "IPAdapterEncoder": encoder,
    "IPAdapterSaveEmbeds": saved,
    "IPAdapterLoadEmbeds": loaded,
    "IPAdapterBatchEmbeds": batched,
    "InsightFaceLoader": faces,
    "PrepImageForInsightFace": prepared_face,
}
