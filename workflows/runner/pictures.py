"""Pictures on their way into a ComfyUI and out of it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from .client import Client, Picture


def as_png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def upload(client: Client, data: bytes, suffix: str) -> str:
    """Under a name made of its contents, so that the same picture is the same to ComfyUI."""
    return client.upload(f"{hashlib.sha256(data).hexdigest()}{suffix.lower()}", data)


def save(pictures: Sequence[Picture], folder: Path) -> list[Path]:
    """Write the pictures into a folder; nothing that is there already is lost."""
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for picture in pictures:
        path, number = folder / picture.name, 1
        while path.exists():
            number += 1
            path = folder / f"{Path(picture.name).stem}_{number}{Path(picture.name).suffix}"
        path.write_bytes(picture.data)
        paths.append(path)
    return paths
