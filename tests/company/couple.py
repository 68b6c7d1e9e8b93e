"""Attention couple, as comfyui-tooling-nodes and cgem156-ComfyUI do it: a text for each region."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def couple(model: Any, masks: Tensor, texts: Sequence[Tensor] | None, tells: bool) -> Any:
    """A clone in which each cross-attention repeats the positive's queries, once for each text, and
    adds up what comes of them, weighted by masks [texts, H, W].

    With no texts, all copies see the positive's. ``tells``: each copy has an entry of its own in
    ``cond_or_uncond``.
    """
    count = len(masks)

    def weights(extra_options: dict[str, Any]) -> Tensor:
        """[texts, 1, queries, 1], which sum to 1."""
        size = extra_options["activations_shape"][-2:]
        shares = F.interpolate(masks[:, None].float(), size, mode="bilinear")
        return (shares / shares.sum(0)).flatten(2)[..., None]

    def repeat(q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any]):
        indices = extra_options["cond_or_uncond"]
        queries, keys = [], []
        chunks = zip(list(indices), q.chunk(len(indices)), k.chunk(len(indices)), strict=True)
        for index, one, text in chunks:
            queries.append(one if index else one.repeat(count, 1, 1))
            own = [t.expand(len(one), -1, -1) for t in texts or [text] * count]
            keys += [text] if index else own
        if tells:
            indices[:] = [i for index in indices for i in [index] * (1 if index else count)]
        joined = torch.cat(keys)
        return torch.cat(queries), joined, joined

    def join(out: Tensor, extra_options: dict[str, Any]) -> Tensor:
        indices, joined = extra_options["cond_or_uncond"], []
        known = list(indices)
        if tells:
            known = [i for n, i in enumerate(indices) if i or indices[:n].count(0) % count == 0]
            indices[:] = known
        latents = len(out) // sum(1 if i else count for i in known)
        for index in known:
            rows = latents if index else count * latents
            part, out = out[:rows], out[rows:]
            if not index:
                part = (part.unflatten(0, (count, -1)) * weights(extra_options)).sum(0)
            joined.append(part)
        return torch.cat(joined)

    model = model.clone()
    model.set_model_attn2_patch(repeat)
    model.set_model_attn2_output_patch(join)
    return model
