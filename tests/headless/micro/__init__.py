"""A pack for tests: loaders whose models are narrower than those that a file can hold."""

import sys
from pathlib import Path
from types import ModuleType

import nodes

package = ModuleType("ipadapter_pack")
package.__path__ = [str(Path(__file__).resolve().parents[3])]
sys.modules.setdefault("ipadapter_pack", package)

import torch  # noqa: E402
from ipadapter_pack.tests import tiny  # noqa: E402
from ipadapter_pack.tests.company.couple import couple  # noqa: E402

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


class DefineRegion:
    """With the inputs of comfyui-tooling-nodes' node, which Krita AI Diffusion uses."""

    CATEGORY, RETURN_TYPES, FUNCTION = "micro", ("Regions",), "define"

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        required = {"mask": ("MASK", {}), "conditioning": ("CONDITIONING", {})}
        return {"required": required, "optional": {"regions": ("Regions", {})}}

    def define(self, mask, conditioning, regions=()):
        return ((*regions, (mask[0], conditioning[0][0])),)


class AttentionMask:
    """The same."""

    CATEGORY, RETURN_TYPES, FUNCTION = "micro", ("MODEL",), "apply"

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"model": ("MODEL", {}), "regions": ("Regions", {})}}

    def apply(self, model, regions):
        masks, texts = zip(*regions, strict=True)
        return (couple(model, torch.stack(masks), texts, tells=True),)


NODE_CLASS_MAPPINGS = {
    "MicroCheckpoint": MicroCheckpoint,
    "MicroCLIPVision": MicroCLIPVision,
    "ETN_DefineRegion": DefineRegion,
    "ETN_AttentionMask": AttentionMask,
}
