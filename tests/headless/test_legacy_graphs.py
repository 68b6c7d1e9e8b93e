"""Old prompts of every id of ComfyUI_IPAdapter_plus run, mean what they say, and repeat."""

import numpy as np
import pytest
from ipadapter_pack.tests.headless.legacy_runs import (
    BROUGHT,
    PICTURED,
    PROMPTS,
    Runs,
    as_version_2,
    as_written,
    at_weight_zero,
    changed,
    from_files,
    from_other_files,
    from_pipeline,
    key_of,
    kind_of,
    without_references,
)
from ipadapter_pack.tests.headless.legacy_table import BOTH, V1, V2
from ipadapter_pack.tests.headless.runs import narrow_encoder
from ipadapter_pack.tests.legacy_graphs import krita

CLASSES = {n: {node["class_type"] for node in prompt.values()} for n, prompt in PROMPTS.items()}


@pytest.fixture(scope="module")
def runs(client):
    return Runs(client)


def test_every_id_has_a_prompt():
    assert PROMPTS.keys() == {f"v1/{name}" for name in V1} | {f"v2/{name}" for name in V2}
    assert all(name.split("/")[1] in classes for name, classes in CLASSES.items())
    assert BOTH.keys() <= {kind_of(node) for prompt in PROMPTS.values() for node in prompt.values()}


@pytest.mark.parametrize("name", PICTURED)
def test_prompt_gives_a_picture_in_which_the_reference_acts(runs, name):
    picture = runs.get(name, as_written)
    assert np.isfinite(picture).all()
    assert picture.std() > 0.01
    assert np.abs(picture - runs.get(name, without_references)).mean() > 0.002


@pytest.mark.parametrize("name", PICTURED)
def test_prompt_repeats_to_the_bit(runs, name):
    assert (runs.get(name, as_written) == runs.get(name, from_other_files)).all()


@pytest.mark.parametrize("name", PICTURED)
def test_prompt_at_weight_zero_is_the_plain_model(runs, name):
    assert (runs.get(name, at_weight_zero) == runs.get(name, without_references)).all()


# Of the tiny base adapter's, without the middle block in any case: the pictures are of the size at
# which their shorter side is what CLIP reads, and the masks of one at which the guess is right.
SAME = {
    "v2/IPAdapterStyleCompositionBatch", "v2/IPAdapterPreciseStyleTransfer",
    "v2/IPAdapterPreciseStyleTransferBatch", "v2/IPAdapterEmbeds",
}  # fmt: skip


@pytest.mark.parametrize("name", [n for n in PICTURED if n.startswith("v2/")])
def test_prompt_looks_otherwise_in_the_ways_of_version_2(runs, name):
    """All but those that nothing of it concerns."""
    picture = runs.get(name, as_version_2)
    assert np.isfinite(picture).all()
    assert (picture == runs.get(name, as_written)).all() == (name in SAME)


@pytest.mark.parametrize("name", [n for n in PICTURED if n.startswith("v1/")])
def test_prompt_of_version_1_knows_no_other_ways(runs, name):
    assert as_version_2(runs, PROMPTS[name]) is None


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in BROUGHT else pytest.mark.release)
        for name in PICTURED
        if "IPAdapterModelLoader" in CLASSES[name]
    ],
)
def test_prompt_is_the_same_with_a_loader_that_brings_encoders(runs, name):
    picture = runs.get(name, from_files)
    assert picture.std() > 0.01
    assert (runs.get(name, from_pipeline) == picture).all()


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_saved_embeds_are_listed_and_act_as_before(runs, version):
    save = PROMPTS[f"{version}/IPAdapterSaveEmbeds"]
    assert runs.client.run(save, progress=False) == []
    prefix = save[key_of(save, "IPAdapterSaveEmbeds")]["inputs"]["filename_prefix"]
    files = runs.client.object_info()["IPAdapterLoadEmbeds"]["input"]["required"]["embeds"]
    (file,) = (name for name in files[1]["options"] if name.startswith(prefix))
    assert file.removeprefix(prefix) == "_00001.ipadpt [output]"
    load = PROMPTS[f"{version}/IPAdapterLoadEmbeds"]
    loader = key_of(load, "IPAdapterLoadEmbeds")
    from_file = load | {loader: load[loader] | {"inputs": {"embeds": file}}}
    directly = prefixed(save, "save ") | rewired(load, [loader, 0], encoded(save))
    found = runs.run({"from file": from_file, "directly": directly})
    assert (found["from file"] == found["directly"]).all()


def encoded(save):
    node, slot = save[key_of(save, "IPAdapterSaveEmbeds")]["inputs"]["embeds"]
    return [f"save {node}", slot]


def prefixed(prompt, prefix):
    renamed = {f"{prefix}{key}": node for key, node in prompt.items()}
    return changed(
        renamed,
        lambda _, inputs: {
            k: [f"{prefix}{v[0]}", v[1]] if isinstance(v, list) else v for k, v in inputs.items()
        },
    )


def rewired(prompt, old, new):
    """With every input that took the one output from the other."""
    return changed(prompt, lambda _, inputs: {k: new if v == old else v for k, v in inputs.items()})


def test_a_prompt_as_krita_sends_it_stays_in_its_region(runs):
    sent = krita.prompt()
    found = runs.run({"krita": sent, "plain": without_references(runs, sent)})
    change = np.abs(found["krita"] - found["plain"]).mean((0, 1, 3))  # by column
    assert change[:64].mean() > 0.02
    assert change[:64].mean() > 5 * change[64:].mean()


@pytest.mark.parametrize("left_out", ["12", "15"])
def test_each_reference_of_kritas_prompt_acts(runs, left_out):
    sent = krita.prompt()
    before = sent[left_out]["inputs"]["model"]
    found = runs.run({"whole": sent, "less": rewired(sent, [left_out, 0], before)})
    assert np.abs(found["whole"] - found["less"]).mean() > 0.002


@pytest.fixture(scope="module")
def in_regions(runs):
    """The picture of a prompt of Krita's with regions, and without the one and the other picture."""
    sent = krita.regions_prompt()
    less = {
        i: rewired(sent, [f"reference {i}", 0], sent[f"reference {i}"]["inputs"]["model"])
        for i in (0, 2)
    }
    prompts = {"whole": sent, **{str(i): prompt for i, prompt in less.items()}}
    return runs.run({name: narrow_encoder(prompt) for name, prompt in prompts.items()})


@pytest.mark.parametrize("region", [0, 2])
def test_kritas_pictures_stay_in_their_regions_beside_texts_of_regions(in_regions, region):
    change = np.abs(in_regions["whole"] - in_regions[str(region)]).mean((0, 1, 3))  # by column
    by_region = change.reshape(krita.REGIONS, -1).mean(1)
    assert by_region[region] > 0.02
    assert by_region[region] > 2 * by_region[1]  # a UNet carries some of it to the neighbor
    assert by_region[region] > 5 * by_region[2 - region]
