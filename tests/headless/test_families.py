"""Projections against diffusers' classes: independent code for the same published mathematics."""

from dataclasses import replace

import pytest
import torch
from diffusers import UNet2DConditionModel
from ipadapter_pack.ipadapter.reference import Features
from ipadapter_pack.nodes.loading.adapter import LoadedAdapter
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.near import assert_near
from torch import nn

CLIP_TOKENS = 17
KINDS = ["base", "plus", "full", "faceid", "portrait", "faceid-plus", "unnorm"]


def theirs(image_proj: dict[str, torch.Tensor]) -> nn.Module:
    """diffusers' projection with these weights."""
    convert = UNet2DConditionModel._convert_ip_adapter_image_proj_to_diffusers
    return convert(object.__new__(UNet2DConditionModel), image_proj, low_cpu_mem_usage=False)


def seen(projection, generator, pictures: int = 2) -> Features:
    """Random features of the kind that the projection reads."""

    def normal(*shape):
        return torch.randn(pictures, *shape, generator=generator)

    face = normal(512) if projection.face else None
    if face is not None and projection.face.normed:
        face = nn.functional.normalize(face, dim=-1)
    if projection.feature is None:
        return Features(face=face)
    pooled = projection.feature == "image_embeds"
    return Features(normal(*(() if pooled else (CLIP_TOKENS,)), projection.width), face)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", KINDS)
def test_projection_equals_diffusers(kind, seed):
    file = tiny.adapter_file([32], kind, seed)
    projection = LoadedAdapter(file, "tiny").projection
    features = seen(projection, torch.Generator().manual_seed(seed))
    reference = theirs(file["image_proj"])
    inputs = features.clip if features.face is None else features.face
    if kind == "unnorm":
        inputs = features.face[:, None]
    if kind == "faceid-plus":
        reference.clip_embeds = features.clip[:, None]
        reference.shortcut = False
    assert_near(projection(features), reference(inputs), 1e-6)


@pytest.mark.parametrize("shortcut_scale", [0.0, 0.6, 1.0, 2.0])
def test_faceid_plus_v2_adds_what_clip_sees(shortcut_scale):
    file = tiny.adapter_file([32], "faceid-plus")
    projection = LoadedAdapter(file, "tiny").projection
    features = seen(projection, torch.Generator().manual_seed(5))
    reference = theirs(file["image_proj"])
    reference.clip_embeds = features.clip[:, None]
    reference.shortcut, reference.shortcut_scale = True, shortcut_scale
    assert_near(
        projection(replace(features, shortcut_scale=shortcut_scale)), reference(features.face), 1e-6
    )


def test_kolors_faceid_plus_equals_diffusers_classes():
    """diffusers has no Kolors FaceID, but its parts: compared with the perceiver's four layers."""
    file = tiny.adapter_file([32], "kolors-faceid")
    loaded = LoadedAdapter(file, "tiny")
    projection = loaded.projection
    features = seen(projection, torch.Generator().manual_seed(6))
    tensors = file["image_proj"]
    double = {key: tensor.double() for key, tensor in tensors.items()}
    expected = kolors_by_hand(double, features.face.double(), features.clip.double())
    assert_near(projection(replace(features, shortcut_scale=1.0)).double(), expected, 1e-6)


def kolors_by_hand(weights, face, clip):
    """A perceiver of one layer and one head, in float64."""
    functional = nn.functional

    def linear(name, x):
        return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0.0)

    def norm(name, x):
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return functional.layer_norm(x, x.shape[-1:], weight, bias)

    tokens = linear("proj.2", functional.gelu(linear("proj.0", face)))
    tokens = norm("norm", tokens.reshape(len(face), 6, 4096))
    p = "perceiver_resampler"
    attention, forward = f"{p}.layers.0.0", f"{p}.layers.0.1"
    x, latents = linear(f"{p}.proj_in", clip), tokens
    x, inner = norm(f"{attention}.norm1", x), norm(f"{attention}.norm2", latents)
    k, v = linear(f"{attention}.to_kv", torch.cat([x, inner], 1)).chunk(2, -1)
    scores = linear(f"{attention}.to_q", inner) @ k.transpose(1, 2) / k.shape[-1] ** 0.5
    latents = linear(f"{attention}.to_out", scores.softmax(-1) @ v) + latents
    hidden = functional.gelu(linear(f"{forward}.1", norm(f"{forward}.0", latents)))
    latents = linear(f"{forward}.3", hidden) + latents
    return tokens + norm(f"{p}.norm_out", linear(f"{p}.proj_out", latents))
