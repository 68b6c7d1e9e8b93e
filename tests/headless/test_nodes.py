"""Public names, which saved workflows hold us to, and what ComfyUI is told of each node."""

import folder_paths
import pytest
from ipadapter_pack.nodes.extension import register_model_folder
from ipadapter_pack.nodes.shared.inputs import ADVANCED, CATEGORY
from ipadapter_pack.tests.headless.packs import own_nodes
from ipadapter_pack.weight_types.layers import SCHEDULES

import nodes as comfyui_nodes

# id: display name, inputs in the order of widgets and sockets
FRONT = [
    "IPAdapterAutoLoader", "IPAdapterModelLoader", "IPAdapterApply", "IPAdapterApplyFaceID",
    "IPAdapterRegion", "IPAdapterApplyRegions", "IPAdapterSolidMask", "IPAdapterFeatherMask",
    "IPAdapterMasksFromColorMap", "IPAdapterPreviewMask",
]  # fmt: skip
PUBLIC = {
    "IPAdapterModelLoader": ("Load IPAdapter Model", "ipadapter_file"),
    "IPAdapterApply": (
        "Apply IPAdapter",
        "ipadapter clip_vision image model weight noise weight_type start_at end_at unfold_batch "
        "attn_mask image_negative reference layer_schedule schedule",
    ),
    "IPAdapterAutoLoader": ("IPAdapter Auto Loader", "model preset lora_strength provider"),
    "IPAdapterInsightFaceLoader": ("Load InsightFace", "provider model_name"),
    "IPAdapterOpenCLIPVisionLoader": ("Load CLIP Vision (OpenCLIP)", "clip_name architecture"),
    "IPAdapterApplyFaceID": (
        "Apply IPAdapter FaceID",
        "ipadapter clip_vision insightface image model weight noise weight_type start_at end_at "
        "faceid_v2 weight_v2 unfold_batch attn_mask face_select face_index lora_strength "
        "plus_version layer_schedule schedule",
    ),
    "IPAdapterEncodeFaceID": (
        "Encode FaceID",
        "ipadapter clip_vision insightface image noise faceid_v2 weight_v2 face_select face_index "
        "plus_version",
    ),
    "IPAdapterEncodeReference": (
        "Encode Reference",
        "ipadapter clip_vision image weights noise noise_type enhance_tiles enhance_ratio "
        "image_negative",
    ),
    "IPAdapterCombineReferences": ("Combine References", "ipadapter method references"),
    "IPAdapterSaveReference": ("Save Reference", "reference filename_prefix"),
    "IPAdapterLoadReference": ("Load Reference", "ipadapter reference_file"),
    "IPAdapterFitImage": ("Fit Image", "image mode crop_position size"),
    "IPAdapterRegion": (
        "IPAdapter Region",
        "image reference attn_mask weight weight_type layer_schedule schedule start_at end_at "
        "unfold_batch positive negative",
    ),
    "IPAdapterSchedule": (
        "IPAdapter Schedule",
        "second_weight layer_weights frame_weights step_weights step_masks",
    ),
    "IPAdapterApplyRegions": (
        "Apply IPAdapter Regions",
        "model ipadapter clip_vision region background overlap positive negative",
    ),
    "IPAdapterCropRegions": (
        "Crop Regions",
        "model x y width height picture_width picture_height",
    ),
    "IPAdapterRemove": ("Remove IPAdapter", "model"),
    "IPAdapterSolidMask": (
        "Solid Mask (IPAdapter)",
        "value width height box_left box_top box_width box_height image latent",
    ),
    "IPAdapterFeatherMask": (
        "Feather Mask (IPAdapter)",
        "mask left top right bottom shape_feather direction curve",
    ),
    "IPAdapterAdjustMask": ("Adjust Mask (IPAdapter)", "mask threshold grow invert"),
    "IPAdapterFitMask": (
        "Fit Mask (IPAdapter)",
        "mask mode image latent width height outside",
    ),
    "IPAdapterMasksFromColorMap": (
        "Masks From Color Map (IPAdapter)",
        "image colors count mode softness",
    ),
    "IPAdapterRecordAttention": ("Record Attention", "model"),
    "IPAdapterAttentionMaps": ("Attention Maps", "record latent scale frames"),
    "IPAdapterMaskToLatentSpace": (
        "Mask To Latent Space (IPAdapter)",
        "mask latent vae spatial temporal",
    ),
    "IPAdapterMaskComposite": ("Mask Composite (IPAdapter)", "destination source x y operation"),
    "IPAdapterMaskFromColor": ("Mask From Color (IPAdapter)", "image color tolerance"),
    "IPAdapterPreviewMask": ("Preview Mask (IPAdapter)", "mask image latent view"),
}


@pytest.fixture(scope="module")
def schemas():
    return own_nodes()


def test_names_and_order_are_for_ever(schemas):
    found = {
        name: (schema.display_name, " ".join(i.id for i in schema.inputs))
        for name, schema in schemas.items()
    }
    assert found == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_socket_is_described(schemas, name):
    schema = schemas[name]
    assert schema.category in {CATEGORY, ADVANCED}
    assert schema.description
    for socket in [*schema.inputs, *schema.outputs]:
        assert socket.tooltip, socket


def test_ten_nodes_are_in_front(schemas):
    """What a first graph needs; the rest is one menu deeper."""
    front = [name for name, schema in schemas.items() if schema.category == CATEGORY]
    assert sorted(front) == sorted(FRONT)


def test_defaults_and_ranges_of_apply(schemas):
    inputs = {i.id: i for i in schemas["IPAdapterApply"].inputs}
    ranges = {
        name: (i.default, i.min, i.max, i.step) for name, i in inputs.items() if hasattr(i, "min")
    }
    assert ranges == {
        "weight": (1.0, -1.0, 3.0, 0.05),
        "noise": (0.0, 0.0, 1.0, 0.01),
        "start_at": (0.0, 0.0, 1.0, 0.001),
        "end_at": (1.0, 0.0, 1.0, 0.001),
    }
    assert inputs["layer_schedule"].options == list(SCHEDULES)
    assert inputs["layer_schedule"].default == "even"
    assert inputs["weight_type"].options == ["original", "linear", "channel penalty"]
    assert inputs["unfold_batch"].default is False
    optional = {name for name, i in inputs.items() if i.optional}
    new = {"reference", "layer_schedule", "schedule"}
    assert optional == {"clip_vision", "image", "attn_mask", "image_negative", *new}


def test_an_id_that_another_pack_owns_is_left_to_it(monkeypatch):
    theirs = {"IPAdapterModelLoader": object}
    monkeypatch.setattr(comfyui_nodes, "NODE_CLASS_MAPPINGS", theirs)
    assert own_nodes().keys() == PUBLIC.keys() - theirs.keys()


def test_model_folder_keeps_what_others_added(monkeypatch):
    known = {"ipadapter": (["/elsewhere"], {".safetensors"})}
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", known)
    register_model_folder("ipadapter")
    register_model_folder("ipadapter")
    paths, extensions = known["ipadapter"]
    assert paths[0] == "/elsewhere"
    assert len(paths) == 2
    assert extensions == {".safetensors"}
    known.clear()
    register_model_folder("ipadapter")
    assert known["ipadapter"][1] == folder_paths.supported_pt_extensions
