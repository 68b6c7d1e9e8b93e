"""Attention maps show what each layer saw, cost three kernels, and change no picture."""

import copy
import gc

import pytest
import torch
import torch.nn.functional as F
from comfy_api.torch_helpers import set_torch_compile_wrapper
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.nodes.model.layers import find_layers
from ipadapter_pack.nodes.sampling import recording, run
from ipadapter_pack.nodes.sampling.attention_maps import AttentionMaps, RecordAttention
from ipadapter_pack.nodes.sampling.patching import regions_of, remove_regions
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.support import adapter, adapter_for, apply, in_windows, left_half
from ipadapter_pack.tests.kernels import SYNCS, per_step
from ipadapter_pack.tests.near import assert_near

SIZE = (16, 16)
READ = ("activations_shape", "original_shape", "cond_or_uncond", "n_heads", "sigmas")
READ += ("context_window",)
WHOLE = slice(0, 16), slice(0, 16)
LONG = tiny.clip_vision(image_size=224)  # 257 tokens


@pytest.fixture(scope="module")
def loaded():
    return adapter()


def record(model):
    return RecordAttention.execute(model=model).args


def maps(recorded, samples, **widgets):
    """The Attention Maps node's masks, [maps, height, width]."""
    return AttentionMaps.execute(record=recorded, latent={"samples": samples}, **widgets)[1]


