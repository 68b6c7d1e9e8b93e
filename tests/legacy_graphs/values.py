"""Version 2's nodes for loaders, faces, embeds, weights over time, and regions."""

from __future__ import annotations

from .build import Node
from .files import PLAIN
from .scene import Scene


def bare(g: Scene) -> None:
    """Loaded as one file; what else it takes is connected."""
    applied = g.node(
        "IPAdapterAdvanced", [1.0, "linear", "concat", 0.0, 1.0, "V only"],
        image=g.picture(), **g.on_model(),
    )  # fmt: skip
    g.save(applied)


def unified_faces(g: Scene) -> None:
    loaded = g.node(
        "IPAdapterUnifiedLoaderFaceID", ["FACEID PLUS V2", 0.6, "CPU"], model=g.checkpoint
    )
    applied = g.node(
        "IPAdapterFaceID", [0.8, 1.0, "linear", "concat", 0.0, 1.0, "V only"],
        model=loaded[0], ipadapter=loaded[1], image=g.person(),
    )  # fmt: skip
    g.save(applied)


def community(g: Scene) -> None:
    first = g.node("IPAdapterUnifiedLoader", ["PLUS (high strength)"], model=g.checkpoint)
    loaded = g.node(
        "IPAdapterUnifiedLoaderCommunity", ["Composition"], model=first[0], ipadapter=first[1]
    )
    applied = g.node(
        "IPAdapter", [1.0, 0.0, 0.8, "standard"],
        model=loaded[0], ipadapter=loaded[1], image=g.picture(), attn_mask=g.mask(),
    )  # fmt: skip
    g.save(applied)


def insightface(g: Scene) -> None:
    applied = g.node(
        "IPAdapterFaceID", [0.8, 1.0, "linear", "concat", 0.0, 1.0, "V only"],
        **g.on_face("_portrait"),
    )  # fmt: skip
    g.save(applied)


def faces(g: Scene) -> None:
    applied = g.node(
        "IPAdapterFaceID", [0.8, 1.5, "ease out", "concat", 0.0, 1.0, "K+V"],
        attn_mask=g.mask(), **g.on_face(),
    )  # fmt: skip
    g.save(applied)
    g.node("PreviewImage", images=applied[1])


def faces_kolors(g: Scene) -> None:
    applied = g.node(
        "IPAdapterFaceIDKolors", [0.8, 1.0, 1.2, "linear", "concat", 0.0, 1.0, "V only"],
        **g.on_face(),
    )  # fmt: skip
    g.save(applied)


def faces_batch(g: Scene) -> None:
    applied = g.node(
        "IPAAdapterFaceIDBatch", [0.8, 1.0, "linear", "concat", 0.0, 1.0, "V only"], **g.on_face()
    )
    g.save(applied, 2)


def encoded(g: Scene, number: int = 0, weight: float = 1.0, kind: str = "") -> Node:
    return g.node(
        "IPAdapterEncoder", [weight],
        ipadapter=g.adapter(kind), image=g.picture(number), clip_vision=g.clip_vision,
    )  # fmt: skip


def encoder(g: Scene) -> None:
    embeds = g.node(
        "IPAdapterEncoder", [0.9],
        ipadapter=g.adapter("_plus"), image=g.picture(), mask=g.mask(), clip_vision=g.clip_vision,
    )  # fmt: skip
    applied = g.node(
        "IPAdapterEmbeds", [0.8, "linear", 0.0, 1.0, "V only"],
        pos_embed=embeds[0], neg_embed=embeds[1], **g.on_model("_plus"),
    )  # fmt: skip
    g.save(applied)


def embeds(g: Scene) -> None:
    applied = g.node(
        "IPAdapterEmbeds", [0.8, "style transfer", 0.0, 0.8, "V only"],
        pos_embed=encoded(g), attn_mask=g.mask(), **g.on_model(),
    )  # fmt: skip
    g.save(applied)


def embeds_batch(g: Scene) -> None:
    both = g.node("IPAdapterCombineEmbeds", ["concat"], embed1=encoded(g), embed2=encoded(g, 1))
    applied = g.node(
        "IPAdapterEmbedsBatch", [0.8, "linear", 0.0, 1.0, "V only"], pos_embed=both, **g.on_model()
    )
    g.save(applied, 2)


def combined_embeds(g: Scene) -> None:
    first, second = encoded(g, kind="_plus"), encoded(g, 1, 0.5, "_plus")
    both = g.node("IPAdapterCombineEmbeds", ["norm average"], embed1=first[0], embed3=second[0])
    applied = g.node(
        "IPAdapterEmbeds", [0.8, "linear", 0.0, 1.0, "V only"],
        pos_embed=both, neg_embed=first[1], **g.on_model("_plus"),
    )  # fmt: skip
    g.save(applied)


