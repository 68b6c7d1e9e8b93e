"""References through a ComfyUI over HTTP: fitted, encoded, combined, saved, loaded, applied."""

import numpy as np
import pytest
from ipadapter_pack.tests.headless.runs import SMALL, result, stripes, uploaded
from ipadapter_pack.workflows.runner.errors import RunError

TINY = "tiny.safetensors"
LOADERS = {
    "checkpoint": ("CheckpointLoaderSimple", {"ckpt_name": TINY}),
    "encoder": ("CLIPVisionLoader", {"clip_name": TINY}),
    "adapter": ("IPAdapterModelLoader", {"ipadapter_file": TINY}),
}


def sampled(reference):
    """The nodes that turn a reference, as the link to it, into a picture called output."""
    text = {"text": "", "clip": ["checkpoint", 1]}
    latent = {"width": SMALL["width"], "height": SMALL["height"], "batch_size": 1}
    sampling = {"seed": 1, "steps": 2, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal"}
    links = {"model": ["apply", 0], "positive": ["text", 0], "negative": ["text", 0]}
    region = {"ipadapter": ["adapter", 0], "model": ["checkpoint", 0], "reference": reference}
    settings = {"weight": 1.0, "noise": 0.0, "weight_type": "original", "unfold_batch": False}
    return {
        "text": ("CLIPTextEncode", text),
        "latent": ("EmptyLatentImage", latent),
        "apply": ("IPAdapterApply", {**region, **settings, "start_at": 0.0, "end_at": 1.0}),
        "sampler": (
            "KSampler",
            {**sampling, **links, "latent_image": ["latent", 0], "denoise": 1.0},
        ),
        "decode": ("VAEDecode", {"samples": ["sampler", 0], "vae": ["checkpoint", 2]}),
        "output": ("SaveImage", {"images": ["decode", 0], "filename_prefix": "output"}),
    }


def graph(nodes):
    return {
        name: {"class_type": kind, "inputs": inputs, "_meta": {"title": name}}
        for name, (kind, inputs) in nodes.items()
    }


def encoded(client, color, **inputs):
    """The nodes that make a reference called after its color."""
    fitting = {"image": [f"{color} picture", 0], "mode": "pad", "crop_position": "center"}
    given = {
        "ipadapter": ["adapter", 0],
        "clip_vision": ["encoder", 0],
        "image": [f"{color} fit", 0],
    }
    settings = {"weights": "1.0", "noise": 0.0, "noise_type": "fade"}
    tiles = {"enhance_tiles": 1, "enhance_ratio": 0.5}
    return {
        f"{color} picture": ("LoadImage", {"image": uploaded(client, stripes(color))}),
        f"{color} fit": ("IPAdapterFitImage", {**fitting, "size": 224}),
        color: ("IPAdapterEncodeReference", {**given, **settings, **tiles, **inputs}),
    }  # fmt: skip


def combined(*colors, method):
    inputs = {f"references.reference_{i}": [color, 0] for i, color in enumerate(colors, 1)}
    return ("IPAdapterCombineReferences", {"ipadapter": ["adapter", 0], "method": method, **inputs})


def test_combined_saved_and_loaded(client):
    prefix = "ipadapter_references/both"
    pictures = LOADERS | encoded(client, "red") | encoded(client, "blue", noise=0.3)
    both = pictures | {
        "both": combined("red", "blue", method="average"),
        "save": ("IPAdapterSaveReference", {"reference": ["both", 0], "filename_prefix": prefix}),
    }
    direct = result(client, graph(both | sampled(["save", 0])))
    file = "both_00001_.safetensors [output]"
    menu = client.object_info()["IPAdapterLoadReference"]["input"]["required"]["reference_file"]
    assert file in menu[1]["options"]
    load = ("IPAdapterLoadReference", {"ipadapter": ["adapter", 0], "reference_file": file})
    loaders = {name: node for name, node in LOADERS.items() if name != "encoder"}
    loaded = result(client, graph(loaders | {"load": load} | sampled(["load", 0])))
    assert np.array_equal(loaded, direct)
    one = result(client, graph(pictures | sampled(["red", 0])))
    assert not np.array_equal(one, direct)


def test_combining_nothing_is_refused_before_it_runs(client):
    nodes = LOADERS | {"both": combined(method="concat")} | sampled(["both", 0])
    with pytest.raises(RunError, match="reference_1"):
        client.run(graph(nodes), progress=False)


def test_a_missing_file_is_refused_before_it_runs(client):
    inputs = {"ipadapter": ["adapter", 0], "reference_file": "gone.safetensors [output]"}
    nodes = LOADERS | {"load": ("IPAdapterLoadReference", inputs)} | sampled(["load", 0])
    with pytest.raises(RunError, match=r"gone.safetensors \[output\] is not in the folder"):
        client.run(graph(nodes), progress=False)
