"""A ComfyUI of its own: headless, on a free local port, in a temporary folder, stopped at the end.

COMFYUI_PATH and COMFYUI_PYTHON say which (tools/with_comfyui.py sets both). Its models are found;
nothing is written into it.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from .errors import RunError

PACK = Path(__file__).resolve().parents[2]
ACCELERATOR = (
    "import torch as t; print(t.cuda.is_available() or t.backends.mps.is_available()"
    " or hasattr(t, 'xpu') and t.xpu.is_available())"
)

# Linux has one of these for each kind of accelerator that PyTorch knows.
DEVICES = ("/dev/nvidiactl", "/dev/nvmap", "/dev/dxg", "/dev/kfd", "/dev/dri")


@contextmanager
def running(
    models: Mapping[str, Sequence[Path]] | None = None,
    packs: Sequence[Path] = (PACK,),
    options: Sequence[str] = (),
) -> Iterator[str]:
    """The address of a ComfyUI that lives as long as the block.

    models: further folders for each kind of model ("checkpoints", "ipadapter", ...)
    packs: the custom nodes, in the order in which ComfyUI is to load them
    options: more of ComfyUI's command line
    """
    with tempfile.TemporaryDirectory(
        prefix="ipadapter-regions-", ignore_cleanup_errors=True
    ) as base:
        lay_out(Path(base), models or {}, packs)
        port = free_port()
        log = Path(base) / "log.txt"
        with open(log, "wb") as output:
            process = subprocess.Popen(
                [*command(Path(base), port), *options],
                cwd=base,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent if sys.platform == "linux" else None,
            )
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until_ready(process, url, log)
            yield url
        finally:
            stop(process)


def lay_out(base: Path, models: Mapping[str, Sequence[Path]], packs: Sequence[Path]) -> None:
    """The folder tree that ComfyUI works in, and the file that names the model folders."""
    for name in ("custom_nodes", "input", "models", "output", "temp", "user"):
        (base / name).mkdir()
    shutil.copy(comfyui() / "input" / "example.png", base / "input")
    paths = {name: [str(folder) for folder in folders] for name, folders in models.items()}
    for folder in sorted((comfyui() / "models").iterdir()):
        if folder.is_dir():
            paths.setdefault(folder.name, []).append(str(folder))
    # ComfyUI reads one folder of packs in no particular order, but the folders one by one.
    for number, pack in enumerate(packs):
        parent = base / "packs" / str(number)
        mount(pack, parent)
        paths.setdefault("custom_nodes", []).append(str(parent))
    # JSON is YAML.
    folders = {name: "\n".join(folders) for name, folders in paths.items()}
    (base / "model_paths.yaml").write_text(json.dumps({"ipadapter_regions": folders}))


def mount(pack: Path, parent: Path) -> None:
    parent.mkdir(parents=True)
    try:
        (parent / pack.name).symlink_to(pack, target_is_directory=True)
    except OSError:  # Windows without developer mode
        shutil.copytree(pack, parent / pack.name, ignore=shutil.ignore_patterns(".git", "demo"))


def command(base: Path, port: int) -> list[str]:
    python = os.environ["COMFYUI_PYTHON"]
    arguments = [python, str(comfyui() / "main.py"), "--base-directory", str(base)]
    arguments += ["--listen", "127.0.0.1", "--port", str(port), "--disable-auto-launch"]
    arguments += ["--database-url", "sqlite:///:memory:", "--disable-api-nodes"]
    arguments += ["--extra-model-paths-config", str(base / "model_paths.yaml")]
    if not has_accelerator(python):
        # Processors compute in float32: else each weight is converted whenever it is used.
        arguments += ["--cpu", "--use-pytorch-cross-attention", "--fp32-text-enc"]
    return arguments


def comfyui() -> Path:
    return Path(os.environ["COMFYUI_PATH"])


@cache
def has_accelerator(python: str) -> bool:
    if sys.platform == "linux" and not any(map(os.path.exists, DEVICES)):
        return False  # asking PyTorch takes seconds
    answer = subprocess.run([python, "-c", ACCELERATOR], capture_output=True, text=True)
    return answer.stdout.strip() == "True"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def die_with_parent() -> None:
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)


def wait_until_ready(process: subprocess.Popen, url: str, log: Path, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RunError(f"ComfyUI stopped while starting. Its last lines:\n{tail(log)}")
        try:
            urllib.request.urlopen(f"{url}/system_stats", timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise RunError(f"ComfyUI did not answer within {seconds:.0f} s. Its last lines:\n{tail(log)}")


def tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