def saved_embeds(g: Scene) -> None:
    g.node("IPAdapterSaveEmbeds", ["IP_embeds"], embeds=encoded(g))


def loaded_embeds(g: Scene) -> None:
    applied = g.node(
        "IPAdapterEmbeds", [0.8, "linear", 0.0, 1.0, "V only"],
        pos_embed=g.node("IPAdapterLoadEmbeds", [PLAIN]), **g.on_model(),
    )  # fmt: skip
    g.save(applied)


def scheduled(g: Scene) -> Node:
    """A list of four weights for two pictures, twice each."""
    return g.node(
        "IPAdapterWeights", ["0.2, 1.0", "linear", 2, 0, 9999, 0, 0, "full batch"], image=g.batch()
    )


def over_time(g: Scene, schedule: Node) -> None:
    applied = g.node(
        "IPAdapterBatch", [1.0, "linear", 0.0, 1.0, "V only", 0],
        image=schedule[3], weight=schedule[0], **g.on_model(),
    )  # fmt: skip
    g.save(applied, 4)


def weights(g: Scene) -> None:
    over_time(g, scheduled(g))


def weights_again(g: Scene) -> None:
    over_time(
        g,
        g.node("IPAdapterWeightsFromStrategy", weights_strategy=scheduled(g)[5], image=g.batch()),
    )


def combined_weights(g: Scene) -> None:
    up = g.node("IPAdapterWeights", ["0.1, 0.6", "linear", 2, 0, 9999, 0, 0, "full batch"])
    both = g.node("IPAdapterCombineWeights", [0.0, 0.0], weights_1=up[0], weights_2=up[1])
    applied = g.node(
        "IPAdapterBatch", [1.0, "linear", 0.0, 1.0, "V only", 0],
        image=g.picture(), weight=both, **g.on_model(),
    )  # fmt: skip
    g.save(applied, 4)


def prompt_schedule(g: Scene) -> None:
    schedule = scheduled(g)
    texts = g.node(
        "IPAdapterPromptScheduleFromWeightsStrategy", ["a beach at dawn\na beach at night"],
        weights_strategy=schedule[5],
    )  # fmt: skip
    applied = g.node(
        "IPAdapterBatch", [1.0, "linear", 0.0, 1.0, "V only", 0],
        image=schedule[3], weight=schedule[0], **g.on_model(),
    )  # fmt: skip
    g.save(applied, 4, positive=g.text("", text=texts))


def region(g: Scene, number: int, weight: float, **links: Node) -> Node:
    return g.node(
        "IPAdapterRegionalConditioning", [weight, 1.0, "linear", 0.0, 1.0],
        image=g.picture(number), **links,
    )  # fmt: skip


def from_params(g: Scene) -> None:
    one = region(g, 0, 0.8, mask=g.mask(), positive=g.text("a boat"), negative=g.text("a car"))
    applied = g.node(
        "IPAdapterFromParams", ["concat", "V only"], ipadapter_params=one, **g.on_model()
    )
    g.save(applied, positive=one[1], negative=one[2])


def combined_params(g: Scene) -> None:
    both = g.node(
        "IPAdapterCombineParams",
        params_1=region(g, 0, 0.9, mask=g.mask()), params_2=region(g, 1, 0.4),
    )  # fmt: skip
    applied = g.node(
        "IPAdapterFromParams", ["add", "K+V"], ipadapter_params=both, **g.on_model("_plus")
    )
    g.save(applied)


GRAPHS = {
    "IPAdapterModelLoader": bare,
    "IPAdapterUnifiedLoader": community,
    "IPAdapterUnifiedLoaderCommunity": community,
    "IPAdapterUnifiedLoaderFaceID": unified_faces,
    "IPAdapterInsightFaceLoader": insightface,
    "IPAdapterFaceID": faces,
    "IPAdapterFaceIDKolors": faces_kolors,
    "IPAAdapterFaceIDBatch": faces_batch,
    "IPAdapterEncoder": encoder,
    "IPAdapterEmbeds": embeds,
    "IPAdapterEmbedsBatch": embeds_batch,
    "IPAdapterCombineEmbeds": combined_embeds,
    "IPAdapterSaveEmbeds": saved_embeds,
    "IPAdapterLoadEmbeds": loaded_embeds,
    "IPAdapterWeights": weights,
    "IPAdapterWeightsFromStrategy": weights_again,
    "IPAdapterCombineWeights": combined_weights,
    "IPAdapterPromptScheduleFromWeightsStrategy": prompt_schedule,
    "IPAdapterRegionalConditioning": from_params,
    "IPAdapterFromParams": from_params,
    "IPAdapterCombineParams": combined_params,
}
