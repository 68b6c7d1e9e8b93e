"""The textbook way to put references into a model, for comparison with ours.

As diffusers' IPAdapterAttnProcessor2_0 does it: in every layer and step, each reference is projected
to keys and values, attended to, masked by a mask that is resized there and then, scaled and added.
Kinder to it than diffusers: the image projection does not run per step, references of one adapter
share its weights, and their tokens and masks wait on the device.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from comfy.ldm.modules.attention import optimized_attention
from ipadapter_pack.ipadapter.reference import EncodedReference
from ipadapter_pack.nodes.loading.adapter import LoadedAdapter
from ipadapter_pack.nodes.model.layers import find_layers
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Reference:
    """One reference on the device, in the model's dtype."""

    tokens: Tensor  # [2, tokens, channels]: the positive's, the negative's, as ComfyUI counts them
    mask: Tensor | None  # [1, 1, height, width]
    weight: float
    rows: dict[Any, Tensor] = field(default_factory=dict)

    def of_batch(self, roles: list[int], batch: int) -> Tensor:
        """[batch, tokens, channels], laid out in a run's first layer"""
        key = (*roles, batch)
        if key not in self.rows:
            self.rows[key] = self.tokens[roles].repeat_interleave(batch // len(roles), 0)
        return self.rows[key]


@dataclass(frozen=True, eq=False)
class TextbookLayer:
    """Replaces the cross-attention of one layer."""

    to_k: Tensor  # [layer width, channels]
    to_v: Tensor
    references: list[Reference]

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any]) -> Tensor:
        """q [batch, queries, heads * dim], k and v [batch, text tokens, heads * dim] -> like q"""
        heads = extra_options["n_heads"]
        out = optimized_attention(
            q, k, v, heads,
            attn_precision=extra_options["attn_precision"], transformer_options=extra_options,
        )  # fmt: skip
        query = split_heads(q, heads)
        roles = extra_options["cond_or_uncond"]
        for reference in self.references:
            rows = reference.of_batch(roles, len(q))
            key = split_heads(F.linear(rows, self.to_k), heads)
            value = split_heads(F.linear(rows, self.to_v), heads)
            seen = F.scaled_dot_product_attention(query, key, value)
            seen = seen.transpose(1, 2).reshape(q.shape)
            if reference.mask is not None:
                grid = extra_options["activations_shape"][-2:]
                seen = seen * downsample(reference.mask, grid, q)
            out = out + reference.weight * seen
        return out


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[batch, tokens, heads * dim] -> [batch, heads, tokens, dim]"""
    return x.view(len(x), -1, heads, x.shape[-1] // heads).transpose(1, 2)


def downsample(mask: Tensor, grid: Any, like: Tensor) -> Tensor:
    """[1, 1, height, width] -> [batch, queries, heads * dim], repeated as diffusers repeats it"""
    small = F.interpolate(mask, size=tuple(grid), mode="bicubic").flatten(1)
    return small.repeat(len(like), 1).unsqueeze(-1).repeat(1, 1, like.shape[-1])


def apply_textbook(
    model: Any,
    loaded: LoadedAdapter,
    encoded: list[EncodedReference],
    masks: list[Tensor | None],
    weight: float,
) -> Any:
    """A clone of the model with these references in every layer, the adapter's weights with it."""
    device, dtype = model.load_device, model.model.get_dtype_inference()
    references = [
        Reference(
            torch.cat([reference.positive, reference.negative]).to(device, dtype),
            None if mask is None else mask[None].to(device, dtype),
            weight,
        )
        for reference, mask in zip(encoded, masks, strict=True)
    ]
    model = model.clone()
    projections = zip(loaded.adapter.to_k_ip, loaded.adapter.to_v_ip, strict=True)
    for layer, (to_k, to_v) in zip(find_layers(model), projections, strict=True):
        weights = (linear.weight.to(device, dtype) for linear in (to_k, to_v))
        model.set_model_attn2_replace(TextbookLayer(*weights, references), *layer)
    return model
