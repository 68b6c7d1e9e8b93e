"""The command line that runs a workflow without a browser keeps its promises."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ipadapter_pack.tests.conftest import ROOT
from ipadapter_pack.tests.headless.runs import SMALL, person, set_inputs, small, stripes
from ipadapter_pack.workflows.runner import assignments, command_line, graphs, model_files
from ipadapter_pack.workflows.runner.client import Client
from ipadapter_pack.workflows.runner.errors import RunError
from ipadapter_pack.workflows.runner.server import running
from PIL import Image

QUICK = [f"--set=Empty Latent Image.{side}={SMALL[side]}" for side in ("width", "height")]
QUICK += [f"--set=KSampler.steps={SMALL['steps']}"]
TINY = [f"--{name.replace('_', '-')}=tiny.safetensors" for name in model_files.MODELS]


@pytest.fixture
def run(client, tmp_path, capsys):
    """Run with these arguments: the exit code, the lines printed, the lines of errors."""

    def run(*arguments):
        options = [*arguments, "--server", client.url, "--out", str(tmp_path / "out")]
        code = command_line.main(options)
        printed = capsys.readouterr()
        return code, printed.out.splitlines(), printed.err.splitlines()

    return run


def test_run_saves_every_output_and_prints_its_path(run, tmp_path):
    code, paths, errors = run("two_references", *TINY, *QUICK)
    assert (code, errors) == (0, [])
    assert [Path(path).parent for path in paths] == [tmp_path / "out"]
    assert Image.open(paths[0]).size == (SMALL["width"], SMALL["height"])


def test_run_loses_no_picture_of_an_earlier_run(run):
    first, second = (run("two_references", *TINY, *QUICK)[1][0] for _ in range(2))
    assert first != second
    assert Path(first).is_file()


def test_run_takes_a_graph_of_your_own(run, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(small("two_references")))
    assert run(str(path))[0] == 0


def test_run_lists_the_workflows_with_what_they_show(capsys):
    assert command_line.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == graphs.bundled()
    assert all(len(line.split()) > 2 for line in lines)


def test_run_sets_inputs_with_the_type_they_have(client):
    graph = small("two_references")
    for text in ("seed.value=3", "prompt.text=3", "KSampler.cfg=3", "seam.left=3"):
        assignments.read_assignment(graph, text).carry_out(graph, client)
    by_title = {node["_meta"]["title"]: node["inputs"] for node in graph.values()}
    values = [by_title["seed"]["value"], by_title["prompt"]["text"], by_title["KSampler"]["cfg"]]
    assert values == [3, "3", 3.0]
    assert [type(value) for value in values] == [int, str, float]
    unfold = assignments.read_assignment(graph, "Apply IPAdapter (left).unfold_batch=true")
    assert unfold.value is True


def test_run_uploads_a_picture_under_a_name_made_of_its_contents(client, tmp_path):
    graph = small("two_references")
    for name in ("one.png", "two.png"):
        stripes("green").save(tmp_path / name)
    names = set()
    for name in ("one.png", "two.png"):
        text = f"reference_left.image={tmp_path / name}"
        assignments.read_assignment(graph, text).carry_out(graph, client)
        (node,) = [n for n in graph.values() if n["_meta"]["title"] == "reference_left"]
        names.add(node["inputs"]["image"])
    (uploaded,) = names
    assert len(Path(uploaded).stem) == 64
    listed = client.object_info()["LoadImage"]["input"]["required"]["image"]
    assert uploaded in model_files.options_of(listed)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no_such"], ["no workflow no_such", "two_references"]),
        (["two_references", "--set", "prmpt.text=x"], ["no node has the title prmpt", "prompt"]),
        (["two_references", "--set", "prompt.txt=x"], ["prompt has no input txt", "text"]),
        (["two_references", "--set", "prompt.clip=x"], ["prompt has no input clip", "text"]),
        (["two_references", "--set", "seed.value=x"], ["x is not a int"]),
        (["two_references", "--set", "seed=3"], ["TITLE.INPUT=VALUE"]),
        (["two_references", "--ipadapter", "no.bin"], ["--ipadapter no.bin", "tiny.safetensors"]),
        (
            ["face_and_style", "--ipadapter", "tiny.safetensors"],
            ["different files", '"Load IPAdapter Model (style).ipadapter_file=F"', "(face)"],
        ),
    ],
)
def test_run_says_what_there_is_instead(run, arguments, words):
    code, paths, errors = run(*arguments)
    assert (code, paths, len(errors)) == (2, [], 1)
    for word in words:
        assert word in errors[0]


def test_run_says_what_the_server_refused(run):
    code, _, errors = run("two_references", *TINY, "--set", "KSampler.sampler_name=none")
    assert code == 2
    assert len(errors) == 1
    assert errors[0].startswith("run.py: KSampler (KSampler): ")
    assert "none" in errors[0]


def test_run_says_which_node_failed(client):
    loader = "IPAdapterModelLoader"
    graph = set_inputs(small("two_references"), loader, ipadapter_file="broken.safetensors")
    line = r"^Load IPAdapter Model \(IPAdapterModelLoader\): broken.safetensors cannot be read.*$"
    with pytest.raises(RunError, match=line):
        client.run(graph, progress=False)


def test_run_says_where_no_comfyui_answers():
    with pytest.raises(RunError, match=r"no ComfyUI answers at http://127\.0\.0\.1:9"):
        Client("http://127.0.0.1:9").object_info()


def test_run_says_why_comfyui_did_not_start():
    with (
        pytest.raises(RunError, match="unrecognized arguments: --no-such-option"),
        running(options=["--no-such-option"]),
    ):
        pass


def test_run_from_the_shell_finds_models_by_their_paths_and_leaves_comfyui_alone(
    model_folders, tmp_path
):
    """Without a server: two adapters from different folders, face models, a photo."""
    before = contents(Path(os.environ["COMFYUI_PATH"]))
    person(0).save(tmp_path / "anna.png")
    elsewhere = tmp_path / "plus" / "style.safetensors"
    elsewhere.parent.mkdir()
    elsewhere.symlink_to(model_folders["ipadapter"][0] / "tiny_plus.safetensors")
    face = model_folders["ipadapter"][0] / "tiny_faceid_plusv2.safetensors"
    options = [
        f"--checkpoint={model_folders['checkpoints'][0] / 'tiny.safetensors'}",
        f"--clip-vision={model_folders['clip_vision'][0] / 'tiny.safetensors'}",
        f"--insightface={model_folders['insightface'][0]}",
        f"--set=Load IPAdapter Model (face).ipadapter_file={face}",
        f"--set=Load IPAdapter Model (style).ipadapter_file={elsewhere}",
        f"--set=reference_face.image={tmp_path / 'anna.png'}",
        f"--set=reference_style.image={tmp_path / 'anna.png'}",
    ]
    command = [sys.executable, str(ROOT / "workflows" / "run.py"), "face_and_style"]
    bare = {k: v for k, v in os.environ.items() if not k.startswith("IPADAPTER_REGIONS_STARTED")}
    done = subprocess.run(
        [*command, *options, *QUICK], cwd=tmp_path, env=bare, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    picture = Image.open(tmp_path / done.stdout.strip())
    assert picture.size == (SMALL["width"], SMALL["height"])
    assert np.asarray(picture).std() > 1
    assert contents(Path(os.environ["COMFYUI_PATH"])) == before


def test_run_takes_each_kind_of_model_as_a_path(model_folders):
    for name, (_, _, kind) in model_files.MODELS.items():
        folder = model_folders[kind][0]
        found = model_files.locate(name, str(folder / "tiny.safetensors"))
        assert found == (folder, "tiny.safetensors")


def test_run_takes_a_folder_of_face_models_or_one_with_such_folders(model_folders):
    root = model_folders["insightface"][0]
    buffalo = root / "models" / "buffalo_l"
    assert model_files.locate("insightface", str(buffalo)) == (root / "models", "buffalo_l")
    assert model_files.locate("insightface", str(root)) == (root, None)
    assert model_files.locate("insightface", "antelopev2") == (None, "antelopev2")


def contents(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_run_says_what_blocked_a_picture(run):
    """ComfyUI calls such a job completed: the third color's mask is there, the fourth is not."""
    code, paths, errors = run("regions_from_color_map", *TINY, *QUICK, "--set=color_map.count=3")
    assert (code, paths) == (2, []), errors
    assert any("mask_4 of Masks From Color Map does not exist" in line for line in errors)