def message_of(call):
    with pytest.raises(IPAdapterError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Queries:
    """What each layer of a model is asked while it samples, and the options that tell of what."""

    def __init__(self, model):
        self.calls = []
        replaced = model.model_options["transformer_options"]["patches_replace"]["attn2"]
        for key, patch in replaced.items():
            model.set_model_attn2_replace(self._noting(key, patch), *key)

    def _noting(self, key, patch):
        def replacement(q, k, v, extra_options):
            # Not all of the options: they know the run, and that its model, which knows us.
            self.calls.append((key, q.double(), {name: extra_options.get(name) for name in READ}))
            return patch(q, k, v, extra_options)

        return replacement


def magnitude(q, k, v, heads):
    """[queries]: over heads and tokens, the sum of attention times the norm of the value."""
    total = torch.zeros(len(q), dtype=torch.float64)
    for qh, kh, vh in zip(q.chunk(heads, -1), k.chunk(heads, -1), v.chunk(heads, -1), strict=True):
        total += (qh @ kh.T / kh.shape[-1] ** 0.5).softmax(-1) @ vh.norm(dim=-1)
    return total


def loop(model, adapters, queries, batch, rectangle):
    """[references, batch, *SIZE]: summed over layers, averaged over how often a place was seen.

    Masks are fitted and maps enlarged by torch's own functions; all sizes are powers of two.
    """
    total = torch.zeros(len(adapters), batch, *SIZE, dtype=torch.float64)
    times = torch.zeros(batch, *SIZE)
    layers = list(find_layers(model))
    references = list(zip(regions_of(model), [loaded.load() for loaded in adapters], strict=True))
    for key, q, options in queries.calls:
        here = WHOLE if tuple(options["original_shape"][-2:]) == SIZE else rectangle
        latents = len(q) // len(options["cond_or_uncond"])
        frames = frames_of(options["context_window"], latents)
        for chunk, index in enumerate(options["cond_or_uncond"]):
            for i, frame in enumerate(frames if index == 0 else ()):
                times[(frame, *here)] += 1 / len(layers)
                for n, (region, loaded) in enumerate(references):
                    tokens = region.reference.positive
                    tokens = tokens[frame : frame + 1] if region.settings.unfold_batch else tokens
                    k, v = loaded.key_and_value(layers.index(key), tokens)
                    k, v = (x.flatten(0, 1).double() for x in (k, v * region.settings.weight))
                    seen = magnitude(q[chunk * latents + i], k, v, options["n_heads"])
                    seen = seen.view(1, 1, *options["activations_shape"][-2:])
                    seen = seen * share(model, region, frame, here, options)
                    cells = [side.stop - side.start for side in here]
                    total[(n, frame, *here)] += F.interpolate(seen, cells, mode="bilinear")[0, 0]
    return total / times.clamp(min=1)


def frames_of(window, latents):
    if window is None:
        return range(latents)
    # A frame from before, which core puts first.
    anchor = getattr(window, "causal_anchor_index", -1)
    return [anchor, *window.index_list] if anchor >= 0 else window.index_list


def share(model, region, frame, here, options):
    """How much of what a layer sees of a region counts: its mask there, at this step."""
    settings = region.settings
    percent_to_sigma = model.get_model_object("model_sampling").percent_to_sigma
    start, end = (float(percent_to_sigma(at)) for at in (settings.start_at, settings.end_at))
    if settings.mask is None or not end <= float(options["sigmas"][0]) <= start:
        return float(end <= float(options["sigmas"][0]) <= start)
    mask = settings.mask[min(frame, len(settings.mask) - 1)][None, None].double()
    mask = F.adaptive_avg_pool2d(mask, SIZE)[..., here[0], here[1]]
    return F.adaptive_avg_pool2d(mask, tuple(options["activations_shape"][-2:]))


def compare(applied, adapters, layout="SD1.5", batch=1, rectangle=None, tolerance=1e-4, **settings):
    model, recorded = record(applied)
    queries = Queries(model)
    out = tiny.sample(model, layout=layout, size=SIZE, batch=batch, **settings)
    found = recorded.find(out).maps
    expected = loop(applied, adapters, queries, batch, rectangle)
    assert expected.amax((-3, -2, -1)).min() > 0
    assert_near(found, expected, tolerance)


@pytest.mark.parametrize("layout", ["SD1.5", "SDXL"])
@pytest.mark.parametrize(("batch", "cfg"), [(1, 5.0), (2, 5.0), (2, 1.0)])
def test_maps_equal_the_loop(layout, batch, cfg):
    adapters = [adapter(layout, kind) for kind in ("base", "plus", "full", "base")]
    masks = torch.cat([left_half(), 1 - left_half()])
    pictures = torch.cat([tiny.picture(4), tiny.picture(5)])[:batch]
    model = apply(tiny.shared_model(layout), adapters[0], 1, attn_mask=masks)
    model = apply(model, adapters[1], 2, weight=0.5)
    model = apply(model, adapters[2], 3, attn_mask=left_half(), clip_vision=LONG)
    model = apply(model, adapters[3], pictures, unfold_batch=True)
    compare(model, adapters, layout, batch, steps=1 if layout == "SDXL" else 2, cfg=cfg)


def test_maps_of_a_conditioning_with_an_area(loaded):
    positive = tiny.conditioning(1) + tiny.conditioning(3)
    positive[1][1] |= {"area": (8, 16, 8, 0), "strength": 1.0}
    model = apply(tiny.shared_model(), loaded, 1, attn_mask=left_half())
    compare(model, [loaded], rectangle=(slice(8, 16), slice(0, 16)), positive=positive)


def test_maps_of_a_clip_in_windows(loaded):
    masks = torch.stack([left_half()[0] * i / 5 for i in range(6)])
    for mask in (None, masks):
        model = in_windows(apply(tiny.shared_model(), loaded, 1, attn_mask=mask), 4, 2)
        compare(model, [loaded], batch=6)


def test_maps_in_a_step_range(loaded):
    model = apply(tiny.shared_model(), loaded, 1, attn_mask=left_half(), end_at=0.4)
    compare(apply(model, loaded, 2), [loaded, loaded], steps=3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_maps_in_half_precision(dtype, loaded):
    model = apply(tiny.model(dtype=dtype), loaded, 1, attn_mask=left_half())
    compare(model, [loaded], steps=1, tolerance=3e-2)


def test_map_is_black_where_the_mask_is(loaded):
    model = apply(tiny.shared_model(), loaded, 1, attn_mask=left_half())
    model = apply(model, loaded, 2, attn_mask=torch.zeros(1, 64, 64))
    model, recorded = record(apply(model, loaded, 3, start_at=1.0, end_at=1.0))
    left, black, closed = maps(recorded, tiny.sample(model, size=(32, 32)))
    # The coarsest grid has 64 pixels a cell; between the centers of two cells a map fades.
    assert not left[:, 128 + 32 + 4 :].any()
    assert left[:, :128].all()
    assert not black.any()
    assert not closed.any()


def test_order_of_the_nodes_does_not_matter(loaded):
    plain = tiny.shared_model()
    after, one = record(apply(apply(plain, loaded, 1, attn_mask=left_half()), loaded, 2))
    before, two = record(plain)
    before = apply(apply(before, loaded, 1, attn_mask=left_half()), loaded, 2)
    between, three = record(apply(plain, loaded, 1, attn_mask=left_half()))
    between = apply(between, loaded, 2)
    runs = [(after, one), (before, two), (between, three), (after, one)]
    shown = [maps(recorded, tiny.sample(model)) for model, recorded in runs]
    assert len(shown[0]) == 2
    assert all(torch.equal(shown[0], other) for other in shown[1:])


def test_a_second_record_node_is_the_first(loaded):
    model, recorded = record(tiny.shared_model())
    model, again = record(apply(model, loaded, 1))
    assert recorded is again is copy.deepcopy(recorded)
    tiny.sample(model)
    assert len(recorded._runs) == 1


def test_recording_changes_no_picture_and_no_model(loaded):
    model = apply(tiny.shared_model(), loaded, 1, attn_mask=left_half())
    before = tiny.sample(model, batch=2)
    recorded, _ = record(model)
    assert torch.equal(tiny.sample(recorded, batch=2), before)
    assert set(model.attachments) == {"ipadapter_regions"}
    assert torch.equal(tiny.sample(model, batch=2), before)


def test_recording_keeps_no_layout_that_is_gone(loaded, monkeypatch):
    """A long clip lays keys and values out anew for each window; few stay, recorded or not."""
    made = []
    monkeypatch.setattr(
        recording, "Recording", lambda *a, cls=recording.Recording: made.append(cls(*a)) or made[-1]
    )
    pictures = torch.cat([tiny.picture(i) for i in range(20)])
    model, _ = record(apply(tiny.shared_model(), loaded, pictures, unfold_batch=True))
    left = []

    def count(*_):
        gc.collect()
        left.append(len(made[0]._norms))

    model.set_model_sampler_post_cfg_function(lambda arguments: count() or arguments["denoised"])
    tiny.sample(in_windows(model, 2, 0), batch=20, steps=3)
    assert max(left) <= 16 * run.KEPT


def test_each_sampler_finds_its_own_run(loaded, caplog):
    model, recorded = record(apply(tiny.shared_model(), loaded, 1, attn_mask=left_half()))
    runs = [tiny.sample(model, size=size, cfg=cfg) for size in ((8, 8), SIZE) for cfg in (3.0, 5.0)]
    alone = []
    for size in ((8, 8), SIZE):
        for cfg in (3.0, 5.0):
            fresh, other = record(apply(tiny.shared_model(), loaded, 1, attn_mask=left_half()))
            alone.append(maps(other, tiny.sample(fresh, size=size, cfg=cfg)))
    assert [m.shape[-1] for m in alone] == [64, 64, 128, 128]
    assert not torch.equal(alone[0], alone[1])
    for samples, expected in zip(runs, alone, strict=True):
        assert torch.equal(maps(recorded, samples), expected)
        assert torch.equal(maps(recorded, samples.clone()), expected)
    assert not caplog.text
    # Changed after the sampler: the last run of that size.
    assert torch.equal(maps(recorded, runs[0] * 2), alone[1])
    assert "no recorded run gave exactly this latent" in caplog.text
    said = message_of(lambda: maps(recorded, torch.zeros(1, 4, 24, 16)))
    assert "no sampling run" in said
    assert "16 x 24" in said


def test_only_the_last_runs_are_kept(loaded):
    model, recorded = record(apply(tiny.shared_model(), loaded, 1))
    first = tiny.sample(model, size=(8, 16), steps=1)
    for _ in range(4):
        tiny.sample(model, steps=1)
    assert "no sampling run" in message_of(lambda: maps(recorded, first))


def test_pictures_and_scales(loaded):
    model = apply(tiny.shared_model(), loaded, 1, weight=0.2, attn_mask=left_half())
    model, recorded = record(apply(model, loaded, 2))
    latent = {"samples": tiny.sample(model, batch=3, size=(8, 12))}
    image, mask = AttentionMaps.execute(record=recorded, latent=latent).args
    assert image.shape == (2, 64, 96, 3)
    assert all(torch.equal(image[..., channel], mask) for channel in range(3))
    assert mask[0].max() < mask[1].max() == 1
    alone = maps(recorded, latent["samples"], scale="each")
    assert alone.amax((-2, -1)).tolist() == [1, 1]
    torch.testing.assert_close(alone[0], mask[0] / mask[0].max())
    frames = maps(recorded, latent["samples"], frames="each")
    assert frames.shape == (6, 64, 96)
    mean = frames.view(2, 3, 64, 96).mean(1)
    torch.testing.assert_close(mean / mean.max(), mask)


@pytest.mark.parametrize(("kind", "lanes"), [("base", 1), ("plus", 1), ("both", 2)])
def test_recording_costs_three_kernels_and_no_wait(kind, lanes):
    model = tiny.shared_model()
    for i, each in enumerate(("base", "plus") if kind == "both" else (kind, kind)):
        model = apply(model, adapter(kind=each), i, attn_mask=left_half())
    counts = [
        per_step(lambda steps, model=model: tiny.sample(model, steps=steps))
        for model in (record(model)[0], model)
    ]
    assert 0 < counts[0].total() - counts[1].total() <= 3 * lanes * 16
    assert sum(counts[0][name] - counts[1][name] for name in SYNCS) == 0


def test_a_compiled_model_samples_and_says_why_there_are_no_maps(caplog):
    torch._dynamo.reset()
    plain, compiled = (tiny.model(**tiny.FEW_LAYERS) for _ in range(2))
    loaded = adapter_for(plain)
    set_torch_compile_wrapper(compiled, backend="eager")
    model, recorded = record(apply(compiled, loaded, 1, attn_mask=left_half()))
    out = tiny.sample(model)
    eager = tiny.sample(apply(plain, loaded, 1, attn_mask=left_half()))
    assert_near(out, eager, 1e-4, effect=eager - tiny.sample(plain))
    assert "the model is compiled" in message_of(lambda: maps(recorded, out))
    assert caplog.text.count("the model is compiled") == 1


def test_what_cannot_be_shown_is_said_in_one_line(loaded):
    model, recorded = record(tiny.shared_model())
    latent = torch.zeros(1, 4, 8, 8)
    assert "nothing is recorded yet" in message_of(lambda: maps(recorded, latent))
    out = tiny.sample(model)
    assert "no references" in message_of(lambda: maps(recorded, out))
    removed, recorded = record(remove_regions(apply(model, loaded, 1)))
    out = tiny.sample(removed)
    assert "no references" in message_of(lambda: maps(recorded, out))
    assert "scale" in message_of(lambda: maps(recorded, out, scale="none"))
