"""Whether the pack works in older ComfyUIs: ``make compat``, ``make compat VERSIONS="0.16.3"``.

For each version a server of its own: the pack loads, and every bundled workflow and every prompt of
``tests/legacy_graphs`` runs with tiny models. One line for each check; exits with 1 when one failed.
``make compat ONLY=faceid`` carries out only the checks with that in their names.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
AT_ONCE = 2  # servers, each on one thread


def main() -> int:
    start = time.monotonic()
    sys.path.insert(0, str(ROOT))
    importlib.import_module("tests.conftest")
    from ipadapter_pack.tests.comfyui import import_comfyui

    import_comfyui("--cpu")  # to ask the nodes for their ids
    from ipadapter_pack.tests.compat import expected
    from ipadapter_pack.tools.with_comfyui import ARCHIVES

    options = parse()
    versions = options.versions or list(ARCHIVES)
    with tempfile.TemporaryDirectory(prefix="ipadapter-regions-compat-") as folder:
        expected.models(Path(folder, "models"))
        Path(folder, "nodes.txt").write_text(" ".join(expected.nodes()))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            each = pool.map(lambda version: carry_out(version, folder, options.only), versions)
            results = dict(zip(versions, each, strict=True))
    print(f"\n{time.monotonic() - start:.0f} s in all")
    for version, result in results.items():
        print(f"ComfyUI {version:8} {result or 'ok'}")
    return 1 if any(results.values()) else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The pack in several versions of ComfyUI.")
    parser.add_argument("versions", nargs="*", help="of ComfyUI (all that are known)")
    parser.add_argument("--only", default="", help="the checks with this in their names")
    return parser.parse_args()


def carry_out(version: str, folder: str, only: str) -> str:
    """Run the checks in a ComfyUI of this version; what failed, or nothing."""
    from ipadapter_pack.tools.with_comfyui import fetch_comfyui, lock

    try:
        with lock():
            comfyui = fetch_comfyui(version)
    except SystemExit as error:  # no such version, or no archive
        return f"FAILED: {error}"
    command = [sys.executable, str(ROOT / "tests" / "compat" / "one_version.py")]
    environment = {**os.environ, "COMFYUI_PATH": str(comfyui), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, version, folder, only], env=environment)
    return f"FAILED: {done.returncode} of its checks" if done.returncode else ""


if __name__ == "__main__":
    sys.exit(main())
