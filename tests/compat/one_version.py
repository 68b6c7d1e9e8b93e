"""The checks of one ComfyUI, that of COMFYUI_PATH: ``one_version.py VERSION FOLDER ONLY``.

In the folder are models/ and nodes.txt, the ids that the pack has to bring; checks without ONLY in
their names are left out. Exits with the number of checks that failed.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# In the server's own folder: 0.16.3 cannot share one in memory between its threads.
OPTIONS = ("--cache-classic", "--database-url", "sqlite:///compat.db")


def main(version: str, folder: str, only: str) -> int:
    sys.path.insert(0, str(ROOT))
    importlib.import_module("tests.conftest")
    from ipadapter_pack.tests.compat import checks
    from ipadapter_pack.workflows.runner.errors import RunError
    from ipadapter_pack.workflows.runner.server import running

    models = {kind.name: [kind] for kind in Path(folder, "models").iterdir()}
    nodes = set(Path(folder, "nodes.txt").read_text().split())
    try:
        with running(models, options=OPTIONS) as url:
            wanted = [(name, check) for name, check in checks.of(url, nodes) if only in name]
            return sum(fails(version, name, check) for name, check in wanted)
    except RunError as error:
        reason = str(error)
        return fails(version, "ComfyUI starts", lambda: reason)


def fails(version: str, name: str, check: Callable[[], str]) -> bool:
    """Carry out a check and print its line."""
    start = time.monotonic()
    reason = check()
    seconds = time.monotonic() - start
    print(f"{version:8} {name:56} {reason or f'ok {seconds:5.1f} s'}", flush=True)
    return bool(reason)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
