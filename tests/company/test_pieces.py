"""Beside nodes that cut a sampling run's UNet calls up: tiles, windows, single conditionings, texts.

The stand-ins do what such packs do: ComfyUI-TiledDiffusion's MultiDiffusion and Mixture of
Diffusers, the sliding window guidance of sd-perturbed-attention, wrappers that run each
conditioning alone or skip some. What each row of a layer is given is held against the adapter's
own keys and values and the mask in pixels, in float64, by the text that the row is given.
"""

import comfy.samplers
import pytest
import torch
import torch.nn.functional as F
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.company import packs
from ipadapter_pack.tests.headless.support import adapter, apply, left_half
from ipadapter_pack.tests.near import assert_near

SIZE = (8, 12)  # of the latent
TOLD = "another node gives the model tiles whose place in the picture is unknown"


@pytest.fixture(scope="module")
def loaded():
    return adapter()


class Tiles:
    """Cuts what the UNet is given into overlapping tiles and stacks some of them in one batch."""

    def __init__(self, height, width, overlap, per_batch, blend):
        self.height, self.width, self.overlap = height, width, overlap
        self.per_batch, self.blend = per_batch, blend

    def corners(self, height, width):
        def starts(size, tile):
            tile = min(size, tile)
            return [*range(0, size - tile, tile - self.overlap), size - tile]

        return [(y, x) for y in starts(height, self.height) for x in starts(width, self.width)]

    def __call__(self, apply_model, arguments):
        x, t, c = arguments["input"], arguments["timestep"], arguments["c"]
        corners = self.corners(*x.shape[-2:])
        total, weights = torch.zeros_like(x), torch.zeros_like(x)
        for first in range(0, len(corners), self.per_batch):
            some = corners[first : first + self.per_batch]
            places = [(..., slice(y, y + self.height), slice(x, x + self.width)) for y, x in some]
            tiles = torch.cat([x[place] for place in places])
            times = len(some)
            rest = {name: self.repeated(value, times) for name, value in c.items()}
            out = apply_model(tiles, t.repeat(times), **rest)
            for place, one in zip(places, out.chunk(times), strict=True):
                weight = self.weight(one)
                total[place] += one * weight
                weights[place] += weight
        return total / weights

    def repeated(self, value, times):
        return value.repeat(times, *[1] * (value.ndim - 1)) if torch.is_tensor(value) else value

    def weight(self, tile):
        if self.blend == "mean":
            return torch.ones_like(tile)
        down, across = (torch.hann_window(n + 2)[1:-1] for n in tile.shape[-2:])
        return torch.ones_like(tile) * torch.outer(down, across)


def each_conditioning_alone(apply_model, arguments):
    """Its options go along as they are."""
    x, t, c = arguments["input"], arguments["timestep"], arguments["c"]
    count = len(arguments["cond_or_uncond"])
    rows = zip(x.chunk(count), t.chunk(count), c["c_crossattn"].chunk(count), strict=True)
    return torch.cat([apply_model(x, t, **{**c, "c_crossattn": text}) for x, t, text in rows])


def each_row_alone(apply_model, arguments):
    x, t, c = arguments["input"], arguments["timestep"], arguments["c"]
    rows = zip(x.split(1), t.split(1), c["c_crossattn"].split(1), strict=True)
    return torch.cat([apply_model(x, t, **{**c, "c_crossattn": text}) for x, t, text in rows])


def second_half(apply_model, arguments):
    """Half of the rows; the others get what these got."""
    x, t, c = arguments["input"], arguments["timestep"], arguments["c"]
    half = len(x) // 2
    rest = {**c, "c_crossattn": c["c_crossattn"][half:]}
    return apply_model(x[half:], t[half:], **rest).repeat(2, 1, 1, 1)


def wrapped(wrapper):
    def change(model):
        model = model.clone()
        model.set_model_unet_function_wrapper(wrapper)
        return model

    return change


def window_guidance(model):
    """The positive once more, on two overlapping windows of the latent."""

    def post_cfg(arguments):
        x, total = arguments["input"], torch.zeros_like(arguments["input"])
        for place in ((..., slice(0, 8)), (..., slice(4, 12))):
            (out,) = comfy.samplers.calc_cond_batch(
                arguments["model"],
                [arguments["cond"]],
                x[place],
                arguments["sigma"],
                arguments["model_options"],
            )
            total[place] += out
        return arguments["denoised"] + 0.2 * (arguments["cond_denoised"] - total)

    model = model.clone()
    model.set_model_sampler_post_cfg_function(post_cfg)
    return model


COMPANY = {
    "MultiDiffusion, tiles alone": wrapped(Tiles(6, 6, 2, 1, "mean")),
    "MultiDiffusion, four tiles": wrapped(Tiles(6, 6, 2, 4, "mean")),
    "Mixture of Diffusers, tiles alone": wrapped(Tiles(8, 6, 2, 1, "window")),
    "Mixture of Diffusers, four tiles": wrapped(Tiles(4, 8, 2, 4, "window")),
    "each conditioning alone": wrapped(each_conditioning_alone),
    "each row alone": wrapped(each_row_alone),
    "half of the rows": wrapped(second_half),
    "sliding window guidance": window_guidance,
}


