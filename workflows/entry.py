"""How a script of this folder starts: in ComfyUI's environment, as a module of the pack."""

import importlib
import os
import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def start(module: str) -> None:
    """Run ``main`` of a module of this folder, after setting up ComfyUI where that is needed."""
    if "COMFYUI_PATH" not in os.environ or "COMFYUI_PYTHON" not in os.environ:
        launcher = str(ROOT / "tools" / "with_comfyui.py")
        os.execv(sys.executable, [sys.executable, launcher, *sys.argv])
    # The pack's own name is whatever its folder is called, so it gets one here.
    package = types.ModuleType("ipadapter_pack")
    package.__path__ = [str(ROOT)]
    sys.modules["ipadapter_pack"] = package
    sys.exit(importlib.import_module(f"ipadapter_pack.workflows.{module}").main(sys.argv[1:]))
