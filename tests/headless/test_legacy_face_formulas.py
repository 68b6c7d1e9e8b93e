"""Version 2's faces in every layer of a real UNet, against float64, from the recognizer on."""

from functools import partial

import pytest
import torch
from ipadapter_pack.nodes.legacy import styles
from ipadapter_pack.nodes.legacy.apply import IPAdapter, IPAdapterAdvanced, IPAdapterBatch
from ipadapter_pack.nodes.legacy.faces import (
    IPAAdapterFaceIDBatch,
    IPAdapterFaceID,
    IPAdapterFaceIDKolors,
)
from ipadapter_pack.nodes.loading.adapter import AdapterBundle, LoadedAdapter
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.headless.legacy_layers import (
    CLOSE,
    EITHER,
    NUMBERS,
    Acts,
    at,
    recorded,
    sees,
    silent,
    weights,
    worst,
)
from ipadapter_pack.tests.headless.legacy_oracle import (
    COMBINE,
    SCALING,
    face_tokens,
    linear,
    seen_by_clip,
)
from ipadapter_pack.tests.headless.support import ENCODER
from ipadapter_pack.tests.headless.test_faceid import (
    ANNA,
    BEN,
    encode_face,
    face_adapter,
    recognizer,  # noqa: F401  a fixture
)
from ipadapter_pack.tests.headless.test_kolors import kolors_model


def faces_of(recognizer, loaded, image, crops):  # noqa: F811
    """Identities as the family reads them, and CLIP's view of the crops and of nothing."""
    identity = encode_face(recognizer, loaded, image)[0].features.positive.face
    if crops.shape[1] != 56:  # no CLIP reads them
        return identity, None, None
    clip = seen_by_clip(ENCODER, crops, "penultimate_hidden_states")
    zero = ENCODER.model(pixel_values=torch.zeros(1, 3, 56, 56), intermediate_output=-2)[1]
    return identity, clip, zero.expand_as(clip)


V1, V2 = "ip-adapter-faceid-plus_sd15.bin", "ip-adapter-faceid-plusv2.bin"
FACES = [  # kind, file, node, its inputs, weight of CLIP's view
    ("faceid", "tiny.bin", IPAdapterFaceID, {}, None),
    ("portrait", "tiny.bin", IPAdapterFaceID, {"weight_type": "ease out"}, None),
    ("faceid-plus", V1, IPAdapterFaceID, {"weight_faceidv2": 1.3}, None),
    ("faceid-plus", V2, IPAdapterFaceID, {}, 1.0),
    ("faceid-plus", V2, IPAdapterFaceID, {"weight_faceidv2": 1.3, "weight": 0.4}, 1.3),
    ("faceid-plus", V2, IPAdapterFaceID, {"weight_faceidv2": 0.0}, 0.0),
    ("faceid-plus", V2, IPAAdapterFaceIDBatch, {"weight_faceidv2": -0.4}, -0.4),
    ("faceid-plus", V2, styles.IPAdapterMS, {"weight_faceidv2": 1.3}, 1.3),
    ("faceid-plus", V2, IPAdapterAdvanced, {"weight": 0.4}, 0.8),
    ("faceid-plus", V2, IPAdapter, {"weight": 0.4}, 0.8),
    ("faceid-plus", V2, IPAdapterBatch, {"weight": 0.4}, 0.8),
]


# Of FaceID Plus for SDXL there is no version 1.
CASES = [("SD1.5", *row) for row in FACES] + [("SDXL", *row) for row in FACES if row[1] != V1]


@pytest.mark.parametrize(("layout", "kind", "name", "node", "inputs", "shortcut_scale"), CASES)
def test_faces(recognizer, layout, kind, name, node, inputs, shortcut_scale):  # noqa: F811
    loaded = face_adapter(kind, layout, name)
    file = tiny.adapter_file(tiny.widths(tiny.shared_model(layout)), kind)
    pipeline = AdapterBundle(loaded, ENCODER, recognizer)
    model = node.execute(model=silent(layout), ipadapter=pipeline, image=ANNA, **inputs)[0]
    crops = IPAdapterFaceID.execute(model=silent(layout), ipadapter=pipeline, image=ANNA)[1]
    identity, clip, zero = faces_of(recognizer, loaded, ANNA, crops)
    pair = (
        face_tokens(file, identity, clip, shortcut_scale),
        face_tokens(file, torch.zeros_like(identity), zero, shortcut_scale),
    )
    table = weights(layout, inputs.get("weight_type", "linear"), inputs.get("weight", 1.0), None)
    acts = Acts(file, sees(pair), table, SCALING["V only"])
    assert worst(recorded(model, layout), layout, acts) < CLOSE


@EITHER
@pytest.mark.parametrize("method", ["concat", *COMBINE])
@pytest.mark.parametrize("kind", ["faceid", "faceid-plus"])
def test_several_faces(recognizer, layout, kind, method):  # noqa: F811
    """Combined as they are: the sum or mean of identities is not made as long as one again."""
    loaded = face_adapter(kind, layout, V2)
    file = tiny.adapter_file(tiny.widths(tiny.shared_model(layout)), kind)
    photos = torch.cat([ANNA, BEN])
    pipeline = AdapterBundle(loaded, ENCODER, recognizer)
    inputs = {"combine_embeds": method, "embeds_scaling": "K+mean(V) w/ C penalty"}
    model, crops = IPAdapterFaceID.execute(
        model=silent(layout), ipadapter=pipeline, image=photos, weight_faceidv2=1.3, **inputs
    )
    seen = faces_of(recognizer, loaded, photos, crops)
    identity, clip, zero = (x if x is None else x.double() for x in seen)
    if method != "concat":
        identity = COMBINE[method](identity)[None]
        clip = clip if clip is None else COMBINE[method](clip)[None]
        zero = zero if zero is None else zero[:1]
    pair = (
        face_tokens(file, identity, clip, 1.3),
        face_tokens(file, torch.zeros_like(identity), zero, 1.3),
    )
    acts = Acts(file, sees(pair), lambda t, frame: 1.0, SCALING[inputs["embeds_scaling"]])
    assert worst(recorded(model, layout), layout, acts) < CLOSE