def tiled_diffusion(method, per_batch):
    """The real node; sizes in pixels."""

    def change(model):
        node = packs.module("ComfyUI-TiledDiffusion", "tiled_diffusion").TiledDiffusion()
        return node.apply(model, method, 48, 48, 16, per_batch)[0]

    return change


def real_window_guidance(model):
    node = packs.module("sd-perturbed-attention", "pag_nodes").SlidingWindowGuidanceAdvanced()
    return node.patch(model, scale=0.2, tile_width=64, tile_height=64, tile_overlap=32)[0]


if packs.has("ComfyUI-TiledDiffusion"):
    COMPANY |= {
        f"real {method}, {count}": tiled_diffusion(method, count)
        for method in ("MultiDiffusion", "Mixture of Diffusers")
        for count in (1, 4)
    }
if packs.has("sd-perturbed-attention"):
    COMPANY["real sliding window guidance"] = real_window_guidance


def cover(pixels, cells):
    """[cells, pixels], float64: the share of each pixel in the mean of each cell."""
    edges = torch.arange(cells + 1, dtype=torch.float64) * pixels / cells
    low = torch.arange(pixels, dtype=torch.float64)
    share = torch.minimum(edges[1:, None], low + 1) - torch.maximum(edges[:-1, None], low)
    return share.clamp(min=0) * cells / pixels


class Rows:
    """Holds every row of every layer against what it should be given."""

    def __init__(self, model, masks):
        self.masks = masks  # [latents or 1, *SIZE], as the latent's cells see them
        self.rows = self.inside = 0
        self.errors = []
        replaced = model.model_options["transformer_options"]["patches_replace"]["attn2"]
        for key, patch in replaced.items():
            model.set_model_attn2_replace(self.recording(patch), *key)
        wrap = comfy.patcher_extension.WrappersMP
        model.add_wrapper_with_key(wrap.CALC_COND_BATCH, "test", self.calc_cond_batch)
        model.add_wrapper_with_key(wrap.DIFFUSION_MODEL, "test", self.diffusion_model)
        self.latent = None

    def calc_cond_batch(self, executor, model, conds, x, timestep, options):
        if x.shape[-2:] == SIZE:
            self.latent = x
        return executor(model, conds, x, timestep, options)

    def diffusion_model(self, executor, x, t, context, *args, **kwargs):
        self.context = context
        self.places = [self.place(row) for row in x]
        return executor(x, t, context, *args, **kwargs)

    def place(self, row):
        """Which latent it was cut from, and where: where it is nearest, up to a factor."""
        height, width = row.shape[-2:]
        row = F.normalize(row.flatten().double(), dim=0)
        found = {}
        for latent, whole in enumerate(self.latent):
            for y in range(SIZE[0] - height + 1):
                for x in range(SIZE[1] - width + 1):
                    part = whole[:, y : y + height, x : x + width].flatten().double()
                    found[latent, y, x] = float(row @ F.normalize(part, dim=0))
        best = max(found, key=found.get)
        assert found[best] > 0.9999
        return (*best, height, width)

    def recording(self, patch):
        def replacement(q, k, v, options):
            out = patch(q, k, v, options)
            bare = {name: value for name, value in options.items() if name != "ipadapter_regions"}
            added = (out - patch(q, k, v, bare)).double()
            expected = torch.stack(
                [
                    self.expected(patch, *row, options["activations_shape"][-2:])
                    for row in zip(q, self.context, self.places, strict=True)
                ]
            )
            self.rows += len(q)
            self.inside += int((expected.flatten(1).norm(dim=1) > 0).sum())
            scale = max(float(expected.norm()), 1e-3)
            self.errors.append(float((added - expected).norm()) / scale)
            return out

        return replacement

    def expected(self, patch, q, text, place, grid):
        latent, y, x, height, width = place
        mask = self.masks[min(latent, len(self.masks) - 1)].double()
        mask = mask[y : y + height, x : x + width]
        mask = cover(height, grid[0]) @ mask @ cover(width, grid[1]).T
        positive = torch.equal(text.float(), tiny.conditioning(1)[0][0][0])
        assert positive or torch.equal(text.float(), tiny.conditioning(2)[0][0][0])
        total = torch.zeros(q.shape, dtype=torch.float64)
        for region in patch.regions:
            kv = region.seen.positive if positive else region.seen.negative
            own = min(latent, len(kv.k) - 1)
            k, v = kv.k[own].double(), kv.v[own].double()  # [heads, dim, tokens] with the scale
            heads = q.double().unflatten(-1, (region.heads, -1)).transpose(0, 1)
            seen = ((heads @ k).softmax(-1) @ v).transpose(0, 1).flatten(1)
            total += mask.reshape(-1, 1) * seen
        return total


