"""The files in ComfyUI's input folder that the graphs name; they are uploaded before a run."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

PICTURES = ("legacy_a.png", "legacy_b.png")
PERSON = "legacy_person.png"
MASK = "legacy_mask.png"
STACKED, PLAIN = "legacy_v1.ipadpt", "legacy_v2.ipadpt"
NAMES = (*PICTURES, PERSON, MASK, STACKED, PLAIN)
WIDTH = 768  # of what the tiny base adapter reads


def files() -> dict[str, bytes]:
    """Name and contents."""
    from ...workflows.tiny import faces as tiny_faces  # imports onnx

    person = tiny_faces.picture([("red", 60, 40, 120)], 240, 320)[0]
    made = {
        PICTURES[0]: png(clouds(1)),
        PICTURES[1]: png(clouds(2)),
        PERSON: png((person * 255).byte().numpy()),
        MASK: png(left_half()),
        STACKED: saved(torch.stack([embeds(3), torch.zeros(1, WIDTH)])),
        PLAIN: saved(embeds(3)),
    }
    return made | {copy(name): data for name, data in made.items()}


def copy(name: str) -> str:
    """Another name of the same file, which ComfyUI does not know for the same."""
    return name.replace("legacy", "legacy_copy")


def upload(send: Callable[[str, bytes], object]) -> None:
    """Send all files to a ComfyUI: ``upload(client.upload)``."""
    for name, data in files().items():
        send(name, data)


def clouds(seed: int, height: int = 224, width: int = 336) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def left_half() -> np.ndarray:
    mask = np.zeros((128, 128, 3), np.uint8)
    mask[:, :64] = 255
    return mask


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def embeds(seed: int) -> torch.Tensor:
    """What CLIP might see in one picture: [1, WIDTH]."""
    return torch.randn(1, WIDTH, generator=torch.Generator().manual_seed(seed))


def saved(tensor: torch.Tensor) -> bytes:
    file = io.BytesIO()
    torch.save(tensor, file)
    return file.getvalue()
