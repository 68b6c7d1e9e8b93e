"""Rule 1: with weight type original, a UNet call equals diffusers' IP-Adapter."""

import pytest
import torch
from ipadapter_pack.nodes.loading.adapter import LoadedAdapter
from ipadapter_pack.nodes.model.layers import find_layers
from ipadapter_pack.nodes.regions.apply import ApplyIPAdapter
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.cases import product
from ipadapter_pack.tests.headless import oracle
from ipadapter_pack.tests.near import assert_near

TIMESTEP = 500
WEIGHTS = {"one": [1.0], "two": [0.7, 0.4]}
ALONE = [("SD1.5", "base", "one", 1.0), ("SDXL", "plus", "one", 1.0)]


def features(encoder, kind: str, picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What the adapter was trained to read, and its "no image", straight from the encoder."""
    pixels = (picture * 255).round() / 255
    mean, std = torch.tensor(encoder.image_mean), torch.tensor(encoder.image_std)
    normal = ((pixels - mean) / std).movedim(-1, 1)
    which = 2 if kind == "base" else 1
    seen, zero = (
        encoder.model(pixel_values=p, intermediate_output=-2)[which] for p in (normal, 0 * normal)
    )
    return seen, zero if kind != "base" else torch.zeros_like(seen)


@pytest.mark.parametrize(
    ("layout", "kind", "weights", "cfg"),
    product(
        ["SD1.5", "SDXL"], ["base", "plus", "full"], WEIGHTS, [1.0, 5.0],
        quick=lambda *case: case[2:] == ("two", 5.0) or case in ALONE,
    ),
)  # fmt: skip
def test_faithful_to_diffusers(layout, kind, weights, cfg):
    model, weights = tiny.shared_model(layout), WEIGHTS[weights]
    # Full face reads all 257 tokens, so many that each reference gets a call of its own.
    encoder = tiny.clip_vision(image_size=224 if kind == "full" else 56)
    size = encoder.image_size
    files = [tiny.adapter_file(tiny.widths(model), kind, seed) for seed in range(len(weights))]
    pictures = [tiny.picture(seed, size, size) for seed in range(len(weights))]

    applied = model
    for file, picture, weight in zip(files, pictures, weights, strict=True):
        arguments = {"ipadapter": file, "clip_vision": encoder, "image": picture}
        applied = ApplyIPAdapter.execute(**arguments, model=applied, weight=weight)[0]
    x, ours, sigma = oracle.one_call(applied, layout, cfg, TIMESTEP)
    _, without, _ = oracle.one_call(model, layout, cfg, TIMESTEP)

    unet = oracle.diffusers_unet(model, layout)
    unet._load_ip_adapter_weights(files)
    for processor in unet.attn_processors.values():
        if hasattr(processor, "scale"):
            processor.scale = weights
    seen = [features(encoder, kind, picture) for picture in pictures]
    theirs = oracle.diffusers_noise(unet, layout, x, sigma, TIMESTEP, cfg, seen)

    assert_near(ours, theirs, 1e-5)
    assert_near(ours, theirs, 1e-3, effect=theirs - without)


@pytest.mark.parametrize(("layout", "count"), [("SD1.5", 16), ("SDXL", 70)])
def test_faithful_all_layers_take_part(layout, count):
    """Each layer alone changes the prediction: none is patched under a key that nobody reads."""
    model, encoder = tiny.shared_model(layout), tiny.clip_vision()
    layers = find_layers(model)
    assert len(layers) == count
    assert sum(layer.block == "middle" for layer in layers) == (1 if layout == "SD1.5" else 10)
    file = tiny.adapter_file(tiny.widths(model))
    loaded = LoadedAdapter(file, "tiny")
    arguments = {"ipadapter": loaded, "clip_vision": encoder, "image": tiny.picture(0)}
    applied = ApplyIPAdapter.execute(**arguments, model=model)[0]
    fired = set()
    key = "ipadapter_regions"
    for at, patch in applied.attachments[key].items():
        applied.set_model_attn2_replace(spy(patch, at.layer, fired), *at.layer)
    tiny.sample(applied, layout=layout, steps=1)
    assert fired == set(layers)


def spy(patch, layer, fired):
    def replacement(q, k, v, extra_options):
        with_references = patch(q, k, v, extra_options)
        extra_options = {k: v for k, v in extra_options.items() if k != "ipadapter_regions"}
        if not torch.equal(with_references, patch(q, k, v, extra_options)):
            fired.add(layer)
        return with_references

    return replacement
