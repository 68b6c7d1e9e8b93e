"""A real ComfyUI in this process, for tests and benchmarks."""

import os
import sys


def import_comfyui(*options: str) -> None:
    """Put ComfyUI on the path with these command line options, before anything imports it."""
    if "comfy.options" in sys.modules:
        return
    sys.path.insert(0, os.environ["COMFYUI_PATH"])
    argv, sys.argv = sys.argv, ["main.py", *options]
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.cli_args
    import utils.install_util  # noqa: F401  before a library brings another `utils`

    sys.argv = argv
