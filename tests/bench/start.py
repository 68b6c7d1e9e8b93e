"""What the pack adds to ComfyUI's start: one fresh interpreter, which prints what it saw as JSON.

``python tests/bench/start.py``, with COMFYUI_PATH set. ComfyUI itself is imported first; then the
pack is loaded as ComfyUI loads it, while every tensor operation, CUDA start and connection is noted
and the last two refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"open_clip", "timm", "insightface", "onnxruntime"}  # seconds each, imported when needed
CONNECTING = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}


def main() -> None:
    start = time.perf_counter()
    sys.path.insert(0, os.environ["COMFYUI_PATH"])
    sys.argv = ["main.py", "--cpu"]
    import comfy.options

    comfy.options.enable_args_parsing()
    importlib.import_module("utils.install_util")  # before a library brings another `utils`
    import server  # noqa: F401  # as main.py does, before it loads packs

    import nodes

    with contextlib.suppress(
        ImportError
    ):  # ComfyUI's reader of pyproject.toml, with its first pack
        import comfy_config.config_parser  # noqa: F401
    before = set(nodes.NODE_CLASS_MAPPINGS)
    comfyui = time.perf_counter() - start
    seen: dict[str, Any] = asyncio.run(watched(nodes.load_custom_node(str(ROOT))))
    seen["comfyui seconds"] = comfyui
    seen["nodes"] = sorted(set(nodes.NODE_CLASS_MAPPINGS) - before)
    for name in seen["nodes"]:  # as for the frontend's list of nodes
        nodes.NODE_CLASS_MAPPINGS[name].INPUT_TYPES()
    seen["imported"] = sorted(sys.modules.keys() & HEAVY)
    print(json.dumps(seen))


async def watched(loading: Any) -> dict[str, Any]:
    """Await the loading of the pack and say what it did."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    operations: list[str] = []
    refused: list[str] = []

    class Operations(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):
            operations.append(str(func))
            return func(*args, **(kwargs or {}))

    def refuse(event: str) -> None:
        refused.append(event)
        raise PermissionError(f"{event} while the pack is imported")

    torch.cuda.init = torch.cuda._lazy_init = lambda: refuse("cuda")
    sys.addaudithook(lambda event, _: refuse(event) if event in CONNECTING else None)
    start = time.perf_counter()
    with Operations():
        loaded = await loading
    seconds = time.perf_counter() - start
    return {"loaded": loaded, "seconds": seconds, "operations": operations, "refused": refused}


if __name__ == "__main__":
    main()