@EITHER
def test_every_latent_has_its_face(recognizer, layout):  # noqa: F811
    loaded = face_adapter("portrait", layout)
    file = tiny.adapter_file(tiny.widths(tiny.shared_model(layout)), "portrait")
    photos, weight = torch.cat([ANNA, BEN]), [0.8, -0.5]
    pipeline = AdapterBundle(loaded, ENCODER, recognizer)
    for scaling in ("V only", "K+V"):
        inputs = {"weight": weight, "embeds_scaling": scaling, "ipadapter": pipeline}
        node = IPAAdapterFaceIDBatch
        model, crops = node.execute(model=silent(layout), image=photos, **inputs)
        identity, *_ = faces_of(recognizer, loaded, photos, crops)
        tokens = (
            face_tokens(file, torch.zeros_like(identity)), face_tokens(file, identity)
        )  # fmt: skip
        acts = Acts(
            file,
            lambda t, positive, frame, tokens=tokens: at(tokens[positive], frame)[None],
            lambda t, frame: at(weight, frame),
            SCALING[scaling],
        )
        assert worst(recorded(model, layout, batch=3), layout, acts) < CLOSE, scaling


@pytest.fixture(scope="module")
def kolors():
    """A model, an adapter and its file, and the UNet's projection in float64."""
    with torch.inference_mode():
        model = kolors_model()
        file = tiny.adapter_file(tiny.widths(model), "kolors-faceid")
        project = model.model.diffusion_model.encoder_hid_proj.state_dict()
        named = {f"project.{name}": weight for name, weight in project.items()}
        return model, LoadedAdapter(file, "kolors.bin"), file, partial(linear, tensors=named)


@pytest.mark.parametrize(
    ("weight_kolors", "scaling", "compat"),
    [
        (1.0, "V only", "faithful"),
        (0.6, "K+V", "faithful"),
        (-0.5, "K+mean(V) w/ C penalty", "faithful"),
        (0.6, "V only", "v2"),
    ],
)
def test_kolors_weighs_what_its_unet_projects(
    recognizer, kolors, weight_kolors, scaling, compat  # noqa: F811
):  # fmt: skip
    model, loaded, file, project = kolors
    inputs = {"weight": 0.8, "weight_faceidv2": 0.7, "embeds_scaling": scaling, "compat": compat}
    inputs |= {
        "ipadapter": AdapterBundle(loaded, ENCODER, recognizer),
        "weight_kolors": weight_kolors,
    }
    there, crops = IPAdapterFaceIDKolors.execute(model=silent("SDXL", model), image=ANNA, **inputs)
    identity, clip, _ = faces_of(recognizer, loaded, ANNA, crops)
    no_clip = torch.zeros_like(clip)
    if compat == "v2":  # as of all other families
        identity = identity / identity.norm()
        clip, no_clip = (
            ENCODER.encode_image(x)["penultimate_hidden_states"] for x in (crops, 0 * crops)
        )
    faces = ((identity, clip), (torch.zeros_like(identity), no_clip))
    pair = [
        project(face_tokens(file, face, seen, 0.7), name="project") * weight_kolors
        for face, seen in faces
    ]
    middle = NUMBERS["SDXL"]["middle", 0] if compat == "v2" else None
    table = lambda t, frame: None if t == middle else 0.8  # noqa: E731
    acts = Acts(file, sees(pair), table, SCALING[scaling])
    assert worst(recorded(there, "SDXL"), "SDXL", acts) < CLOSE


@EITHER
def test_compat_of_faces(recognizer, layout):  # noqa: F811
    """What CLIP sees goes through ComfyUI's own node, for SDXL in 256 pixels; a black "no picture"."""
    loaded = face_adapter("faceid-plus", layout, V2)
    file = tiny.adapter_file(tiny.widths(tiny.shared_model(layout)), "faceid-plus")
    inputs = {
        "ipadapter": AdapterBundle(loaded, ENCODER, recognizer),
        "compat": "v2",
        "image": ANNA,
    }
    model, crops = IPAdapterFaceID.execute(model=silent(layout), weight_faceidv2=1.3, **inputs)
    assert crops.shape == {"SD1.5": (1, 56, 56, 3), "SDXL": (1, 256, 256, 3)}[layout]
    identity = encode_face(recognizer, loaded, ANNA)[0].features.positive.face
    clip, black = (ENCODER.encode_image(x)["penultimate_hidden_states"] for x in (crops, 0 * crops))
    pair = (
        face_tokens(file, identity, clip, 1.3),
        face_tokens(file, torch.zeros_like(identity), black, 1.3),
    )
    middle = NUMBERS[layout]["middle", 0]
    table = lambda t, frame: None if t == middle else 1.0  # noqa: E731
    acts = Acts(file, sees(pair), table, SCALING["V only"])
    assert worst(recorded(model, layout), layout, acts) < CLOSE
