"""Version 2's nodes that let pictures act."""

from __future__ import annotations

from collections.abc import Callable

from .scene import Scene


def simple(g: Scene) -> None:
    loaded = g.node("IPAdapterUnifiedLoader", ["STANDARD (medium strength)"], model=g.checkpoint)
    applied = g.node(
        "IPAdapter", [0.8, 0.0, 1.0, "prompt is more important"],
        model=loaded[0], ipadapter=loaded[1], image=g.picture(),
    )  # fmt: skip
    g.save(applied)


def advanced(g: Scene) -> None:
    applied = g.node(
        "IPAdapterAdvanced", [0.8, "weak input", "concat", 0.0, 0.9, "V only"],
        image=g.picture(), image_negative=g.picture(1), attn_mask=g.mask(), **g.on_model("_plus"),
    )  # fmt: skip
    g.save(applied)


def batch(g: Scene) -> None:
    applied = g.node(
        "IPAdapterBatch", [0.8, "linear", 0.0, 1.0, "K+V", 0], image=g.batch(), **g.on_model()
    )
    g.save(applied, 2)


def enhancer(g: Scene) -> None:
    applied = g.node(
        "IPAdapterClipVisionEnhancer",
        [0.8, "ease in", "average", 0.0, 1.0, "V only", 2, 0.7],
        image=g.picture(), **g.on_model("_plus"),
    )  # fmt: skip
    g.save(applied)


def enhancer_batch(g: Scene) -> None:
    applied = g.node(
        "IPAdapterClipVisionEnhancerBatch", [0.8, "linear", 0.0, 1.0, "V only", 2, 0.5, 4],
        image=g.picture(), **g.on_model("_plus"),
    )  # fmt: skip
    g.save(applied, 2)


def mad_scientist(g: Scene) -> None:
    applied = g.node(
        "IPAdapterMS",
        [0.8, 1.5, "linear", "concat", 0.0, 1.0, "K+mean(V) w/ C penalty", "0:1.0, 6:1.5, 12:0.5"],
        attn_mask=g.mask(), **g.on_face(),
    )  # fmt: skip
    g.save(applied)


def tiled(g: Scene) -> None:
    applied = g.node(
        "IPAdapterTiled", [0.8, "linear", "concat", 0.0, 1.0, 0.2, "V only"],
        image=g.picture(), **g.on_model(),
    )  # fmt: skip
    g.save(applied)
    g.node("PreviewImage", images=applied[1])


def tiled_batch(g: Scene) -> None:
    applied = g.node(
        "IPAdapterTiledBatch", [0.8, "linear", 0.0, 1.0, 0.2, "V only", 0],
        image=g.picture(), **g.on_model(),
    )  # fmt: skip
    g.save(applied, 2)


def noise(g: Scene) -> None:
    noised = g.node("IPAdapterNoise", ["shuffle", 0.6, 3], image_optional=g.picture())
    applied = g.node(
        "IPAdapterAdvanced", [0.8, "linear", "concat", 0.0, 1.0, "V only"],
        image=g.picture(), image_negative=noised, **g.on_model(),
    )  # fmt: skip
    g.save(applied)


def prepared(g: Scene) -> None:
    image = g.node("PrepImageForClipVision", ["LANCZOS", "pad", 0.15], image=g.picture())
    applied = g.node(
        "IPAdapterAdvanced", [0.8, "strong middle", "norm average", 0.0, 1.0, "V only"],
        image=image, **g.on_model(),
    )  # fmt: skip
    g.save(applied)


def style_and_composition(g: Scene) -> None:
    applied = g.node(
        "IPAdapterStyleComposition", [1.0, 0.7, True, "average", 0.0, 1.0, "V only"],
        image_style=g.picture(0), image_composition=g.picture(1), **g.on_model(),
    )  # fmt: skip
    g.save(applied)


def style_and_composition_batch(g: Scene) -> None:
    applied = g.node(
        "IPAdapterStyleCompositionBatch", [1.0, 0.7, False, 0.0, 1.0, "K+V w/ C penalty"],
        image_style=g.batch(), image_composition=g.picture(1), **g.on_model(),
    )  # fmt: skip
    g.save(applied, 2)


def precise(kind: str, boost: float, count: int) -> Callable[[Scene], None]:
    def build(g: Scene) -> None:
        applied = g.node(
            kind, [0.9, boost, "concat", 0.0, 1.0, "V only"],
            image=g.batch() if count > 1 else g.picture(), **g.on_model(),
        )  # fmt: skip
        g.save(applied, count)

    return build


GRAPHS = {
    "IPAdapter": simple,
    "IPAdapterAdvanced": advanced,
    "IPAdapterBatch": batch,
    "IPAdapterClipVisionEnhancer": enhancer,
    "IPAdapterClipVisionEnhancerBatch": enhancer_batch,
    "IPAdapterMS": mad_scientist,
    "IPAdapterTiled": tiled,
    "IPAdapterTiledBatch": tiled_batch,
    "IPAdapterNoise": noise,
    "PrepImageForClipVision": prepared,
    "IPAdapterStyleComposition": style_and_composition,
    "IPAdapterStyleCompositionBatch": style_and_composition_batch,
    "IPAdapterPreciseStyleTransfer": precise("IPAdapterPreciseStyleTransfer", 1.2, 1),
    "IPAdapterPreciseStyleTransferBatch": precise("IPAdapterPreciseStyleTransferBatch", 0.8, 2),
    "IPAdapterPreciseComposition": precise("IPAdapterPreciseComposition", 0.4, 1),
    "IPAdapterPreciseCompositionBatch": precise("IPAdapterPreciseCompositionBatch", 0.2, 2),
}
