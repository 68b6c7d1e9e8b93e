"""One layout with its model, encoder and adapters, and how to look into one of its UNet calls."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import comfy.samplers
import torch
from ipadapter_pack.nodes.loading.adapter import LoadedAdapter
from ipadapter_pack.nodes.model.layers import find_layers
from ipadapter_pack.nodes.references.encode import encode_reference
from ipadapter_pack.nodes.regions.apply import ApplyIPAdapter
from ipadapter_pack.tests import tiny
from torch import Tensor

from . import sizes
from .textbook import apply_textbook

T = TypeVar("T")
WEIGHT = 0.8


class Scene:
    """References in a model of one layout, put there our way or the textbook's."""

    def __init__(self, name: str, size: sizes.Size, latent: int | None = None):
        self.name, self.size = name, size
        self.layout = size.layouts[name]
        self.latent = latent or self.layout.latent
        self.plain = sizes.unet(name, size, comfy.model_management.get_torch_device())
        self.encoder = sizes.clip_vision(size)
        self.widths = [shape.width for shape in find_layers(self.plain).values()]

    @functools.cached_property
    def adapters(self) -> dict[str, LoadedAdapter]:
        def adapter(kind: str) -> LoadedAdapter:
            return LoadedAdapter(
                sizes.adapter_file(kind, self.name, self.widths, self.size), f"{kind}.safetensors"
            )

        return {kind: adapter(kind) for kind in sizes.PROJECTIONS}

    def ours(self, kind: str, references: int, masked: bool = True) -> Any:
        """The model with references applied by our node, each in its own stripe."""
        model = self.plain
        for i in range(references):
            mask = self.stripe(i, references) if masked else None
            model = self.apply(model, kind, tiny.picture(i), mask)
        return model

    def apply(self, model: Any, kind: str, picture: Tensor, mask: Tensor | None = None) -> Any:
        return ApplyIPAdapter.execute(
            ipadapter=self.adapters[kind], image=picture, model=model, weight=WEIGHT,
            clip_vision=self.encoder, attn_mask=mask,
        )[0]  # fmt: skip

    def textbook(self, kind: str, references: int, masked: bool = True) -> Any:
        """The same, the textbook's way."""
        loaded, numbers = self.adapters[kind], range(references)
        encoded = [encode_reference(loaded, self.encoder, tiny.picture(i)) for i in numbers]
        masks = [self.stripe(i, references) if masked else None for i in numbers]
        return apply_textbook(self.plain, loaded, encoded, masks, WEIGHT)

    def stripe(self, number: int, of: int) -> Tensor:
        """A mask as large as the picture, white in one of some upright stripes."""
        side = 8 * self.latent
        mask = torch.zeros(1, side, side)
        mask[..., side * number // of : side * (number + 1) // of] = 1
        return mask

    def sampling(self, model: Any, work: Callable[[Callable[[], Tensor], Any], T]) -> T:
        """``work(call, options)`` during a sampling run: each ``call()`` evaluates the model once,
        positive and negative in one batch, and ``options`` are the run's transformer options."""
        found: list[T] = []

        def sampler(evaluate: Any, x: Tensor, sigmas: Tensor, extra_args: Any, **_: Any) -> Tensor:
            sigma = sigmas[0] * x.new_ones(len(x))
            options = extra_args["model_options"]["transformer_options"]
            found.append(work(lambda: evaluate(x, sigma, **extra_args), options))
            return x

        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(self.conditioning(1), self.conditioning(2))
        guider.set_cfg(5.0)
        generator = torch.Generator().manual_seed(7)
        noise = torch.randn(1, 4, self.latent, self.latent, generator=generator)
        sigmas = torch.tensor([5.0, 0.0])
        guider.sample(noise, torch.zeros_like(noise), comfy.samplers.KSAMPLER(sampler), sigmas)
        return found[0]

    def conditioning(self, seed: int) -> list[Any]:
        generator = torch.Generator().manual_seed(seed)
        text = torch.randn(1, 77, self.layout.context, generator=generator)
        pooled = torch.randn(1, 1280, generator=generator)
        return [[text, {"pooled_output": pooled} if self.name == "SDXL" else {}]]