MASKS = {
    "left half": left_half(8, 12),
    "a mask for each latent": torch.stack([left_half(8, 12)[0], 1 - left_half(8, 12)[0]]),
}


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("company", COMPANY)
def test_each_row_is_given_what_is_its_own(loaded, company, mask, batch, caplog):
    cells = MASKS[mask][:batch]
    pixels = cells.repeat_interleave(8, 1).repeat_interleave(8, 2)
    pictures = tiny.picture(1, batch=batch)
    model = apply(tiny.shared_model(), loaded, pictures, attn_mask=pixels, unfold_batch=batch > 1)
    model = COMPANY[company](model)
    rows = Rows(model, cells)
    tiny.sample(model, size=SIZE, batch=batch, steps=2)
    assert rows.inside > 0
    assert max(rows.errors) < 1e-5
    assert "another node" not in caplog.text


def shifted(apply_model, arguments):
    """Tiles of a picture that is rolled around its edges, as SpotDiffusion cuts them."""
    x, t, c = arguments["input"].roll(3, -1), arguments["timestep"], arguments["c"]
    tiles = [apply_model(tile, t, **c) for tile in x.split(6, -1)]
    return torch.cat(tiles, -1).roll(-3, -1)


def blurred(apply_model, arguments):
    x, t, c = arguments["input"], arguments["timestep"], arguments["c"]
    tiles = [apply_model(F.avg_pool2d(tile, 3, 1, 1), t, **c) for tile in x.split(6, -1)]
    return torch.cat(tiles, -1)


@pytest.mark.parametrize("wrapper", [shifted, blurred])
def test_what_cannot_be_found_is_said_once(loaded, wrapper, caplog):
    """And the references are left out there: no mask is squeezed."""
    plain = wrapped(wrapper)(tiny.shared_model())
    model = wrapped(wrapper)(apply(tiny.shared_model(), loaded, 1, attn_mask=left_half(64, 96)))
    found = tiny.sample(model, size=SIZE)
    assert caplog.text.count(TOLD) == 1
    if wrapper is blurred:
        assert torch.equal(found, tiny.sample(plain, size=SIZE))


def test_equal_texts_of_which_one_runs_alone_are_said(loaded, caplog):
    """Nothing tells the positive from the negative then."""
    text = tiny.conditioning(1)
    model = wrapped(each_conditioning_alone)(apply(tiny.shared_model(), loaded, 1))
    tiny.sample(model, text, [[text[0][0].clone(), {}]], size=SIZE)
    assert caplog.text.count(TOLD) == 1


@pytest.mark.parametrize(("size", "told"), [((10, 15), 0), ((6, 9), 0), ((8, 6), 1)])
def test_a_sampler_that_resizes_the_latent(loaded, size, told, caplog):
    """At another size the mask is stretched along; what has another shape is no whole picture."""

    def resizing(model, x, sigmas, extra_args, callback, disable):
        resized = F.interpolate(x, size)
        model(
            resized + 0.01 * torch.randn_like(resized), sigmas[0] * x.new_ones(len(x)), **extra_args
        )
        return model(x, sigmas[0] * x.new_ones(len(x)), **extra_args)

    guider = comfy.samplers.CFGGuider(
        apply(tiny.shared_model(), loaded, 1, attn_mask=left_half(64, 96))
    )
    guider.set_conds(tiny.conditioning(1), tiny.conditioning(2))
    noise = torch.randn(1, 4, *SIZE, generator=torch.Generator().manual_seed(7))
    sigmas = torch.tensor([5.0, 1.0])
    guider.sample(noise, torch.zeros_like(noise), comfy.samplers.KSAMPLER(resizing), sigmas)
    assert caplog.text.count(TOLD) == told


def with_a_text_more(model):
    """As KSamplerWithNAG does: a text behind those of the rows, for layers that know of it."""

    def diffusion_model(executor, x, t, context, *args, **kwargs):
        more = tiny.conditioning(3)[0][0].expand(1, context.shape[1], -1)
        return executor(x, t, torch.cat([context, more]), *args, **kwargs)

    model = model.clone()
    wrap = comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL
    model.add_wrapper_with_key(wrap, "more", diffusion_model)
    return model


@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_texts_behind_those_of_the_rows(loaded, cfg):
    """A row keeps its own text, in the layers with references."""
    plain = apply(tiny.shared_model(), loaded, 1, attn_mask=left_half(64, 96))
    expected = tiny.sample(plain, size=SIZE, cfg=cfg)
    effect = expected - tiny.sample(tiny.shared_model(), size=SIZE, cfg=cfg)
    found = tiny.sample(with_a_text_more(plain), size=SIZE, cfg=cfg)
    assert_near(found, expected, 1e-5, effect=effect)
