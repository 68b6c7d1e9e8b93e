"""What every graph has beside the nodes that it is about: loaders, pictures, a sampler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..headless.legacy_table import Row
from .build import Graph, Link, Node
from .files import MASK, PERSON, PICTURES


class Scene(Graph):
    """A small picture from the tiny models; what is asked for twice is one node."""

    def __init__(self, rows: Mapping[str, Row]):
        super().__init__(rows)
        self.made: dict[tuple[Any, ...], Node] = {}

    def once(self, kind: str, *widgets: Any, **links: Link) -> Node:
        key = (kind, widgets, *((name, id(link)) for name, link in links.items()))
        if key not in self.made:
            self.made[key] = self.node(kind, widgets, **links)
        return self.made[key]

    @property
    def checkpoint(self) -> Node:
        return self.once("CheckpointLoaderSimple", "tiny.safetensors")

    @property
    def clip_vision(self) -> Node:
        return self.once("CLIPVisionLoader", "tiny.safetensors")

    @property
    def faces(self) -> Node:
        if "InsightFaceLoader" in self.rows:  # version 1
            return self.once("InsightFaceLoader", "CPU")
        return self.once("IPAdapterInsightFaceLoader", "CPU", "buffalo_l")

    def adapter(self, kind: str = "") -> Node:
        return self.once("IPAdapterModelLoader", f"tiny{kind}.safetensors")

    def picture(self, number: int = 0) -> Node:
        return self.once("LoadImage", PICTURES[number], "image")

    def batch(self) -> Node:
        """Two pictures."""
        return self.node("ImageBatch", image1=self.picture(0), image2=self.picture(1))

    def person(self) -> Node:
        return self.once("LoadImage", PERSON, "image")

    def mask(self) -> Node:
        return self.once("LoadImageMask", MASK, "red", "image")

    def on_model(self, kind: str = "") -> dict[str, Link]:
        """The links of version 2's nodes for pictures, less the picture."""
        return {
            "model": self.checkpoint,
            "ipadapter": self.adapter(kind),
            "clip_vision": self.clip_vision,
        }

    def on_face(self, kind: str = "_faceid_plusv2") -> dict[str, Link]:
        return {**self.on_model(kind), "insightface": self.faces, "image": self.person()}

    def text(self, prompt: str, **links: Link) -> Node:
        return self.node("CLIPTextEncode", [prompt], clip=self.checkpoint[1], **links)

    def save(
        self,
        model: Link,
        count: int = 1,
        positive: Link | None = None,
        negative: Link | None = None,
    ) -> None:
        sampled = self.node(
            "KSampler",
            [7, "fixed", 1, 5.0, "euler", "normal", 1.0],
            model=model,
            positive=positive or self.text("a beach at dawn"),
            negative=negative or self.text("blurry"),
            latent_image=self.node("EmptyLatentImage", [64, 64, count]),
        )
        decoded = self.node("VAEDecode", samples=sampled, vae=self.checkpoint[2])
        self.node("SaveImage", ["ComfyUI"], images=decoded)
