"""Real packs, for those tests that can run beside them: ``make company PACKS=FOLDER``.

FOLDER holds checkouts under the names of their repositories. Without one, stand-ins that do what
those packs' code does are all that is tested.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

FOLDER = os.environ.get("IPADAPTER_REGIONS_PACKS")


def has(name: str) -> bool:
    return FOLDER is not None and Path(FOLDER, name).is_dir()


def module(name: str, file: str) -> ModuleType:
    """A file of a pack, as a part of it, but without running the pack's own start."""
    folder = Path(str(FOLDER), name)
    package = "company_" + name.replace("-", "_")
    if package not in sys.modules:
        sys.modules[package] = ModuleType(package)
        sys.modules[package].__path__ = [str(folder)]
    return importlib.import_module(f"{package}.{file}")
