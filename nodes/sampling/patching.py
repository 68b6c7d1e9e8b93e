"""Putting references into a model: replacing the cross-attention of its layers.

Patches are values. Adding a region builds new ones on a clone; nothing that another branch of the
graph may hold is ever written to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

import comfy.model_management
import torch
from comfy.ldm.modules.attention import optimized_attention
from einops import rearrange, repeat
from torch import Tensor

from ...ipadapter.adapter import IPAdapter
from ...ipadapter.attention import MAX_FUSED_TOKENS, add_references
from ...ipadapter.base_models import Layer
from ...ipadapter.errors import IPAdapterError
from ...ipadapter.reference import EncodedReference, PromptPair, Region, RegionSettings, Weight
from ...weight_types.layers import spread
from ..loading.adapter import LoadedAdapter, check_fit
from ..model.layers import LayerShape, encoder_hid_proj, find_layers
from ..shared.notices import warn
from .run import LayerInputs
from .types import KEY, KeyValue, PatchKey, RegionKV
from .wrappers import wrappers


@dataclass(frozen=True, eq=False)
class AttentionPatch:
    """Replaces a cross-attention: text first, by whatever was there before, then the references."""

    patch_key: PatchKey
    regions: tuple[RegionKV, ...]
    inner: Any  # the replacement found at this layer, or None

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any]) -> Tensor:
        """q [batch, queries, heads * dim], k and v [batch, text tokens, heads * dim] -> like q"""
        heads = extra_options["n_heads"]
        if len(k) > len(q):  # texts that another node has put behind those of the rows
            k, v = k[: len(q)], v[: len(q)]

        def attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
            precision = extra_options["attn_precision"]
            return optimized_attention(
                q, k, v, heads, attn_precision=precision, transformer_options=extra_options
            )

        if self.inner is None:
            out = attention(q, k, v, heads)
        else:
            out = self.inner(q, k, v, extra_options)

        inputs: LayerInputs | None = extra_options.get(KEY)
        rows = inputs and inputs.row_map(self.patch_key, q, k, extra_options)
        if inputs is None or rows is None:
            return out
        layer_size = extra_options["activations_shape"][2:]
        for group, kv in inputs.kv(self.patch_key, rows):
            mask = inputs.mask(group, layer_size[0], layer_size[1], rows)
            probe = inputs.probe(group, kv, layer_size, rows)
            out = add_references(out, q, kv, mask, attention, probe)
        return out

    def add(self, *args: Any, **kwargs: Any) -> NoReturn:
        """What some packs call on whatever they find at a layer, to change it for every model."""
        raise IPAdapterError(
            "a node of another pack (InstantID, PuLID, ComfyUI_IPAdapter_plus) comes after Apply "
            "IPAdapter and would change it for other branches too: put that node before Apply "
            "IPAdapter"
        )

    def __copy__(self) -> AttentionPatch:
        return self

    def __deepcopy__(self, memo: object) -> AttentionPatch:
        return self


Patches = Mapping[PatchKey, AttentionPatch]
NO_PATCHES: Patches = MappingProxyType({})


def add_region(model: Any, loaded: LoadedAdapter, region: Region) -> Any:
    """A clone of the model in which the region acts too.

    Where our own patch is the last one set at a layer, a new one with one region more takes its
    place. Where another pack's lies over it, or was there first, that is called as inner, by a patch
    of ours one deeper. A layer whose weight is 0 is left as it is.
    """
    layers = find_layers(model)
    check_fit(loaded, layers)
    weights = weights_of(region.settings, list(layers))
    if not weights:
        return model
    tokens = image_tokens(loaded, region.reference, model)
    patches = dict(model.attachments.get(KEY, NO_PATCHES))
    region = replace(region, number=len(regions_in(patches)))
    model = model.clone()
    dtype = model.model.get_dtype_inference()
    adapter = loaded.load()
    for layer, entry in project_region(adapter, region, tokens, layers, weights, dtype):
        found = replacement_at(model, layer)
        if isinstance(found, AttentionPatch):
            # What acts is in the mapping: there its regions may have been cropped since.
            regions = patches[found.patch_key].regions if found.patch_key in patches else ()
            patch = replace(found, regions=(*regions, entry))
        else:
            nesting = sum(patch_key.layer == layer for patch_key in patches)
            patch = AttentionPatch(PatchKey(layer, nesting), (entry,), found)
        patches[patch.patch_key] = patch
        model.set_model_attn2_replace(patch, *layer)
    _attach(model, patches)
    return model


class KVWeight(NamedTuple):
    """What a layer's keys and values are weighted with, see ``weight_types.layers.LayerWeight``."""

    weight: Weight
    negative_only: bool


def weights_of(settings: RegionSettings, layers: list[Layer]) -> dict[Layer, KVWeight]:
    """The weight in every layer that has one."""
    schedule, weight = settings.schedule, settings.weight
    if not isinstance(weight, Tensor):
        return {at: KVWeight(*entry) for at, entry in spread(schedule, layers, weight).items()}
    each = [spread(schedule, layers, one) for one in weight.tolist()]
    found = {layer: entry for weights in each for layer, entry in weights.items()}
    device = comfy.model_management.get_torch_device()
    return {
        layer: KVWeight(
            repeat(
                torch.tensor([w[layer].weight if layer in w else 0.0 for w in each], device=device),
                "pictures -> (sides pictures) 1 1",
                sides=2,  # the positive's, then the negative's
            ),
            entry.negative_only,
        )
        for layer, entry in found.items()
    }


