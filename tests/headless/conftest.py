"""A real ComfyUI in this process, on the CPU."""

import os
from pathlib import Path

import pytest
from ipadapter_pack.tests.in_process import THREADS, inference_mode  # noqa: F401

import folder_paths  # isort: skip
from ipadapter_pack.tests import tiny
from ipadapter_pack.tests.compat import expected
from ipadapter_pack.tests.headless import micro
from ipadapter_pack.workflows.runner.client import Client
from ipadapter_pack.workflows.runner.server import PACK, running
from safetensors.torch import save_file


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory):
    """What nodes write goes nowhere into somebody's ComfyUI."""
    folder_paths.set_temp_directory(str(tmp_path_factory.mktemp("temp")))
    folder_paths.set_output_directory(str(tmp_path_factory.mktemp("output")))


@pytest.fixture(scope="session", autouse=True)
def few_threads():
    """For the servers too: on busy cores, threads that wait for each other cost far more."""
    os.environ["OMP_NUM_THREADS"] = THREADS


@pytest.fixture(scope="session")
def model_folders(tmp_path_factory):
    """Folders of tiny models that ComfyUI's own loaders read."""
    folder = tmp_path_factory.mktemp("models")
    expected.models(folder)
    for name, kind in expected.ADAPTERS.items():
        micro_adapter(folder / "ipadapter" / f"micro_{name}.safetensors", kind)
    (folder / "ipadapter" / "broken.safetensors").write_bytes(b"half a file")
    return {path.name: [path] for path in folder.iterdir()}


def micro_adapter(path, kind):
    """For the models of the pack ``micro``."""
    widths = tiny.widths(tiny.shared_model())
    width = micro.PICTURE if kind == "base" else micro.PATCH
    file = tiny.adapter_file(widths, kind, context=micro.TEXT, width=width)
    save_file({f"{half}.{k}": t for half, part in file.items() for k, t in part.items()}, path)


@pytest.fixture(scope="session")
def client(model_folders):
    """A ComfyUI of its own over HTTP; it remembers what it has once worked out."""
    packs = [PACK, Path(micro.__file__).parent]
    with running(model_folders, packs, ["--cache-lru", "2000"]) as url:
        yield Client(url)
