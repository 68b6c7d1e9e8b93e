"""A pack for tests: loaders whose models are narrower than those that a file can hold."""

import sys
from pathlib import Path
from types import ModuleType

import nodes

package = ModuleType("ipadapter_pack")
package.__path__ = [str(Path(__file__).resolve().parents[3])]
sys.modules.setdefault("ipadapter_pack", package)

from ipadapter_pack.tests import tiny  # noqa: E402

TEXT, PICTURE, PATCH = 768, 768, 48  # widths: of the text, of a whole picture, of its patches


class MicroCheckpoint:
    """The text encoder and the autoencoder of a file, with a narrow UNet."""

    CATEGORY, RETURN_TYPES, FUNCTION = "micro", ("MODEL", "CLIP", "VAE"), "load"

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"ckpt_name": ("STRING", {})}}

    def load(self, ckpt_name):
        _, clip, vae = nodes.CheckpointLoaderSimple().load_checkpoint(ckpt_name)
        return tiny.model(context_dim=TEXT), clip, vae


class MicroCLIPVision:
    """An image encoder of three narrow layers."""

    CATEGORY, RETURN_TYPES, FUNCTION = "micro", ("CLIP_VISION",), "load"

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"clip_name": ("STRING", {})}}

    def load(self, clip_name):
        return (tiny.clip_vision(width=PATCH, embed=PICTURE, image_size=224),)


NODE_CLASS_MAPPINGS = {"MicroCheckpoint": MicroCheckpoint, "MicroCLIPVision": MicroCLIPVision}