def _attach(model: Any, patches: Patches) -> None:
    """Make these the patches of a model, which is nobody else's yet."""
    model.attachments.pop(KEY, None)
    if patches:
        model.set_attachments(KEY, MappingProxyType(dict(patches)))
    for kind, wrapper in wrappers(
        {patch_key: patch.regions for patch_key, patch in patches.items()}
    ).items():
        model.remove_wrappers_with_key(kind, KEY)
        if regions_in(patches):
            model.add_wrapper_with_key(kind, KEY, wrapper)


def regions_in(patches: Patches) -> list[Region]:
    """Every region, in the order in which they were added."""
    regions = {kv.region for patch in patches.values() for kv in patch.regions}
    return sorted(regions, key=lambda region: region.number)


def regions_of(model: Any) -> list[Region]:
    """Every region of a model, in the order in which they were added."""
    return regions_in(model.attachments.get(KEY, NO_PATCHES))


def change_regions(model: Any, change: Callable[[Region], Region]) -> Any:
    """A clone of the model in which each region is another; keys and values stay."""
    patches: Patches = model.attachments.get(KEY, NO_PATCHES)
    changed = {region: change(region) for region in regions_in(patches)}

    def carry(patch: AttentionPatch) -> AttentionPatch:
        return replace(
            patch, regions=tuple(kv._replace(region=changed[kv.region]) for kv in patch.regions)
        )

    model = model.clone()
    _attach(model, {patch_key: carry(patch) for patch_key, patch in patches.items()})
    return model


def remove_regions(model: Any) -> Any:
    """A clone of the model without references: what was at its layers before is there again.

    A patch of ours over which another pack has laid its own cannot be taken out. It stays, with
    no regions.
    """
    patches: Patches = model.attachments.get(KEY, NO_PATCHES)
    model = model.clone()
    hidden = dict(patches)
    for patch_key in patches:
        found = replacement_at(model, patch_key.layer)
        if isinstance(found, AttentionPatch) and found.patch_key == patch_key:
            _restore(model, patch_key.layer, found.inner)
            del hidden[patch_key]
    _attach(model, {patch_key: replace(patch, regions=()) for patch_key, patch in hidden.items()})
    return model


def _restore(model: Any, layer: Layer, inner: Any) -> None:
    options = model.model_options["transformer_options"]
    replaced = dict(options["patches_replace"]["attn2"])
    del replaced[tuple(layer)]
    if inner is not None and replaced.get((layer.block, layer.number)) is not inner:
        replaced[tuple(layer)] = inner
    options["patches_replace"] = {**options["patches_replace"], "attn2": replaced}


def image_tokens(
    loaded: LoadedAdapter, reference: EncodedReference, model: Any
) -> PromptPair[Tensor]:
    """The tokens as the model's layers read them, [images, tokens, context] on the load device."""
    device = comfy.model_management.get_torch_device()
    tokens = PromptPair(reference.positive.to(device), reference.negative.to(device))
    if not loaded.projection.kolors:
        return tokens
    project = encoder_hid_proj(model)
    if reference.positive.shape[-1] == loaded.adapter.context:
        if project is None:
            warn(
                f"{loaded.file} is made for Kolors, which this model does not seem to be: expect noise"
            )
        return tokens
    if project is None:
        raise IPAdapterError(
            f"{loaded.file} is a {loaded.projection.name} adapter, and the model has no "
            "encoder_hid_proj, which its tokens need; load Kolors with a loader that sets it"
        )
    weights = {name: weight.to(device).float() for name, weight in project.state_dict().items()}
    both = torch.cat([*tokens])
    return PromptPair(*torch.func.functional_call(project, weights, (both,)).chunk(2))


def project_region(
    adapter: IPAdapter,
    region: Region,
    tokens: PromptPair[Tensor],
    layers: Mapping[Layer, LayerShape],
    weights: Mapping[Layer, KVWeight],
    dtype: torch.dtype,
) -> Iterator[tuple[Layer, RegionKV]]:
    """The region's keys and values in each layer: tokens [images, tokens, context] projected in
    float32, kept in ``dtype``."""
    settings = region.settings
    images = len(tokens.positive) if settings.unfold_batch else 1
    both = torch.cat([*tokens])
    for number, (layer, shape) in enumerate(layers.items()):
        if layer not in weights:
            continue
        weight, negative_only = weights[layer]
        k, v = settings.weight_type(*adapter.key_and_value(number, both), weight)
        # Unless picture i goes to latent i, all pictures' tokens stand side by side.
        beside = "(sides images pictures) tokens width -> sides images (pictures tokens) width"
        k, v = (rearrange(x, beside, sides=2, images=images) for x in (k, v))
        if negative_only:  # the positive sees nothing, the negative the reference
            k, v = (torch.stack([torch.zeros_like(x[0]), x[0]]) for x in (k, v))
        if k.shape[2] <= MAX_FUSED_TOKENS:
            k = rearrange(k, "... tokens (heads dim) -> ... heads dim tokens", heads=shape.heads)
            v = rearrange(v, "... tokens (heads dim) -> ... heads tokens dim", heads=shape.heads)
            k = k * (shape.width // shape.heads) ** -0.5
        k, v = (x.to("cpu", dtype).contiguous() for x in (k, v))
        seen = PromptPair(*(KeyValue(*each) for each in zip(k, v, strict=True)))
        yield layer, RegionKV(region, seen, shape.heads)


def replacement_at(model: Any, layer: Layer) -> Any:
    """What replaces a layer's cross-attention now: set for the layer, or for its whole block."""
    options = model.model_options["transformer_options"]
    replaced = options.get("patches_replace", {}).get("attn2", {})
    return replaced.get(tuple(layer), replaced.get((layer.block, layer.number)))
