"""How tests reach the code: as the package ``ipadapter_pack``, as ComfyUI sees the folder."""

import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent

if "ipadapter_pack" not in sys.modules:
    package = ModuleType("ipadapter_pack")
    package.__path__ = [str(ROOT)]
    sys.modules["ipadapter_pack"] = package
