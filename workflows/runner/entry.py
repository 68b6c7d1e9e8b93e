"""How a script of this folder starts: in ComfyUI's environment, as a module of the pack."""

import importlib
import importlib.util
import os
import subprocess
import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GIVEN = {"COMFYUI_PATH", "COMFYUI_PYTHON", "IPADAPTER_REGIONS_CACHE"}
ONCE = "IPADAPTER_REGIONS_STARTED"


def start(module: str) -> None:
    """Run ``main`` of a module of this folder, after setting up ComfyUI where that is needed."""
    here = os.environ.keys() >= GIVEN and importlib.util.find_spec("aiohttp")
    if not here and ONCE not in os.environ:
        start_in_comfyui()
    # The pack's own name is whatever its folder is called, so it gets one here.
    package = types.ModuleType("ipadapter_pack")
    package.__path__ = [str(ROOT)]
    sys.modules["ipadapter_pack"] = package
    try:
        sys.exit(
            importlib.import_module(f"ipadapter_pack.workflows.runner.{module}").main(sys.argv[1:])
        )
    except KeyboardInterrupt:
        sys.exit(130)


def start_in_comfyui() -> None:
    command = [sys.executable, str(ROOT / "tools" / "with_comfyui.py"), *sys.argv]
    os.environ[ONCE] = "1"
    if os.name == "nt":
        sys.exit(subprocess.run(command).returncode)
    os.execv(sys.executable, command)
